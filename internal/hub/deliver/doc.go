// Package deliver is the life of a command at the hub, from who asked for it to how
// it ended.
//
//	Submit ─► log: queued, audit: intent ─► wire ─► sent
//	                                                  │ the gateway follows its terms
//	                                                running
//	                                                  │ chunks of the result
//	  log: the end, audit: outcome ◄── blob, whole ◄──┘
//	      │
//	      └─► the gateway may forget the result
//
// Each arrow is committed before the next; what log and audit say at one moment is
// committed at once. What a hub that dies leaves between two of them is understood by the
// next start:
//
//   - A command in the log that hasn't ended may have been sent, whatever its state:
//     sent and running are written a moment late, unless the gateway keeps no journal.
//     It is sent when the gateway's next Hello doesn't name it; a gateway runs nothing
//     twice.
//   - A whole blob has a note beside it that says how the command ended.
//
// Where the database is away, ends wait in memory, results at their gateways, and
// requests are refused.
//
// # Who isn't there
//
// A command for a gateway that isn't connected ends as offline at once, or is kept
// for it until its deadline. One that was sent is waited for until its deadline and 15
// seconds, longer while its result keeps coming, whether or not the gateway is back by
// then. A gateway that returns is told to forget what ended meanwhile.
//
// Who asked for a command may lose the right to it while it waits: that is looked at
// again before it is sent, and it ends as denied.
//
// A gateway that doesn't know lanfolk.v1 gets one command at a time. It has no
// journal: what it was sent before its connection broke is never sent again, and ends
// as interrupted.
//
// # Limits
//
// 100,000 outstanding commands, 1,000 of one gateway, of about a kilobyte each. A
// gateway without outstanding commands costs nothing. Several hubs on one log are not
// told of each other's changes; each takes up what its gateways name.
package deliver
