package dnswire

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// Record is a view of a resource record inside a message.
type Record struct {
	Section Section
	Type    Type
	Class   Class
	// Flush is the cache-flush bit, RFC 6762 §10.2. Never set for OPT.
	Flush bool
	// Malformed says that the rdata of an NSEC, OPT or TXT record can't be read.
	// The message is fine otherwise.
	Malformed bool
	TTL       uint32 // seconds, as it stands in the message
	Name      NameView
	// No more fields: with these nine words it passes in registers, and not by way
	// of memory, which is half of the cost of a walk. The rdata is found again behind the name.
}

// SRVView is the rdata of an SRV record inside a message, RFC 2782.
type SRVView struct {
	Priority, Weight, Port uint16
	Target                 NameView
}

// RData returns the rdata's bytes as they stand in the message, with names still
// compressed.
func (r Record) RData() []byte {
	msg, off, end := r.Name.rdata()
	return msg[off:end:end]
}

// AppendRData appends the rdata with the names in it uncompressed and their case
// kept. A TXT record without data gets the one empty string that it means (RFC 6763
// §6.1), but in an update, where it means any data; malformed rdata and types that this package doesn't know come as they are.
func (r Record) AppendRData(dst []byte) []byte {
	l := layoutOf(r.Type)
	msg, off, end := r.Name.rdata()
	switch {
	case off == end && meansEmptyString(l, msg):
		return append(dst, 0)
	case l.names == 0 || r.Malformed || off == end:
		return append(dst, msg[off:end]...)
	}
	names := head(l, msg, off, end)
	if names < 0 {
		return dst
	}
	dst = append(dst, msg[off:names]...)
	for range l.names {
		if names > len(msg) {
			return dst // not after Parse
		}
		dst = view(msg, names).AppendWire(dst)
		names = skipName(msg, names)
	}
	if names < end {
		dst = append(dst, msg[names:end]...)
	}
	return dst
}

// meansEmptyString says whether a record of msg that has no data is to be read as one
// with an empty string: a TXT record (RFC 6763 §6.1) outside of an update (RFC 2136 §2.4, §2.5).
func meansEmptyString(l layout, msg []byte) bool {
	return l.strings == anyStrings && len(msg) >= headerLen && msg[2]>>3&0x0F != OpcodeUpdate
}

// RR returns an owned copy. It allocates.
func (r Record) RR() RR {
	var buf [512]byte
	return RR{Name: r.Name.Name(), Type: r.Type, Class: r.Class, Flush: r.Flush, TTL: r.TTL,
		Data: string(r.AppendRData(buf[:0]))}
}

// PTR returns the name that a PTR record points to.
func (r Record) PTR() (NameView, bool) {
	if r.Type != TypePTR {
		return NameView{}, false
	}
	return r.Target()
}

// Target returns the one name that is all the rdata of a record: NS, CNAME, PTR,
// DNAME and the like.
func (r Record) Target() (NameView, bool) {
	l := layoutOf(r.Type)
	msg, off, end := r.Name.rdata()
	if l.names != 1 || l.fixed+l.strings+l.tail > 0 || off == end {
		return NameView{}, false
	}
	return view(msg, off), true
}

// SRV returns what an SRV record says.
func (r Record) SRV() (SRVView, bool) {
	msg, off, end := r.Name.rdata()
	if r.Type != TypeSRV || end-off < 7 {
		return SRVView{}, false
	}
	b := msg[off:end]
	return SRVView{
		Priority: binary.BigEndian.Uint16(b),
		Weight:   binary.BigEndian.Uint16(b[2:]),
		Port:     binary.BigEndian.Uint16(b[4:]),
		Target:   view(msg, off+6),
	}, true
}

// Addr returns the address of an A or AAAA record.
func (r Record) Addr() (netip.Addr, bool) {
	msg, off, end := r.Name.rdata()
	switch {
	case r.Type == TypeA && end-off == 4:
		return netip.AddrFrom4([4]byte(msg[off:end])), true
	case r.Type == TypeAAAA && end-off == 16:
		return netip.AddrFrom16([16]byte(msg[off:end])), true
	}
	return netip.Addr{}, false
}

// TXT yields the strings of a TXT record in order, views of the message. Other
// types yield none. The strings of a TXT without content are none, or one empty
// one: DNS-SD takes both to be the same (RFC 6763 §6.1). Of a malformed one the
// strings come that are whole.
func (r Record) TXT() iter.Seq[[]byte] {
	name, t := r.Name, r.Type
	return func(yield func([]byte) bool) {
		if t == TypeTXT || t == TypeSPF {
			eachString(name, yield)
		}
	}
}

// eachString yields the strings that are the rdata of the record with this name.
func eachString(name NameView, yield func([]byte) bool) {
	msg, off, end := name.rdata()
	for b := msg[off:end]; len(b) > 0; {
		end := 1 + int(b[0])
		if end > len(b) || !yield(b[1:end:end]) {
			return
		}
		b = b[end:]
	}
}

// NSEC returns what an NSEC record says: the next name, which mDNS makes the
// record's own (RFC 6762 §6.1) and a reader takes as it is, and the types that the
// record's name has. ok is false for a malformed one.
func (r Record) NSEC() (next NameView, types Bitmap, ok bool) {
	msg, off, end := r.Name.rdata()
	if r.Type != TypeNSEC || r.Malformed || off == end {
		return NameView{}, Bitmap{}, false
	}
	bits := skipName(msg, off)
	if bits > end {
		return NameView{}, Bitmap{}, false
	}
	return view(msg, off), Bitmap{msg[bits:end]}, true
}

func (r Record) validNSEC() bool {
	msg, off, end := r.Name.rdata()
	p := parser{msg: msg, limit: maxPointers + maxName}
	off = p.name(off, end)
	return off >= 0 && off <= end && validBitmap(msg[off:end])
}

// Options yields the code and the data of each option of an OPT record (RFC 6891
// §6.1.2), none if it is malformed or of another type.
func (r Record) Options() iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) { r.eachOption(yield) }
}

func (r Record) eachOption(yield func(uint16, []byte) bool) {
	if r.Type != TypeOPT || r.Malformed {
		return
	}
	msg, off, end := r.Name.rdata()
	for b := msg[off:end]; len(b) >= 4; {
		end := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if end > len(b) || !yield(binary.BigEndian.Uint16(b), b[4:end:end]) {
			return
		}
		b = b[end:]
	}
}

// Bitmap is the set of types in an NSEC record, RFC 4034 §4.1.2.
type Bitmap struct{ b []byte }

// Has says whether the type is in the set.
func (m Bitmap) Has(t Type) bool {
	for b := m.b; len(b) >= 2; {
		window, end := int(b[0]), 2+int(b[1])
		if end > len(b) {
			return false
		}
		if window == int(t>>8) {
			i := 2 + int(t&0xFF)/8
			return i < end && b[i]&(0x80>>(t%8)) != 0
		}
		b = b[end:]
	}
	return false
}

// Types yields the types in ascending order.
func (m Bitmap) Types() iter.Seq[Type] {
	return func(yield func(Type) bool) { m.each(yield) }
}

func (m Bitmap) each(yield func(Type) bool) {
	for b := m.b; len(b) >= 2; {
		end := 2 + int(b[1])
		if end > len(b) {
			return
		}
		for i, bits := range b[2:end] {
			for j := range 8 {
				if bits&(0x80>>j) != 0 && !yield(Type(b[0])<<8|Type(i*8+j)) {
					return
				}
			}
		}
		b = b[end:]
	}
}
