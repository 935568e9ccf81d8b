// Package unicast is DNS-based service discovery over unicast DNS (RFC 6763 §10,
// §11): a source for package dnssd that asks DNS servers, the domains that are
// recommended for browsing, and registration by dynamic updates.
//
//	b._dns-sd._udp.example.com          PTR  example.com                    a domain to browse (§11)
//	_services._dns-sd._udp.example.com  PTR  _http._tcp.example.com         its types
//	_http._tcp.example.com              PTR  Web._http._tcp.example.com     instances
//	Web._http._tcp.example.com          SRV  0 0 80 www.example.com
//	Web._http._tcp.example.com          TXT  "path=/"
//
// A [Source] is handed to a dnssd.Browser. It asks each question once for the
// TTL of its answer, 10 s at the least, and again before that runs out as long as
// somebody wants it; negative answers hold as RFC 2308 says. Of an answer only
// the records count that were asked for, those that lead to them as aliases, and
// what a server sends along as RFC 6763 §12 has it: the SRV and TXT records of the
// instances that a PTR record names, and the addresses of an SRV record's host.
// These aren't asked for, then. Where addresses of one family came along alone,
// those of the other are asked for one to five seconds later, and nobody waits for
// them.
//
// A server that fails comes last for a while, and one that is silent for a
// quarter of a second gets company from the next. A refusal is told at once, that
// a lone server is silent after three seconds. While none says anything one
// question at a time is asked, and all others as soon as one does. A question
// that is refused is asked less and less often. A browser's Looked tells of each
// of these. What was known is kept meanwhile, for a day beyond its TTL (RFC 8767):
// only an answer takes a service away.
//
// An [Enumeration] finds the domains that a network recommends. A [Registrar]
// keeps a service in a zone (RFC 2136), signed with a TSIG [Key] (RFC 8945), for a
// lease that it renews: what dies is removed by the server (RFC 9664) or, with one that
// knows no leases, by the other Registrars of the zone.
// [ParseResolvConf] reads which servers to ask.
//
// Names in .local, and the reverse names of link-local addresses, belong to
// multicast DNS and are never sent to a server (RFC 6762 §3, §22.1).
//
// What servers say is hostile: messages are read by package dnswire, whose names
// are wire bytes; the number of questions, the bytes of their answers, chains of
// aliases, stray packets, and queries at a time and in a second are bounded.
//
// Not supported: DNS Push Notifications (RFC 8765) and long-lived queries,
// DNSSEC validation, SIG(0), placeholders of flagship names (RFC 6763 §8) in a
// Registrar.
package unicast
