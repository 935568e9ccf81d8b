package syncthing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// The magic numbers that packets begin with.
const (
	magicAnnouncement = 0x9D79BC39
	magicQuery        = 0x2CA856F5
)

// Bounds of packets.
const (
	MaxAddresses = 16 // of one device
	MaxExtras    = 16
)

// QuerySize is how long a query is, in bytes.
const QuerySize = 4 + 4 + len(DeviceID{})

// MaxAnswer is how long a server's answer can be, in bytes: an announcement
// with 16 IPv6 addresses and no extras. It is less than 11 times [QuerySize].
const MaxAnswer = 4 + 4 + len(DeviceID{}) + 4 + MaxAddresses*(4+16+4) + 4

// Errors of Parse. ErrMagic is all that isn't this version of the protocol; the
// others are wrapped with what is wrong.
var (
	ErrMagic   = errors.New("syncthing: neither an announcement nor a query of version 2")
	ErrInvalid = errors.New("syncthing: invalid packet")
)

// Message is an *[Announcement] or a [Query].
type Message interface {
	// Append appends the packet to dst.
	Append(dst []byte) []byte
}

// Device is a device and where it can be reached.
type Device struct {
	ID DeviceID
	// Addresses are at most [MaxAddresses], in the sender's order. One with the zero
	// Addr stands for the address that the packet came from, and isn't found in extras.
	// Ports aren't 0.
	Addresses []netip.AddrPort
}

// Announcement says where a device can be reached.
type Announcement struct {
	Device
	// Extra are others, at most [MaxExtras], whom the sender heard of. It can't
	// know that what it says of them is true.
	Extra []Device
}

// Query asks for a device's addresses.
type Query struct{ ID DeviceID }

// Parse reads a packet.
func Parse(b []byte) (Message, error) {
	if len(b) >= 4 {
		switch binary.BigEndian.Uint32(b) {
		case magicAnnouncement:
			a := &Announcement{}
			if err := a.Parse(b); err != nil {
				return nil, err
			}
			return a, nil
		case magicQuery:
			q, err := ParseQuery(b)
			if err != nil {
				return nil, err
			}
			return q, nil
		}
	}
	return nil, ErrMagic
}

// ParseQuery reads a query.
func ParseQuery(b []byte) (Query, error) {
	r := reader{rest: b}
	if r.word() != magicQuery {
		return Query{}, ErrMagic
	}
	id := r.id()
	return Query{ID: id}, r.fault.err()
}

// Parse reads an announcement. It keeps nothing of b, and reads into the memory
// of the slices that a has already. After an error a is of no use.
func (a *Announcement) Parse(b []byte) error {
	r := reader{rest: b}
	if r.word() != magicAnnouncement {
		return ErrMagic
	}
	r.device(&a.Device, true)
	n := r.count(MaxExtras, "extras")
	a.Extra = grow(a.Extra, n)
	for i := range a.Extra {
		r.device(&a.Extra[i], false)
	}
	return r.fault.err()
}

// grow returns s with n elements, which keep their memory as far as there was any.
func grow(s []Device, n int) []Device {
	if n > cap(s) {
		return append(s[:cap(s)], make([]Device, n-cap(s))...)
	}
	return s[:n]
}

// reader takes a packet apart. After its first fault it reads zeroes.
type reader struct {
	rest  []byte
	fault fault
}

// fault is what is wrong with a packet. It becomes an error only for who wants to know what it
// is: a flood of bad packets takes no memory.
type fault struct {
	kind faultKind
	of   string
	n    uint32 // how many there are
	most uint32
}

type faultKind uint8

const (
	noFault faultKind = iota
	cutShort
	tooMany
	wrongID
	wrongIP
)

func (f fault) err() error {
	switch f.kind {
	case cutShort:
		return fmt.Errorf("%w: cut short", ErrInvalid)
	case tooMany:
		return fmt.Errorf("%w: %d %s, more than %d", ErrInvalid, f.n, f.of, f.most)
	case wrongID:
		return fmt.Errorf("%w: a device ID of %d bytes, not %d", ErrInvalid, f.n, len(DeviceID{}))
	case wrongIP:
		return fmt.Errorf("%w: an IP of %d bytes", ErrInvalid, f.n)
	}
	return nil
}

// fail keeps the first fault.
func (r *reader) fail(f fault) {
	if !r.failed() {
		r.fault = f
	}
	r.rest = nil
}

func (r *reader) failed() bool { return r.fault.kind != noFault }

// take takes n bytes off; nil if there are fewer.
func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.fail(fault{kind: cutShort})
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) word() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// count reads the length of a list.
func (r *reader) count(most uint32, of string) int {
	n := r.word()
	if n > most {
		r.fail(fault{kind: tooMany, of: of, n: n, most: most})
		return 0
	}
	return int(n)
}

func (r *reader) id() (id DeviceID) {
	if n := r.word(); !r.failed() && n != uint32(len(id)) {
		r.fail(fault{kind: wrongID, n: n})
	}
	copy(id[:], r.take(len(id)))
	return id
}

// device reads a device. Only the sender of a packet has addresses without an IP.
func (r *reader) device(d *Device, sender bool) {
	d.ID = r.id()
	d.Addresses = d.Addresses[:0]
	for range r.count(MaxAddresses, "addresses") {
		ip, port := r.ip(), r.word()
		if r.failed() {
			return
		}
		if port != 0 && port <= 0xFFFF && (sender || ip.IsValid()) {
			d.Addresses = append(d.Addresses, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
}

// said reads an announcement behind its magic number: what its sender says of itself, and
// the rest into extra, of which the last remains.
func (r *reader) said(sender, extra *Device) {
	r.device(sender, true)
	for range r.count(MaxExtras, "extras") {
		r.device(extra, false)
	}
}

// ip reads an IP; the zero Addr if there is none. (Padding to four bytes, as
// XDR has it, none of the three lengths needs.)
func (r *reader) ip() netip.Addr {
	switch n := r.word(); n {
	case 0: // after an error, too
	case 4, 16:
		if ip, ok := netip.AddrFromSlice(r.take(int(n))); ok {
			return ip.Unmap()
		}
	default:
		r.fail(fault{kind: wrongIP, n: n})
	}
	return netip.Addr{}
}

// Append appends the announcement as it is sent. What a packet can't have is left
// out: addresses and extras beyond the 16th, ports that are 0, extras' addresses
// without an IP.
func (a *Announcement) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, magicAnnouncement)
	dst = a.Device.append(dst, true)
	extra := a.Extra[:min(len(a.Extra), MaxExtras)]
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(extra)))
	for i := range extra {
		dst = extra[i].append(dst, false)
	}
	return dst
}

func (d *Device) append(dst []byte, sender bool) []byte {
	dst = appendBytes(dst, d.ID[:])
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	n := uint32(0)
	for _, a := range d.Addresses {
		if a.Port() == 0 || n == MaxAddresses || !sender && !a.Addr().IsValid() {
			continue
		}
		n++
		ip := a.Addr().Unmap()
		switch {
		case ip.Is4():
			b := ip.As4()
			dst = appendBytes(dst, b[:])
		case ip.Is6():
			b := ip.As16()
			dst = appendBytes(dst, b[:])
		default:
			dst = appendBytes(dst, nil)
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(a.Port()))
	}
	binary.BigEndian.PutUint32(dst[at:], n)
	return dst
}

// Append appends the query as it is sent.
func (q Query) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, magicQuery)
	return appendBytes(dst, q.ID[:])
}

// appendBytes appends bytes whose number needs no padding.
func appendBytes(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}
