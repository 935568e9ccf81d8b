package syncthing

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"time"
)

// What a directory is kept as is a stream: a line of text and records, each with a checksum
// (CRC-32C, over all before it) at its end. Numbers are big-endian. Times are
// the directory's ticks; clocks say what time it was.
//
//	Device                                   Clock
//	 1  0xD5                                  1  0xC7
//	 1  number of addresses, 1…16;            4  ticks
//	    | 32 with a pin of IPv4,              8  Unix time then, ms
//	    | 64 with a pin of IPv6               4  checksum
//	 2  which addresses are IPv6, from bit 0
//	 4  when it was announced last, ticks
//	32  ID
//	 3  the first bytes of the prefix, if there is a pin of IPv4
//	 8  the same of IPv6
//	    addresses, newest first:
//	    2  how long before it was announced, ticks
//	    2  port
//	    4 or 16  IP
//	 4  checksum
//
// A later record of a device takes the place of an earlier one, and those of devices
// are in the order of their times. So a stream never has to be
// changed but at its end.
const (
	stateKind    = "lanfolk syncthing state "
	stateVersion = "1"
	stateHead    = stateKind + stateVersion + "\n"

	deviceMark = 0xD5
	clockMark  = 0xC7

	deviceFixed = 1 + 1 + 2 + 4 + 32
	clockSize   = 1 + 4 + 8 + sumSize
	sumSize     = 4
	maxRecord   = deviceFixed + 3 + 8 + MaxAddresses*(2+2+16) + sumSize

	countBits = 0x1F
	pinShift  = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSum(dst []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// sumIsRight says whether b ends in the checksum of what is before.
func sumIsRight(b []byte) bool {
	end := len(b) - sumSize
	return crc32.Checksum(b[:end], castagnoli) == binary.BigEndian.Uint32(b[end:])
}

// base is what Unix time it was at tick 0, in milliseconds, by the clock that shows now.
func (d *Directory) base(now time.Time) int64 {
	return now.UnixMilli() - int64(d.now)*int64(tick/time.Millisecond)
}

func appendClock(dst []byte, ticks uint32, base int64) []byte {
	from := len(dst)
	dst = append(dst, clockMark)
	dst = binary.BigEndian.AppendUint32(dst, ticks)
	dst = binary.BigEndian.AppendUint64(dst, uint64(base+int64(ticks)*int64(tick/time.Millisecond)))
	return appendSum(dst, from)
}

// appendRecord appends a device, if it isn't too old.
func (d *Directory) appendRecord(dst []byte, i uint32) []byte {
	r := d.devices.at(i)
	seen := d.addresses.at(r.first).seen
	from := len(dst)
	dst = append(dst, deviceMark, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, seen)
	dst = append(dst, r.id[:]...)
	if p := d.pins.at(i); p != nil {
		dst[from+1] |= byte(p.have << pinShift)
		if p.have&pinned4 != 0 {
			dst = append(dst, p.v4[:]...)
		}
		if p.have&pinned6 != 0 {
			dst = append(dst, p.v6[:]...)
		}
	}
	six, n := uint16(0), byte(0)
	for at := r.first; at != 0; n++ {
		a := d.addresses.at(at)
		if !d.alive(d.now, a) {
			break // and so are those behind it
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(seen-a.seen)) // less than Lifetime
		dst = binary.BigEndian.AppendUint16(dst, a.port)
		if a.is4() {
			dst = append(dst, a.ip[12:]...)
		} else {
			dst = append(dst, a.ip[:]...)
			six |= 1 << n
		}
		at = a.next
	}
	if n == 0 {
		return dst[:from]
	}
	dst[from+1] |= n
	binary.BigEndian.PutUint16(dst[from+2:], six)
	return appendSum(dst, from)
}

// is4 says whether the IP is IPv4 in its IPv6 form.
func (e *endpoint) is4() bool {
	return binary.BigEndian.Uint64(e.ip[:]) == 0 && binary.BigEndian.Uint32(e.ip[8:]) == 0xFFFF
}

// kept is a record as it is read.
type kept struct {
	device    bool
	ticks     uint32 // of a device: when it was announced last
	time      int64  // of a clock: Unix time, ms
	id        DeviceID
	pin       pin
	addresses [MaxAddresses]address // n of them
	n         int
}

// parse reads the record that b begins with and returns its length; 0 if there is none.
func (k *kept) parse(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] == deviceMark:
		return k.parseDevice(b)
	case b[0] == clockMark && len(b) >= clockSize && sumIsRight(b[:clockSize]):
		k.device = false
		k.ticks, k.time = binary.BigEndian.Uint32(b[1:]), int64(binary.BigEndian.Uint64(b[5:]))
		return clockSize
	}
	return 0
}

func (k *kept) parseDevice(b []byte) int {
	if len(b) < deviceFixed {
		return 0
	}
	n, have, six := int(b[1]&countBits), pinned(b[1]>>pinShift), binary.BigEndian.Uint16(b[2:])
	if n == 0 || n > MaxAddresses || have > pinned4|pinned6 || six>>n != 0 {
		return 0
	}
	size := deviceFixed + sumSize + int(have&pinned4)*3 + int(have&pinned6/pinned6)*8
	for i := range n {
		size += 8 + int(six>>i&1)*12
	}
	if len(b) < size || !sumIsRight(b[:size]) {
		return 0
	}
	k.device, k.n = true, n
	k.ticks = binary.BigEndian.Uint32(b[4:])
	k.id = DeviceID(b[8:])
	b = b[deviceFixed:]
	k.pin = pin{have: have}
	if have&pinned4 != 0 {
		b = b[copy(k.pin.v4[:], b):]
	}
	if have&pinned6 != 0 {
		b = b[copy(k.pin.v6[:], b):]
	}
	age := uint16(0)
	for i := range n {
		a := &k.addresses[i]
		older := binary.BigEndian.Uint16(b)
		if older < age || older >= uint16(Lifetime/tick) || i == 0 && older != 0 {
			return 0
		}
		age = older
		a.seen, a.port = k.ticks-uint32(age), binary.BigEndian.Uint16(b[2:])
		b = b[4:]
		if six>>i&1 != 0 {
			b = b[copy(a.ip[:], b):]
		} else {
			a.ip = [16]byte{10: 0xFF, 11: 0xFF}
			b = b[copy(a.ip[12:], b):]
		}
		if a.is4() == (six>>i&1 != 0) || !a.isHost() || has(k.addresses[:i], a.endpoint) {
			return 0
		}
	}
	return size
}

// isHost says whether it is an endpoint that a directory may have.
func (e *endpoint) isHost() bool {
	_, ok := resolve(netip.AddrPortFrom(netip.AddrFrom16(e.ip), e.port), netip.IPv6Loopback())
	return ok
}
