package respond

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	headerLen   = 12   // bytes of a message's header
	minMTU      = 576  // no link has less
	unknownMTU  = 1280 // of a link that doesn't say
	legacyTTL   = 10   // seconds, at most, in answers to legacy queries (RFC 6762 §6.7)
	fixedRecord = 10   // bytes of a record beside its name and its data
	firstNames  = 24   // bytes in a message, beside its answers' owners, of names that later ones end in
)

// limit is the length in bytes that a message of more than one record may have.
func (r *Responder) limit() int {
	mtu := r.MTU
	if mtu < minMTU {
		mtu = unknownMTU
	}
	return min(mtu, maxMessage) - r.Headers
}

// maximum is the length in bytes that any message may have.
func (r *Responder) maximum() int { return maxMessage - r.Headers }

// fits says whether the record is valid and fits a message of its own.
func (r *Responder) fits(rr dnswire.RR) bool {
	if rr.Type == dnswire.TypeANY || rr.Type == dnswire.TypeOPT || rr.Type == dnswire.TypeNSEC {
		return false
	}
	r.builder.Legacy = false
	// A probe holds the question, too, and in a query from another port an
	// answer repeats it.
	r.builder.Reset(r.buffer, dnswire.Header{}, r.maximum())
	return r.builder.Question(rr.Name, rr.Type, dnswire.ClassIN, false) && r.builder.Answer(rr)
}

// cost is about how long the record is in a message, in bytes without its owner's
// name, if the names in it share all but a label with what stands before them.
func cost(x *record) int {
	switch x.set.typ {
	case dnswire.TypePTR:
		return fixedRecord + 1 + int(x.rr.Data[0]) + 2
	case dnswire.TypeSRV:
		return fixedRecord + 6 + 2
	}
	return fixedRecord + len(x.rr.Data)
}

// packetTo says where a message goes and what makes it a legacy one. The zero
// value is the group.
type packetTo struct {
	dst, src  netip.AddrPort
	legacy    bool
	id        uint16
	questions []question
}

// push queues the message in the builder.
func (r *Responder) push(to packetTo) {
	b := r.builder.Bytes()
	if len(r.out) < maxOut {
		r.out = append(r.out, packet.Datagram{Data: slices.Clone(b), Dst: to.dst, Src: to.src})
	}
	r.buffer = b[:0]
}

// writer puts records into as many messages as it takes.
type writer struct {
	r       *Responder
	to      packetTo
	packets int
	full    bool // a legacy answer is one message only
}

func (r *Responder) writer(to packetTo) writer {
	w := writer{r: r, to: to}
	w.reset(r.limit())
	return w
}

func (w *writer) reset(limit int) {
	b := &w.r.builder
	b.Legacy = w.to.legacy
	b.Reset(w.r.buffer, dnswire.Header{ID: w.to.id, Response: true, Authoritative: true}, limit)
	for _, q := range w.to.questions {
		if !b.Question(q.name, q.typ, q.class, q.qu) {
			break
		}
	}
}

// rr returns the record as this asker gets it.
func (w *writer) rr(rr dnswire.RR) dnswire.RR {
	if w.to.legacy {
		rr.Flush, rr.TTL = false, min(rr.TTL, legacyTTL)
	}
	return rr
}

// answer adds a record to the answers, in another message if this one is full. A record that
// is too long for any gets a longer one of its own (RFC 6762 §17).
func (w *writer) answer(rr dnswire.RR) {
	b := &w.r.builder
	rr = w.rr(rr)
	if w.full || b.Answer(rr) {
		return
	}
	if w.to.legacy {
		// It asks again over TCP, if it can (RFC 6762 §18.5).
		if w.full = true; w.empty() {
			w.reset(w.r.maximum())
			if b.Answer(rr) {
				return
			}
		}
		b.SetTruncated(true)
		return
	}
	w.flush()
	if b.Answer(rr) {
		return
	}
	w.reset(w.r.maximum())
	if b.Answer(rr) {
		w.flush()
	}
}

// extra adds a record to the additional section if it has room.
func (w *writer) extra(rr dnswire.RR) bool {
	return !w.full && w.r.builder.Additional(w.rr(rr))
}

func (w *writer) empty() bool {
	h := w.r.builder.Bytes()
	return h[6]|h[7]|h[10]|h[11] == 0 // no answers and no additional records
}

// flush queues the message and begins another.
func (w *writer) flush() {
	if !w.empty() {
		w.r.push(w.to)
		w.packets++
	}
	w.reset(w.r.limit())
}

// write sends the units and returns how many messages they took.
func (w *writer) write(units []unit, sent func(*record)) int {
	var late []*record // additional records that found no room
	for len(units) > 0 {
		n := w.batch(units)
		for _, u := range units[:n] {
			for x := range u.rec.together {
				w.answer(x.wire())
				sent(x)
			}
		}
		for len(late) > 0 && w.extra(late[0].wire()) {
			sent(late[0])
			late = late[1:]
		}
		for _, u := range units[:n] {
			for _, x := range w.r.extras[u.from:u.to] {
				if w.extra(x.wire()) {
					sent(x)
				} else {
					late = append(late, x)
				}
			}
		}
		if units = units[n:]; len(units) > 0 && !w.to.legacy {
			w.flush()
		}
	}
	if len(late) > 0 && !w.to.legacy {
		w.flush()
		for _, x := range late {
			w.answer(x.wire())
			sent(x)
		}
	}
	w.flush()
	return w.packets
}

// batch returns how many of the units go into one message with all that follows
// from them; at least one.
func (w *writer) batch(units []unit) int {
	if w.to.legacy {
		return len(units)
	}
	size, limit := w.r.builder.Len()+firstNames, w.r.limit()
	var owner *name
	for i, u := range units {
		for x := range u.rec.together {
			if x.set.name != owner {
				owner = x.set.name
				size += len(owner.key)
			}
			size += 2 + cost(x)
		}
		for _, x := range w.r.extras[u.from:u.to] {
			size += 2 + cost(x)
		}
		if size > limit && i > 0 {
			return i
		}
	}
	return len(units)
}

// multicast sends the units to the group.
func (r *Responder) multicast(now time.Time, units []unit) {
	if len(units) == 0 {
		return
	}
	w := r.writer(packetTo{})
	w.write(units, func(x *record) {
		r.count.Answered.Add(1)
		last, _ := x.times()
		*last = now
	})
}

// sendUnicast sends the units to one host, if it didn't get too much lately.
func (r *Responder) sendUnicast(now time.Time, to packetTo, units []unit) {
	if !r.tokens.ready(now) {
		r.count.Refused.Add(1)
		return
	}
	w := r.writer(to)
	n := w.write(units, func(*record) { r.count.Answered.Add(1) })
	r.tokens.take(n)
}
