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
//
// # Hub and gateway
//
// A [Server] is the hub's side. What lasts it is handed: [Sessions], [Control],
// [Results] and [Feeds]. Server.GRPC makes the gRPC server of a listener, with
// TLS or bare; several may share one Server. A [Client] is the gateway's side: it
// stays connected, hands commands to a [Handler] and brings their results up, over
// as many connections as it takes.
//
// What reverse_access can't carry goes through lanfolk.v1.Control on the same
// connection (package lanfolkpb): Hello begins it, Follow tells a command's terms,
// Progress from where a result goes on, and why a resource was refused.
//
//   - Identity. Behind TLS a gateway is who its certificate says; an id or the
//     metadata client-id that says otherwise ends in PERMISSION_DENIED. On a bare
//     listener the client's word is taken, and it is listed as insecure/NAME. A
//     name has 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'.
//   - Sessions. Of two connections of a gateway the newer one stays; the earlier
//     stream ends in ABORTED, and brings nothing in any more. A gateway that
//     vanished is offline within 30 s.
//   - Chunks. Several of one result may be on their way; the hub takes them in
//     order. Each is acknowledged when it is kept, so that a slow store holds up its
//     own result and nothing else. A chunk that comes again changes nothing. Where a
//     gateway died and has less of an output than the hub, the last chunk has no
//     hash, and the hub keeps what it has.
//   - Reconnecting. The gateway waits a random part of 1, 2, 4, … 60 s.
//
// # Programs that know reverse_access only
//
// A foreign client's answer need not say what it answers: it is the one command's
// that is outstanding for its client-id, or on its HTTP/2 connection. So there is
// one at a time on a connection. When its time is over the stream ends in
// DEADLINE_EXCEEDED and then the connection, so that a late answer is nobody's.
// Such an answer is one message of at most [MaxForeign] bytes. One that uses our
// meta may send chunks.
//
// A Client finds out by the UNIMPLEMENTED that answers its Hello that a hub is
// foreign. It then connects anew without the pings that such hubs take for abuse,
// and sends plain results, chunk by chunk.
//
// # Limits
//
// 256 KiB a chunk, 16 chunks ahead of the one that is wanted, 64 results of a
// gateway at a time, 128 calls, 32 commands that a Client runs at once. 160 TLS
// handshakes go on at a time, 128 of one [Source], and 16,384 connections wait for
// theirs to end, 12,288 of one; one that says nothing takes no turn. A late
// answer that comes by client-id on a connection made after its time can't be told
// from the next command's. There are no proxies, no load balancing and no
// compression.
package reverse
