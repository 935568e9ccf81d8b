package passive

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/lanfolk/lanfolk/packet"
)

// memo remembers what frames said that came at least twice, so that a frame that
// comes again costs one look-up: devices repeat themselves all day.
//
// A frame is looked up by a hash of what doesn't change in it and then compared as
// a whole. All facts of a frame that is remembered depend on that alone, but for
// their time, interface and ports. Where there is no room what wasn't said lately goes.
type memo struct {
	seed   [4]uint64
	places *[memoSets][memoWays]place // by hash; nil until there is a frame
	bytes  int                        // of all that is remembered
	hand   int                        // which place is looked at next for what may go
	// once holds hashes of frames that came once: only what comes again is worth the
	// memory, and a flood of frames that all differ costs none.
	once  [1024][4]uint64
	aside int // which of a set's places is taken next
	// The frame in hand: what doesn't change, in two parts, and its hash.
	lasting lasting
	hash    uint64
	taken   *said // what is being recorded, nil if nothing is
	spare   *said // taken's memory, until it is kept: a malformed frame never is
}

const (
	memoSets  = 2048
	memoWays  = 4
	memoLimit = 8 << 20 // bytes, about
	memoFacts = 64      // facts of one frame
	factCost  = 512     // bytes of one fact, about
	memoCost  = 256     // of one frame beside it
)

type place struct {
	hash uint64
	said *said // nil in an empty place
}

// said is what one frame said.
type said struct {
	frame  []byte // what doesn't change of it
	hash   uint64
	link   packet.LinkType
	vlan   uint16
	ports  int // where UDP's ports stand in the frame, 0 if nowhere
	facts  []Fact
	again  []Again
	cost   int
	used   bool // since it was last looked at whether it may go
	proto  proto
	asked  bool // the facts depend on whether src is on the link
	onLink bool
	src    neighbour
}

// Again is a place for what somebody made of a fact that comes again and again.
type Again struct{ Value any }

// known hands out what a frame says if that is known, and says so. Else the frame
// is recorded if it comes for the second time: what finish hands out goes into the
// memo with end, unless forget was called.
func (d *Decoder) known(f *packet.Frame, emit func(*Fact)) bool {
	m := &d.memo
	m.taken = nil
	x := &m.lasting
	if f.Length > len(f.Data) || !x.of(f.LinkType, f.Data) {
		return false
	}
	if m.places == nil {
		m.places = new([memoSets][memoWays]place)
		m.seed = [4]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
	}
	head := x.head[:x.n]
	m.hash = m.mix(m.mix(uint64(f.VLAN), head), x.key)
	s := m.find()
	if s == nil || s.link != f.LinkType || s.vlan != f.VLAN || len(s.frame) != x.n+len(x.tail) ||
		string(s.frame[:x.n]) != string(head) || string(s.frame[x.n:]) != string(x.tail) ||
		s.asked && d.onLink(f.Interface, s.src) != s.onLink {
		m.record(f)
		return false
	}
	s.used = true
	d.count.frame(len(f.Data), s.proto, len(s.facts))
	if emit == nil {
		return true
	}
	var src, dst uint16
	if s.ports > 0 {
		src, dst = be.Uint16(f.Data[s.ports:]), be.Uint16(f.Data[s.ports+2:])
	}
	for i := range s.facts {
		fact := &s.facts[i]
		fact.Time, fact.Interface, fact.SrcPort, fact.DstPort = f.Time, f.Interface, src, dst
		emit(fact)
	}
	return true
}

// mix hashes bytes by folded products, 64 at a time: frames are found by it, and are
// compared then.
func (m *memo) mix(h uint64, b []byte) uint64 {
	le := binary.LittleEndian
	h ^= uint64(len(b))
	if len(b) >= 64 {
		h1, h2, h3 := h, h, h
		for len(b) >= 64 {
			h = folded(le.Uint64(b)^m.seed[0], le.Uint64(b[8:])^h)
			h1 = folded(le.Uint64(b[16:])^m.seed[1], le.Uint64(b[24:])^h1)
			h2 = folded(le.Uint64(b[32:])^m.seed[2], le.Uint64(b[40:])^h2)
			h3 = folded(le.Uint64(b[48:])^m.seed[3], le.Uint64(b[56:])^h3)
			b = b[64:]
		}
		h ^= h1 ^ h2 ^ h3
	}
	for ; len(b) >= 16; b = b[16:] {
		h = folded(le.Uint64(b)^m.seed[0], le.Uint64(b[8:])^h)
	}
	var x, y uint64
	switch {
	case len(b) >= 8:
		x, y = le.Uint64(b), le.Uint64(b[len(b)-8:])
	case len(b) >= 4:
		x, y = uint64(le.Uint32(b)), uint64(le.Uint32(b[len(b)-4:]))
	case len(b) > 0:
		x = uint64(b[0])<<16 | uint64(b[len(b)/2])<<8 | uint64(b[len(b)-1])
	}
	return folded(x^m.seed[1], y^h)
}

// folded returns both halves of a product in one.
func folded(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns what a frame with the hash said, nil if that isn't known. Frames
// that are made to have one hash, which takes the seed, only have each other
// decoded anew.
func (m *memo) find() *said {
	set := &m.places[m.hash%memoSets]
	for i := range set {
		if set[i].hash == m.hash {
			return set[i].said
		}
	}
	return nil
}

// record begins to remember the frame in hand if it came before.
func (m *memo) record(f *packet.Frame) {
	set := &m.once[m.hash%uint64(len(m.once))]
	if !slices.Contains(set[:], m.hash) {
		set[m.aside%len(set)] = m.hash
		m.aside++
		return
	}
	if m.spare == nil {
		m.spare = new(said)
	}
	s, x := m.spare, &m.lasting
	*s = said{
		frame: append(append(s.frame[:0], x.head[:x.n]...), x.tail...),
		facts: s.facts[:0], hash: m.hash, link: f.LinkType, vlan: f.VLAN, ports: x.ports, proto: numProtos,
	}
	m.taken = s
}

// forget says that what the frame in hand says depends on more than the frame.
func (m *memo) forget() { m.taken = nil }

// ask notes that what the frame says depends on whether its source is on the link.
func (m *memo) ask(src neighbour, onLink bool) {
	if s := m.taken; s != nil {
		s.asked, s.src, s.onLink = true, src, onLink
	}
}

// counted notes the protocol that the frame in hand counts for.
func (m *memo) counted(p proto) {
	if m.taken != nil {
		m.taken.proto = p
	}
}

// add records a fact of the frame in hand.
func (m *memo) add(f *Fact) {
	s := m.taken
	if s == nil {
		return
	}
	if len(s.facts) == memoFacts {
		m.taken = nil
		return
	}
	s.facts = append(s.facts, *f.Clone())
	s.cost += factCost + 48*(len(f.Fields)+2*len(f.Claims))
}

// end keeps what was recorded.
func (m *memo) end() {
	s := m.taken
	m.taken = nil
	if s == nil || len(s.facts) == 0 || s.proto == numProtos {
		return
	}
	if s.cost += len(s.frame) + memoCost; s.cost > memoLimit/32 {
		return
	}
	s.again = make([]Again, len(s.facts))
	for i := range s.facts {
		s.facts[i].Again = &s.again[i]
	}
	m.spare = nil
	m.put(s)
}

// put keeps what was recorded, at the place of what has its hash, else at a free one,
// else at that of something that wasn't said lately.
func (m *memo) put(s *said) {
	set := &m.places[s.hash%memoSets]
	at := -1
	for i := range set {
		switch {
		case set[i].hash == s.hash && set[i].said != nil:
			at = i
		case at < 0 && set[i].said == nil:
			at = i
		}
	}
	if at < 0 {
		at = m.aside % len(set)
		for i := range set {
			if x := set[(at+i)%len(set)].said; !x.used {
				at = (at + i) % len(set)
				break
			}
		}
		m.aside++
	}
	m.remove(&set[at])
	for m.bytes+s.cost > memoLimit {
		p := &m.places[m.hand/memoWays][m.hand%memoWays]
		m.hand = (m.hand + 1) % (memoSets * memoWays)
		if p.said != nil && p.said.used {
			p.said.used = false
		} else {
			m.remove(p)
		}
	}
	set[at] = place{s.hash, s}
	m.bytes += s.cost
}

func (m *memo) remove(p *place) {
	if p.said != nil {
		m.bytes -= p.said.cost
		*p = place{}
	}
}
