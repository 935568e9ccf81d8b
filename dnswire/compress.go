package dnswire

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// maxLabels is how many labels a name has room for.
const maxLabels = maxName / 2

// maxPointer is the first offset that a compression pointer can't name.
const maxPointer = 0x4000

// name writes the name at off of src, in which its own bytes must end by end; it may
// have pointers if src is a whole message. With compress a pointer stands in place of an
// ending that the message holds already. name returns where the whole name stands now, 0
// if nothing can point there, and the offset behind it in src, -1 if it isn't valid.
func (b *Builder) name(src []byte, off, end int, message, compress bool) (at, next int) {
	count, next := b.split(src, off, end, message)
	if next < 0 {
		return 0, -1
	}
	// How much of the end of the name stands in the message, and where.
	k, rest := count, 0
	for ; k > 0; k-- {
		known := b.names.find(b.buf, labelAt(src, b.labels[k-1]), rest)
		if known == 0 {
			break
		}
		rest = known
	}
	at = rest
	if k > 0 {
		at = len(b.buf)
	}
	for i, from := range b.labels[:k] {
		l, here := labelAt(src, from), len(b.buf)
		b.buf = append(b.buf, l...)
		behind := len(b.buf)
		if i == k-1 {
			behind = rest
		}
		b.names.add(l, here, behind)
	}
	if compress && rest > 0 {
		b.buf = append(b.buf, 0xC0|byte(rest>>8), byte(rest))
	} else {
		for _, from := range b.labels[k:count] {
			b.buf = append(b.buf, labelAt(src, from)...)
		}
		b.buf = append(b.buf, 0)
	}
	if at >= maxPointer {
		at = 0
	}
	return at, next
}

// split finds the labels of a name, and the offset behind the name's own bytes. That
// is -1 if the name isn't valid, which those of a message that was changed after Parse may be.
func (b *Builder) split(src []byte, off, end int, message bool) (count, next int) {
	start := off
	next = -1
	for total := 0; off < end; {
		c := int(src[off])
		switch {
		case c == 0:
			if next < 0 {
				next = off + 1
			}
			return count, next
		case c <= maxLabel:
			if total += 1 + c; total >= maxName || off+1+c >= end {
				return 0, -1
			}
			b.labels[count] = uint16(off)
			count++
			off += 1 + c
			continue
		case !message || c < 0xC0 || off+1 >= end:
			return 0, -1
		}
		to := (c&0x3F)<<8 | int(src[off+1])
		if to >= start {
			return 0, -1
		}
		if next < 0 {
			next, end = off+2, len(src)
		}
		off, start = to, to
	}
	return 0, -1
}

// labelAt returns a label with its length byte.
func labelAt(b []byte, from uint16) []byte { return b[from : int(from)+1+int(b[from])] }

// suffixes holds the names that a message being written can point to: every
// name in it and every end of one. They form a tree: a name is its first label and
// the place where the rest of it stands first, so that two are told apart by one
// label. Labels are compared with their case, which mDNS keeps.
//
// The table is a sparse set: a slot only counts if the entry that it names, names
// it. To forget the last entries is to make the list shorter.
type suffixes struct {
	list  []suffix // in the order in which they were written
	slots []uint16 // an open hash table of indexes into list, at most half full
	seed  uint64   // hostile names can't be made to collide
}

type suffix struct {
	label uint64 // its first label; see pack
	slot  uint16
	at    uint16 // where in the message its first label stands; never 0
	rest  uint16 // where the rest of it stands first; 0 is the root
	size  uint8  // of its first label, without the length byte
}

// reset makes s ready for a new message.
func (s *suffixes) reset() {
	if s.slots == nil {
		s.slots, s.seed = make([]uint16, 64), rand.Uint64()
	}
	s.forget(0)
}

// forget leaves the first n entries.
func (s *suffixes) forget(n int) { s.list = s.list[:n] }

// find returns where the name stands that begins with the label and goes on at
// rest, 0 if nowhere.
func (s *suffixes) find(msg, label []byte, rest int) int {
	packed := s.pack(label)
	mask := len(s.slots) - 1
	for i := s.hash(packed, rest) & mask; ; i = (i + 1) & mask {
		k := int(s.slots[i])
		if k >= len(s.list) {
			return 0
		}
		e := &s.list[k]
		switch {
		case int(e.slot) != i:
			return 0
		case e.label != packed || int(e.rest) != rest || e.size != label[0]: // another
		case len(label) <= 8 || string(msg[e.at:][:len(label)]) == string(label):
			return int(e.at)
		}
	}
}

// add notes that a name which find doesn't know stands at at.
func (s *suffixes) add(label []byte, at, rest int) {
	if at >= maxPointer {
		return
	}
	if 2*len(s.list) >= len(s.slots) {
		s.grow()
	}
	e := suffix{label: s.pack(label), at: uint16(at), rest: uint16(rest), size: label[0]}
	e.slot = s.place(s.list, e.label, rest)
	s.list = append(s.list, e)
}

// place gives the entry behind those of list a slot.
func (s *suffixes) place(list []suffix, label uint64, rest int) uint16 {
	mask := len(s.slots) - 1
	i := s.hash(label, rest) & mask
	for {
		if k := int(s.slots[i]); k >= len(list) || int(list[k].slot) != i {
			s.slots[i] = uint16(len(list))
			return uint16(i)
		}
		i = (i + 1) & mask
	}
}

// grow makes the table larger. A label and its length take two bytes, so there are
// less than 8192 entries, and indexes and slots fit into 16 bits.
func (s *suffixes) grow() {
	s.slots = make([]uint16, 2*len(s.slots))
	for k := range s.list {
		e := &s.list[k]
		e.slot = s.place(s.list[:k], e.label, int(e.rest))
	}
}

// pack makes a number of a label with its length byte: up to eight bytes another for
// each, beyond that a hash.
func (s *suffixes) pack(label []byte) uint64 {
	if len(label) <= 8 {
		return tail8(label)
	}
	h := s.seed
	for len(label) > 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(label))
		label = label[8:]
	}
	return mix(h ^ tail8(label))
}

func (s *suffixes) hash(label uint64, rest int) int {
	return int(mix(s.seed ^ label + uint64(rest)<<32))
}

// tail8 makes a number of up to eight bytes, a different one for each content of
// the same length.
func tail8(b []byte) uint64 {
	switch n := len(b); {
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b))<<32 | uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		return uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])
	}
	return 0
}

// mix makes every bit of x count for every bit of the result.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x, 0x9E3779B97F4A7C15)
	return hi ^ lo
}
