package passive

import "hash/maphash"

// memo remembers what packets said that came at least twice, so that a packet
// that comes again costs one look-up: devices repeat themselves all day.
//
// A packet's key holds everything that its facts depend on, but for the time,
// the interface and the ports. Like the interner it has two generations.
type memo struct {
	seed       maphash.Seed
	young, old map[string]*said
	bytes      int // of the young generation
	// once holds hashes of keys that came once: only what comes again is worth
	// the memory, and a flood of packets that all differ costs none.
	once  [memoSlots]uint64
	key   []byte
	taken *said // what is being recorded, nil if nothing is
	spare *said // taken's memory, until it is kept: a malformed packet never is
}

const (
	memoSlots = 4096
	memoLimit = 1 << 20 // bytes of one generation, about
	memoFacts = 64      // facts of one packet
	factCost  = 400     // bytes of one fact, about
)

// said is what one packet said.
type said struct {
	facts   []*Fact
	counted proto
	cost    int
}

// memoBytes bounds the messages that are remembered.
const memoBytes = 2048

// What else a key tells of a packet.
const (
	memoDirect = 1 << iota // its source MAC is the sender's
	memoIPv6
	memoMulticastPort // its source port is 5353
	memoID            // its DNS id isn't 0
)

// known hands out what a packet said if that is known, and says so. Else the
// packet is recorded if it comes for the second time: what finish hands out goes
// into the memo with end. skip bytes of the message at from change each time.
func (d *Decoder) known(c *context, p proto, flags byte, b []byte, from, skip int) bool {
	m := &d.memo
	if !c.whole || len(b) > memoBytes || len(b) < from+skip {
		return false
	}
	if c.src.Addr().Is6() {
		flags |= memoIPv6
	}
	m.begin(c, p, flags)
	m.key = append(append(m.key, b[:from]...), b[from+skip:]...)
	if s := m.find(); s != nil {
		d.repeat(c, s)
		return true
	}
	m.record(p)
	return false
}

// begin starts a key with what stands around a message.
func (m *memo) begin(c *context, p proto, flags byte) {
	m.key = append(m.key[:0], byte(p), flags, byte(c.vlan>>8), byte(c.vlan))
	m.key = append(m.key, c.srcMAC[:]...)
	m.key = append(m.key, c.dstMAC[:]...)
	for _, a := range [...][16]byte{c.src.Addr().As16(), c.dst.Addr().As16()} {
		m.key = append(m.key, a[:]...)
	}
}

// find returns what the packet with the key said, nil if that isn't known.
func (m *memo) find() *said {
	if s := m.young[string(m.key)]; s != nil {
		return s
	}
	s := m.old[string(m.key)]
	if s != nil {
		m.put(s)
	}
	return s
}

// record says whether the packet in hand is to be remembered: it came before.
func (m *memo) record(p proto) {
	if m.young == nil {
		m.young, m.old, m.seed = make(map[string]*said), make(map[string]*said), maphash.MakeSeed()
	}
	h := maphash.Bytes(m.seed, m.key)
	slot := &m.once[h%memoSlots]
	if *slot != h {
		*slot = h
		return
	}
	if m.spare == nil {
		m.spare = new(said)
	}
	m.taken = m.spare
	*m.taken = said{facts: m.taken.facts[:0], counted: p, cost: 2*len(m.key) + entryCost}
}

// add records a fact of the packet in hand.
func (m *memo) add(f *Fact) {
	if m.taken == nil {
		return
	}
	if len(m.taken.facts) == memoFacts {
		m.taken = nil
		return
	}
	m.taken.facts = append(m.taken.facts, f.Clone())
	m.taken.cost += factCost + 48*(len(f.Fields)+2*len(f.Claims))
}

// end keeps what was recorded.
func (m *memo) end() {
	if m.taken != nil && m.taken.cost < memoLimit/4 {
		m.put(m.taken)
		m.spare = nil
	}
	m.taken = nil
}

func (m *memo) put(s *said) {
	if m.bytes+s.cost > memoLimit {
		m.young, m.old = m.old, m.young
		clear(m.young)
		m.bytes = 0
	}
	m.young[string(m.key)] = s
	m.bytes += s.cost
}

// repeat hands out again what a packet said.
func (d *Decoder) repeat(c *context, s *said) {
	add(&d.count.packets[s.counted], 1)
	add(&d.count.facts, uint64(len(s.facts)))
	if c.emit == nil {
		return
	}
	for _, f := range s.facts {
		d.fact = *f
		d.fact.Time, d.fact.Interface = c.time, c.iface
		if f.SrcPort != 0 || f.DstPort != 0 {
			d.fact.SrcPort, d.fact.DstPort = c.src.Port(), c.dst.Port()
		}
		// The caller may write into what it is handed.
		d.fields = append(d.fields[:0], f.Fields...)
		d.claims = append(d.claims[:0], f.Claims...)
		d.fact.Fields, d.fact.Claims = d.fields, d.claims
		if f.Record != nil {
			d.record = *f.Record
			d.fact.Record = &d.record
		}
		c.emit(&d.fact)
	}
}
