package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// maxPacket is the largest mDNS message with its IP and UDP headers, in bytes
// (RFC 6762 §17).
const maxPacket = 9000

// truncated is the TC bit in the third byte of a message (§18.5).
const truncated = 1 << 1

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
		for n < len(rest) && z.builder.Question(rest[n].node.name, rest[n].typ, dnswire.ClassIN, unicast && !z.checking(rest[n])) {
			n++
		}
		if n == 0 { // can't be: a question has at most 259 bytes
			rest[0].due = false
			rest = rest[1:]
			continue
		}
		for _, s := range rest[:n] {
			z.knownAnswers(now, s, limit)
		}
		z.flushPacket()
		for _, s := range rest[:n] {
			s.due = false
			a := s.ask
			if a == nil {
				continue
			}
			a.asked = now
			if unicast && !z.checking(s) {
				a.lastQU, z.lastQU = z.moment(now), now
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
	} else {
		z.knownOf(now, s, limit)
	}
	// What this host publishes itself it knows, too. Nobody answers it, and who
	// watches our questions would take it for dead (§10.5).
	if z.own != nil {
		z.own(s.node.key, s.typ, func(rr dnswire.RR) {
			fold := rr.Fold()
			z.key = append(z.key[:0], fold.Name...)
			z.key = append(z.key, byte(fold.Type>>8), byte(fold.Type))
			z.key = append(z.key, fold.Data...)
			if e := z.records[string(z.key)]; e != nil {
				if _, listed := e.known(now); listed {
					return // another host has it, too
				}
			}
			z.listKnown(rr, rr.TTL, limit)
		})
	}
}

func (z *zone) knownOf(now time.Time, s *slot, limit int) {
	for _, e := range s.entries {
		left, ok := e.known(now)
		if !ok {
			continue
		}
		z.listKnown(e.rr, left, limit)
	}
}

// listKnown adds a known answer with the TTL that is left, to another packet if
// need be.
func (z *zone) listKnown(rr dnswire.RR, left uint32, limit int) {
	rr.TTL, rr.Flush = left, false // RFC 6762 §10.2: no flush bit in known answers
	if z.builder.Answer(rr) {
		return
	}
	if z.builder.Empty() {
		return // a record too large for any packet: left out, and answered again
	}
	z.flushPacket()
	z.builder.Reset(z.buffer, dnswire.Header{}, limit)
	if z.builder.Answer(rr) {
		z.out[len(z.out)-1][2] |= truncated // only if something follows
	}
}

// known returns the seconds that the record has left, and whether it goes into
// known-answer lists: with at least half of its TTL left (RFC 6762 §7.1). One
// that is doubted doesn't: its owner shall answer. Nor does one that can't be sent.
func (e *entry) known(now time.Time) (left uint32, ok bool) {
	if e.dying || e.broken || e.doomed() {
		return 0, false
	}
	left = uint32(e.expires.Sub(now) / time.Second)
	return left, 2*left >= e.rr.TTL
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
