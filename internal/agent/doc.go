// Package agent is the gateway's side of reverse access: what becomes of the
// commands that a hub sends. The gateway decides what runs, whatever the hub asks.
//
//	reverse.Client ──► Agent ──► a verb: list, get, status, devices, services,
//	      ▲              │       find, fingerprints, browse, capture, exec
//	      │              ▼              │
//	      │           journal           ▼
//	      └────────────────────────── spool
//
// # Exactly once in effect
//
// The journal, a file, keeps the ids of commands. A command that comes again is
// not run again. One that has effects is in it as started, on the disk, before the
// first of them; when the gateway dies after that, the command is reported as
// interrupted. One that only reads and had no result yet is left out of what
// Hello says, so that the hub sends it again. A result stays on the disk until the
// hub has acknowledged it, and is sent on after a restart ([Agent.Resend]); a
// file that get was sending is read on, if it is the same.
//
// An id is remembered until its result is acknowledged and an hour past the
// command's deadline, a day without one. Lines of the journal that are damaged
// may have said that a command had begun: then no command runs that the hub made
// before the newest one that is known; they are reported as interrupted.
//
// # Limits
//
// 1,024 commands that aren't acknowledged, 16,384 that are remembered; the sizes of
// Config. An output that was cut by a power failure behind what the hub has of it
// can't be told to its end: the hub refuses the rest for its hash. A program ends with
// all that it began, by itself, at its deadline, when it is called off and when the
// gateway is killed: package guard sees to that, with the limits that are told there.
// What a guardian couldn't see to, since it was killed itself, ends when the gateway
// starts again, unless it gave its environment away.
package agent
