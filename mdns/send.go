package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// maxPacket is the largest mDNS message with its IP and UDP headers, in bytes
// (RFC 6762 §17).
const maxPacket = 9000

// minMTU is what a link is taken to carry when it doesn't say, in bytes.
const minMTU = 1280

// messageLimit is the size in bytes that a message of more than one record may
// have on the zone's link.
func (z *zone) messageLimit() int {
	mtu := z.link.MTU
	if mtu < 576 {
		mtu = minMTU
	}
	return min(mtu, maxPacket) - z.id.Family.headers()
}

// build turns the questions of the batch into packets: as many questions as
// fit, then the answers that are known already. If those don't fit, the packet
// has TC set and the rest follows at once in packets without a question
// (RFC 6762 §5.3, §7.1, §7.2).
func (z *zone) build(now time.Time) {
	unicast := z.unicast && !z.fresh.IsZero() && now.Sub(z.fresh) <= freshBatch
	if len(z.batch) > 0 {
		z.fresh = time.Time{}
	}
	limit := z.messageLimit()
	for rest := z.batch; len(rest) > 0; {
		z.builder.Reset(z.buffer, dnswire.Header{}, limit)
		n := 0
		for n < len(rest) && z.builder.Question(rest[n].slot.node.name, rest[n].slot.typ, dnswire.ClassIN, unicast) {
			n++
		}
		if n == 0 { // can't be: a question has at most 259 bytes
			rest[0].now = false
			rest = rest[1:]
			continue
		}
		for _, a := range rest[:n] {
			z.knownAnswers(now, a.slot, limit)
		}
		z.flushPacket()
		for _, a := range rest[:n] {
			a.now, a.asked = false, now
			if unicast {
				a.lastQU, z.lastQU = now, now
			}
			z.tellAsked(now, a)
		}
		rest = rest[n:]
	}
	clear(z.batch)
	z.batch = z.batch[:0]
}

func (z *zone) knownAnswers(now time.Time, s *slot, limit int) {
	if s.typ == dnswire.TypeANY {
		for _, x := range s.node.slots {
			z.knownOf(now, x, limit)
		}
		return
	}
	z.knownOf(now, s, limit)
}

func (z *zone) knownOf(now time.Time, s *slot, limit int) {
	for _, e := range s.entries {
		left, ok := e.known(now)
		if !ok {
			continue
		}
		rr := e.rr
		rr.TTL, rr.Flush = left, false // RFC 6762 §10.2: no flush bit in known answers
		if z.builder.Answer(rr) {
			continue
		}
		if z.builder.Empty() {
			continue // a record too large for any packet: left out, and answered again
		}
		z.builder.SetTruncated(true)
		z.flushPacket()
		z.builder.Reset(z.buffer, dnswire.Header{}, limit)
		z.builder.Answer(rr)
	}
}

// known returns the seconds that the record has left, and whether it goes into
// known-answer lists: with more than half of its TTL left (RFC 6762 §7.1).
func (e *entry) known(now time.Time) (left uint32, ok bool) {
	d := e.expires.Sub(now)
	if e.dying || d*2 <= time.Duration(e.rr.TTL)*time.Second {
		return 0, false
	}
	return uint32(d / time.Second), true
}

// flushPacket queues the packet in the builder to be sent.
func (z *zone) flushPacket() {
	if z.builder.Empty() {
		return
	}
	b := z.builder.Bytes()
	z.out = append(z.out, append(make([]byte, 0, len(b)), b...))
	z.buffer = b[:0]
}
