package passive

import (
	"encoding/binary"

	"github.com/lanfolk/lanfolk/packet"
)

// EtherTypes.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100 // 802.1Q
	etherIPv6  = 0x86dd
	etherQinQ  = 0x88a8 // 802.1ad
	etherQinQ2 = 0x9100 // the same before there was a standard
)

// maxTags bounds the VLAN tags that are followed.
const maxTags = 2

var be = binary.BigEndian

// link reads the link header and passes on what it holds.
func (d *Decoder) link(c *context, t packet.LinkType, b []byte) drop {
	switch t {
	case packet.LinkEthernet:
		if len(b) < 14 {
			return dropLinkShort
		}
		c.dstMAC, c.srcMAC = MAC(b[0:6]), MAC(b[6:12])
		return d.ether(c, be.Uint16(b[12:]), b[14:])
	case packet.LinkSLL:
		// Packet type, ARPHRD type, address length, address, EtherType.
		if len(b) < 16 {
			return dropLinkShort
		}
		if be.Uint16(b[4:]) == 6 {
			c.srcMAC = MAC(b[6:12])
		}
		return d.ether(c, be.Uint16(b[14:]), b[16:])
	case packet.LinkSLL2:
		// EtherType, zero, interface index, ARPHRD type, packet type, address length, address.
		if len(b) < 20 {
			return dropLinkShort
		}
		if b[11] == 6 {
			c.srcMAC = MAC(b[12:18])
		}
		return d.ether(c, be.Uint16(b[0:]), b[20:])
	case packet.LinkRaw, packet.LinkIPv4, packet.LinkIPv6:
		if len(b) < 1 {
			return dropLinkShort
		}
		if b[0]>>4 == 6 {
			return d.ipv6(c, b)
		}
		return d.ipv4(c, b)
	case packet.LinkNull, packet.LinkLoop:
		if len(b) < 4 {
			return dropLinkShort
		}
		// Null's family is in the byte order of the host that captured: the
		// one that makes a small number is right.
		family := be.Uint32(b)
		if family > 0xffff {
			family = binary.LittleEndian.Uint32(b)
		}
		switch family {
		case 2: // AF_INET everywhere
			return d.ipv4(c, b[4:])
		case 10, 23, 24, 28, 30: // AF_INET6 of Linux, Windows, NetBSD, FreeBSD, macOS
			return d.ipv6(c, b[4:])
		}
		return dropNone
	}
	return dropLinkType
}

// ether passes on what an EtherType names, VLAN tags taken off.
func (d *Decoder) ether(c *context, etherType uint16, b []byte) drop {
	tags := 0
	if c.vlan != 0 {
		tags = 1 // which was taken off
	}
	for ; ; tags++ {
		switch etherType {
		case etherIPv4:
			return d.ipv4(c, b)
		case etherIPv6:
			return d.ipv6(c, b)
		case etherARP:
			return d.arp(c, b)
		case etherPTP:
			return d.ptpMessage(c, b)
		case etherLLDP:
			return d.lldpMessage(c, b)
		case etherVLAN, etherQinQ, etherQinQ2:
			if tags == maxTags {
				return dropVLANDepth
			}
			if len(b) < 4 {
				return dropLinkShort
			}
			// Id 0 is a priority tag (802.1Q §6.9): it names no VLAN.
			if c.vlan == 0 {
				c.vlan = be.Uint16(b) & 0x0fff
			}
			etherType, b = be.Uint16(b[2:]), b[4:]
		default:
			if etherType <= etherMax {
				return d.llc(c, int(etherType), b)
			}
			return dropNone
		}
	}
}
