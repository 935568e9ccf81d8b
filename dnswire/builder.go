package dnswire

import (
	"encoding/binary"
	"hash/maphash"
)

// Builder writes a message into a buffer, compresses names and keeps to a size.
// One that has grown to its messages allocates nothing more. The zero Builder
// needs a Reset before its use.
type Builder struct {
	// Legacy keeps SRV targets uncompressed, as a response to a legacy unicast
	// query must (RFC 6762 §18.14).
	Legacy bool

	buf    []byte
	limit  int
	header Header
	last   Section // the section that was written last; 0 for questions

	// Suffixes of names that the message holds: an open hash table by the hash of
	// the suffix's wire bytes. Slots of an older generation are empty.
	slots   []slot
	used    int
	gen     uint32
	seed    maphash.Seed // hostile names can't be made to collide
	seeded  bool
	pending []slot // those of the entry that is being written
}

type slot struct {
	hash uint64
	gen  uint32
	off  uint16
}

// maxPointer is the first offset that a compression pointer can't name.
const maxPointer = 0x4000

// Reset begins a new message in buf, whose old content is overwritten. limit is
// the most bytes that it may have; 0 means 65535, the most that there can be.
func (b *Builder) Reset(buf []byte, h Header, limit int) {
	if limit <= 0 || limit > maxLen {
		limit = maxLen
	}
	h.QDCount, h.ANCount, h.NSCount, h.ARCount = 0, 0, 0, 0
	b.buf, b.header, b.limit, b.last = h.append(buf[:0]), h, limit, 0
	b.used = 0
	b.pending = b.pending[:0]
	if b.gen++; b.gen == 0 { // came round: old slots would look new
		clear(b.slots)
		b.gen = 1
	}
	if !b.seeded {
		b.seed, b.seeded = maphash.MakeSeed(), true
	}
}

// Question adds a question. It returns false, with the message unchanged, if it
// doesn't fit, if the name isn't valid or if there are records already.
func (b *Builder) Question(n Name, t Type, c Class, qu bool) bool {
	if b.last != 0 || b.limit == 0 || !n.Valid() {
		return false
	}
	start := len(b.buf)
	b.name(string(n), true)
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(t))
	b.buf = binary.BigEndian.AppendUint16(b.buf, withTop(c, qu))
	return b.done(start, &b.header.QDCount)
}

// Answer adds a record to the answer section. It returns false, with the message
// unchanged, if it doesn't fit, if a later section has been begun, or if rr isn't
// valid: then it won't fit an empty message, either.
func (b *Builder) Answer(rr RR) bool { return b.record(Answer, rr, &b.header.ANCount) }

// Authority adds a record to the authority section; see Answer.
func (b *Builder) Authority(rr RR) bool { return b.record(Authority, rr, &b.header.NSCount) }

// Additional adds a record to the additional section; see Answer.
func (b *Builder) Additional(rr RR) bool { return b.record(Additional, rr, &b.header.ARCount) }

// SetTruncated sets or clears the TC bit.
func (b *Builder) SetTruncated(tc bool) { b.header.Truncated = tc }

// Len returns the length of the message so far, in bytes.
func (b *Builder) Len() int { return len(b.buf) }

// Empty says whether the message holds no question and no record.
func (b *Builder) Empty() bool { return len(b.buf) <= headerLen }

// Bytes returns the message: in the buffer given to Reset if that was large
// enough. It is valid until the next Reset; more can be added and Bytes called again.
func (b *Builder) Bytes() []byte {
	if len(b.buf) >= headerLen {
		b.header.append(b.buf[:0])
	}
	return b.buf
}

func withTop(c Class, top bool) uint16 {
	if top {
		return uint16(c) | TopBit
	}
	return uint16(c)
}

func (b *Builder) record(s Section, rr RR, count *uint16) bool {
	// In an update no data stands for any data (RFC 2136 §2.4, §2.5).
	none := rr.Data == "" && b.header.Opcode == OpcodeUpdate
	if s < b.last || b.limit == 0 || !rr.Name.Valid() || !none && !validData(rr.Type, rr.Data) {
		return false
	}
	start := len(b.buf)
	b.name(string(rr.Name), true)
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(rr.Type))
	b.buf = binary.BigEndian.AppendUint16(b.buf, withTop(rr.Class, rr.Flush))
	b.buf = binary.BigEndian.AppendUint32(b.buf, rr.TTL)
	at := len(b.buf)
	b.buf = append(b.buf, 0, 0)
	if l := layoutOf(rr.Type); l.names == 0 || none {
		b.buf = append(b.buf, rr.Data...)
	} else {
		compress := l.compress && !(b.Legacy && rr.Type == TypeSRV)
		off := head(l, rr.Data, 0, len(rr.Data))
		b.buf = append(b.buf, rr.Data[:off]...)
		for range l.names {
			n := wireNameLen(rr.Data[off:])
			b.name(rr.Data[off:off+n], compress)
			off += n
		}
		b.buf = append(b.buf, rr.Data[off:]...)
	}
	binary.BigEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at-2))
	if !b.done(start, count) {
		return false
	}
	b.last = s
	return true
}

// done ends an entry that began at start: it is counted, or taken back if it
// made the message too long.
func (b *Builder) done(start int, count *uint16) bool {
	if len(b.buf) > b.limit {
		b.buf = b.buf[:start]
		b.pending = b.pending[:0]
		return false
	}
	*count++
	for _, s := range b.pending {
		b.insert(s)
	}
	b.pending = b.pending[:0]
	return true
}

// name writes a valid name, with a pointer in place of a suffix that the message
// holds already. Suffixes must match with their case, which mDNS keeps.
func (b *Builder) name(n string, compress bool) {
	for off := 0; n[off] != 0; off += 1 + int(n[off]) {
		h := maphash.String(b.seed, n[off:])
		to, known := b.find(h, n[off:])
		if known && compress {
			b.buf = binary.BigEndian.AppendUint16(b.buf, 0xC000|to)
			return
		}
		// Only the first place of a suffix is kept: which of two would be found
		// depends on the table's size.
		if at := len(b.buf); at < maxPointer && !known {
			b.pending = append(b.pending, slot{hash: h, off: uint16(at)})
		}
		b.buf = append(b.buf, n[off:off+1+int(n[off])]...)
	}
	b.buf = append(b.buf, 0)
}

func (b *Builder) find(h uint64, suffix string) (uint16, bool) {
	if mask := len(b.slots) - 1; mask > 0 {
		for i := int(h) & mask; b.slots[i].gen == b.gen; i = (i + 1) & mask {
			if s := b.slots[i]; s.hash == h && b.holds(int(s.off), suffix) {
				return s.off, true
			}
		}
	}
	for _, s := range b.pending {
		if s.hash == h && b.holds(int(s.off), suffix) {
			return s.off, true
		}
	}
	return 0, false
}

// holds says whether the message has the name at off, byte for byte. A name that
// is still being written ends where the buffer does and is no match.
func (b *Builder) holds(off int, name string) bool {
	v := view(b.buf[:len(b.buf):len(b.buf)], off)
	at := 0
	l, o, start, ok := v.next(off, off)
	for ; ok; l, o, start, ok = v.next(o, start) {
		end := at + 1 + len(l)
		if end >= len(name) || name[at+1:end] != string(l) || int(name[at]) != len(l) {
			return false
		}
		at = end
	}
	return o < len(b.buf) && b.buf[o] == 0 && at == len(name)-1
}

func (b *Builder) insert(s slot) {
	if 2*b.used >= len(b.slots) {
		old := b.slots
		b.slots = make([]slot, max(64, 2*len(old)))
		b.used = 0
		for _, o := range old {
			if o.gen == b.gen {
				b.insert(o)
			}
		}
	}
	s.gen = b.gen
	mask := len(b.slots) - 1
	i := int(s.hash) & mask
	for b.slots[i].gen == b.gen {
		i = (i + 1) & mask
	}
	b.slots[i] = s
	b.used++
}
