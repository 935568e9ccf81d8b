package passive

import (
	"net/netip"

	"github.com/lanfolk/lanfolk/passive/internal/quic"
	"github.com/lanfolk/lanfolk/tged"
)

// IP protocol numbers.
const (
	ipHopByHop = 0
	ipTCP      = 6
	ipUDP      = 17
	ipRouting  = 43
	ipFragment = 44
	ipAuth     = 51
	ipICMPv6   = 58
	ipDestOpts = 60
)

// maxExtHeaders bounds the IPv6 extension headers that are followed.
const maxExtHeaders = 8

// ipv4 reads an IPv4 packet (RFC 791).
func (d *Decoder) ipv4(c *context, b []byte) drop {
	if len(b) < 20 || b[0]>>4 != 4 {
		return dropIPHeader
	}
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if header < 20 || header > len(b) {
		return dropIPHeader
	}
	switch {
	case total == 0: // the network card was left to cut it into segments
	case total < header:
		return dropIPHeader
	case total > len(b):
		c.whole = false
	default:
		b = b[:total] // what follows is the link's padding
		c.whole = true
	}
	proto := b[9]
	if proto != ipUDP && proto != ipTCP && proto != ipIGMP {
		return dropNone
	}
	c.ttl = b[8]
	c.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), 0)
	c.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), 0)
	if proto == ipIGMP {
		if be.Uint16(b[6:])&0x3fff != 0 {
			return dropNone // no host sends so long a message
		}
		return d.igmp(c, b[header:])
	}
	if flags := be.Uint16(b[6:]); flags&0x3fff != 0 {
		key := fragKey{src: c.src.Addr(), dst: c.dst.Addr(), id: uint32(be.Uint16(b[4:])), vlan: c.vlan}
		return d.fragment(c, key, proto, int(flags&0x1fff)*8, flags&0x2000 != 0, b[header:])
	}
	return d.transport(c, proto, b[header:])
}

// ipv6 reads an IPv6 packet and walks over its extension headers (RFC 8200 §4).
func (d *Decoder) ipv6(c *context, b []byte) drop {
	if len(b) < 40 || b[0]>>4 != 6 {
		return dropIPHeader
	}
	next, payload := b[6], int(be.Uint16(b[4:]))
	c.ttl = b[7]
	c.src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), 0)
	c.dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])), 0)
	b = b[40:]
	switch {
	case payload == 0: // a jumbogram, or left to the network card
	case payload > len(b):
		c.whole = false
	default:
		b = b[:payload]
		c.whole = true
	}
	return d.ipv6Headers(c, next, b)
}

// ipv6Headers walks over extension headers; next says what b begins with.
func (d *Decoder) ipv6Headers(c *context, next uint8, b []byte) drop {
	for range maxExtHeaders + 1 {
		var size int
		switch next {
		case ipHopByHop, ipRouting, ipDestOpts:
			if len(b) < 8 {
				return dropExtHeaders
			}
			size = (int(b[1]) + 1) * 8
		case ipAuth: // RFC 4302 §2.2: counted in 4 bytes, less 2
			if len(b) < 8 {
				return dropExtHeaders
			}
			size = (int(b[1]) + 2) * 4
		case ipFragment:
			if len(b) < 8 {
				return dropExtHeaders
			}
			next := b[0]
			flags := be.Uint16(b[2:])
			if flags&0xfff9 == 0 { // an atomic fragment (RFC 6946)
				if next == ipICMPv6 {
					return d.ndpInFragment(b[8:])
				}
				return d.ipv6AfterFragment(c, next, b[8:])
			}
			if next == ipICMPv6 && flags&0xfff8 == 0 {
				return d.ndpInFragment(b[8:])
			}
			key := fragKey{src: c.src.Addr(), dst: c.dst.Addr(), id: be.Uint32(b[4:]), vlan: c.vlan}
			return d.fragment(c, key, next, int(flags&0xfff8), flags&1 != 0, b[8:])
		case ipUDP, ipTCP:
			return d.transport(c, next, b)
		case ipICMPv6:
			return d.icmpv6(c, b)
		default:
			return dropNone
		}
		if size > len(b) {
			return dropExtHeaders
		}
		next, b = b[0], b[size:]
	}
	return dropExtHeaders
}

// ipv6AfterFragment goes on behind a fragment header. Only destination options
// may stand there (RFC 8200 §4.1), and a second fragment header never.
func (d *Decoder) ipv6AfterFragment(c *context, next uint8, b []byte) drop {
	if next == ipDestOpts {
		if len(b) < 8 || (int(b[1])+1)*8 > len(b) {
			return dropExtHeaders
		}
		next, b = b[0], b[(int(b[1])+1)*8:]
	}
	if next != ipUDP && next != ipTCP {
		return dropNone
	}
	return d.transport(c, next, b)
}

// ndpInFragment drops neighbour discovery in fragments, which hosts must ignore
// too (RFC 6980 §5): else a check on the link could be passed by.
func (d *Decoder) ndpInFragment(b []byte) drop {
	if len(b) > 0 && isNDP(b[0]) {
		return dropNDPFragment
	}
	return dropNone
}

// Ports of the protocols that are read.
const (
	portDNS        = 53
	portDHCPServer = 67
	portDHCPClient = 68
	portMDNS       = 5353
	portLLMNR      = 5355
	portSSDP       = 1900
)

// transport reads a UDP or TCP header and passes the payload to the protocol
// that the ports name, or that it begins with.
func (d *Decoder) transport(c *context, proto uint8, b []byte) drop {
	if len(b) < 4 {
		if proto == ipUDP {
			return dropUDPHeader
		}
		return dropTCPHeader
	}
	src, dst := be.Uint16(b), be.Uint16(b[2:])
	what, ok := byPort(proto, src, dst)
	if !ok && proto == ipUDP {
		switch {
		case len(b) < 8:
			return dropNone
		case opensAnswer(b[8:]):
			what, ok = protoSSDP, true
		case !quic.Opens(b[8:]):
			return dropNone
		}
	}
	c.src = netip.AddrPortFrom(c.src.Addr(), src)
	c.dst = netip.AddrPortFrom(c.dst.Addr(), dst)
	if proto == ipTCP {
		return d.tcp(c, b)
	}
	if len(b) < 8 {
		return dropUDPHeader
	}
	// RFC 768: the length counts the header; 0 is a jumbogram's or offloaded.
	switch n := int(be.Uint16(b[4:])); {
	case n == 0:
		b = b[8:]
	case n < 8:
		return dropUDPHeader
	case n <= len(b):
		b = b[8:n]
	case c.whole:
		return dropUDPHeader // more than the IP packet holds
	default:
		b = b[8:]
	}
	if !ok {
		return d.quicDatagram(c, b)
	}
	switch what {
	case protoDHCP:
		return d.dhcpv4(c, b)
	case protoSyncthing:
		return d.syncthingMessage(c, b)
	case protoNBNS:
		return d.netbiosMessage(c, b)
	case protoDHCPv6:
		return d.dhcpv6Message(c, b)
	case protoWSD:
		return d.wsdMessage(c, b)
	case protoTGED:
		return d.tgedMessage(c, b)
	case protoPTP:
		return d.ptpMessage(c, b)
	case protoSAP:
		return d.sapMessage(c, b)
	case protoSSDP:
		return d.ssdpMessage(c, b)
	default:
		return d.dnsMessage(c, what, b)
	}
}

// byPort says which protocol two ports mean. A resolver may well ask from port
// 5353, so port 53 decides first, then the destination.
func byPort(ipProto uint8, src, dst uint16) (proto, bool) {
	switch {
	case src == portDNS || dst == portDNS:
		return protoDNS, true
	case ipProto != ipUDP:
		return 0, false
	}
	if p, ok := byUDPPort(dst, false); ok {
		return p, true
	}
	return byUDPPort(src, true)
}

// byUDPPort says which protocol a port means; some say nothing as a source.
func byUDPPort(port uint16, source bool) (proto, bool) {
	switch port {
	case portDHCPServer, portDHCPClient:
		return protoDHCP, true
	case portMDNS:
		return protoMDNS, true
	case portLLMNR:
		return protoLLMNR, true
	case portSyncthingGlobal:
		return protoSyncthing, true
	case portSyncthing, portSyncthing6:
		return protoSyncthing, !source
	case portNBNS, portNBDgrams:
		return protoNBNS, true
	case portDHCPv6Client, portDHCPv6Server:
		return protoDHCPv6, true
	case portWSD:
		return protoWSD, true
	case tged.Port:
		return protoTGED, true
	case portPTPEvent, portPTPGeneral:
		return protoPTP, !source
	case portSAP:
		return protoSAP, !source
	case portSSDP:
		return protoSSDP, true
	}
	return 0, false
}

// udpPorts are the UDP ports that are read, for the kernel's filter: those of
// either end, and those that only say something as the destination.
func udpPorts() (either, destination []uint32) {
	either = []uint32{portDNS}
	for port := range uint32(1 << 16) {
		if _, ok := byUDPPort(uint16(port), true); ok {
			either = append(either, port)
		} else if _, ok := byUDPPort(uint16(port), false); ok {
			destination = append(destination, port)
		}
	}
	return either, destination
}
