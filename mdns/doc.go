// Package mdns is multicast DNS (RFC 6762): the side that asks and listens.
//
// An [Engine] owns one socket and one cache for each link and address family,
// opens and closes them as links come and go, and asks what its subscriptions
// want to know, by the rules of §5.2. The bytes of its packets are drawn in package dnswire;
// it opens no socket itself, but is handed functions that do.
//
//	Links ──> Engine.Run, one goroutine ──> Subscription.Next
//	           │  zone eth0 IPv4: cache, questions
//	Listen ──> │  zone eth0 IPv6: cache, questions   ──> Observer
//	           │  zone eth1 IPv4: …
//	           ▲ parsed packets        │ queries
//	          a reader and a writer goroutine for each socket
//
// A zone is one link and one family, as §20 has it: a record that was heard in
// one says nothing about another, and the cache-flush bit acts only there. All
// of a zone's state is told the time and does no I/O.
//
// What comes off the network is hostile. Each cache is bounded, as a whole and
// for each sender; a record that somebody asks for is never evicted for
// another; TTLs are cut to a day; every packet and record that has no effect is
// counted with its reason in [Stats].
//
// A program that only wants to ask once, with no cache and from a port of its
// own (§5.1), uses [OneShot].
//
// A record that didn't work is handed to [Engine.Reconfirm]: it is asked for
// again and goes after ten seconds without an answer (§10.4). The same happens,
// without a query of ours, to what others ask for in vain (§10.5); an engine
// with Silent does nothing but observe.
//
// docs/rfc6762.md names the test for each rule. Not supported yet: answering
// (§6 as a responder, §8, §9). Classes other than IN are ignored.
package mdns
