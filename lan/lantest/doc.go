// Package lantest is a network in memory: wires, hosts with interfaces on them,
// and connections with the methods of *lan.Conn. Tests of protocols use it
// instead of sockets, most of all within testing/synctest bubbles, where
// hours of a protocol's life take no time.
//
//	Network ── Wire "office" ──┬── NIC eth0 ── Host "printer" ── Conn, Conn
//	                           └── NIC eth0 ── Host "laptop"  ── Conn
//	                                             │
//	        ── Wire "lab" ──────── NIC eth1 ─────┘
//
// What it keeps of real networks:
//
//   - A multicast or broadcast packet reaches every interface on its wire, and
//     within the sending host all conns on the sending interface, the sender
//     itself, too (IP_MULTICAST_LOOP).
//   - A conn hears what comes to its own interface only, multicast only for the
//     group that it joined. A unicast packet reaches just one of the conns that share a port.
//   - Two interfaces of one host may be on one wire; then each hears the other.
//   - Links go down, lose their carrier, get other addresses and vanish, and
//     WatchLinks tells. Conns survive all but the last.
//   - What ReadBatch handed out is overwritten by the next ReadBatch.
//   - Packets are lost, doubled, delayed and swapped, as the wire's Conditions say, by a
//     seeded random source.
//
// What it leaves out: routing, address resolution, fragments, TCP, ICMP.
//
// A Network starts no goroutine but one for each WatchLinks, which ends with its context.
package lantest
