package mdns

import (
	"net/netip"

	"github.com/lanfolk/lanfolk/packet"
)

// Conn is one multicast socket on one link, for one address family.
//
// ReadBatch blocks until at least one datagram is there, fills the front of
// the slice and returns how many; each datagram's Dst is the destination in
// its IP header, and its Data is valid until the next ReadBatch. WriteBatch
// sends datagrams; a zero Dst means the group that the Conn was opened for.
// The engine calls ReadBatch from one goroutine and WriteBatch from others.
// Close makes both return an error, at once and for good.
type Conn interface {
	ReadBatch([]packet.Datagram) (int, error)
	WriteBatch([]packet.Datagram) (int, error)
	Close() error
}

// Port is the UDP port of multicast DNS (RFC 6762 §2).
const Port = 5353

// The groups of multicast DNS (RFC 6762 §3).
var (
	groupIPv4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), Port)
	groupIPv6 = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb}), Port)
)

// Family is an address family. The zero Family means both.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4", "IPv6" or "any".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "any"
}

// Group returns the family's multicast group and port.
func (f Family) Group() netip.AddrPort {
	if f == IPv6 {
		return groupIPv6
	}
	return groupIPv4
}

// headers is the length in bytes of the IP and UDP headers.
func (f Family) headers() int {
	if f == IPv6 {
		return 40 + 8
	}
	return 20 + 8
}

// Zone names one link and one address family. RFC 6762 §20 makes each a zone
// of its own: a record that was heard in one says nothing about another.
type Zone struct {
	Link      int    // the interface's index
	Interface string // its name
	Family    Family
}

// String returns the zone for people: "eth0 IPv4".
func (z Zone) String() string { return z.Interface + " " + z.Family.String() }
