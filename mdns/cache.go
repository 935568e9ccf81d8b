package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// graceTTL is how long a record stays after a goodbye, and after a
	// response with the flush bit left it out (RFC 6762 §10.1, §10.2).
	graceTTL = time.Second
	// maxTTL bounds what a host can claim. The longest TTL that RFC 6762 §10
	// names is 75 minutes; devices use up to a day.
	maxTTL = 24 * time.Hour
	// entryCost is what an entry takes in memory beside its data, in bytes,
	// roughly.
	entryCost = 512
	// maxUnasked is from how many records on those that nobody asks for make
	// room for others.
	maxUnasked = 16384
	// evictSample is how many records are looked at to find one to evict.
	evictSample = 16
	// refreshGrid is the time on which refresh queries fall if their window
	// lets them, so that one packet asks for many records.
	refreshGrid = 500 * time.Millisecond
	// toldShare is the share of its TTL by which a record must live longer
	// than was last told to be told again. If it is less, the next refresh, at
	// 97 % of the TTL at the latest, comes before the expiry that was told.
	toldShare = 34
)

// node is a name in the cache or in a question.
type node struct {
	name  dnswire.Name // as it was first seen
	key   string       // folded
	slots []*slot
}

// slot holds the records of one name and type, and the question for them.
type slot struct {
	node    *node
	entries []*entry
	ask     *ask // nil when nobody asks
	check   *check
	queried time.Time // when another host last asked for records that we hold
	typ     dnswire.Type
	flush   bool // the packet at hand had a record of the slot with the flush bit
	due     bool // its question goes out in the packets that are being built
}

// entry is one record in the cache.
type entry struct {
	alarm
	slot    *slot // nil once the record is removed
	place   int   // index in slot.entries
	key     string
	rr      dnswire.RR // TTL after clamping
	from    *source
	seen    time.Time // heard last
	expires time.Time
	told    time.Time // the expiry that the last event said
	doubt   *doubt    // nil if there is none
	listed  uint32    // the query that last listed it as known: see zone.listing
	jitter  uint8     // where in the refresh windows to ask, in 1/256
	step    uint8     // how many of the refresh windows are over
	dying   bool      // taken back or flushed: only the grace is left
	broken  bool      // can't be read, and so not be sent
}

// source counts what one host put into the cache.
type source struct {
	addr    netip.Addr
	records int
}

// cache holds the records of one zone. It is told the time.
type cache struct {
	maxRecords, maxPerSource int
	maxBytes                 int

	names   map[string]*node
	records map[string]*entry // by name, type and data, folded: see recordKey
	sources map[netip.Addr]*source
	alarms  alarms[*entry]
	bytes   int
}

func newCache(maxRecords, maxPerSource int) cache {
	return cache{
		maxRecords: maxRecords, maxPerSource: maxPerSource, maxBytes: maxRecords * 2 * entryCost,
		names: map[string]*node{}, records: map[string]*entry{}, sources: map[netip.Addr]*source{},
	}
}

// recordKey appends what makes two records the same: name, type and data, with
// the names folded (RFC 6762 §16). The class is always IN.
func recordKey(dst []byte, r *dnswire.Record) []byte {
	dst = r.Name.AppendFolded(dst)
	dst = append(dst, byte(r.Type>>8), byte(r.Type))
	switch r.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		return append(dst, r.RData()...)
	case dnswire.TypeSRV:
		if srv, ok := r.SRV(); ok {
			return srv.Target.AppendFolded(append(dst, r.RData()[:6]...))
		}
	case dnswire.TypePTR, dnswire.TypeCNAME, dnswire.TypeNS, dnswire.TypeDNAME:
		if target, ok := r.Target(); ok {
			return target.AppendFolded(dst)
		}
	}
	return r.AppendRData(dst)
}

func (n *node) slot(t dnswire.Type) *slot {
	for _, s := range n.slots {
		if s.typ == t {
			return s
		}
	}
	return nil
}

// slot returns the slot of a name and type, a new one if need be.
func (c *cache) slot(name dnswire.Name, t dnswire.Type) *slot {
	key := string(name.Fold())
	n := c.names[key]
	if n == nil {
		n = &node{name: name, key: key}
		c.names[key] = n
	}
	s := n.slot(t)
	if s == nil {
		s = &slot{node: n, typ: t}
		n.slots = append(n.slots, s)
	}
	return s
}

// tidy forgets the slot and its node if nothing is in them.
func (c *cache) tidy(s *slot) {
	if len(s.entries) > 0 || s.ask != nil || s.check != nil {
		return
	}
	n := s.node
	n.slots = slices.DeleteFunc(n.slots, func(x *slot) bool { return x == s })
	if len(n.slots) == 0 {
		delete(c.names, n.key)
	}
}

// wanted says whether somebody asks for the slot's records, by its type or by ANY.
func (s *slot) wanted() bool {
	if s.ask != nil {
		return true
	}
	a := s.node.slot(dnswire.TypeANY)
	return a != nil && a.ask != nil
}

// needed says whether somebody asks for the slot's records, or for one that they
// deny.
func (s *slot) needed() bool {
	return s.wanted() || s.typ == dnswire.TypeNSEC && slices.ContainsFunc(s.node.slots, func(x *slot) bool { return x.ask != nil })
}

// room makes room for one more record with the given cost in bytes, or says why
// there is none. A record that is asked for is never evicted for another. Those
// that nobody asks for make room from maxUnasked records on: a flood of names
// finds less memory than what is wanted.
func (c *cache) room(from netip.Addr, cost int) (victims []*entry, why drop, ok bool) {
	if s := c.sources[from]; s != nil && s.records >= c.maxPerSource {
		return nil, dropSourceFull, false
	}
	records, bytes := len(c.records)+1, c.bytes+cost
	for records > min(c.maxRecords, maxUnasked) || bytes > min(c.maxBytes, maxUnasked*2*entryCost) {
		v := c.victim(victims)
		if v == nil && records <= c.maxRecords && bytes <= c.maxBytes {
			break
		}
		if v == nil {
			return nil, dropCacheFull, false
		}
		victims = append(victims, v)
		records--
		bytes -= v.cost()
	}
	return victims, 0, true
}

// victim returns the record that expires first of a random few that nobody
// asks for.
func (c *cache) victim(not []*entry) *entry {
	var best *entry
	n := 0
	for _, e := range c.records {
		if n++; n > evictSample {
			break
		}
		if !e.slot.needed() && (best == nil || e.expires.Before(best.expires)) && !slices.Contains(not, e) {
			best = e
		}
	}
	return best
}

func (e *entry) cost() int { return entryCost + 2*len(e.key) + len(e.rr.Name) + len(e.rr.Data) }

func (c *cache) insert(e *entry, s *slot, from netip.Addr) {
	e.slot, e.place = s, len(s.entries)
	s.entries = append(s.entries, e)
	c.records[e.key] = e
	c.bytes += e.cost()
	src := c.sources[from]
	if src == nil {
		src = &source{addr: from}
		c.sources[from] = src
	}
	src.records++
	e.from = src
}

func (c *cache) remove(e *entry) {
	c.alarms.clear(e)
	delete(c.records, e.key)
	c.bytes -= e.cost()
	if e.from.records--; e.from.records == 0 {
		delete(c.sources, e.from.addr)
	}
	s := e.slot
	last := len(s.entries) - 1
	s.entries[e.place] = s.entries[last]
	s.entries[e.place].place = e.place
	s.entries[last] = nil
	s.entries = s.entries[:last]
	e.slot = nil
}

// refreshAt returns when to ask for the record again for the step'th time: at
// 80, 85, 90 and 95 % of its TTL, plus up to 2 % (RFC 6762 §5.2).
func (e *entry) refreshAt(step uint8, phase time.Time) time.Time {
	ttl := time.Duration(e.rr.TTL) * time.Second
	from := e.seen.Add(ttl * time.Duration(80+5*int(step)) / 100)
	window := ttl / 50
	at := from.Add(window * time.Duration(e.jitter) / 256)
	// On the grid, if a point of it lies in the window.
	down := at.Add(-(at.Sub(phase) % refreshGrid))
	if up := down.Add(refreshGrid); !up.After(from.Add(window)) {
		return up
	}
	if !down.Before(from) {
		return down
	}
	return at
}

const refreshSteps = 4

// due returns when something is to be done about the record.
func (e *entry) due(phase time.Time) time.Time {
	if e.step < refreshSteps && !e.dying && e.slot.wanted() {
		if at := e.refreshAt(e.step, phase); at.Before(e.expires) {
			return e.sooner(at)
		}
	}
	return e.sooner(e.expires)
}

// sooner returns at, or when the record goes because it is doubted.
func (e *entry) sooner(at time.Time) time.Time {
	if e.doomed() && e.doubt.until.Before(at) {
		return e.doubt.until
	}
	return at
}

// cut lets the record live no longer than until at.
func (c *cache) cut(e *entry, at time.Time) {
	if !at.Before(e.expires) {
		return
	}
	e.expires, e.dying = at, true
	if at.Before(e.at) {
		c.alarms.set(e, at)
	}
}

func randomJitter() uint8 { return uint8(rand.Uint32()) }

// clampTTL returns the TTL in seconds that is kept. The top bit is none
// (RFC 2181 §8).
func clampTTL(ttl uint32) uint32 {
	return min(ttl, uint32(maxTTL/time.Second))
}
