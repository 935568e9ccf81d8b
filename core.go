package lanfolk

import (
	"slices"
	"time"
)

// limits are the bounds and times that the core keeps to.
type limits struct {
	sightings, perSource, devices int
	retention, serviceRetention   time.Duration
	answered4, answered6          int // addresses that a MAC may answer for and not have
}

// tombstone is how long a goodbye is remembered, so that a packet from before
// it, which another reader brings late, revives nothing.
const tombstone = 10 * time.Second

// core is the inventory's state. It is told the time, does no I/O and starts
// no goroutine; but for the ids of new devices it depends on nothing else.
//
// A step applies changes to facts, then settles: facts with new identifiers
// are placed into devices, then what that shook is joined anew. A step ends by
// draining: the events are what differs from the pictures made before.
type core struct {
	interner
	limits
	newID      func() string
	vendor     func(MAC) string
	classifier Classifier // nil for none

	now   int64
	step  uint32
	epoch uint32
	facts table[fact]
	hand  int // where eviction looked last

	devices map[string]*device // by id, those merged into others too
	order   []*device          // in order of their making; nil where one was forgotten
	holes   int
	handDev int
	nobody  device // holds the services that name no device

	pending []*fact  // placed by settle
	seeds   []*fact  // joined anew by settle
	shaken  []*ident // of which retie looks at the ties
	macs    []*ident // scratch of retie
	answers map[*ident]*answers
	turned  []*fact   // of which reveal looks whether their address counts
	emptied []*device // may have lost their last live fact
	timers  timers

	// What drain makes events of. Nobody watching, nothing is kept.
	watching bool
	touched  []*device
	removed  []*Device

	// What the next batch for the sink holds. Nobody saving, nothing is kept.
	saving         bool
	unsavedFacts   []*fact
	unsavedDevices []*device
	ended          map[ID]struct{}
	forgotten      map[string]struct{}

	stats   Stats
	scratch []byte
	join    joiner
	reached int // facts that were joined anew, all in all
}

func newCore(l limits, newID func() string, vendor func(MAC) string) *core {
	c := &core{
		interner: newInterner(), limits: l, newID: newID, vendor: vendor,
		devices: map[string]*device{}, answers: map[*ident]*answers{}, ended: map[ID]struct{}{}, forgotten: map[string]struct{}{},
	}
	c.nobody.nameless = true
	return c
}

// observe takes sightings and returns what they changed.
func (c *core) observe(now time.Time, s ...Sighting) []Event {
	c.advance(now)
	for i := range s {
		c.apply(&s[i])
	}
	c.settle()
	return c.drain()
}

// expire ends what has run out at now and returns what that changed.
func (c *core) expire(now time.Time) []Event {
	c.advance(now)
	c.runTimers()
	c.settle()
	return c.drain()
}

// next returns the time at which expire has something to do at the earliest,
// the zero time when nothing can run out.
func (c *core) next() time.Time {
	if len(c.timers) == 0 {
		return time.Time{}
	}
	return timeOf(c.timers[0].at)
}

// advance sets the clock, which never goes back, and begins a step.
func (c *core) advance(now time.Time) {
	c.now = max(c.now, nanos(now))
	c.step++
}

// apply takes one sighting as far as its fact; settle does the rest.
func (c *core) apply(s *Sighting) {
	c.stats.Observed++
	switch {
	case s.Origin.Self:
		c.stats.Self++
		return
	case s.Key == "" || len(s.Key) > maxKey || s.Kind == "":
		c.stats.Refused++
		return
	}
	if !fits(s) {
		cut := clip(*s)
		s = &cut
		c.stats.Clipped++
	}
	if len(s.Identifiers) == 0 && s.Kind != KindService {
		// What speaks of a device and names none can only mean the one of its key.
		own := *s
		own.Identifiers = []Identifier{{
			Kind: IDProtocol, Value: s.Origin.Protocol + ":" + clipText(s.Key, maxText/2),
			Gateway: s.Origin.Gateway, Link: s.Origin.Link,
		}}
		s = &own
	}
	heard := nanos(s.Time)
	if heard <= 0 || heard > c.now {
		heard = c.now
	}
	life := s.Lifetime
	if life <= 0 {
		life = DefaultLifetime
	}
	ends := heard + int64(min(life, maxLifetime))
	if s.Gone {
		ends = heard + int64(tombstone)
	}
	if ends <= c.now {
		c.stats.Late++
		return
	}
	sc := c.scope(s)
	if sc == nil {
		c.stats.Refused++
		return
	}
	hash := c.hash(sc.num, s.Key)
	f := c.facts.find(hash, func(f *fact) bool { return f.scope == sc && f.key() == s.Key })
	if f == nil {
		c.create(s, sc, hash, heard, ends)
		return
	}
	c.renew(f, s, heard, ends)
}

// create makes a fact of a sighting that is heard for the first time.
func (c *core) create(s *Sighting, sc *scope, hash uint32, heard, ends int64) {
	src := c.source(s.Origin.Source)
	if src.addr != "" && src.n >= c.perSource {
		c.stats.DroppedSource++
		return
	}
	for c.facts.used >= c.sightings {
		if !c.evict() {
			c.stats.DroppedFull++
			return
		}
	}
	src = c.source(s.Origin.Source) // evict may have forgotten it
	src.n++
	c.scratch = pack(c.scratch[:0], s)
	f := &fact{
		scope: sc, src: src, blob: string(c.scratch), hash: hash,
		first: heard, heard: heard, ends: ends, state: stateIndex(s.State), gone: s.Gone, replies: s.replies(),
	}
	f.slot = c.facts.put(hash, f)
	c.setTimer(f)
	if f.gone {
		return
	}
	c.read(f, s)
	f.ids = c.identsOf(s)
	c.await(f)
	c.unsavedFact(f)
}

// renew updates a fact that is heard again. Of two sightings the later one
// wins, of two that were heard at once a goodbye, then the one that newer
// names: so their order makes no difference.
func (c *core) renew(f *fact, s *Sighting, heard, ends int64) {
	if heard < f.first {
		f.first = heard
		if f.dev != nil {
			f.dev.first = min(f.dev.first, heard)
			c.touch(f.dev)
		}
	}
	if heard < f.heard || (heard == f.heard && f.gone) {
		c.stats.Stale++
		return
	}
	if s.Gone {
		c.goodbye(f, heard, ends)
		return
	}
	if f.live() && f.state == stateIndex(s.State) && f.same(s) {
		if heard == f.heard {
			ends = max(ends, f.ends)
		}
		c.stats.Refreshed++
		f.heard, f.ends = heard, ends
		if ends < f.due {
			c.setTimer(f)
		}
		if d := f.dev; d != nil {
			d.last = max(d.last, heard)
			d.stale = true
		}
		c.unsavedFact(f)
		return
	}
	if f.live() && heard == f.heard {
		c.scratch = pack(c.scratch[:0], s)
		if f.newer(s, c.scratch) {
			c.stats.Stale++
			return
		}
	}
	if f.src.addr != s.Origin.Source {
		c.source(s.Origin.Source).n++
		c.leaveSource(f.src)
		f.src = c.source(s.Origin.Source)
	}
	c.scratch = pack(c.scratch[:0], s)
	f.blob, f.view = string(c.scratch), nil
	c.read(f, s)
	f.state, f.heard, f.ends = stateIndex(s.State), heard, ends
	if ends < f.due {
		c.setTimer(f)
	}
	ids, replies := c.identsOf(s), s.replies()
	switch {
	case !f.live():
		if f.gone {
			f.first = heard
		}
		f.ended, f.gone = false, false
		c.releaseIdents(f.all())
		f.ids, f.veiled, f.replies = ids, 0, replies
		if f.dev != nil {
			f.dev.nlive++
		}
		c.await(f)
	case !sameIdents(f.all(), ids), f.replies != replies, replies && !slices.Equal(f.all(), ids):
		c.leave(f)
		c.releaseIdents(f.all())
		f.ids, f.veiled, f.replies = ids, 0, replies
		c.await(f)
	default:
		c.releaseIdents(f.all())
		f.ids = ids[:len(f.ids)]
	}
	if f.dev != nil {
		f.dev.last = max(f.dev.last, heard)
		c.touch(f.dev)
	}
	c.unsavedFact(f)
}

// goodbye takes a fact back and leaves a tombstone.
func (c *core) goodbye(f *fact, heard, ends int64) {
	was := f.live()
	c.stats.Goodbyes++
	d := f.dev
	if was && d != nil && d.nlive == 1 {
		c.remember(d)
	}
	if was {
		if heard > f.heard {
			c.keepSignals(f)
		}
		c.leave(f)
	}
	f.signals = nil
	if d != nil {
		c.unlink(f)
		c.touch(d)
	}
	c.releaseIdents(f.all())
	f.ids, f.veiled, f.view = nil, 0, nil
	f.gone, f.ended, f.heard, f.ends = true, false, heard, ends
	if ends < f.due {
		c.setTimer(f)
	}
	c.endedFact(f)
}

// drop forgets a fact altogether.
func (c *core) drop(f *fact) {
	if f.live() {
		if f.dev != nil {
			c.remember(f.dev)
		}
		c.keepSignals(f)
		c.leave(f)
	}
	if f.dev != nil {
		c.touch(f.dev)
		c.unlink(f)
	}
	c.releaseIdents(f.all())
	if !f.gone {
		c.endedFact(f)
	}
	f.ids, f.veiled, f.view = nil, 0, nil
	c.facts.remove(f.hash, f.slot)
	c.leaveSource(f.src)
	f.dead = true
}

// newcomer is how long something is heard before it is no newcomer any more. When
// there is no more room newcomers go first: frames with MACs that somebody makes up
// come by the million, and must not push out what was there all day and is silent now.
const newcomer = time.Hour

// evict makes room for one fact: of a few that the hand passes it drops one that
// has ended, else one of a newcomer, else one of a device nobody named; of
// equal ones the one not heard of for longest.
func (c *core) evict() bool {
	var worst *fact
	worstRank := -1
	for range min(16, len(c.facts.items)) {
		c.hand = (c.hand + 1) % len(c.facts.items)
		f := c.facts.items[c.hand]
		if f == nil {
			continue
		}
		rank := f.worthless()
		if worst == nil || rank > worstRank || (rank == worstRank && f.heard < worst.heard) {
			worst, worstRank = f, rank
		}
	}
	if worst == nil {
		return false
	}
	c.stats.Evicted++
	c.drop(worst)
	return true
}

// worthless says how little is lost with a fact: 0 for one of a device that a person
// named, up to 3 for one that has ended.
func (f *fact) worthless() int {
	first := f.first
	if f.dev != nil {
		first = min(first, f.dev.first)
	}
	switch {
	case !f.live():
		return 3
	case f.dev != nil && f.dev.named():
		return 0
	case f.heard-first < int64(newcomer):
		return 2
	}
	return 1
}

// await hands a fact to settle, which places it.
func (c *core) await(f *fact) {
	f.pending = true
	c.pending = append(c.pending, f)
}

// idents4 returns the shared identifiers of a sighting.
func (c *core) identsOf(s *Sighting) []*ident {
	if len(s.Identifiers) == 0 {
		return nil
	}
	ids := make([]*ident, 0, len(s.Identifiers))
	for n := range s.Identifiers {
		if i := c.ident(&s.Identifiers[n]); i != nil {
			ids = append(ids, i)
			i.refs++
		}
	}
	return ids
}

// releaseIdents lets go of a fact's identifiers.
func (c *core) releaseIdents(ids []*ident) {
	for _, i := range ids {
		i.refs--
		c.release(i)
	}
}

func sameIdents(a, b []*ident) bool {
	if len(a) != len(b) {
		return false
	}
	for _, i := range a {
		if !has(b, i) {
			return false
		}
	}
	return true
}

func has(ids []*ident, want *ident) bool {
	for _, i := range ids {
		if i == want {
			return true
		}
	}
	return false
}

// unsavedFact notes that the fact's stored form is out of date.
func (c *core) unsavedFact(f *fact) {
	if c.saving && !f.unsaved {
		f.unsaved = true
		c.unsavedFacts = append(c.unsavedFacts, f)
	}
}

func (c *core) unsavedDevice(d *device) {
	if c.saving && !d.unsaved && !d.nameless {
		d.unsaved = true
		c.unsavedDevices = append(c.unsavedDevices, d)
	}
}

// maxEnded bounds what waits to be removed from a store that does not answer.
// What is lost beyond it has ended, and is thrown out when it is restored.
const maxEnded = 1 << 18

// endedFact notes that the stored form is to be removed.
func (c *core) endedFact(f *fact) {
	if c.saving && len(c.ended) < maxEnded {
		c.ended[f.id()] = struct{}{}
	}
}

func (f *fact) id() ID {
	return ID{Protocol: f.scope.Protocol, Gateway: f.scope.Gateway, Link: f.scope.Link, Kind: f.scope.Kind, Key: f.key()}
}
