package respond

import (
	"math/rand/v2"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// The delays of RFC 6762 §6 and §7.2.
	sharedDelayMin    = 20 * time.Millisecond
	sharedDelayMax    = 120 * time.Millisecond
	truncatedDelayMin = 400 * time.Millisecond
	truncatedDelayMax = 500 * time.Millisecond
)

// hit is a record that answers a question.
type hit struct {
	rec *record
	qu  bool // a unicast answer is welcome
}

// Query answers a query, or plans to.
func (r *Responder) Query(m *Message) {
	if !r.open {
		return
	}
	legacy := m.Src.Port() != groupPort
	if !m.OnLink && (legacy || m.Unicast) {
		// Answers to an address elsewhere would leave the link (RFC 6762 §5.5).
		r.count.Refused.Add(1)
		return
	}
	if m.QDCount == 0 {
		r.moreKnown(m)
		return
	}
	r.listing++
	probe := m.NSCount > 0
	questions, shared := 0, false
	r.hits = r.hits[:0]
	for q := range m.Questions() {
		questions++
		if q.Class != dnswire.ClassIN && q.Class != dnswire.ClassANY {
			continue
		}
		n := r.find(q.Name)
		if n == nil {
			continue
		}
		if probe && n.listed != r.listing {
			n.listed = r.listing
			r.tieBreak(m, n)
		}
		if r.match(n, q.Type, q.Unicast || m.Unicast) {
			shared = true
		}
	}
	if len(r.hits) == 0 {
		return
	}
	r.listKnown(m)
	var delay time.Duration
	switch {
	case probe && !shared:
		// A claimed name is defended at once (§6).
	case m.Truncated:
		delay = between(truncatedDelayMin, truncatedDelayMax)
	case shared || questions > 1:
		delay = between(sharedDelayMin, sharedDelayMax)
	}
	r.plan(m, legacy, probe, delay)
	clear(r.known)
}

func between(from, to time.Duration) time.Duration { return from + rand.N(to-from+1) }

// match collects the records that answer a question for the type, and says
// whether shared ones are among them: then other hosts may have more.
// A type that a name of ours doesn't have is answered with the record that
// says so (RFC 6762 §6, §6.1).
func (r *Responder) match(n *name, t dnswire.Type, qu bool) (shared bool) {
	found := false
	for _, s := range n.sets {
		if s.live == 0 || s.typ != t && t != dnswire.TypeANY && s.typ != dnswire.TypeCNAME {
			continue
		}
		found = true
		shared = shared || !s.unique
		if s.asked == r.listing {
			continue // by another question of the query
		}
		s.asked = r.listing
		for _, x := range s.records {
			if x.live > 0 {
				r.hits = append(r.hits, hit{x, qu})
			}
		}
	}
	if !found && n.owned() {
		if s := r.denial(n, t); s.asked != r.listing {
			s.asked = r.listing
			r.hits = append(r.hits, hit{s.records[0], qu})
		}
	}
	return shared
}
