package mdns

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// The first query waits, so that many hosts that are woken by one thing
	// don't ask all at once (RFC 6762 §5.2).
	firstDelayMin = 20 * time.Millisecond
	firstDelayMax = 120 * time.Millisecond
	// A question that an answer gave rise to waits less, but long enough for
	// those that the next answers give rise to.
	followDelayMin = 35 * time.Millisecond
	followDelayMax = 60 * time.Millisecond
	// Then the gaps double from one second to one hour (§5.2).
	firstGap = time.Second
	maxGap   = time.Hour
	// freshBatch is how long after a zone opened its first queries may ask for
	// unicast answers (§5.4).
	freshBatch = time.Second
	// unicastWindow is how long after a query with the QU bit a unicast
	// response is accepted (§6).
	unicastWindow = 2 * time.Second
	// suppressWindow is how long before a refresh query another host's same
	// question counts for ours (§7.3).
	suppressWindow = time.Second
)

// ask is a question that somebody waits for in one zone. However many
// subscriptions there are to it, it has one series of queries.
type ask struct {
	alarm
	slot  *slot
	wants []*want
	// series is when the doubling series goes on, zero while it rests: a
	// unique answer is there, or the tries are used up (RFC 6762 §5.2).
	series time.Time
	gap    time.Duration // between the last query of the series and the next
	sent   int           // queries in the series since it began
	began  time.Time     // when the series began
	last   moment        // when the series last sent, or had no need to
	asked  time.Time     // when the question last went out, for any reason
	lastQU moment        // when it last asked for unicast answers
	heard  moment        // when another host last asked it, known answers no more than ours
}

// moment is a time in nanoseconds since the zone was opened; 0 is none. There
// are many questions, and a time.Time takes three times as much.
type moment int64

func (z *zone) moment(t time.Time) moment { return moment(t.Sub(z.opened)) + 1 }

// want is one subscription's interest in a question, in all zones that it
// covers.
type want struct {
	q  Question
	to receiver
}

// receiver gets the events of its questions. It must not block.
type receiver interface {
	receive(Event)
	refreshes() bool // wants to hear OpUpdate
}

// tries returns after how many queries the series ends, 0 for never.
func (a *ask) tries() int {
	n := 0
	for _, w := range a.wants {
		if w.q.Tries == 0 {
			return 0
		}
		n = max(n, w.q.Tries)
	}
	return n
}

// attach adds a subscriber's interest: what is cached is told at once, and a
// series of queries begins unless one is running.
func (z *zone) attach(now time.Time, w *want) {
	s := z.slot(w.q.Name, w.q.Type)
	a := s.ask
	if a == nil {
		a = &ask{slot: s}
		a.asked = z.recent.take(now, a.question())
		s.ask = a
		for _, x := range s.node.slots {
			if x == s || s.typ == dnswire.TypeANY {
				for _, e := range x.entries {
					z.alarms.set(e, e.due(z.phase))
				}
			}
		}
		a.wants = []*want{w}
		z.begin(now, a)
	} else {
		a.wants = append(a.wants, w)
		// A newcomer doesn't wait an hour for a question that found no answer.
		if z.satisfied(s) == no && now.Sub(a.asked) >= firstGap && (a.series.IsZero() || a.series.Sub(now) > firstGap) {
			z.begin(now, a)
		}
	}
	z.replay(now, w)
}

// replay tells a subscriber what is known about its question.
func (z *zone) replay(now time.Time, w *want) {
	s := z.slot(w.q.Name, w.q.Type)
	for _, x := range s.node.slots {
		if x != s && s.typ != dnswire.TypeANY {
			continue
		}
		for _, e := range x.entries {
			w.to.receive(z.event(OpAdd, now, e))
		}
	}
	a := s.ask
	if a == nil {
		return
	}
	if e := z.denial(s); e != nil {
		w.to.receive(z.none(now, a, e))
	}
	if !a.asked.IsZero() {
		w.to.receive(Event{Op: OpAsked, Zone: z.id, Question: a.question(), Unicast: a.lastQU == z.moment(a.asked), Time: a.asked})
	}
}

// retry is called when a subscriber allows more tries: a series that had used
// them up goes on.
func (z *zone) retry(now time.Time, w *want) {
	if n := z.names[string(w.q.Name.Fold())]; n != nil {
		if s := n.slot(w.q.Type); s != nil {
			z.unanswered(now, s, firstGap)
		}
	}
}

// detach takes a subscriber's interest away. The last one ends the queries.
func (z *zone) detach(w *want) {
	n := z.names[string(w.q.Name.Fold())]
	if n == nil {
		return
	}
	s := n.slot(w.q.Type)
	if s == nil || s.ask == nil {
		return
	}
	s.ask.wants = slices.DeleteFunc(s.ask.wants, func(x *want) bool { return x == w })
	if len(s.ask.wants) == 0 {
		z.asks.clear(s.ask)
		z.asking--
		if !s.ask.asked.IsZero() {
			z.recent.put(s.ask.question(), s.ask.asked)
		}
		s.ask = nil
		z.tidy(s)
	}
}

func (a *ask) question() Question { return Question{Name: a.slot.node.name, Type: a.slot.typ} }

// begin starts the question's series of queries, or starts it anew.
func (z *zone) begin(now time.Time, a *ask) {
	if a.began.IsZero() {
		z.asking++
	}
	a.began, a.sent, a.gap, a.last, a.heard = now, 0, 0, 0, 0
	a.series = time.Time{}
	if z.satisfied(a.slot) == no {
		a.series = z.firstAt(now, a.follows())
		// One that was given up and is asked again within a second (§5.2).
		if again := a.asked.Add(firstGap); !a.asked.IsZero() && a.series.Before(again) {
			a.series = again
		}
	}
	z.plan(a)
}

// recent remembers when the questions that nobody waits for any more were
// asked, for a second.
type recent struct {
	asked  map[questionKey]time.Time
	pruned time.Time
}

func (r *recent) put(q Question, asked time.Time) {
	if r.asked == nil {
		r.asked = map[questionKey]time.Time{}
	}
	r.asked[q.key()] = asked
}

// take returns when the question was asked, the zero time if that is long ago.
func (r *recent) take(now time.Time, q Question) time.Time {
	if now.Sub(r.pruned) >= firstGap {
		r.pruned = now
		for k, at := range r.asked {
			if now.Sub(at) >= firstGap {
				delete(r.asked, k)
			}
		}
	}
	at := r.asked[q.key()]
	if now.Sub(at) >= firstGap {
		return time.Time{}
	}
	return at
}

// follows says whether an answer gave rise to the question.
func (a *ask) follows() bool {
	return slices.ContainsFunc(a.wants, func(w *want) bool { return w.q.FollowUp })
}

// firstAt returns the time of a first query. Questions that come at about the
// same time share a packet, and go out in all zones at once: the first answer
// is waited for as long as the wait of the slowest zone.
func (z *zone) firstAt(now time.Time, follows bool) time.Time {
	least, most := firstDelayMin, firstDelayMax
	if follows {
		least, most = followDelayMin, followDelayMax
	}
	if d := z.first.Sub(now); d < firstDelayMin || d > most {
		*z.first = now.Add(least + rand.N(most-least+1))
	}
	return *z.first
}

// plan sets the question's alarm.
func (z *zone) plan(a *ask) {
	if a.series.IsZero() || !z.live {
		z.asks.clear(a)
		return
	}
	z.asks.set(a, a.series)
}

// restart begins every question's series anew: the link came up, or the host
// got an address (RFC 6762 §5.2, §10.3).
func (z *zone) restart(now time.Time) {
	z.fresh, z.live = now, !z.silent
	for _, n := range z.names {
		for _, s := range n.slots {
			if s.ask == nil {
				continue
			}
			a := s.ask
			a.began, a.sent, a.gap, a.heard = now, 0, 0, 0
			a.series = z.firstAt(now, false)
			z.plan(a)
		}
	}
}

type answer uint8

const (
	no     answer = iota // asking goes on
	unique               // an answer that is the only one
	denied               // the owner says that there is none
)

// satisfied says whether the slot's question has the answer that ends its
// series: a unique one, or the owner's word that there is none (RFC 6762 §5.2).
// A question for ANY type never has.
func (z *zone) satisfied(s *slot) answer {
	if s.typ == dnswire.TypeANY {
		return no
	}
	for _, e := range s.entries {
		if e.rr.Flush && !e.dying {
			return unique
		}
	}
	if z.denial(s) != nil {
		return denied
	}
	return no
}

// denial returns the NSEC record that says that the name has no record of the
// slot's type, nil if there is none (RFC 6762 §6.1).
func (z *zone) denial(s *slot) *entry {
	if len(s.entries) > 0 || s.typ == dnswire.TypeANY || s.typ == dnswire.TypeNSEC {
		return nil
	}
	n := s.node.slot(dnswire.TypeNSEC)
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.dying {
			continue
		}
		if _, types, ok := e.rr.NSEC(); ok && !types.Has(s.typ) {
			return e
		}
	}
	return nil
}

// answered is called when a unique record of the slot was heard: that ends the
// series until the record is at 80 % of its TTL (RFC 6762 §5.2).
func (z *zone) answered(s *slot) {
	if a := s.ask; a != nil && !a.series.IsZero() {
		a.series = time.Time{}
		z.plan(a)
	}
}

// unanswered is called when a record was removed: the series goes on after gap
// if nothing is left that stopped it.
func (z *zone) unanswered(now time.Time, s *slot, gap time.Duration) {
	a := s.ask
	if a == nil || !a.series.IsZero() || z.satisfied(s) != no {
		return
	}
	if t := a.tries(); t > 0 && a.sent >= t {
		return
	}
	// The last refresh has just gone unanswered; so the first query of the new
	// series counts as sent.
	a.began, a.sent, a.gap, a.last = now, 1, gap, z.moment(now)
	a.series = now.Add(a.gap)
	z.plan(a)
}

// collect marks the question to go out now, unless another host has just asked
// it for us (RFC 6762 §7.3).
func (z *zone) collect(now time.Time, a *ask, within time.Duration) {
	if a.slot.due || !z.live {
		return
	}
	// It went out less than a second ago, for another reason (§5.2).
	if !a.asked.IsZero() && now.Sub(a.asked) < firstGap && !a.asked.Before(a.began) {
		return
	}
	if a.heard != 0 && z.moment(now)-a.heard <= moment(within) && a.heard >= z.moment(a.began) {
		a.heard = 0
		a.asked = now
		z.stats.suppressed.Add(1)
		z.tellAsked(now, a)
		return
	}
	z.collectNow(a.slot)
}

// collectNow marks the slot's question to go out now.
func (z *zone) collectNow(s *slot) {
	if !s.due {
		s.due = true
		z.batch = append(z.batch, s)
	}
}

func (z *zone) tellAsked(now time.Time, a *ask) {
	for _, w := range a.wants {
		w.to.receive(Event{Op: OpAsked, Zone: z.id, Question: a.question(), Unicast: a.lastQU == z.moment(now), Time: now})
	}
}

// next moves the series on after its turn came at now.
func (z *zone) next(now time.Time, a *ask) {
	a.sent++
	switch {
	case a.sent == 1:
		a.gap = firstGap
	default:
		// At least twice the gap that really was, if the timer was late.
		a.gap = min(max(2*a.gap, 2*time.Duration(z.moment(now)-a.last)), maxGap)
	}
	a.last = z.moment(now)
	a.series = now.Add(a.gap)
	if t := a.tries(); t > 0 && a.sent >= t {
		a.series = time.Time{}
	}
	z.plan(a)
}
