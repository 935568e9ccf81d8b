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

// name writes the name at n.off, with a pointer in place of an ending that the
// message holds already, and returns the offset behind it. It returns -1 if the
// name isn't valid.
func (b *Builder) name(n source, compress bool) int {
	count, next := b.split(n)
	if next < 0 {
		return -1
	}
	// How much of the end of the name stands in the message, and where.
	k, rest, hash := count, 0, uint32(0)
	for ; k > 0; k-- {
		l := labelAt(n.b, b.labels[k-1])
		hash = b.names.hash(l, rest)
		at := b.names.find(b.buf, l, rest, hash)
		if at == 0 {
			break
		}
		rest = at
	}
	for i, from := range b.labels[:k] {
		l := labelAt(n.b, from)
		at := len(b.buf)
		b.buf = append(b.buf, l...)
		if i == k-1 {
			b.names.add(at, rest, hash)
		} else {
			b.names.add(at, len(b.buf), b.names.hash(l, len(b.buf)))
		}
	}
	if compress && rest > 0 {
		b.buf = append(b.buf, 0xC0|byte(rest>>8), byte(rest))
		return next
	}
	for _, from := range b.labels[k:count] {
		b.buf = append(b.buf, labelAt(n.b, from)...)
	}
	b.buf = append(b.buf, 0)
	return next
}

// split finds the labels of a name, and the offset behind the name's own bytes. That
// is -1 if the name isn't valid, which those of a message that was changed after Parse may be.
func (b *Builder) split(n source) (count, next int) {
	off, end, start := n.off, n.end, n.off
	next = -1
	for total := 0; off < end; {
		c := int(n.b[off])
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
		case !n.message || c < 0xC0 || off+1 >= end:
			return 0, -1
		}
		to := (c&0x3F)<<8 | int(n.b[off+1])
		if to >= start {
			return 0, -1
		}
		if next < 0 {
			next, end = off+2, len(n.b)
		}
		off, start = to, to
	}
	return 0, -1
}

// labelAt returns a label with its length byte.
func labelAt(b []byte, from uint16) []byte { return b[from : int(from)+1+int(b[from])] }

// suffixes holds the names that a message being written can point to: every
// name in it and every end of one. They form a tree, each told by its first label and
// by where the rest of it stands first; so whether two are the same is told by
// comparing one label. The labels themselves are in the message. Case counts, since mDNS keeps it.
//
// The table is a sparse set: a slot only counts if the entry that it names, names
// it. To forget the last entries is to make the list shorter.
type suffixes struct {
	list  []suffix // in the order in which they were written
	slots []uint16 // an open hash table of indexes into list, at most half full
	seed  uint64   // hostile names can't be made to collide
}

type suffix struct {
	hash uint32
	slot uint16
	at   uint16 // where in the message its first label stands; never 0
	rest uint16 // where the rest of it stands first; 0 is the root
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

// hash returns the hash of a name from its first label, with the label's length
// byte, and where the rest stands.
func (s *suffixes) hash(label []byte, rest int) uint32 {
	return uint32(mixLabel(s.seed+uint64(rest), label))
}

// find returns where the name stands that begins with the label, 0 if nowhere.
func (s *suffixes) find(msg, label []byte, rest int, hash uint32) int {
	mask := len(s.slots) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		k := int(s.slots[i])
		if k >= len(s.list) {
			return 0
		}
		e := &s.list[k]
		if int(e.slot) != i {
			return 0
		}
		if e.hash == hash && int(e.rest) == rest {
			if end := int(e.at) + len(label); end <= len(msg) && string(msg[e.at:end]) == string(label) {
				return int(e.at)
			}
		}
	}
}

// add notes that a name which find doesn't know stands at at.
func (s *suffixes) add(at, rest int, hash uint32) {
	if at >= maxPointer || rest >= maxPointer {
		return
	}
	if 2*len(s.list) >= len(s.slots) {
		s.grow()
	}
	s.list = append(s.list, suffix{hash: hash, at: uint16(at), rest: uint16(rest)})
	s.place(len(s.list) - 1)
}

// place gives the last entry of those that have one a slot.
func (s *suffixes) place(k int) {
	mask := len(s.slots) - 1
	i := int(s.list[k].hash) & mask
	for j := int(s.slots[i]); j < k && int(s.list[j].slot) == i; j = int(s.slots[i]) {
		i = (i + 1) & mask
	}
	s.slots[i], s.list[k].slot = uint16(k), uint16(i)
}

// grow makes the table larger. A label and its length take two bytes, so there are
// less than 8192 entries, and indexes and slots fit into 16 bits.
func (s *suffixes) grow() {
	s.slots = make([]uint16, 2*len(s.slots))
	for k := range s.list {
		s.place(k)
	}
}

// mixLabel mixes a label, with its length byte, into a hash. Nobody who doesn't know
// h can make two labels come out the same.
func mixLabel(h uint64, label []byte) uint64 {
	for len(label) > 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(label))
		label = label[8:]
	}
	return mix(h ^ tail8(label))
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
