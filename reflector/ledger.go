package reflector

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Decision is what was decided about one question or record of a message.
type Decision struct {
	Time     time.Time
	From, To string // links
	Source   string // the sender's address and port
	Section  string // "question", "answer", "authority" or "additional"
	Name     string
	Type     string
	Passed   bool
	Rule     string // why: a rule's name, or what else decided
}

// tell reports what became of the i'th thing in the message.
func (j *judge) tell(i int, n dnswire.NameView, t dnswire.Type, ok bool, why string) {
	if j.e.decided == nil {
		return
	}
	m := &j.p.Message
	section := "question"
	if i -= int(m.QDCount); i >= 0 {
		section = "answer"
	}
	if i -= int(m.ANCount); i >= 0 {
		section = "authority"
	}
	if i -= int(m.NSCount); i >= 0 {
		section = "additional"
	}
	j.e.decided(Decision{
		Time: j.now, From: j.from.link.Name, To: j.to.link.Name, Source: j.p.Src.String(),
		Section: section, Name: n.String(), Type: t.String(), Passed: ok, Rule: why,
	})
}

// noRule is what decides where no rule fits.
const noRule = "no rule"

func (p *pair) ruleName(by int) string {
	if by == byDefault {
		return noRule
	}
	return p.rules[by].name
}

func (p *pair) hit(by int, ok bool) {
	if by == byDefault {
		by = len(p.rules)
	}
	if ok {
		p.hits[by].passed.Add(1)
	} else {
		p.hits[by].stopped.Add(1)
	}
}

// maxStops bounds the names that are told of what was stopped.
const maxStops = 512

// ledger remembers what was stopped by which rule, by name.
type ledger struct {
	mu     sync.Mutex
	seed   maphash.Seed
	stops  map[stopKey]*Stop
	others uint64
}

type stopKey struct {
	pair *pair
	by   int
	typ  dnswire.Type
	hash uint64
}

// Stop is a name that a rule stopped. A name may be that of a service, of a type
// or of a host.
type Stop struct {
	// From is the link that has what was stopped, To the one that asked for
	// it or would have heard of it.
	From, To string
	Rule     string
	Name     string
	Type     string
	Count    uint64
	Last     time.Time
}

func (l *ledger) stopped(now time.Time, p *pair, by int, n dnswire.NameView, t dnswire.Type, s *scratch) {
	k := stopKey{p, by, t, maphash.Bytes(l.seed, s.topic(n).name)}
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.stops[k]
	if x == nil {
		if len(l.stops) >= maxStops {
			l.others++
			return
		}
		x = &Stop{From: p.key.from, To: p.key.to, Rule: p.ruleName(by), Name: n.String(), Type: t.String()}
		l.stops[k] = x
	}
	x.Count++
	x.Last = now
}

// RuleStats are the counters of Rules: of questions and records, not of packets.
type RuleStats struct {
	Hits []RuleHits
	// Stops are names that were stopped, the last first. There is an end to how
	// many are told apart; Others counts what isn't.
	Stops  []Stop
	Others uint64
}

// RuleHits count what one rule decided between two links: From has the services.
type RuleHits struct {
	From, To        string
	Rule            string // "no rule" for what none fits
	Passed, Stopped uint64
}

// Stats returns the counters since the Rules were made. Rules that nothing came
// to are left out.
func (r *Rules) Stats() RuleStats {
	var s RuleStats
	if r == nil {
		return s
	}
	r.mu.RLock()
	for _, p := range r.pairs {
		for i := range p.hits {
			x := RuleHits{From: p.key.from, To: p.key.to, Rule: noRule, Passed: p.hits[i].passed.Load(), Stopped: p.hits[i].stopped.Load()}
			if i < len(p.rules) {
				x.Rule = p.rules[i].name
			}
			if x.Passed+x.Stopped > 0 {
				s.Hits = append(s.Hits, x)
			}
		}
	}
	r.mu.RUnlock()
	slices.SortStableFunc(s.Hits, func(a, b RuleHits) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	for _, x := range r.ledger.stops {
		s.Stops = append(s.Stops, *x)
	}
	s.Others = r.ledger.others
	slices.SortFunc(s.Stops, func(a, b Stop) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return s
}
