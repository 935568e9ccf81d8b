package unicast

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Bounds of what is kept and of how often is asked.
const (
	// DefaultMinTTL is for how long an answer holds at least. A TTL of 0, which
	// dnsmasq gives, would have every question asked again and again.
	DefaultMinTTL = 10 * time.Second
	// DefaultStale is for how long an answer is kept beyond its time while no
	// server gives another (RFC 8767 §5 recommends one to three days).
	DefaultStale = 24 * time.Hour
	// maxTTL and maxNegative are for how long one holds at most (RFC 2308 §5
	// recommends one to three hours for the latter).
	maxTTL      = 24 * time.Hour
	maxNegative = time.Hour
	// firstBackoff is the pause after a failure; it doubles up to maxBackoff, or
	// silentBackoff where no server says anything: then one question at a time is
	// asked anyway, and a server that comes back is noticed soon.
	firstBackoff  = time.Second
	maxBackoff    = 5 * time.Minute
	silentBackoff = 30 * time.Second
	// maxQuestions bounds the cache, and maxBytes the records in it.
	maxQuestions = 1 << 15
	maxBytes     = 32 << 20
	// maxFlights is how many queries are under way at a time.
	maxFlights = 32
	// burst queries may go out at once, then perSecond of them each second.
	burst     = 4096
	perSecond = 100
)

// key is what is asked, the name folded.
type key struct {
	name dnswire.Name
	typ  dnswire.Type
}

// user gets the events of a question.
type user interface {
	receive(mdns.Event)
	refreshes() bool
}

// interest is why a user wants an answer.
type interest struct {
	// questions differ in Link and Family, which mean nothing here. Their Tries
	// are the values.
	questions map[mdns.Question]int
	// waits says that the user wasn't told what is known, since that only came along
	// with another answer.
	waits bool
}

// entry is one question and what is known about it.
type entry struct {
	key   key
	name  dnswire.Name       // as it was first asked for
	users map[user]*interest // who wants the answer

	known    bool         // there is an answer that holds
	records  []dnswire.RR // none: a negative one
	none     error        // why there are none
	failure  error        // why the last question wasn't answered, nil if it was
	origin   origin
	size     int       // of the records, in bytes
	heard    time.Time // when it came
	expires  time.Time
	ranOut   time.Time // when its time ran out, if it is kept since no server says anything new
	source   netip.Addr
	next     time.Time // when to ask, the zero time for never
	ready    bool      // its turn has come
	urgent   bool      // somebody has just asked, and waits for more than a refresh
	flying   bool
	landed   time.Time // when it last was
	failures int
	place    int // in the heap
}

// due is when something happens to the entry.
func (e *entry) due() time.Time {
	if e.flying {
		return time.Time{} // an answer that is on its way may come late
	}
	switch {
	case !e.known && e.ready:
		return time.Time{}
	case !e.known, !e.ready && !e.next.IsZero() && e.next.Before(e.expires):
		return e.next
	}
	return e.expires
}

// cache holds what is asked and what was answered. It is told the time.
type cache struct {
	minTTL  time.Duration
	stale   time.Duration // for how long an answer is kept whose time ran out
	entries map[key]*entry
	queue   queue
	ready   []*entry // whose turn has come, the longest waiting first, and some that need it no more
	down    bool     // no server said anything to the last question
	idle    int      // entries that nobody wants
	bytes   int
	flights int
	tokens  float64
	filled  time.Time
	refused uint64 // questions that found no room
	spared  uint64 // questions whose answer came along with another
}

func newCache(minTTL, stale time.Duration) *cache {
	if minTTL <= 0 {
		minTTL = DefaultMinTTL
	}
	if stale == 0 {
		stale = DefaultStale
	}
	return &cache{minTTL: minTTL, stale: stale, entries: map[key]*entry{}, tokens: burst}
}

// want begins to ask for a user. What is known is told at once.
func (c *cache) want(now time.Time, u user, q mdns.Question) {
	k := key{q.Name.Fold(), q.Type}
	e := c.entries[k]
	if e != nil && e.known && !e.flying && !e.expires.After(now) {
		c.expire(now, e)
		e = c.entries[k]
	}
	fresh := e == nil
	if fresh {
		if len(c.entries) >= maxQuestions && !c.evict(nil) {
			c.refused++
			u.receive(mdns.Event{Op: mdns.OpFailed, Question: q, Time: now, Err: errFull})
			return
		}
		e = &entry{key: k, name: q.Name, users: map[user]*interest{}, place: -1}
		c.entries[k] = e
	}
	why, again := e.users[u]
	if !again {
		if len(e.users) == 0 && !fresh {
			c.idle--
		}
		why = &interest{questions: map[mdns.Question]int{}}
		e.users[u] = why
	}
	// What came along serves the questions that answers give rise to. Whoever asks
	// for it itself gets the server's answer to that (RFC 2181 §5.4.1).
	known := e.known && (e.origin == direct || q.FollowUp)
	tries := q.Tries
	q.Name, q.Tries = k.name, 0
	why.questions[q] = tries
	switch {
	case known && (!again || why.waits):
		if e.origin == came && len(e.users) == 1 {
			c.spared++
		}
		why.waits = false
		c.replay(now, e, u)
		if !e.ranOut.IsZero() && e.failure != nil {
			u.receive(mdns.Event{Op: mdns.OpFailed, Question: q, Time: now, Err: e.failure})
		}
	case !again:
		why.waits = e.known
	}
	switch {
	case e.flying || e.ready:
	case known && e.expires.After(now):
		soon := e.next
		c.schedule(now, e)
		if !soon.IsZero() && soon.Before(e.next) {
			e.next = soon // a doubted answer stays doubted
		}
	case e.failures > 0 && e.next.After(now):
		u.receive(mdns.Event{Op: mdns.OpFailed, Question: q, Time: now, Err: e.failure})
	default:
		e.next, e.urgent = now, true
	}
	c.fix(e)
}

// replay tells a user what is known about a question.
func (c *cache) replay(now time.Time, e *entry, u user) {
	for _, rr := range e.records {
		u.receive(e.event(now, mdns.OpAdd, rr))
	}
	if len(e.records) == 0 {
		u.receive(e.event(now, mdns.OpNone, dnswire.RR{}))
	}
	u.receive(e.event(now, mdns.OpAnswered, dnswire.RR{}))
}

// forget takes a question of a user back.
func (c *cache) forget(u user, q mdns.Question) {
	e := c.entries[key{q.Name.Fold(), q.Type}]
	if e == nil || e.users[u] == nil {
		return
	}
	q.Name, q.Tries = e.key.name, 0
	delete(e.users[u].questions, q)
	if len(e.users[u].questions) == 0 {
		c.leave(e, u)
	}
}

// leave notes that a user wants nothing of an entry. What nobody wants stays
// until it runs out, and isn't asked for.
func (c *cache) leave(e *entry, u user) {
	delete(e.users, u)
	if len(e.users) > 0 {
		return
	}
	c.idle++
	e.next, e.ready = time.Time{}, false
	if !e.known && !e.flying {
		c.drop(e)
		return
	}
	c.fix(e)
}

// drop forgets an entry that nobody wants.
func (c *cache) drop(e *entry) {
	delete(c.entries, e.key)
	c.idle--
	c.bytes -= e.size
	e.size, e.known, e.ready, e.next = 0, false, false, time.Time{}
	c.fix(e)
}

// evict makes room by dropping an answer that nobody wants, but for one: of some
// that are looked at the one that runs out first.
func (c *cache) evict(but *entry) bool {
	const looks = 32
	var worst *entry
	seen := 0
	for _, e := range c.entries {
		if c.idle == 0 || seen >= looks {
			break
		}
		if len(e.users) > 0 || e.flying || e == but {
			continue
		}
		seen++
		if worst == nil || e.expires.Before(worst.expires) {
			worst = e
		}
	}
	if worst == nil {
		return false
	}
	c.drop(worst)
	return true
}

// advance does what is due, returns the questions to ask now, and when there will
// be more to do, the zero time for never. Each that is returned must come back by
// answered, failed or aborted.
func (c *cache) advance(now time.Time) (ask []*entry, wake time.Time) {
	c.tokens = min(burst, c.tokens+now.Sub(c.filled).Seconds()*perSecond)
	c.filled = now
	for len(c.queue) > 0 && !c.queue[0].due().After(now) {
		e := c.queue[0]
		if e.known && !e.expires.After(now) {
			c.expire(now, e)
			continue
		}
		c.line(e)
	}
	if len(c.queue) > 0 {
		wake = c.queue[0].due()
	}
	for len(c.ready) > 0 && c.flights < c.most(c.ready[0]) { // else the end of one wakes us
		if c.tokens < 1 {
			if at := now.Add(time.Second / perSecond); wake.IsZero() || at.Before(wake) {
				wake = at
			}
			break
		}
		e := c.ready[0]
		c.ready[0], c.ready = nil, c.ready[1:]
		if !e.ready {
			continue // nobody wants it any more, or it came along with another answer
		}
		c.tokens--
		c.flights++
		e.flying, e.ready, e.urgent = true, false, false
		c.fix(e)
		ask = append(ask, e)
		for u, why := range e.users {
			for q := range why.questions {
				u.receive(mdns.Event{Op: mdns.OpAsked, Question: q, Unicast: true, Time: now})
			}
		}
	}
	return ask, wake
}

// line puts an entry in line for its turn. While no server says anything what is
// tried again doesn't hold up who has just asked.
func (c *cache) line(e *entry) {
	if len(c.ready) > 2*len(c.entries) {
		c.ready = slices.DeleteFunc(c.ready, func(e *entry) bool { return !e.ready })
	}
	e.ready = true
	at := len(c.ready)
	if c.down && e.urgent {
		at = 0
	}
	c.ready = slices.Insert(c.ready, at, e)
	c.fix(e)
}

// most returns how many queries may be under way when it is an entry's turn. While no
// server says anything one at a time is enough to learn when that changes.
func (c *cache) most(e *entry) int {
	if c.down && !e.urgent {
		return 1
	}
	return maxFlights
}

// spoke takes note that a server said something. What was asked in vain while none
// did is asked again now.
func (c *cache) spoke(now time.Time) {
	if !c.down {
		return
	}
	c.down = false
	for _, e := range c.entries {
		if e.failures > 0 && len(e.users) > 0 && !e.flying && !e.ready {
			e.next = now
			c.fix(e)
		}
	}
}

// staleStep is for how long an answer holds whose time ran out, before that is
// looked at again (RFC 8767 §5).
const staleStep = 30 * time.Second

// keep says whether an answer whose time has run out is kept: until a server says
// something else, within bounds (RFC 8767).
func (c *cache) keep(now time.Time, e *entry) bool {
	if len(e.users) == 0 || len(e.records) == 0 {
		return false
	}
	if e.ranOut.IsZero() {
		e.ranOut = e.expires
	}
	end := e.ranOut.Add(c.stale)
	if !end.After(now) {
		return false
	}
	e.expires = now.Add(staleStep)
	if end.Before(e.expires) {
		e.expires = end
	}
	if e.failures == 0 && !e.ready {
		e.next = now // it wasn't asked for in time
	}
	return true
}

// expire takes note that an answer's time has run out.
func (c *cache) expire(now time.Time, e *entry) {
	if c.keep(now, e) {
		c.fix(e)
		return
	}
	gone := e.records
	e.known, e.records, e.ranOut = false, nil, time.Time{}
	c.bytes -= e.size
	e.size = 0
	for _, rr := range gone {
		c.tell(e, e.event(now, mdns.OpRemove, rr))
	}
	e.told()
	if len(e.users) == 0 {
		c.drop(e)
		return
	}
	if e.next.IsZero() {
		e.next = now
	}
	c.fix(e)
}

func (c *cache) land(now time.Time, e *entry) {
	e.flying, e.landed = false, now
	c.flights--
}

// answered takes in what the servers said. Records that they no longer have
// are gone.
func (c *cache) answered(now time.Time, e *entry, a answer) {
	c.land(now, e)
	c.spoke(now)
	c.take(now, e, a, direct)
	for _, x := range a.along {
		c.takeAlong(now, a.server, x)
	}
}

// sizeOf returns what records take in the cache, in bytes.
func sizeOf(records []dnswire.RR) int {
	size := 0
	for _, rr := range records {
		size += len(rr.Name) + len(rr.Data) + 64
	}
	return size
}

// take takes in an answer and tells what it changes.
func (c *cache) take(now time.Time, e *entry, a answer, how origin) {
	size := sizeOf(a.records)
	for c.bytes-e.size+size > maxBytes && c.evict(e) {
	}
	if c.bytes-e.size+size > maxBytes {
		c.refused++
		a, size = answer{verdict: noData, ttl: maxNegative, server: a.server}, 0
	}
	was, wasKnown := e.records, e.known && e.origin != guessed
	e.origin, e.ready = how, false
	gone := make(map[dnswire.RR]bool, len(was))
	for _, rr := range was {
		gone[identity(rr)] = true
	}
	e.failures, e.failure, e.known, e.records, e.none, e.source = 0, nil, true, nil, a.none(), a.server.Addr()
	life := c.lifetime(a)
	e.heard, e.expires, e.ranOut = now, now.Add(life), time.Time{}
	has := make(map[dnswire.RR]bool, len(a.records))
	for _, rr := range a.records {
		id := identity(rr)
		if has[id] {
			continue
		}
		has[id] = true
		rr.TTL = uint32(life / time.Second)
		e.records = append(e.records, rr)
		op := mdns.OpAdd
		if gone[id] {
			op = mdns.OpUpdate
			delete(gone, id)
		}
		c.tell(e, e.event(now, op, rr))
	}
	for _, rr := range was {
		if gone[identity(rr)] {
			c.tell(e, e.event(now, mdns.OpRemove, rr))
		}
	}
	if len(e.records) == 0 && (!wasKnown || len(was) > 0) {
		c.tell(e, e.event(now, mdns.OpNone, dnswire.RR{}))
	}
	c.tell(e, e.event(now, mdns.OpAnswered, dnswire.RR{}))
	e.told()
	c.bytes += size - e.size
	e.size = size
	c.schedule(now, e)
	c.fix(e)
}

// identity is the same for two records that say the same.
func identity(rr dnswire.RR) dnswire.RR {
	rr = rr.Fold()
	rr.TTL = 0
	return rr
}

// lifetime is for how long an answer holds.
func (c *cache) lifetime(a answer) time.Duration {
	most := maxTTL
	if a.verdict != found {
		most = maxNegative
	}
	return max(min(a.ttl, most), c.minTTL)
}

// schedule decides when a question is asked again: between 80 and 90 % of its
// lifetime, so that there is time for a second try; a negative answer just when
// it runs out, and not for users that wanted it just a few times. What was guessed is
// asked for soon.
func (c *cache) schedule(now time.Time, e *entry) {
	e.next = time.Time{}
	if len(e.users) == 0 || e.flying || !e.known {
		return
	}
	left := e.expires.Sub(now)
	share := rand.Float64()
	switch {
	case e.origin == guessed:
		e.next = now.Add(laterLeast + time.Duration(share*float64(laterSpread)))
	case len(e.records) > 0 && e.origin == came:
		// Before that it comes along again with what it came with.
		e.next = now.Add(time.Duration((0.92 + 0.04*share) * float64(left)))
	case len(e.records) > 0:
		e.next = now.Add(time.Duration((0.8 + 0.1*share) * float64(left)))
	case e.wantedOn():
		e.next = e.expires
	default:
		e.next = e.expires.Add(maxTTL) // when somebody else wants it, at once
	}
}

// wantedOn says whether some user wants to know for as long as it asks.
func (e *entry) wantedOn() bool {
	for _, why := range e.users {
		for _, tries := range why.questions {
			if tries == 0 {
				return true
			}
		}
	}
	return false
}

// failed takes in that no server answered. What is known is kept.
func (c *cache) failed(now time.Time, e *entry, why error) {
	c.land(now, e)
	e.failure = why
	most := maxBackoff
	if errors.Is(why, dnssd.ErrTimeout) {
		c.down, most = true, silentBackoff
	} else {
		c.spoke(now)
	}
	pause := min(firstBackoff<<min(e.failures, 16), most)
	e.failures++
	e.next = now.Add(time.Duration((0.75 + rand.Float64()/2) * float64(pause)))
	for u, x := range e.users {
		for q := range x.questions {
			u.receive(mdns.Event{Op: mdns.OpFailed, Question: q, Time: now, Err: why})
		}
	}
	c.settle(e)
}

// aborted takes in that a question was not asked to its end.
func (c *cache) aborted(now time.Time, e *entry) {
	c.land(now, e)
	e.next = now
	c.settle(e)
}

// settle lets go of an entry that nobody wants and that holds nothing.
func (c *cache) settle(e *entry) {
	if len(e.users) == 0 {
		e.next = time.Time{}
		if !e.known {
			c.drop(e)
			return
		}
	}
	c.fix(e)
}

// tell hands an event to all that want it. Who wasn't told of a record before hears of a new one.
func (c *cache) tell(e *entry, ev mdns.Event) {
	for u, why := range e.users {
		x := ev
		switch {
		case why.waits && ev.Op == mdns.OpRemove:
			continue
		case why.waits && ev.Op == mdns.OpUpdate:
			x.Op = mdns.OpAdd
		case ev.Op == mdns.OpUpdate && !u.refreshes():
			continue
		}
		u.receive(x)
	}
}

// told notes that all users know what is known.
func (e *entry) told() {
	for _, why := range e.users {
		why.waits = false
	}
}

func (e *entry) event(now time.Time, op mdns.Op, rr dnswire.RR) mdns.Event {
	ev := mdns.Event{Op: op, RR: rr, Source: e.source, Time: now, Expires: e.expires}
	if op == mdns.OpNone || op == mdns.OpAnswered {
		ev.Question, ev.Err = mdns.Question{Name: e.name, Type: e.key.typ}, e.none
	}
	return ev
}
