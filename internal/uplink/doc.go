// Package uplink is the gateway's end of what a gateway sends its hub of its own accord
// (package feed).
//
//	Registry ──Watch──► changes ──┐
//	   ▲ every five minutes       ├─► compared with the ledger ──batch──► hub
//	   └── evidence, times ───────┘
//	Recorder ──Tee──► database, then the spool ──────────────────batch──► hub
//
// Inventory. What changes goes up two seconds later, together with what else changed by
// then. When things were heard last, and evidence that changes no picture, is looked at
// every five minutes; evidence of which only times moved goes up once an hour. A ledger
// on the disk says by hashes what the hub has: after a break, and after a restart of
// either side, only what differs goes up. If the two don't agree on how far they came,
// all goes up anew.
//
// Fingerprints. What the database has taken goes into a spool on the disk, bounded,
// and up once a minute, the rows of one key merged: first, last, and how many packets
// since. What was held back before the database, for privacy say, never comes here. A
// process that dies between the database's commit and the spool's costs the hub the rows of
// that second.
package uplink
