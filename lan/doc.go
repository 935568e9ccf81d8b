// Package lan is the one place where lanfolk touches the operating system's
// network: links and their changes, multicast and broadcast sockets, capture,
// the neighbour table, and who holds a UDP port.
//
// Everything is bound to one link. A link is a network interface; a machine
// with three of them has three networks, and a packet that came in on one of
// them says nothing about the others. So a Conn hears and sends on one link
// only, and says of every packet on which link it came, to which address it was
// sent and with which TTL. Only a UDPConn, for a server that is asked by unicast,
// hears on all of them.
//
//	Links, WatchLinks            what interfaces there are, and their changes
//	ListenMulticast              a group on one link, shared with other programs
//	ListenBroadcast              IPv4 broadcast on one link
//	ListenUDP, ListenUDPs        unicast on any link
//	OpenCapture                  frames as they pass a link (needs CAP_NET_RAW)
//	Neighbours, WatchNeighbours  which MAC the kernel knows for an IP
//	PortHolders                  which programs hold a UDP port
//
// A Conn or a watcher belongs to the network namespace of the thread that
// opened it, whatever thread uses it later.
//
// # Privileges
//
// Only capture needs one: CAP_NET_RAW. Since Linux 5.7 an ordinary user may bind
// a socket to a device; on an older kernel, or where that is refused, a Conn
// does without, and drops what PKTINFO says came from another link.
//
// # Not supported
//
// Systems other than Linux: what is there for all of them is the choice of
// links (Usable, Select) and the in-memory network of package lantest.
package lan
