// Package syncthing is the Syncthing Device Discovery Protocol v2: devices say
// by UDP where they can be reached, on the local network to everyone and on the
// internet to a server that others ask.
//
// A device is known by the SHA-256 of its certificate, a [DeviceID]. There are
// two packets, in XDR (RFC 4506): big-endian words of four bytes, and lists and
// byte strings behind their length.
//
//	Announcement                          Query
//	┌──────────────────────────┐          ┌──────────────────────────┐
//	│ magic 0x9D79BC39         │          │ magic 0x2CA856F5         │
//	├──────────────────────────┤          ├──────────────────────────┤
//	│ Device: who sends this   │          │ length of the ID: 32     │
//	├──────────────────────────┤          │ ID, 32 bytes             │
//	│ number of extras, 0…16   │          └──────────────────────────┘
//	│ Device, each             │
//	└──────────────────────────┘
//	Device                                Address
//	┌──────────────────────────┐          ┌──────────────────────────┐
//	│ length of the ID: 32     │          │ length of the IP:        │
//	│ ID, 32 bytes             │          │   0, 4 or 16             │
//	├──────────────────────────┤          │ IP                       │
//	│ number of addresses,     │          ├──────────────────────────┤
//	│   0…16                   │          │ port, 1…65,535           │
//	│ Address, each            │          └──────────────────────────┘
//	└──────────────────────────┘
//
// An address without an IP stands for the address that the packet came from; in an
// extra it means nothing and is left out. Extras are others that the sender has heard of:
// hearsay.
//
//	local    announcements to every host on the link, by IPv4 broadcast to port 21025 and by
//	         IPv6 multicast to [ff32::5222]:21026, every 30 to 60 s. Nobody replies.
//	global   announcements to a server, UDP port 22026, every 30 minutes. The server answers a
//	         query with an announcement, if it knows the device, and else not at all.
//
// # What is read
//
// The magic, the lengths and the counts must be right, and every field there to its
// end; bytes behind the packet don't matter. An address whose port is
// 0 or more than 65,535 is left out, and the rest of the packet counts. An IPv4
// address in its IPv6 form (::ffff:192.0.2.1) is read as IPv4.
//
// # Roles
//
// A [Server] is a global server, and keeps what it knows in a [Directory]. It answers from
// the address that was asked; what may come from one prefix, and for one device, in a second is
// bounded. What devices say of others (extras) isn't kept. A [Journal] keeps the directory for after a
// restart, as a stream of records; package store/directory has one that writes files.
//
// A [Listener] hears who announces itself on the local network, on each link, and tells what
// changes: devices that appear, have other addresses, or fall silent. It reports the
// addresses as they were announced, even those that can't be reached.
//
// An [Announcer] announces a device, on links by the sockets of a Listener, and to global
// servers, and tells of each how that goes. On a link chance spreads its times, and a device
// that is new there is answered at once, but within bounds: however many appear, nobody answers
// anybody for ever. A server is asked for the device afterwards, to see that it took it in.
//
// A [Lookup] asks several global servers at once where a device is, each from a socket of its
// own. Only the server that was asked is believed, and only about that device.
//
// The package opens no socket: conns are handed in, as package lan opens them.
//
// # Not supported
//
// Extras of our own: what a device heard of others it keeps to itself, as clients have
// since v0.9.5. Taking back what was announced: the protocol has no way.
//
// A port that an old program keeps to itself can't be shared: while one holds UDP port 21025 only IPv6
// is heard, and one that starts later than a Listener hears no IPv4.
//
// Other versions of the protocol: v1 (magic 0x20121025), v2 before July 2014, the XDR with
// URLs of Syncthing v0.12 and v0.13, and today's, which is in Protocol Buffers. They have
// other magic numbers ([ErrMagic]).
package syncthing
