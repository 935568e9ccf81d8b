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

	names suffixes
	// The owned name that an entry began with last, which the next often has, too,
	// and where it stands.
	lastOwner Name
	lastAt    int
	labels    [maxLabels]uint16 // where those of the name that is being written begin in its source
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
	b.lastOwner, b.lastAt = "", 0
}

// Question adds a question. It returns false, with the message unchanged, if it
// doesn't fit, if the name isn't valid or if there are records already.
func (b *Builder) Question(n Name, t Type, c Class, qu bool) bool {
	was, ok := b.begin(0)
	if !ok || !b.owner(n) {
		return b.undo(was)
	}
	return b.ask(was, t, withTop(c, qu))
}

// CopyQuestion adds a question of another message; see Question.
func (b *Builder) CopyQuestion(q Question) bool {
	was, ok := b.begin(0)
	if !ok || !b.viewed(q.Name) {
		return b.undo(was)
	}
	return b.ask(was, q.Type, withTop(q.Class, q.Unicast))
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
// may be set before. A malformed NSEC or TXT record is refused. The other message must not
// lie in the buffer that this one is written to.
func (b *Builder) Copy(r Record) bool {
	was, ok := b.begin(r.Section)
	if !ok || r.Section == 0 || !b.viewed(r.Name) {
		return b.undo(was)
	}
	msg, off, end := r.Name.rdata()
	b.fields(r.Type, withTop(r.Class, r.Flush), r.TTL)
	return b.end(was, r.Section, b.rdata(r.Type, msg, off, end, true))
}

// Mark is a place in a message that is being written, to which Rewind leads back.
type Mark struct {
	was    before
	header Header
	last   Section
}

// Mark returns where the message ends now.
func (b *Builder) Mark() Mark { return Mark{before{len(b.buf), len(b.names.list)}, b.header, b.last} }

// Rewind takes back all that was added since the mark. That must be one of this
// message, and no Rewind to an earlier one may lie between.
func (b *Builder) Rewind(m Mark) {
	b.undo(m.was)
	b.header, b.last = m.header, m.last
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

func (b *Builder) owned(s Section, rr *RR) bool {
	was, ok := b.begin(s)
	if !ok || !b.owner(rr.Name) {
		return b.undo(was)
	}
	b.fields(rr.Type, withTop(rr.Class, rr.Flush), rr.TTL)
	return b.end(was, s, b.rdata(rr.Type, []byte(rr.Data), 0, len(rr.Data), false))
}

// before is what a Builder held before an entry was begun.
type before struct{ size, names int }

// begin begins an entry of a section, a question in section 0. ok says whether one may
// stand there now. Whatever it says, end or undo follows.
func (b *Builder) begin(s Section) (was before, ok bool) {
	return before{len(b.buf), len(b.names.list)}, b.limit > 0 && b.last <= s && s <= Additional
}

// undo takes back what was written since and returns false.
func (b *Builder) undo(to before) bool {
	b.buf = b.buf[:to.size]
	b.names.forget(to.names)
	if b.lastAt >= to.size {
		b.lastAt = 0
	}
	return false
}

// end counts the entry, and says so. One that isn't ok or has made the message too
// long is taken back.
func (b *Builder) end(was before, s Section, ok bool) bool {
	if !ok || len(b.buf) > b.limit {
		return b.undo(was)
	}
	b.last = s
	switch s {
	case Answer:
		b.header.ANCount++
	case Authority:
		b.header.NSCount++
	case Additional:
		b.header.ARCount++
	default:
		b.header.QDCount++
	}
	return true
}

// owner writes the name of an entry.
func (b *Builder) owner(n Name) bool {
	if n == b.lastOwner && b.lastAt > 0 {
		b.buf = append(b.buf, 0xC0|byte(b.lastAt>>8), byte(b.lastAt))
		return true
	}
	at, next := b.name([]byte(n), 0, len(n), false, true)
	if next != len(n) {
		return false
	}
	b.lastOwner, b.lastAt = n, at
	return true
}

// viewed writes the name of an entry of another message.
func (b *Builder) viewed(n NameView) bool {
	_, next := b.name(n.msg(), n.off(), cap(n.at), true, true)
	return next > 0
}

// ask writes what follows a question's name and ends it.
func (b *Builder) ask(was before, t Type, class uint16) bool {
	b.buf = append(b.buf, byte(t>>8), byte(t), byte(class>>8), byte(class))
	return b.end(was, 0, true)
}

// fields writes what stands between a record's name and its rdata, whose length rdata fills in.
func (b *Builder) fields(t Type, class uint16, ttl uint32) {
	b.buf = append(b.buf, byte(t>>8), byte(t), byte(class>>8), byte(class),
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
}

// rdata writes rdata of a type, from off to end of src, and the length before it.
// Names in it may be compressed if src is a whole message. It returns false if it isn't valid.
func (b *Builder) rdata(t Type, src []byte, off, end int, message bool) bool {
	at := len(b.buf)
	l := layoutOf(t)
	if off == end {
		switch {
		case message && meansEmptyString(l, src):
			b.buf = append(b.buf, 0)
			b.buf[at-1] = 1
			return true
		case b.header.Opcode == OpcodeUpdate:
			return true // no data stands for any data (RFC 2136 §2.4, §2.5)
		case l.strings == anyStrings:
			return false // RFC 6763 §6.1
		}
	}
	if end-off > maxLen {
		return false
	}
	from := off
	if l.known {
		if off = head(l, src, off, end); off < 0 {
			return false
		}
		if l.names > 0 {
			b.buf = append(b.buf, src[from:off]...)
			compress := l.compress && !(b.Legacy && t == TypeSRV)
			for range l.names {
				if _, off = b.name(src, off, end, message, compress); off < 0 {
					return false
				}
			}
			from = off
		}
		switch {
		case t == TypeNSEC:
			if !validBitmap(src[off:end]) {
				return false
			}
		case l.tail != anyTail && off+int(l.tail) != end:
			return false
		}
	}
	b.buf = append(b.buf, src[from:end]...)
	binary.BigEndian.PutUint16(b.buf[at-2:], uint16(len(b.buf)-at))
	return true
}
