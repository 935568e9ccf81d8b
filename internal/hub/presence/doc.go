// Package presence keeps which gateways listen at this hub.
//
//	reverse.Server ── Begin, End ──► Roll ── sessions, the hub's lease ──► fleet.Sessions
//	                                  │
//	                                  └─ who comes and goes ──► watchers
//
// A session is on record before its gateway counts as listening, so that of two hubs
// one has it. It counts for as long as its hub's lease: the Roll extends that one row,
// whatever the number of gateways. A gateway that is there costs an entry in a map.
//
// While the database is away, gateways that come are told to try again, those that
// listen stay, and the ends of sessions are put on record when it is back. If that
// takes longer than the lease, all count as offline meanwhile.
package presence
