package mdns

import (
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// failTime is how long a record that is doubted has to be heard again
	// (RFC 6762 §10.4, §10.5).
	failTime = 10 * time.Second
	// checkTries is how often a doubted record is asked for, after 0, 1, 3 and
	// 7 seconds (§10.4 wants two queries or more; packets get lost).
	checkTries = 4
	// checkNeeds is how many of these queries a record must get.
	checkNeeds = 2
	// checkPause is the least time from one series of such queries to the next.
	checkPause = 5 * time.Second
	// checkRest is when the question is asked next after its series found
	// nothing: the doubling goes on (§5.2).
	checkRest = 8 * time.Second
	// maxChecks bounds the questions in each zone that reconfirm records.
	maxChecks = 512
	// maxHints bounds what waits to be reconfirmed.
	maxHints = 1024
)

// hint is a record that didn't work for somebody.
type hint struct {
	zone Zone
	rr   dnswire.RR
}

// Reconfirm tells the engine that a record didn't work for who used it: an
// address that can't be reached, a port that refuses, an instance that can't be
// resolved (RFC 6762 §10.4). The engine asks for it again, and if nobody
// says within ten seconds that it is still true, it is removed. What the record
// leads to is doubted with it: the SRV and TXT records of the instance that a
// PTR record names, the addresses of the host that an SRV record names.
//
// Link and Family of z narrow this to zones; zero values mean all. Of rr only
// the name, the type and the data count; without data it stands for all
// records of its name and type. One that isn't in the cache has no effect. It
// may be called as often as one likes: a record is asked for at most four times
// in ten seconds for all who doubt it. Observers and subscriptions with
// Refreshes get an OpUpdate when a doubted record is heard, and everybody an OpRemove
// when it is not.
func (e *Engine) Reconfirm(z Zone, rr dnswire.RR) {
	rr.Class, rr.Flush, rr.TTL = dnswire.ClassIN, false, 0
	h := hint{Zone{Link: z.Link, Family: z.Family}, rr.Fold()}
	e.mu.Lock()
	first := len(e.hints) == 0
	_, known := e.hints[h]
	full := len(e.hints) >= maxHints && !known
	if !full {
		if e.hints == nil {
			e.hints = map[hint]struct{}{}
		}
		e.hints[h] = struct{}{}
	}
	e.mu.Unlock()
	switch {
	case full:
		e.stats.drop(dropHint, 1)
	case first:
		e.post(func(c *core) { c.reconfirm(time.Now()) })
	}
}

// reconfirm takes over the hints that came.
func (c *core) reconfirm(now time.Time) {
	c.engine.mu.Lock()
	hints := c.engine.hints
	c.engine.hints = nil
	c.engine.mu.Unlock()
	for h := range hints {
		q := Question{Link: h.zone.Link, Family: h.zone.Family}
		for _, p := range c.places {
			if q.in(p.zone.id) {
				p.zone.reconfirm(now, h.rr)
			}
		}
	}
}

// doubt is why a record may not be true any more.
type doubt struct {
	// until is when the record goes if it isn't heard before, zero for not yet.
	until  time.Time
	missed uint8 // others' questions that it is an answer to, and nobody gave it
	hinted bool  // it didn't work for somebody
	asked  bool  // so we ask for it, too
}

// over says whether the record's time to be heard again is over.
func (d *doubt) over(now time.Time) bool { return d != nil && !d.until.IsZero() && !d.until.After(now) }

// doomed says whether the record goes unless it is heard.
func (e *entry) doomed() bool { return e.doubt != nil && !e.doubt.until.IsZero() }

// doom gives the record until at to be heard again.
func (z *zone) doom(e *entry, at time.Time) {
	if e.doubt.until.IsZero() || at.Before(e.doubt.until) {
		e.doubt.until = at
	}
	if at.Before(e.at) {
		z.alarms.set(e, at)
	}
}

// trust is called when a doubted record was heard.
func (z *zone) trust(now time.Time, e *entry) {
	hinted := e.doubt.hinted
	e.doubt = nil
	if hinted {
		e.told = e.expires
		z.tell(OpUpdate, now, e)
	}
}

// fail removes a doubted record that nobody confirmed.
func (z *zone) fail(now time.Time, e *entry) {
	rest := checkRest
	if e.doubt.asked {
		z.stats.unconfirmed.Add(1)
	} else {
		z.stats.unanswered.Add(1)
		rest = observedRest
	}
	z.expire(now, e, rest)
}

// reconfirm doubts the record, or all of its name and type if it has no data.
func (z *zone) reconfirm(now time.Time, rr dnswire.RR) {
	if rr.Data != "" {
		if e := z.records[keyOf(rr)]; e != nil {
			z.hinted(now, e)
		}
		return
	}
	z.hintedAll(now, rr.Name, rr.Type)
}

func (z *zone) hintedAll(now time.Time, name dnswire.Name, t dnswire.Type) {
	n := z.names[string(name.Fold())]
	if n == nil {
		return
	}
	if s := n.slot(t); s != nil {
		for _, e := range s.entries {
			z.hinted(now, e)
		}
	}
}

// hinted is called when a record didn't work for somebody, or what leads to it
// didn't. A PTR record leads to SRV and TXT records and these to addresses:
// it ends there.
func (z *zone) hinted(now time.Time, e *entry) {
	if e.dying || e.doubt != nil && e.doubt.hinted {
		return
	}
	if z.silent {
		// Nothing can be asked. The hint is worth a question of another host
		// that found no answer.
		z.doubted(e).hinted = true
		z.unheard(now, e)
	} else if until := z.check(now, e.slot); !until.IsZero() {
		d := z.doubted(e)
		d.hinted, d.asked = true, true
		z.doom(e, until)
	} else {
		return
	}
	switch e.slot.typ {
	case dnswire.TypePTR:
		if instance, ok := e.rr.PTR(); ok {
			z.hintedAll(now, instance, dnswire.TypeSRV)
			z.hintedAll(now, instance, dnswire.TypeTXT)
		}
	case dnswire.TypeSRV:
		if srv, ok := e.rr.SRV(); ok {
			z.hintedAll(now, srv.Target, dnswire.TypeA)
			z.hintedAll(now, srv.Target, dnswire.TypeAAAA)
		}
	}
}

func (z *zone) doubted(e *entry) *doubt {
	if e.doubt == nil {
		e.doubt = new(doubt)
	}
	return e.doubt
}

// check is a series of queries for the doubted records of a slot. It stays for a
// while when it is over, so that the next can't follow too soon.
type check struct {
	alarm
	slot  *slot
	began time.Time
	last  time.Time // query, zero before the first
	sent  int       // queries
}

// check sees to it that the slot's question is asked at least twice, and
// returns until when there must have been an answer. The zero time means that
// it can't be asked.
func (z *zone) check(now time.Time, s *slot) time.Time {
	if !z.live {
		return time.Time{}
	}
	c := s.check
	switch {
	case c == nil && len(z.checks) >= maxChecks:
		z.stats.drop(dropHint, 1)
		return time.Time{}
	case c == nil:
		c = &check{slot: s}
		s.check = c
		z.startCheck(now, c, now)
	case checkTries-c.sent < checkNeeds:
		z.startCheck(now, c, c.began.Add(checkPause))
	case !c.began.After(now) && !z.checking(s): // a series that was ended by an answer
		z.startCheck(now, c, c.began.Add(checkPause))
	}
	return latest(now, c.began).Add(failTime)
}

// startCheck plans a series of queries, the first no earlier than at and no
// sooner than a second after the question was last asked (RFC 6762 §5.2).
func (z *zone) startCheck(now time.Time, c *check, at time.Time) {
	last := c.last
	if c.slot.ask != nil {
		last = latest(last, c.slot.ask.asked)
	}
	c.began = latest(z.firstAt(now, false), latest(at, last.Add(firstGap)))
	c.sent = 0
	z.checks.set(c, c.began)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// checking says whether a record of the slot waits to be confirmed by our
// queries.
func (z *zone) checking(s *slot) bool {
	return s.check != nil && slices.ContainsFunc(s.entries, func(e *entry) bool { return e.doubt != nil && e.doubt.asked })
}

// nextCheck does what is due about a check.
func (z *zone) nextCheck(now time.Time, c *check) {
	over := latest(c.began.Add(checkPause), c.last.Add(firstGap))
	// Those who ask may have had it asked since, in a series of their own (§5.2).
	var again time.Time
	if a := c.slot.ask; a != nil {
		again = a.asked.Add(firstGap)
	}
	switch asks := c.sent < checkTries && z.live && z.checking(c.slot); {
	case asks && again.After(now):
		z.checks.set(c, again)
	case asks:
		z.collectNow(c.slot)
		z.checks.set(c, now.Add(firstGap<<c.sent))
		c.last = now
		c.sent++
	case over.After(now):
		z.checks.set(c, over)
	default:
		z.endCheck(c)
	}
}

func (z *zone) endCheck(c *check) {
	z.checks.clear(c)
	c.slot.check = nil
	z.tidy(c.slot)
}

// keyOf returns the key of a record that didn't come off the wire: see
// recordKey.
func keyOf(rr dnswire.RR) string {
	head := string(rr.Name.Fold()) + string([]byte{byte(rr.Type >> 8), byte(rr.Type)})
	if srv, ok := rr.SRV(); ok {
		return head + rr.Data[:6] + string(srv.Target.Fold())
	}
	if target, ok := rr.Target(); ok {
		return head + string(target.Fold())
	}
	return head + rr.Data
}
