package passive

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng §4).
const (
	ngSectionHeader   = 0x0a0d0d0a
	ngInterface       = 1
	ngPacket          = 2 // obsolete
	ngSimplePacket    = 3
	ngEnhancedPacket  = 6
	ngByteOrder       = 0x1a2b3c4d
	ngOptionEnd       = 0
	ngOptionName      = 2
	ngOptionTimeRes   = 9
	ngOptionTimeShift = 14
)

// maxInterfaces bounds the interfaces of a section.
const maxInterfaces = 4096

// captureInterface is what an interface description block says.
type captureInterface struct {
	name  string
	ltype packet.LinkType
	snap  uint32
	// A second has 10^n or 2^n ticks.
	binary bool
	exp    uint8
	shift  int64 // seconds to add
}

// section reads a section header block behind its first 8 bytes: its type tells no
// byte order, but the word behind its length does.
func (x *Reader) section(head [8]byte) error {
	const fixed = 24 // bytes before the options
	b, err := x.take(len(head), fixed-len(head), "section header", false)
	if err != nil {
		return err
	}
	x.order = binary.LittleEndian
	if be.Uint32(b) == ngByteOrder {
		x.order = binary.BigEndian
	} else if x.order.Uint32(b) != ngByteOrder {
		return x.fail(fmt.Sprintf("section header has no byte order: %08x", be.Uint32(b)), nil)
	}
	n := x.order.Uint32(head[4:])
	if n < 28 || n%4 != 0 || n > maxBlock {
		return x.fail(fmt.Sprintf("section header can't be %d bytes long", n), nil)
	}
	if v := x.order.Uint16(b[4:]); v != 1 {
		return x.fail(fmt.Sprintf("pcapng version %d is not known", v), nil)
	}
	x.ifaces = x.ifaces[:0]
	return x.skip(fixed, int(n), "section header")
}

// nextNG reads blocks up to the next that holds a frame.
func (x *Reader) nextNG() (packet.Frame, error) {
	for {
		x.record = x.offset
		b, err := x.take(0, 8, "block header", true)
		if err != nil {
			return packet.Frame{}, err
		}
		head := [8]byte(b)
		kind, n := x.order.Uint32(head[:]), x.order.Uint32(head[4:])
		if kind == ngSectionHeader { // the same in both byte orders
			if err := x.section(head); err != nil {
				return packet.Frame{}, err
			}
			continue
		}
		if n < 12 || n > maxBlock {
			return packet.Frame{}, x.fail(fmt.Sprintf("block of type %d can't be %d bytes long", kind, n), nil)
		}
		n = (n + 3) &^ 3 // some writers don't count the padding
		switch kind {
		case ngInterface, ngPacket, ngSimplePacket, ngEnhancedPacket:
		default:
			if err := x.skip(len(head), int(n), "block"); err != nil {
				return packet.Frame{}, err
			}
			continue
		}
		if n > maxFrame+4096 {
			return packet.Frame{}, x.fail(fmt.Sprintf("block of type %d can't be %d bytes long", kind, n), nil)
		}
		if b, err = x.take(len(head), int(n)-len(head), "block", false); err != nil {
			return packet.Frame{}, err
		}
		b = b[:len(b)-4]
		if kind == ngInterface {
			if err := x.describe(b); err != nil {
				return packet.Frame{}, err
			}
			continue
		}
		return x.packetBlock(kind, b)
	}
}

// describe reads an interface description: link type, unused, the most bytes of
// a frame, options.
func (x *Reader) describe(b []byte) error {
	if len(b) < 8 {
		return x.fail("interface description is too short", nil)
	}
	if len(x.ifaces) == maxInterfaces {
		return x.fail("too many interfaces", nil)
	}
	f := captureInterface{ltype: fileLinkType(x.order.Uint16(b)), snap: x.order.Uint32(b[4:]), exp: 6}
	if n := len(x.ifaces); n > 0 {
		f.name = "#" + strconv.Itoa(n)
	}
	for b = b[8:]; len(b) >= 4; {
		code, n := x.order.Uint16(b), int(x.order.Uint16(b[2:]))
		if code == ngOptionEnd || 4+n > len(b) {
			break
		}
		v := b[4 : 4+n]
		switch {
		case code == ngOptionName && n > 0:
			f.name = string(appendSafe(nil, trimZero(v[:min(n, 256)])))
		case code == ngOptionTimeRes && n == 1:
			f.binary, f.exp = v[0]&0x80 != 0, v[0]&0x7f
		case code == ngOptionTimeShift && n == 8:
			f.shift = int64(x.order.Uint64(v))
		}
		b = b[min(4+(n+3)&^3, len(b)):]
	}
	if f.binary && f.exp > 63 || !f.binary && f.exp > 19 {
		return x.fail(fmt.Sprintf("interface %d: a time resolution of %d is not possible", len(x.ifaces), f.exp), nil)
	}
	x.ifaces = append(x.ifaces, f)
	return nil
}

// packetBlock reads one of the three blocks that hold a frame.
func (x *Reader) packetBlock(kind uint32, b []byte) (packet.Frame, error) {
	head := 20
	if kind == ngSimplePacket {
		head = 4
	}
	if len(b) < head {
		return packet.Frame{}, x.fail("packet block is too short", nil)
	}
	var iface, caplen, length uint32
	var ticks uint64
	switch kind {
	case ngSimplePacket:
		length = x.order.Uint32(b)
		caplen = length
	case ngPacket:
		iface = uint32(x.order.Uint16(b))
	default:
		iface = x.order.Uint32(b)
	}
	if int64(iface) >= int64(len(x.ifaces)) {
		return packet.Frame{}, x.fail(fmt.Sprintf("packet of interface %d, which was not described", iface), nil)
	}
	f := &x.ifaces[iface]
	if kind == ngSimplePacket {
		if f.snap > 0 {
			caplen = min(caplen, f.snap)
		}
		caplen = min(caplen, uint32(len(b)-head))
	} else {
		ticks = uint64(x.order.Uint32(b[4:]))<<32 | uint64(x.order.Uint32(b[8:]))
		caplen, length = x.order.Uint32(b[12:]), x.order.Uint32(b[16:])
	}
	if int64(caplen) > int64(len(b)-head) || caplen > maxFrame {
		return packet.Frame{}, x.fail(fmt.Sprintf("packet says that it holds %d bytes, its block has %d", caplen, len(b)-head), nil)
	}
	frame := packet.Frame{
		Data: b[head : head+int(caplen)], Length: max(int(length), int(caplen)), LinkType: f.ltype, Interface: f.name,
	}
	if kind != ngSimplePacket { // a simple one tells no time
		frame.Time = f.time(ticks)
	}
	return frame, nil
}

// time turns ticks since 1970 into a time.
func (f *captureInterface) time(ticks uint64) time.Time {
	var sec, nsec uint64
	if f.binary {
		sec = ticks >> f.exp
		hi, lo := bits.Mul64(ticks&(1<<f.exp-1), 1e9)
		nsec = hi<<(64-f.exp) | lo>>f.exp
	} else {
		unit := uint64(1)
		for range f.exp {
			unit *= 10
		}
		sec = ticks / unit
		hi, lo := bits.Mul64(ticks%unit, 1e9)
		nsec, _ = bits.Div64(hi, lo, unit)
	}
	return time.Unix(int64(sec)+f.shift, int64(nsec)).UTC()
}
