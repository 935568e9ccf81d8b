// Package lanfolk is the domain: who is on a network, and how we know.
//
//	Sighting ──► Registry ──► Device, Service   who is there, what they offer
//	             (join,   ──► Event             what changed, for those who watch
//	              expire, ──► Evidence          why we think so
//	              explain)
//	Observation ─► a store                      who asked for what, towards whom
//
// A Sighting is one fact heard by one means. The Registry joins sightings into
// devices by their identifiers, lets them run out, and tells who asks or
// watches. Its core is told the time and does no I/O; what must survive a
// restart goes through the small interfaces Sink and Journal.
//
// The package imports nothing but the standard library. What a protocol says
// becomes a Sighting elsewhere, in internal/source.
package lanfolk
