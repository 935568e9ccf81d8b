package reflector

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/mdns"
)

// guard decides what may be passed on at all, whatever the rules say: each
// thing once, and not too often. It keeps packets from going round in circles,
// through other reflectors or bridges, by what they say.
//
// Every item belongs to the link on which it was first heard within the last
// second. Heard on another link, it is a copy that a reflector made: ours, if it
// comes from an address of ours, or another's. That doesn't hold for a question
// of a host that has shown that it copies nothing.
type guard struct {
	cross bool // IPv4 and IPv6 aren't kept apart
	seed  maphash.Seed
	began time.Time
	// copies is when another reflector's copy was heard last, 0 for never.
	copies atomic.Uint32

	mu     sync.Mutex // guards what follows
	memory memory
	probed clock // when a probe was passed on last
	probes bool  // one was
}

func newGuard(cross bool, now time.Time) *guard {
	g := &guard{cross: cross, seed: maphash.MakeSeed(), began: now}
	g.memory.sets = make([]facts, memorySets)
	return g
}

// clock begins at memoryTime, so that nothing seems to have been heard at 0.
func (g *guard) clock(t time.Time) clock {
	return clock(t.Sub(g.began).Milliseconds()) + 2*memoryTime
}

// sight is a packet as the guard sees it.
type sight struct {
	packet  *mdns.Packet
	content content
	source  *source
	link    int32
	family  mdns.Family
	asker   uint32 // a hash of the source
	legacy  bool   // a query that doesn't come from port 5353 (RFC 6762 §6.7)
}

// ruling is what the guard decides about a packet.
type ruling struct {
	why verdict // passed, or what stops it
	// strip: its known answers are to be left out.
	strip bool
	// hidden: it holds nothing but what this host itself said on another link.
	hidden bool
}

// Salts part facts that are about the same atom.
const (
	saltAsker  = 0xA5A5A5A5A5A5A5A5 // a question of one host alone
	saltProbed = 0x5A5A5A5A5A5A5A5A // that a name is being probed
	saltBytes  = 0x3C3C3C3C3C3C3C3C // a packet that can't be read
	saltMade   = 0xC3C3C3C3C3C3C3C3 // what a proxy said, and with which TTL
	saltFamily = 0x6666666666666666
	saltGone   = 0x9999999999999999 // that a record is taken back
)

func (g *guard) key(s *sight, key uint64) uint64 {
	if s.family == mdns.IPv6 && !g.cross {
		return key ^ saltFamily
	}
	return key
}

// judge decides about a packet of another host.
func (g *guard) judge(now clock, s *sight, passed uint32) ruling {
	switch {
	case len(s.content.items) == 0 && s.content.form != formKnown:
		return ruling{why: stoppedForm}
	case s.content.form == formKnown:
		return ruling{why: g.chain(now, s)}
	}
	copied, hidden := g.copied(now, s)
	if s.content.form == formResponse && slices.ContainsFunc(s.content.items, func(it atom) bool { return it.bit }) {
		s.source.heardUnique(now, copied)
	}
	if copied {
		g.copies.Store(uint32(now))
		if s.content.form == formQuery && s.source.isHost(passed) {
			s.source.copies++ // perhaps by chance
		} else {
			s.source.copies++
			return ruling{why: stoppedCopy, hidden: hidden}
		}
	}
	if !s.legacy && s.source.repeats(now) {
		return ruling{why: stoppedCopy}
	}
	switch s.content.form {
	case formQuery:
		return g.query(now, s)
	case formProbe:
		return ruling{why: g.probe(now, s)}
	default:
		return ruling{why: g.response(now, s)}
	}
}

// copied says whether everything in the packet belongs to other links, and
// whether this host itself said it there.
func (g *guard) copied(now clock, s *sight) (copied, hidden bool) {
	if s.legacy || len(s.content.items) == 0 {
		return false, false // no reflector sends such, or nobody knows
	}
	hidden = true
	for i := range s.content.items {
		it := &s.content.items[i]
		f := g.memory.fresh(now, g.key(s, it.key), memoryTime)
		if f == nil && it.gone {
			f = g.memory.fresh(now, g.key(s, it.key^saltGone), memoryTime)
		}
		if f == nil || f.from == s.link {
			return false, false
		}
		hidden = hidden && f.own
	}
	return true, hidden
}

// hear notes that an item was heard on a link. mine is false for one that
// belongs to another link, as a goodbye does to the link of what it takes back.
// Its original may be read later than a copy, if that was waiting on a busy
// machine; what is passed on comes in the right order only from where it began.
func (g *guard) hear(now clock, s *sight, it *atom) (f *fact, mine bool) {
	if it.gone {
		if x := g.memory.fresh(now, g.key(s, it.key^saltGone), memoryTime); x != nil && x.from != s.link {
			return nil, false
		}
	}
	return g.hearKey(now, s, it.key)
}

func (g *guard) hearKey(now clock, s *sight, key uint64) (f *fact, mine bool) {
	f = g.memory.put(now, g.key(s, key))
	if f.from != s.link {
		if f.from != 0 {
			return f, false
		}
		*f = fact{next: now, from: s.link}
	}
	f.seen = now
	return f, true
}

// turned says whether a record that isn't due was taken back since it was passed
// on, or is taken back now after it was told again. Each may come early for that
// but once a second: without an end to it, late copies of a record and of its
// goodbye could chase each other round through two reflectors.
func (g *guard) turned(now clock, s *sight, it *atom, f *fact) bool {
	if f.turns && now.since(f.turned) < recordGap {
		return false
	}
	x := g.memory.fresh(now, g.key(s, it.key^saltGone), memoryTime)
	if x == nil || x.from != s.link || !x.passed || x.last.since(f.last) < 0 {
		return false
	}
	f.turns, f.turned = true, now
	return true
}

// response passes a response if one of its records is due, so that its bytes
// stay what they are.
func (g *guard) response(now clock, s *sight) verdict {
	due, gap := false, clock(recordGap)
	for i := range s.content.items {
		it := &s.content.items[i]
		f, mine := g.hear(now, s, it)
		switch {
		case !mine:
		case f.due(now) || g.turned(now, s, it, f):
			due = true
		case g.probes && now.since(g.probed) <= memoryTime && now.since(f.last) >= defenceGap &&
			g.memory.fresh(now, g.key(s, it.name^saltProbed), memoryTime) != nil:
			due, gap = true, defenceGap
		}
	}
	if !due {
		return stoppedRepeat
	}
	for i := range s.content.items {
		if f := g.memory.find(g.key(s, s.content.items[i].key)); f != nil && f.from == s.link {
			f.pass(now, gap)
		}
	}
	return passed
}

// probe passes a probe at the pace in which probes are sent.
func (g *guard) probe(now clock, s *sight) verdict {
	due := false
	for i := range s.content.items {
		if f, mine := g.hearKey(now, s, s.content.items[i].key); mine && f.due(now) {
			due = true
		}
	}
	if !due {
		return stoppedRepeat
	}
	for i := range s.content.items {
		it := &s.content.items[i]
		if f := g.memory.find(g.key(s, it.key)); f != nil && f.from == s.link {
			f.pass(now, probeGap)
		}
		g.memory.put(now, g.key(s, it.name^saltProbed)).seen = now
	}
	g.probed, g.probes = now, true
	return passed
}

// query passes a query if one of its questions is due. One that another host
// has just asked, with known answers no more than now, is not: the answers
// come to all. Known answers go along only if nobody else waits for them.
func (g *guard) query(now clock, s *sight) ruling {
	due, strip := false, false
	alone := s.content.qu || s.legacy // answers may come to the asker alone
	for i := range s.content.items {
		key := s.content.items[i].key
		f, mine := g.hearKey(now, s, key)
		if s.content.known != 0 && f.passed && f.asker != s.asker && now.since(f.last) <= askerTime {
			strip = true
		}
		covered := f.known == 0 || f.known == s.content.known
		if s.content.qu && mine && f.passed && f.asker != s.asker && now.since(f.last) <= joinTime {
			continue // it waits for the answers to the other
		}
		if alone || !mine {
			f, _ = g.hearKey(now, s, g.askersKey(s, key))
			covered = true
		}
		if !covered || f.due(now) {
			due = true
		}
	}
	if !due {
		return ruling{why: stoppedRepeat}
	}
	known := s.content.known
	if strip {
		known = 0
	}
	for i := range s.content.items {
		key := s.content.items[i].key
		for _, k := range [...]uint64{key, g.askersKey(s, key)} {
			if f := g.memory.find(g.key(s, k)); f != nil {
				f.pass(now, recordGap)
				f.asker, f.known = s.asker, known
			}
		}
	}
	if s.source.chained = s.packet.Message.Truncated && !strip; s.source.chained {
		s.source.chain, s.source.question = now, s.content.items[0].key
	}
	return ruling{why: passed, strip: strip}
}

// askersKey is for the fact that this host itself asked the question here.
func (g *guard) askersKey(s *sight, key uint64) uint64 {
	return mix(key^saltAsker, uint64(s.asker)<<32|uint64(uint32(s.link)))
}

// chain passes known answers that follow a truncated query of the same host,
// unless somebody else has asked the same since: to the others all these
// packets come from one address, ours.
func (g *guard) chain(now clock, s *sight) verdict {
	x := s.source
	if !x.chained || now.since(x.chain) > askerTime || s.packet.Message.ANCount == 0 {
		return stoppedChain
	}
	if f := g.memory.find(g.key(s, x.question)); f == nil || f.asker != s.asker {
		x.chained = false
		return stoppedChain
	}
	x.chain, x.chained = now, s.packet.Message.Truncated
	return passed
}

// own notes what this host itself said on a link, so that another reflector's
// copy of it is known for what it is.
func (g *guard) own(now clock, s *sight) {
	if s.content.form == formKnown {
		return
	}
	for i := range s.content.items {
		it := &s.content.items[i]
		if f, mine := g.hear(now, s, it); mine {
			f.own = true
		}
	}
}

// made notes what a proxy says in the name of hosts of a zone.
func (g *guard) made(now clock, z mdns.Zone, c content) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := sight{link: int32(z.Link), family: z.Family}
	for i := range c.items {
		it := &c.items[i]
		if f, mine := g.hear(now, &s, it); mine {
			f.pass(now, recordGap)
		}
		f := g.memory.put(now, g.key(&s, it.key^saltMade))
		f.seen, f.known = now, it.ttl
	}
}

// echoes says whether a response holds nothing but what the proxy has just said,
// with TTLs that are no longer: another reflector's copy. The owner of a record
// gives it all of its TTL, which the proxy never does.
func (g *guard) echoes(now clock, s *sight) bool {
	for i := range s.content.items {
		it := &s.content.items[i]
		f := g.memory.fresh(now, g.key(s, it.key^saltMade), memoryTime)
		if f == nil || it.ttl > f.known {
			return false
		}
	}
	return len(s.content.items) > 0
}

// malformed says whether a packet that can't be read may be passed on: its bytes
// weren't within the last second.
func (g *guard) malformed(now clock, data []byte) bool {
	key := maphash.Bytes(g.seed, data) ^ saltBytes
	if g.memory.fresh(now, key, memoryTime) != nil {
		return false
	}
	g.memory.put(now, key).seen = now
	return true
}

// asker is the hash of a source that facts keep.
func (g *guard) asker(a netip.Addr) uint32 {
	b := a.As16()
	return uint32(maphash.Bytes(g.seed, b[:]) >> 32)
}
