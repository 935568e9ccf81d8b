// Package broker is the MQTT broker inside lanfolk, for networks that have none:
// MQTT 3.1.1 and 5 over TCP, TLS and WebSockets.
//
//	listener ─► conn ──► mochi server ──► subscribers
//	            bounded      │   hook: who may do what, limits, wills
//	            both ways    └─► journal: retained messages, sessions, wills
//
// The protocol itself is github.com/mochi-mqtt/server. What it gets wrong and
// matters here is put right around it:
//
//   - It refuses a will with an empty payload, which the bridges of Hemtjänst
//     have. Wills are this package's own: it takes them out of CONNECT, speaks
//     them, delays them, keeps them on disk.
//   - A snapshot of retained messages beyond a client's write queue is cut off
//     without a word. Here it is written with backpressure, before SUBACK, and is whole.
//   - It drops messages for a client whose queue is full, even where only the
//     goroutine that empties the queue hasn't had its turn. Here who publishes
//     waits for that one; what a client is too slow for is dropped and counted.
//   - The will of a session that is taken over may arrive after what the new
//     one says. Here the new one waits for it.
//   - It copies every retained message each second to look for old ones, and
//     deletes what is older than a day. Its event loop isn't run.
//   - Packet ids of client and server share one table; where they meet, a
//     SUBSCRIBE is refused. They are kept apart.
//   - A receive maximum leaks quota until a subscriber hears nothing more.
//   - A SUBSCRIBE that ends within a filter's options panics, and with it the
//     program. That ends the connection alone.
//   - Wills are not checked against topic rules; a client may call itself by the
//     broker's own client id; a connection that says nothing stays for ever; a
//     topic of ten thousand levels keeps a core busy. All refused.
//
// Not supported: topic aliases, $SYS topics, bridging to other brokers, enhanced
// authentication. QoS 1 and 2 messages that wait for a client that is away are
// lost with the process; its session, its subscriptions and the retained
// messages are not.
package broker
