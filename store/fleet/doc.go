// Package fleet keeps what a hub knows of its gateways: who they are and where
// they listen, what they were told and what they answered, who may tell them,
// and a log of all that which can't be changed unseen.
//
// It stands behind small interfaces. Each keeps its own promises and no
// transaction spans two of them, so that any may move to another kind of storage
// alone:
//
//	Sessions    gateways, and which hub holds each: a lease with a fencing epoch
//	CommandLog  commands and how they end: compare and set by revision; what the audit
//	            says of them comes in the same step
//	Blobs       results: files of chunks; the database has hash and size
//	Feed        what gateways send of their own accord, each batch once
//	Once        tokens for enrolment, and revocations
//	Audit       a chain of hashes over who did what
//	Accounts    people, their sessions, API tokens and grants
//
// [Open] returns all of them over a store.DB, which is SQLite or PostgreSQL. The
// suite in store/fleet/conformance says what both do. Where a step needs two of
// them, its order is chosen so that a crash in between leaves what the next start
// understands: the command with the audit's intent, then the word to the gateway; the
// blob, then the command's end with the audit's outcome.
//
// A call that returns nil has been committed and synced to the disk. Calls that
// wait at the same time share a commit. Errors are package store's (ErrFull,
// ErrLocked, ErrAway, …) or those in errors.go.
//
// Times are told by the caller. Those of several hubs on one database should
// agree to within a few seconds: leases end by them.
package fleet
