package dnswire

import "encoding/binary"

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

	names  suffixes
	labels [maxLabels]uint16 // where those of the name that is being written begin in its source
}

// source is where a name or rdata is copied from: off to end of b.
type source struct {
	b        []byte
	off, end int
	message  bool // b is a whole message: names in it may be compressed
}

// Reset begins a new message in buf, whose old content is overwritten. limit is
// the most bytes that it may have; 0 means 65535, the most that there can be.
func (b *Builder) Reset(buf []byte, h Header, limit int) {
	if limit <= 0 || limit > maxLen {
		limit = maxLen
	}
	h.QDCount, h.ANCount, h.NSCount, h.ARCount = 0, 0, 0, 0
	b.buf, b.header, b.limit, b.last = h.append(buf[:0]), h, limit, 0
	b.names.reset()
}

// Question adds a question. It returns false, with the message unchanged, if it
// doesn't fit, if the name isn't valid or if there are records already.
func (b *Builder) Question(n Name, t Type, c Class, qu bool) bool {
	return b.question(source{b: []byte(n), end: len(n)}, t, c, qu)
}

// CopyQuestion adds a question of another message; see Question.
func (b *Builder) CopyQuestion(q Question) bool {
	return b.question(q.Name.source(), q.Type, q.Class, q.Unicast)
}

// Answer adds a record to the answer section. It returns false, with the message
// unchanged, if it doesn't fit, if a later section has been begun, or if rr isn't
// valid: then it won't fit an empty message, either.
func (b *Builder) Answer(rr RR) bool { return b.owned(Answer, &rr) }

// Authority adds a record to the authority section; see Answer.
func (b *Builder) Authority(rr RR) bool { return b.owned(Authority, &rr) }

// Additional adds a record to the additional section; see Answer.
func (b *Builder) Additional(rr RR) bool { return b.owned(Additional, &rr) }

// Copy adds a record of another message to the section that r.Section names. It
// writes what Answer would for r.RR(), without that copy: names are compressed
// anew, types that this package doesn't know keep their rdata. Section, Class, Flush and TTL of r
// may be set before. A malformed NSEC record is refused.
func (b *Builder) Copy(r Record) bool {
	msg, off, end := r.rdata()
	return b.record(r.Section, r.Name.source(), r.Type, withTop(r.Class, r.Flush), r.TTL, source{msg, off, end, true})
}

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

func (b *Builder) question(n source, t Type, c Class, qu bool) bool {
	start, known := len(b.buf), len(b.names.list)
	if b.last != 0 || b.limit == 0 || !b.owner(n) {
		return b.undo(start, known)
	}
	class := withTop(c, qu)
	b.buf = append(b.buf, byte(t>>8), byte(t), byte(class>>8), byte(class))
	if len(b.buf) > b.limit {
		return b.undo(start, known)
	}
	b.header.QDCount++
	return true
}

func (b *Builder) owned(s Section, rr *RR) bool {
	return b.record(s, source{b: []byte(rr.Name), end: len(rr.Name)}, rr.Type, withTop(rr.Class, rr.Flush), rr.TTL,
		source{b: []byte(rr.Data), end: len(rr.Data)})
}

func (b *Builder) record(s Section, n source, t Type, class uint16, ttl uint32, data source) bool {
	count := b.count(s)
	if count == nil || s < b.last || b.limit == 0 {
		return false
	}
	start, known := len(b.buf), len(b.names.list)
	if !b.owner(n) {
		return b.undo(start, known)
	}
	b.buf = append(b.buf, byte(t>>8), byte(t), byte(class>>8), byte(class),
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
	at := len(b.buf)
	if !b.rdata(t, data) || len(b.buf) > b.limit {
		return b.undo(start, known)
	}
	binary.BigEndian.PutUint16(b.buf[at-2:], uint16(len(b.buf)-at))
	*count++
	b.last = s
	return true
}

// count returns the header's field that counts a section's records.
func (b *Builder) count(s Section) *uint16 {
	switch s {
	case Answer:
		return &b.header.ANCount
	case Authority:
		return &b.header.NSCount
	case Additional:
		return &b.header.ARCount
	}
	return nil
}

// undo takes an entry back that was begun.
func (b *Builder) undo(start, known int) bool {
	b.buf = b.buf[:start]
	b.names.forget(known)
	return false
}

// rdata writes the rdata of a type. It returns false if it isn't valid.
func (b *Builder) rdata(t Type, d source) bool {
	l := layoutOf(t)
	if d.off == d.end {
		switch {
		case d.message && meansEmptyString(l, d.b):
			b.buf = append(b.buf, 0)
			return true
		case b.header.Opcode == OpcodeUpdate:
			return true // no data stands for any data (RFC 2136 §2.4, §2.5)
		case l.strings == anyStrings:
			return false // RFC 6763 §6.1
		}
	}
	if d.end-d.off > maxLen {
		return false
	}
	off := d.off
	if l.known {
		if off = head(l, d.b, off, d.end); off < 0 {
			return false
		}
		b.buf = append(b.buf, d.b[d.off:off]...)
		compress := l.compress && !(b.Legacy && t == TypeSRV)
		for range l.names {
			if off = b.name(source{d.b, off, d.end, d.message}, compress); off < 0 {
				return false
			}
		}
		switch {
		case t == TypeNSEC:
			if !validBitmap(d.b[off:d.end]) {
				return false
			}
		case l.tail != anyTail && off+int(l.tail) != d.end:
			return false
		}
	}
	b.buf = append(b.buf, d.b[off:d.end]...)
	return true
}

// owner writes the name that an entry begins with.
func (b *Builder) owner(n source) bool {
	next := b.name(n, true)
	return next > 0 && (next == n.end || n.message)
}
