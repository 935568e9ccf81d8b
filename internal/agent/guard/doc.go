// Package guard runs a program so that nothing of it outlives whoever had it run,
// however that one ends.
//
//	gateway ── leash ──► guardian ── starts ──► program ── starts ──► children
//	   ▲  ▲                │  ▲                    │                     │
//	   │  └──── report ────┘  └── what loses its parent, however far ────┤
//	   └────────────────────────── output ─────────┴─────────────────────┘
//
// The guardian is the same binary, run again by [Start]; its main function calls
// [Main] when [Asked] says so. The leash is a pipe whose other end only the gateway
// has: a byte in it says that the program is to end, and its end that the gateway has
// died, killed perhaps. Then the guardian kills the program and all that it began.
// It finds them since the kernel makes it the parent of those whose own has ended
// (PR_SET_CHILD_SUBREAPER of prctl(2)): neither a fork nor setsid(2) leads away.
//
// The guardian has the gateway's user. So a program with another user can't kill it;
// one with the same user can, and the kernel then kills the program, but not what it
// began ([ErrGone]). One that stops the guardian time and again has so long more to live
// as the guardian would have had for killing it.
//
// # Limits
//
// What a program has somebody else start, as a service manager or cron, isn't its
// descendant. What can't be killed, since a device doesn't answer the kernel or since
// it has another user and the gateway isn't root, is waited for half a minute and then
// left ([Ending.Left]). A guardian costs about 10 ms of processor time and, beside the
// pages of the binary, 3 MB of memory. Linux alone, with /proc.
package guard
