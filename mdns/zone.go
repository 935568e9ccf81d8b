package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

// zone is the state of one link and address family: its cache and its
// questions. It is told the time and does no I/O: what it wants sent is in out.
type zone struct {
	id    Zone
	link  packet.Link
	stats *counters
	// observe gets every change of the cache; it may be nil.
	observe func(Event)
	// own calls yield for each record that this host publishes in the zone under
	// a folded name, of a type or of TypeANY.
	own func(key string, t dnswire.Type, yield func(dnswire.RR))
	// unicast says that queries may ask for unicast answers: no other program
	// on this host could get them in our place (RFC 6762 §15.1).
	unicast bool

	silent bool // nothing is ever sent

	cache
	asks   alarms[*ask]
	recent recent
	checks alarms[*check]
	asking int  // number of questions
	live   bool // there is a socket to ask on

	opened time.Time
	phase  time.Time  // of the grid that refresh queries fall on
	fresh  time.Time  // when the zone opened, zero after its first queries
	first  *time.Time // when first queries go out that are being collected; all zones of an engine share it
	lastQU time.Time

	batch   []*slot // whose questions are due
	builder dnswire.Builder
	buffer  []byte
	out     [][]byte

	key     []byte
	listing uint32 // counts the queries whose known answers were marked
	flushed []*slot
	memos   memos
	items   []memoItem // of the response at hand
}

func newZone(now time.Time, id Zone, link packet.Link, stats *counters, maxRecords, maxPerSource int) *zone {
	return &zone{
		id: id, link: link, stats: stats, cache: newCache(maxRecords, maxPerSource),
		opened: now, phase: now.Add(-time.Hour), fresh: now, first: new(time.Time),
	}
}

func (z *zone) event(op Op, now time.Time, e *entry) Event {
	return Event{Op: op, Zone: z.id, RR: e.rr, Source: e.from.addr, Time: now, Expires: e.expires}
}

func (z *zone) none(now time.Time, a *ask, nsec *entry) Event {
	ev := z.event(OpNone, now, nsec)
	ev.Question = a.question()
	return ev
}

// tell gives the change of a record to everybody who wants to know.
func (z *zone) tell(op Op, now time.Time, e *entry) {
	any := e.slot.node.slot(dnswire.TypeANY)
	if e.slot.ask == nil && (any == nil || any.ask == nil) && z.observe == nil {
		return
	}
	ev := z.event(op, now, e)
	if z.observe != nil {
		z.observe(ev)
	}
	for _, s := range [2]*slot{e.slot, any} {
		if s == nil || s.ask == nil {
			continue
		}
		for _, w := range s.ask.wants {
			if op != OpUpdate || w.to.refreshes() {
				w.to.receive(ev)
			}
		}
	}
}

// nextAlarm returns when advance is to be called, the zero time for never.
func (z *zone) nextAlarm() time.Time {
	var next time.Time
	for _, at := range [...]time.Time{z.alarms.next(), z.asks.next(), z.checks.next()} {
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// advance does what is due at now: records whose time ran out are removed,
// questions whose turn it is are put into z.out.
func (z *zone) advance(now time.Time) {
	for len(z.alarms) > 0 && !z.alarms[0].at.After(now) {
		e := z.alarms[0]
		if !e.expires.After(now) {
			z.expire(now, e, firstGap)
			continue
		}
		if e.doubt.over(now) {
			z.fail(now, e)
			continue
		}
		due := false
		for e.step < refreshSteps && !e.dying && !e.refreshAt(e.step, z.phase).After(now) {
			e.step++
			due = true
		}
		if due {
			z.refresh(now, e.slot)
		}
		z.alarms.set(e, e.due(z.phase))
	}
	for len(z.asks) > 0 && !z.asks[0].at.After(now) {
		a := z.asks[0]
		z.collect(now, a, max(a.gap/2, firstDelayMax))
		z.next(now, a)
	}
	for len(z.checks) > 0 && !z.checks[0].at.After(now) {
		z.nextCheck(now, z.checks[0])
	}
	if len(z.batch) > 0 {
		z.build(now)
	}
}

// refresh asks for the slot's records again if somebody wants them.
func (z *zone) refresh(now time.Time, s *slot) {
	if s.ask != nil {
		z.collect(now, s.ask, suppressWindow)
	} else if a := s.node.slot(dnswire.TypeANY); a != nil && a.ask != nil {
		z.collect(now, a.ask, suppressWindow)
	}
}

// expire removes a record and says so. If somebody asks for it, the question
// goes out after rest.
func (z *zone) expire(now time.Time, e *entry, rest time.Duration) {
	z.tell(OpRemove, now, e)
	s := e.slot
	z.remove(e)
	if s.typ == dnswire.TypeNSEC {
		for _, x := range s.node.slots {
			z.unanswered(now, x, rest)
		}
	} else {
		z.unanswered(now, s, rest)
	}
	z.tidy(s)
}

// doubt is called when the link lost its carrier or the host slept: what was
// heard before is only believed a little longer (RFC 6762 §10.3).
func (z *zone) doubt(now time.Time) {
	for _, e := range z.records {
		z.cut(e, now.Add(doubtGrace))
	}
}

// doubtGrace is how long records outlive the carrier of their link: long enough
// for a link that flaps to hear them again.
const doubtGrace = 5 * time.Second

// stop is called when the zone's socket was closed: nothing is asked until
// restart.
func (z *zone) stop() {
	z.live = false
	for len(z.asks) > 0 {
		z.asks.clear(z.asks[0])
	}
}

// forget removes every record at once.
func (z *zone) forget(now time.Time) {
	for _, e := range z.records {
		z.tell(OpRemove, now, e)
		z.remove(e)
	}
	clear(z.names)
	z.asks, z.checks, z.asking = nil, nil, 0
}
