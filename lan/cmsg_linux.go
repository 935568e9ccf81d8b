package lan

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// control is what the kernel says about one received datagram.
type control struct {
	dst  netip.Addr // from the IP header; invalid if not said
	link int        // index, 0 if not said
	ttl  int
	sec  int64 // time of arrival, wall clock; 0 if not said
	nsec int64
}

const (
	wordSize = unix.SizeofCmsghdr - 8 // of cmsg_len, and what messages are aligned to
	// controlSize holds pktinfo (20 bytes), TTL (4) and time (16),
	// each with a header and padding.
	controlSize = 3*unix.SizeofCmsghdr + 24 + 8 + 16 + 32
)

// parseControl reads ancillary data. Unknown messages are skipped; it stops at the
// first that isn't whole.
func parseControl(b []byte) control {
	var c control
	for len(b) >= unix.SizeofCmsghdr {
		n := uint64(binary.NativeEndian.Uint32(b))
		if wordSize == 8 {
			n = binary.NativeEndian.Uint64(b)
		}
		if n < unix.SizeofCmsghdr || n > uint64(len(b)) {
			break
		}
		level := int32(binary.NativeEndian.Uint32(b[wordSize:]))
		kind := int32(binary.NativeEndian.Uint32(b[wordSize+4:]))
		c.message(level, kind, b[unix.SizeofCmsghdr:n])
		b = b[min(alignWord(int(n)), len(b)):]
	}
	return c
}

func (c *control) message(level, kind int32, data []byte) {
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		// struct in_pktinfo: index, our address, the header's destination.
		c.link = int(int32(binary.NativeEndian.Uint32(data)))
		c.dst = netip.AddrFrom4([4]byte(data[8:12]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		c.dst = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		c.link = int(int32(binary.NativeEndian.Uint32(data[16:])))
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL && len(data) >= 4,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) >= 4:
		c.ttl = int(int32(binary.NativeEndian.Uint32(data)))
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(data) >= 16:
		c.sec, c.nsec = int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:]))
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(data) >= 8: // 32-bit systems
		c.sec, c.nsec = int64(int32(binary.NativeEndian.Uint32(data))), int64(int32(binary.NativeEndian.Uint32(data[4:])))
	}
}

// appendPktinfo appends the ancillary message that makes a datagram leave by a
// link, if that isn't 0, from src if it is valid. It is the last one: there is no padding behind it, with which
// the kernel would take memory for the one of IPv6.
func appendPktinfo(b []byte, v6 bool, link int, src netip.Addr) []byte {
	level, kind, size := int32(unix.IPPROTO_IP), int32(unix.IP_PKTINFO), unix.SizeofInet4Pktinfo
	if v6 {
		level, kind, size = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo
	}
	if wordSize == 8 {
		b = binary.NativeEndian.AppendUint64(b, uint64(unix.SizeofCmsghdr+size))
	} else {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofCmsghdr+size))
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	if v6 {
		var a [16]byte
		if src.IsValid() {
			a = src.As16()
		}
		b = append(b, a[:]...)
		b = binary.NativeEndian.AppendUint32(b, uint32(link))
	} else {
		var a [4]byte
		if src.Is4() {
			a = src.As4()
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(link))
		b = append(b, a[:]...)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func alignWord(n int) int { return (n + wordSize - 1) &^ (wordSize - 1) }
