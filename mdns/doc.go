// Package mdns is multicast DNS (RFC 6762): it asks, listens, and answers.
//
// An [Engine] owns one socket and one cache for each link and address family,
// opens and closes them as links come and go, asks what its subscriptions
// want to know, by the rules of §5.2, and answers for what is published. The
// bytes of its packets are drawn in package dnswire;
// it opens no socket itself, but is handed functions that do.
//
//	Links ──> Engine.Run, one goroutine ──> Subscription.Next
//	           │  zone eth0 IPv4: cache, questions, own records
//	Listen ──> │  zone eth0 IPv6: cache, questions, own records ──> Observer
//	           │  zone eth1 IPv4: …                             <── Publish
//	           ▲ parsed packets        │ queries, answers
//	          a reader and a writer goroutine for each socket
//
// A zone is one link and one family, as §20 has it: a record that was heard in
// one says nothing about another, and the cache-flush bit acts only there. All
// of a zone's state is told the time and does no I/O.
//
// A [Publication] is a set of records under one label. [Engine.Publish] has them
// probed for three times (§8.1), with the tie-break of §8.2, announced, defended,
// and answered with: what is unique at once, what is shared after 20 to 120 ms,
// nothing twice within a second, and nothing that the asker knows or another host
// has just said. It answers by multicast, by unicast where QU or a legacy query
// asks for it, and says by NSEC records what isn't there. When another host has a
// name, the publication takes its next label in all zones together. A copy of
// an own record that comes back over a reflector is no conflict. Before Run returns
// it says goodbye for everything. The answering side of a zone is pure state in
// package respond. Nothing is answered from a cache.
//
// What comes off the network is hostile. Each cache is bounded, as a whole and
// for each sender; a record that somebody asks for is never evicted for
// another; TTLs are cut to a day; every packet and record that has no effect is
// counted with its reason in [Stats]. Answers that wait are bounded by a multiple
// of what is published, and those by unicast by 2,000 packets a second.
//
// A program that only wants to ask once, with no cache and from a port of its
// own (§5.1), uses [OneShot].
//
// A record that didn't work is handed to [Engine.Reconfirm]: it is asked for
// again and goes after ten seconds without an answer (§10.4). The same happens,
// without a query of ours, to what others ask for in vain (§10.5); an engine
// with Silent does nothing but observe.
//
// docs/rfc6762.md names the test for each rule. Classes other than IN are
// ignored. A probe whose proposed records are too many for a packet of the link's MTU
// goes out larger than that, since §8.2 wants them together.
package mdns
