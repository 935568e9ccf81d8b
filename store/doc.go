// Package store keeps what lanfolk knows in a database: the fingerprint rows
// of passive monitoring (observations), the inventory, and the few secrets that
// a node makes for itself.
//
// SQLite is the default: one file, written by one process, readable by others
// at the same time. PostgreSQL is there for several nodes that share a database:
// they add to the same observations, whose key holds the gateway's name, and each
// has an inventory and secrets of its own (Options.Node).
//
//	observation   who asked or announced what towards whom: one row a key,
//	              merged as packets come (lanfolk.Observation)
//	device        the inventory's devices, what a person said about them
//	              included, each as one JSON document under its id
//	sighting      the facts behind the devices, each as one JSON document under
//	              the hash of its identity
//	secret        random keys that must survive a restart
//
// What is written when. A DB writes through: a call that returns nil has been
// committed and synced to the disk (WAL, synchronous=FULL). So what a person
// said is safe before it is acknowledged. What comes off the network goes
// through a [Recorder], which gathers it in bounded memory, never blocks its
// caller and commits once a second: that second may be lost in a crash.
//
// A full disk, a locked database or a server that is gone stops neither: a DB's
// calls return an error that is [ErrFull], [ErrLocked] or [ErrAway], a Recorder keeps
// what it has, says so in its health and tries again. Where a connection breaks while a
// server commits nobody knows whether it did: then a second try counts that second's
// packets twice.
//
// What SQLite and PostgreSQL do not share is a dialect: dialect.go, and a
// folder each in migrations/. The suite in store/conformance says what both do.
//
// Not supported: going back to an older schema, and two processes that write
// into the same file through a network file system.
package store
