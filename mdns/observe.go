package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Passive observation of failures (RFC 6762 §10.5): other hosts ask, and what
// should answer them is silent.

const (
	// maxMissed is how many questions of others a record may leave unanswered
	// until it is given failTime to be heard.
	maxMissed = 2
	// sameQuestion is how long after a question the same one doesn't count: a
	// host multicasts no record twice in a second (§6).
	sameQuestion = time.Second
	// observedRest is when a question of ours whose answer went that way is
	// asked again. There's no reason to suppose that we'd be more successful
	// than who asked.
	observedRest = time.Minute
)

// hearQuestions notes which cached records others have just asked for. Those
// that they list as known aren't expected to be heard. The message is a query
// to the group from port 5353, whole and no probe.
func (z *zone) hearQuestions(p *Packet) {
	marked := false
	for q := range p.Message.Questions() {
		if q.Unicast || q.Class != dnswire.ClassIN {
			continue
		}
		z.key = q.Name.AppendFolded(z.key[:0])
		n := z.names[string(z.key)]
		if n == nil {
			continue
		}
		for _, s := range n.slots {
			// An NSEC record answers questions for what isn't there (§6.1).
			if s.typ != q.Type && (q.Type != dnswire.TypeANY || s.typ == dnswire.TypeNSEC) || len(s.entries) == 0 {
				continue
			}
			if p.Time.Sub(s.queried) < sameQuestion {
				continue
			}
			if !marked {
				marked = true
				z.markKnown(p)
			}
			z.expect(p, s)
		}
	}
}

// markKnown marks the cached records that the query lists as known.
func (z *zone) markKnown(p *Packet) {
	z.listing++
	for r := range p.Message.Records() {
		if r.Section != dnswire.Answer {
			return
		}
		z.key = recordKey(z.key[:0], &r)
		if e := z.records[string(z.key)]; e != nil {
			e.listed = z.listing
		}
	}
}

// expect notes that the slot's records should be heard now but for those that
// the query lists.
func (z *zone) expect(p *Packet, s *slot) {
	for _, e := range s.entries {
		if e.listed == z.listing {
			continue
		}
		s.queried = p.Time
		// A host answers itself in silence, and no one twice in a second.
		if e.dying || e.from.addr == p.Src.Addr() || p.Time.Sub(e.seen) < sameQuestion {
			continue
		}
		z.unheard(p.Time, e)
	}
}

// unheard is called when the record is expected to be heard.
func (z *zone) unheard(now time.Time, e *entry) {
	d := z.doubted(e)
	if d.missed < maxMissed {
		if d.missed++; d.missed == maxMissed {
			z.doom(e, now.Add(failTime))
		}
	}
}
