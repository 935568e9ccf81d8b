package reflector

import (
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

const (
	// maxPacket is the largest mDNS message with its IP and UDP headers, in bytes,
	// which one large record may fill in fragments (RFC 6762 §17).
	maxPacket = 9000
	// minMTU is what a link is taken to carry when it doesn't say, in bytes.
	minMTU = 1280
)

// headers is the length of the IP and UDP headers on a side, in bytes.
func headers(s *side) int {
	if s.zone.Family == mdns.IPv6 {
		return 40 + 8
	}
	return 20 + 8
}

// messageLimit is the size in bytes of a message that a side's link carries in
// one piece.
func messageLimit(s *side) int {
	mtu := s.link.MTU
	if mtu < 576 {
		mtu = minMTU
	}
	return min(mtu, maxPacket) - headers(s)
}

// write writes what is kept of the message, in as many messages as the link
// needs: a record that is larger than the link carries has one for itself.
//
//	response  as it fits, records of the same set one behind the other. Those
//	          behind the first message are answers: a response without any is odd.
//	query     questions first. Known answers that don't fit follow in messages
//	          without questions, TC on all but the last (§7.2).
//	probe     in one piece: its proposals must stand beside its questions (§8.2).
func (j *judge) write() ([]byte, verdict) {
	m := &j.p.Message
	w := writer{e: j.e, small: messageLimit(j.to), large: maxPacket - headers(j.to), header: m.Header, query: !m.Response}
	if w.query && m.NSCount > 0 {
		w.small = w.large
	}
	w.begin()
	i := 0
	for q := range m.Questions() {
		if j.kept(i) && !j.e.builder.CopyQuestion(q) && !j.e.builder.Empty() {
			w.end(false)
			w.begin()
			j.e.builder.CopyQuestion(q)
		}
		i++
	}
	for r := range m.Records() {
		if j.kept(i) {
			w.record(r)
		}
		i++
	}
	w.end(m.Truncated)
	if w.first == nil {
		return nil, stoppedSize
	}
	if len(j.e.more) > 0 {
		return w.first, split
	}
	return w.first, edited
}

// kept says whether the i'th thing stays. Nothing was judged where no rule
// concerns the message.
func (j *judge) kept(i int) bool { return j.count == 0 || j.e.keep[i] }

// writer writes one message, or several.
type writer struct {
	e            *editor
	small, large int // limits in bytes
	header       dnswire.Header
	query        bool
	first        []byte
	later        bool // the message at hand isn't the first
}

func (w *writer) begin() { w.e.builder.Reset(w.e.buf[len(w.e.buf):], w.header, w.small) }

// record adds a record, in a new message if it must be.
func (w *writer) record(r dnswire.Record) {
	b := &w.e.builder
	if w.later && !w.query && r.Type != dnswire.TypeOPT {
		r.Section = dnswire.Answer
	}
	if b.Copy(r) {
		return
	}
	if !b.Empty() {
		w.end(w.query)
		w.begin()
		if !w.query && r.Type != dnswire.TypeOPT {
			r.Section = dnswire.Answer
		}
		if b.Copy(r) {
			return
		}
	}
	// Too large for the link: alone, in fragments. Or unreadable: left out.
	b.Reset(w.e.buf[len(w.e.buf):], w.header, w.large)
	if b.Copy(r) {
		w.end(w.query)
	}
	w.begin()
}

// end takes the message at hand, unless nothing is in it.
func (w *writer) end(truncated bool) {
	b := &w.e.builder
	if b.Empty() {
		return
	}
	b.SetTruncated(truncated)
	out := b.Bytes()
	if n := len(w.e.buf); cap(w.e.buf)-n >= len(out) && &w.e.buf[:n+1][n] == &out[0] {
		w.e.buf = w.e.buf[:n+len(out)]
	} else {
		w.e.buf = append(make([]byte, 0, max(2*cap(w.e.buf), 4*len(out))), out...)
		out = w.e.buf
	}
	out = out[:len(out):len(out)]
	if w.first == nil {
		w.first = out
	} else {
		w.e.more = append(w.e.more, out)
	}
	w.later = true
}
