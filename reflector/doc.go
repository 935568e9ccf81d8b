// Package reflector passes multicast DNS (RFC 6762) on between links, so that
// hosts of one subnet find services of another.
//
//	      link a                     Reflector                      link b
//	                │ ┌───────────────────────────────────────┐ │
//	10.0.1.5:5353 ──┼─┤ guard: is it new here, and due?       │ │
//	  to the group  │ │   │  no: counted                      │ │
//	                │ │   ▼                                   │ │
//	                │ │ Proxy: answered from the cache? (opt.)│ │
//	                │ │   │  no                               │ │
//	                │ │   ▼                                   │ │
//	                │ │ Rules: may b see it? which records?   │ │
//	                │ │   │                                   │ │
//	                │ │   ▼                                   ├─┼── 10.0.2.1:5353
//	                │ │ link b's rate                         │ │   to the group
//	                │ └───────────────────────────────────────┘ │
//
// A [Reflector] is a relay of an mdns.Engine, which owns the sockets and may
// have other roles. Packets are passed on by the goroutine that reads them;
// one that nothing is done to keeps its bytes and allocates nothing. Copies leave
// from our own address on the link, port 5353, with TTL 255. IPv4 is passed on
// to IPv4 and IPv6 to IPv6; see CrossFamilies.
//
// # Loops and storms
//
// What a message says, each record or question, belongs for a second to the
// link on which it was heard. On another link it is a copy, whoever sent it and
// however he put it together anew, and goes no further: two reflectors between
// the same links make two copies of a packet, never more. A goodbye belongs
// where what it takes back does, so that late copies of both chase nobody. A record
// crosses once a second (§6), once more if it was taken back meanwhile,
// or every 250 ms while its name is being probed; an equal probe
// every 225 ms; an equal question once a second, unless it lists less as known.
// Token buckets bound the packets of each source and those to each link. By
// their defaults 200 hosts may send 100 packets a second each, or one 5,000 at
// once and then 1,000 a second; a link gets 30,000 a second at most.
//
// # Answers for one asker alone
//
// A one-shot query (§6.7) crosses with an ID of ours; the answer goes to its
// asker by unicast, with his ID and question, TTLs of 10 s at most and no
// cache-flush bits. A question with the QU bit (§5.4) crosses with it only if
// unicast answers are sure to come to us, and then they go to the asker by
// unicast, too. To hosts on the other link all questions come from one address;
// so known answers (§7.1) are left out where another host has just asked the
// same, and those that follow in further packets (§7.2) stay with their query.
//
// # What crosses
//
// [Rules] say which services of one link may be seen from another: the first
// that fits decides. They see service type, subtype, instance, host, the
// device's MAC and the pair of links. What is denied crosses in no form: no
// record that has its name or points to it, no known answer or probe, no
// question for it from the other side. A host's addresses cross if one of its
// services may. Single records are taken out and the rest is written anew;
// nothing is sent if nothing is left.
//
// Rules judge by what was heard until then. A service whose host isn't known
// yet is denied where a rule denies some hosts; one whose subtypes aren't
// known has none. A host of which no service is known is judged by rules
// without types and instances alone. A type crosses in the list of types (RFC 6763
// §9) if one of its services may. A question tells what somebody asks for, and
// nothing of what he has. Text inside TXT records isn't looked at, and records
// that name others and that mDNS has no use for (MX, SOA) are denied where
// anything is.
//
// Whatever the rules say, link-local addresses don't cross, nor private ones from outside
// the link's subnets if the host has others (RFC 8766 §5.5.2). A service whose
// host has nothing but link-local ones is withheld whole until there is another.
// What is too large for a link is split between records (§17).
//
// # Proxy
//
// A [Proxy] mirrors the engine's cache and answers queries from it, with the
// TTL that is left. It has the engine ask on the other links for what hosts want
// to know, tells those of changes and goodbyes, and asks again before many of
// them would. A question for what was just told means a doubt (§10.4, §10.5): the
// engine then asks on the far side, too, and what isn't confirmed is taken back.
// Probes and what defends against them are passed on as ever: a proxy that
// spoke for a host that has moved would be its rival.
//
// # Limits
//
// What this host itself sends, the engine or another program, isn't passed on:
// programs speak on all links themselves. Two hosts on different links that ask
// the same with the QU bit within a second may see one question cross only, if
// the second hasn't been heard for a while. A response that mixes records of
// another reflector's making with new ones crosses whole. Messages in DNS classes
// other than IN pass as they are.
package reflector
