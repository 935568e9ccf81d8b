// Package packet holds the leaf types that pass between the operating system
// (package lan) and the protocols: a datagram, a captured frame, a link. It
// imports nothing but the standard library, so that a protocol package can be
// used alone.
package packet

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// Datagram is one UDP payload and where it came from or goes to.
//
// When read, Data is valid until the next read on the same connection: a
// reader that keeps it copies it. When written, a zero Dst means the group
// that the connection was opened for, and Src is ignored unless its address is
// valid: then the packet leaves from that address of the link.
type Datagram struct {
	Data []byte
	// Src is the sender. Its address has no IPv4-in-IPv6 form and no zone:
	// Link says which link a link-local address belongs to.
	Src netip.AddrPort
	// Dst is the destination as it stood in the IP header (IP_PKTINFO): the
	// group for a multicast packet, one of our addresses for a unicast one.
	Dst netip.AddrPort
	// Link is the index of the interface that the packet arrived on.
	Link int
	// TTL is the packet's IP TTL or hop limit, 0 where it is not known.
	TTL int
	// Time is when the packet was received.
	Time time.Time
}

// LinkType says what a captured frame begins with, by the numbers of
// the LINKTYPE_ registry that pcap files use.
type LinkType uint16

// The link types that lanfolk reads.
const (
	LinkNull     LinkType = 0   // BSD loopback: a 4-byte address family
	LinkEthernet LinkType = 1   // Ethernet header
	LinkRaw      LinkType = 101 // an IP header
	LinkLoop     LinkType = 108 // as LinkNull, in network byte order
	LinkSLL      LinkType = 113 // Linux cooked capture, version 1
	LinkIPv4     LinkType = 228 // an IPv4 header
	LinkIPv6     LinkType = 229 // an IPv6 header
	LinkSLL2     LinkType = 276 // Linux cooked capture, version 2
)

// Frame is one captured frame. Data is valid until the next read on the same
// source: a reader that keeps it copies it.
type Frame struct {
	Data []byte
	// Length is the frame's length on the wire, in bytes; Data may be shorter.
	Length   int
	LinkType LinkType
	// Interface is the name of the link, or what a capture file calls it.
	Interface string
	// VLAN is the tag that the network card took off the frame, 0 if none.
	VLAN uint16
	Time time.Time
}

// Link is a network interface at one moment.
type Link struct {
	Index int
	Name  string
	MAC   net.HardwareAddr // nil where the link has none
	MTU   int              // bytes
	Flags net.Flags        // FlagUp and FlagRunning both set: it carries packets
	// Prefixes are the link's addresses, each with its prefix length.
	Prefixes []netip.Prefix
	// Master is the index of the bridge or the like that the link is a port of, 0 for none.
	Master int
}

// Up says whether the link is up and has a carrier.
func (l Link) Up() bool {
	return l.Flags&net.FlagUp != 0 && l.Flags&net.FlagRunning != 0
}

// OnLink says whether a lies in one of the link's own subnets.
func (l Link) OnLink(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if a.Is6() && a.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Masked().Contains(a) })
}

// Has says whether a is one of the link's own addresses.
func (l Link) Has(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr() == a })
}

// Equal says whether two links are the same in every field.
func (l Link) Equal(o Link) bool {
	return l.Index == o.Index && l.Name == o.Name && l.MTU == o.MTU && l.Flags == o.Flags && l.Master == o.Master &&
		slices.Equal(l.MAC, o.MAC) && slices.Equal(l.Prefixes, o.Prefixes)
}
