// Package respond is the answering side of multicast DNS for one zone, which is
// one link and one address family: RFC 6762 §6 to §11 and §17. It is pure state:
// it is told the time, gets messages and gives packets, and says when it wants to
// be called again.
//
//	Set, Remove ──> claims ──> probing ──> announced ──> Events
//	                             ▲  ▲ tie-break, conflict
//	Query, Response ─────────────┘  │
//	   │                            │
//	   └──> matching ──> responses that wait ──> packing ──> Take
//	                      known answers, others' answers,
//	                      rate limits
//
// A record belongs to a set, all records of one name and type, and to any number
// of claims. Unique sets are sent whole with the cache-flush bit; they are live once
// their claim's names were probed. All names that are probed at about the same
// time share a series of three messages, and so do their announcements.
//
// What comes in is hostile. A question costs a map look-up and what it is
// answered with; what waits to be sent is bounded by a multiple of what is
// published; multicasts are bounded by the rate limits of §6, unicasts by a
// bucket of tokens. Nothing that was heard is kept but times.
package respond
