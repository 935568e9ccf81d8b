// Package reverse lets gateways be reached that nobody can dial: they dial out
// to a hub and listen, and the hub sends commands back down the connection
// (EDGESec device discovery; gRPC service reverse_access.Reverser).
//
//	gateway                                         hub
//	   │ SubscribeCommand {id}                        │
//	   ├─────────────────────────────────────────────►│ listed as online
//	   │                   stream of {command, id}    │
//	   │◄─────────────────────────────────────────────┤ "devices"
//	   │ SendResource {type, meta, data}              │
//	   ├─────────────────────────────────────────────►│ chunk 0, 1, 2, …
//	   │                                     {status} │
//	   │◄─────────────────────────────────────────────┤ 0 accepted, 1 not
//
// A command is one line, a verb and its arguments, quoted as a shell quotes
// ([Split], [Join]). Its answer comes in chunks of at most [MaxChunk] bytes; the
// meta beside each is JSON ([Meta]): which command, which chunk, and in the last
// one how it ended, with the length and SHA-256 of the whole. An [Assembly]
// puts them together.
package reverse
