package dnswire

import (
	"encoding/binary"
	"iter"
)

const (
	headerLen = 12
	maxLen    = 65535

	minQuestion = 1 + 4  // bytes: the root and the fixed fields
	minRecord   = 1 + 10 // bytes: the root, the fixed fields and no rdata
)

// The opcodes in use (RFC 1035 §4.1.1, RFC 1996, RFC 2136). mDNS knows only the
// first (RFC 6762 §18.3).
const (
	OpcodeQuery  = 0
	OpcodeNotify = 4
	OpcodeUpdate = 5
)

// Header is the header of a message, RFC 1035 §4.1.1 and RFC 4035 §3.1.6. The
// counts are what the message holds; a Builder ignores them and counts itself.
type Header struct {
	ID                 uint16
	Response           bool  // QR
	Opcode             uint8 // 4 bits
	Authoritative      bool  // AA
	Truncated          bool  // TC
	RecursionDesired   bool  // RD
	RecursionAvailable bool  // RA
	Zero               bool  // Z, reserved
	AuthenticData      bool  // AD
	CheckingDisabled   bool  // CD
	Rcode              uint8 // 4 bits; OPT may hold 8 more

	QDCount, ANCount, NSCount, ARCount uint16
}

func (h *Header) parse(b []byte) {
	_ = b[headerLen-1]
	h.ID = binary.BigEndian.Uint16(b)
	h.Response = b[2]&0x80 != 0
	h.Opcode = b[2] >> 3 & 0x0F
	h.Authoritative = b[2]&0x04 != 0
	h.Truncated = b[2]&0x02 != 0
	h.RecursionDesired = b[2]&0x01 != 0
	h.RecursionAvailable = b[3]&0x80 != 0
	h.Zero = b[3]&0x40 != 0
	h.AuthenticData = b[3]&0x20 != 0
	h.CheckingDisabled = b[3]&0x10 != 0
	h.Rcode = b[3] & 0x0F
	h.QDCount = binary.BigEndian.Uint16(b[4:])
	h.ANCount = binary.BigEndian.Uint16(b[6:])
	h.NSCount = binary.BigEndian.Uint16(b[8:])
	h.ARCount = binary.BigEndian.Uint16(b[10:])
}

func (h Header) append(dst []byte) []byte {
	bit := func(set bool, v byte) byte {
		if set {
			return v
		}
		return 0
	}
	dst = binary.BigEndian.AppendUint16(dst, h.ID)
	dst = append(dst,
		bit(h.Response, 0x80)|h.Opcode&0x0F<<3|bit(h.Authoritative, 0x04)|bit(h.Truncated, 0x02)|bit(h.RecursionDesired, 0x01),
		bit(h.RecursionAvailable, 0x80)|bit(h.Zero, 0x40)|bit(h.AuthenticData, 0x20)|bit(h.CheckingDisabled, 0x10)|h.Rcode&0x0F)
	dst = binary.BigEndian.AppendUint16(dst, h.QDCount)
	dst = binary.BigEndian.AppendUint16(dst, h.ANCount)
	dst = binary.BigEndian.AppendUint16(dst, h.NSCount)
	return binary.BigEndian.AppendUint16(dst, h.ARCount)
}

// Message is a checked view of a DNS message. Only Parse makes one that holds
// anything; the zero Message is empty.
type Message struct {
	Header
	// Trailing is the number of bytes behind the last record. They mean nothing.
	Trailing int

	msg     []byte
	records int  // offset of the first record
	cut     bool // some TXT record's strings are cut short
}

// Question is an entry of the question section.
type Question struct {
	Name    NameView
	Type    Type
	Class   Class
	Unicast bool // QU: a unicast answer is welcome, RFC 6762 §5.4
}

// Parse checks the whole of a message and returns a view of it. It keeps b. The
// error is an *Error.
func Parse(b []byte) (m Message, err error) {
	if len(b) < headerLen {
		return Message{}, &Error{Where: "header", Offset: len(b), Reason: ReasonShort}
	}
	if len(b) > maxLen {
		return Message{}, &Error{Where: "header", Offset: maxLen, Reason: ReasonLong, Value: len(b)}
	}
	b = b[:len(b):len(b)] // views find the end of the message by its capacity
	m.parse(b)
	m.msg = b
	questions, records := int(m.QDCount), int(m.ANCount)+int(m.NSCount)+int(m.ARCount)
	if least := headerLen + questions*minQuestion + records*minRecord; least > len(b) {
		return Message{}, &Error{Where: "header", Offset: len(b), Reason: ReasonCounts, Value: least}
	}

	p := parser{msg: b, limit: 8*len(b) + 1024}
	off := headerLen
	for i := range questions {
		if off = p.name(off, len(b)); off < 0 {
			return Message{}, p.fail("question", i, "name")
		}
		if off += 4; off > len(b) {
			p.bad(ReasonShort, len(b), 0)
			return Message{}, p.fail("question", i, "fields")
		}
	}
	m.records = off
	for i := range records {
		if off = p.name(off, len(b)); off < 0 {
			return Message{}, p.failRecord(&m.Header, i, "name")
		}
		fixed := off
		if off += 10; off > len(b) {
			p.bad(ReasonShort, len(b), 0)
			return Message{}, p.failRecord(&m.Header, i, "fields")
		}
		f := b[fixed:off:off]
		t := Type(binary.BigEndian.Uint16(f))
		end := off + int(binary.BigEndian.Uint16(f[8:]))
		if end > len(b) {
			p.bad(ReasonShort, len(b), 0)
			return Message{}, p.failRecord(&m.Header, i, t.String()+" rdata")
		}
		if !p.rdata(t, off, end) {
			switch {
			case off == end && m.Opcode == OpcodeUpdate: // stands for any data (RFC 2136 §2.4, §2.5)
			case layoutOf(t).strings == anyStrings:
				m.cut = true
			default:
				return Message{}, p.failRecord(&m.Header, i, t.String()+" rdata")
			}
		}
		off = end
	}
	m.Trailing = len(b) - off
	return m, nil
}

// Questions yields the questions in order. A loop over it allocates nothing.
func (m *Message) Questions() iter.Seq[Question] {
	return func(yield func(Question) bool) { m.eachQuestion(yield) }
}

func (m *Message) eachQuestion(yield func(Question) bool) {
	off := headerLen
	for range m.QDCount {
		if off > len(m.msg) {
			return // not after Parse
		}
		q := Question{Name: view(m.msg, off)}
		off = skipName(m.msg, off)
		if off+4 > len(m.msg) {
			return
		}
		f := m.msg[off : off+4]
		off += 4
		q.Type = Type(f[0])<<8 | Type(f[1])
		q.Unicast = f[2]&0x80 != 0
		q.Class = Class(f[2]&0x7F)<<8 | Class(f[3])
		if !yield(q) {
			return
		}
	}
}

// Records yields the records of all sections in order. A loop over it allocates nothing.
func (m *Message) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) { m.eachRecord(yield) }
}

func (m *Message) eachRecord(yield func(Record) bool) {
	off := m.records
	for s, count := range [...]uint16{m.ANCount, m.NSCount, m.ARCount} {
		for range count {
			fixed := skipName(m.msg, off)
			if fixed+10 > len(m.msg) {
				return
			}
			f := m.msg[fixed : fixed+10]
			size := int(f[8])<<8 | int(f[9])
			if fixed+10+size > len(m.msg) {
				return
			}
			class := Class(f[2])<<8 | Class(f[3])
			r := Record{
				Section: Section(s + 1),
				Type:    Type(f[0])<<8 | Type(f[1]),
				Class:   class &^ TopBit,
				Flush:   class&TopBit != 0,
				TTL:     uint32(f[4])<<24 | uint32(f[5])<<16 | uint32(f[6])<<8 | uint32(f[7]),
				Name:    view(m.msg, off),
			}
			off = fixed + 10 + size
			switch r.Type {
			case TypeOPT: // RFC 6891 §6.1.2: the class is a size
				r.Class, r.Flush = class, false
				r.Malformed = !validOptions(m.msg[fixed+10 : off])
			case TypeNSEC:
				r.Malformed = !r.validNSEC()
			case TypeTXT, TypeSPF:
				r.Malformed = m.cut && head(layoutOf(r.Type), m.msg, fixed+10, off) < 0
			}
			if !yield(r) {
				return
			}
		}
	}
}
