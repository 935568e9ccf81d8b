package passive

import "github.com/lanfolk/lanfolk/packet"

// lasting is a frame without what changes each time that its sender says the same:
// the parts before and behind the last such byte. In the first one what changes is
// zero.
type lasting struct {
	head  [128]byte
	n     int // bytes of head
	tail  []byte
	key   []byte // the part of tail that tells frames apart well enough to find one
	ports int    // where UDP's ports stand, 0 if nowhere
}

// lastingBytes bounds the frames that are remembered: full mDNS messages are in.
const lastingBytes = 1600

// of takes a frame apart. It is false for one whose facts may depend on
// others, like a fragment or a segment, and for protocols of which nothing comes
// again. What the frame says is not checked here: it only must not be taken for
// another that says something else.
func (x *lasting) of(link packet.LinkType, b []byte) bool {
	if len(b) < 20+8 {
		return false
	}
	var at int
	var kind uint16
	switch link {
	case packet.LinkEthernet:
		at, kind = 14, be.Uint16(b[12:])
	case packet.LinkSLL:
		at, kind = 16, be.Uint16(b[14:])
	case packet.LinkSLL2:
		at, kind = 20, be.Uint16(b)
	default:
		return false
	}
	for tags := 0; tags < maxTags && (kind == etherVLAN || kind == etherQinQ || kind == etherQinQ2); tags++ {
		kind = be.Uint16(b[at+2:])
		if at += 4; len(b) < at+8 {
			return false
		}
	}
	x.ports = 0
	switch kind {
	case etherIPv4:
		return x.ipv4(b, at)
	case etherIPv6:
		return x.ipv6(b, at)
	case etherARP:
		return x.cut(b[:min(len(b), at+28)], 0) // behind it stands padding
	case etherLLDP:
		return x.cut(b, 0)
	case etherPTP:
		return x.ptp(b, at)
	}
	return kind <= etherMax && x.cut(b, 0) // LLC: CDP's
}

// cut takes b apart behind its first n bytes, which are copied to head.
func (x *lasting) cut(b []byte, n int) bool {
	if len(b) < n || n > len(x.head) || len(b) > lastingBytes {
		return false
	}
	x.n, x.tail, x.key = n, b[n:], b[n:]
	copy(x.head[:n], b)
	return true
}

func (x *lasting) ipv4(b []byte, at int) bool {
	if len(b) < at+20 || b[at]>>4 != 4 {
		return false
	}
	header, total := int(b[at]&15)*4, int(be.Uint16(b[at+2:]))
	if header < 20 || total < header || total > len(b)-at || be.Uint16(b[at+6:])&0x3fff != 0 {
		return false
	}
	b = b[:at+total]
	switch b[at+9] {
	case ipIGMP:
		if !x.cut(b, at+20) {
			return false
		}
	case ipUDP:
		if !x.udp(b, at+header) {
			return false
		}
	default:
		return false
	}
	clear(x.head[at+4 : at+6])   // identification
	clear(x.head[at+10 : at+12]) // checksum
	return true
}

func (x *lasting) ipv6(b []byte, at int) bool {
	if len(b) < at+40 || b[at]>>4 != 6 {
		return false
	}
	size := int(be.Uint16(b[at+4:]))
	if size == 0 || size > len(b)-at-40 {
		return false
	}
	b = b[:at+40+size]
	switch next := b[at+6]; {
	case next == ipICMPv6, next == ipHopByHop && b[at+40] == ipICMPv6: // MLD
		if !x.cut(b, at+40) {
			return false
		}
	case next == ipUDP:
		if !x.udp(b, at+40) {
			return false
		}
	default:
		return false
	}
	clear(x.head[at+1 : at+4]) // flow label
	return true
}

// udp takes a datagram apart: checksum, the ports of those that ask, and what the
// protocol counts or picks at random.
func (x *lasting) udp(b []byte, at int) bool {
	if len(b) < at+8+4 {
		return false
	}
	src, dst := be.Uint16(b[at:]), be.Uint16(b[at+2:])
	p, known := byPort(ipUDP, src, dst)
	if !known {
		return false
	}
	data, from, to := at+8, 0, 0 // what changes in the message
	switch p {
	case protoDNS, protoMDNS, protoLLMNR:
		to = 2
	case protoDHCP:
		return x.dhcp(b, at)
	case protoDHCPv6: // transaction id
		from, to = 1, 4
	case protoNBNS:
		if to = 2; dst == portNBDgrams {
			from, to = 2, 4
		}
	case protoPTP:
		return x.ptp(b, data) && x.header(at, src, dst)
	}
	if !x.cut(b, data+to) {
		return false
	}
	id := x.head[data:][:2]
	keep := p == protoMDNS && id[0]|id[1] != 0
	clear(x.head[data+from : data+to])
	if keep {
		id[1] = 1 // whether there is one tells the sender's software
	}
	return x.header(at, src, dst)
}

// header takes out of a UDP header the checksum, and the ports that are of the
// moment.
func (x *lasting) header(at int, src, dst uint16) bool {
	x.ports = at
	clear(x.head[at+6 : at+8])
	if _, fixed := byUDPPort(src, false); !fixed && src != portDNS {
		clear(x.head[at : at+2])
	}
	if _, fixed := byUDPPort(dst, false); !fixed && dst != portDNS {
		clear(x.head[at+2 : at+4])
	}
	return true
}

// Where DHCP's fields stand in a message.
const (
	dhcpXID    = 4
	dhcpFlags  = 10 // behind the seconds
	dhcpServer = 34 // behind the client's hardware address
)

// dhcp takes a message apart: its transaction id and seconds change. Most of it are
// zeros between the client's address and the options.
func (x *lasting) dhcp(b []byte, at int) bool {
	data := at + 8
	if len(b) < data+dhcpFixed || !x.cut(b, data+dhcpServer) {
		return false
	}
	clear(x.head[data+dhcpXID : data+dhcpFlags])
	x.ports = at
	clear(x.head[at+6 : at+8])
	x.key = b[data+dhcpFixed:]
	x.key = x.key[:min(len(x.key), 96)]
	return true
}

// ptp takes a message apart: its sequence number changes, and times do behind the
// header of those that only ask.
func (x *lasting) ptp(b []byte, at int) bool {
	if len(b) < at+ptpHeader {
		return false
	}
	if b[at]&15 != ptpAnnounce {
		b = b[:at+ptpHeader]
	}
	if !x.cut(b, at+32) {
		return false
	}
	clear(x.head[at+30 : at+32])
	return true
}
