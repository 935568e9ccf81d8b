package reflector

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Limits of a book.
const (
	maxServices        = 16384
	maxServicesPerHost = 256 // that are looked at; the rest wait for others to go
	maxSubtypes        = 8
	maxStranded        = 4096
	// bookShare is the part of a book that one sender may fill.
	bookShare = 2
	// bookKeep is how long what was said is remembered: as long as a
	// PTR record lives (RFC 6762 §10), for SRV records live two minutes.
	bookKeep = 75 * time.Minute
	// goodbyeKeep is how long what was taken back is remembered, so that the
	// goodbyes of all its records are judged alike.
	goodbyeKeep = 10 * time.Second
)

// book is what the packets heard in one zone said of who offers what. Rules
// need it, because a record alone doesn't tell: an address, whose services are
// on that host; a PTR record, on which host its service is. Readers of other
// zones look into it, too.
//
// Names are known by their keys, hashes with a secret seed. What is forgotten
// leaves its memory to what comes, so that a full book allocates nothing.
type book struct {
	mu       sync.Mutex
	seed     maphash.Seed
	services shelf[service]
	hosts    shelf[host]
	recent   service                // head of a ring of all services, the one heard last first
	senders  map[netip.Addr]*sender // who said so
	// stranded are hosts of which only addresses are known that mean nothing on
	// another link, and until when that holds. numStranded is how many.
	stranded    map[uint64]time.Time
	numStranded atomic.Int64
}

// service is an instance.
type service struct {
	key      uint64 // of its name
	name     []byte // wire form, letters lowered
	typ      span   // as in topic
	part     span   // the instance
	subtypes []string
	from     *sender
	expires  time.Time
	// Its neighbours among all services and on its host.
	newer, older   *service
	host           *host // nil: not known
	before, behind *service
}

// host is a host that has services, in the order in which they came.
type host struct {
	key         uint64
	text        []byte // as hostText has it
	first, last *service
}

// sender counts the services that one sender told of.
type sender struct {
	addr     netip.Addr
	services int
}

// span is a part of a name. Names have 255 bytes at most.
type span struct{ from, to uint8 }

func (s span) of(name []byte) []byte { return name[s.from:s.to] }

// spanOf finds a part of a name in it; both are pieces of the same memory.
func spanOf(name, part []byte) span {
	if part == nil {
		return span{}
	}
	from := cap(name) - cap(part)
	return span{uint8(from), uint8(from + len(part))}
}

func newBook(seed maphash.Seed) *book {
	b := &book{seed: seed, senders: map[netip.Addr]*sender{}, stranded: map[uint64]time.Time{}}
	b.recent.newer, b.recent.older = &b.recent, &b.recent
	return b
}

// learn takes note of what a response, or the records that a probe proposes,
// say of services and their hosts.
func (b *book) learn(now time.Time, from netip.Addr, m *dnswire.Message, s *scratch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range m.Records() {
		if r.Class != dnswire.ClassIN || !m.Response && r.Section != dnswire.Authority {
			continue
		}
		switch r.Type {
		case dnswire.TypeSRV:
			srv, ok := r.SRV()
			if !ok {
				continue
			}
			if t := s.topic(r.Name); t.kind == kindInstance {
				b.serve(now, from, t, s.topic(srv.Target), r.TTL)
			}
		case dnswire.TypePTR:
			target, ok := r.PTR()
			if !ok || r.TTL == 0 {
				continue
			}
			t := s.topic(r.Name)
			if t.kind != kindSubtype {
				continue
			}
			if in := s.topic(target); in.kind == kindInstance {
				b.subtype(now, from, in, t.part)
			}
		}
	}
}

// serve notes that the instance is on the host.
func (b *book) serve(now time.Time, from netip.Addr, t, target *topic, ttl uint32) {
	v := b.services.find(t.key)
	if ttl == 0 {
		if v != nil {
			v.expires = now.Add(goodbyeKeep)
		}
		return
	}
	if v == nil {
		if v = b.add(from, t); v == nil {
			return
		}
	}
	v.expires = now.Add(max(bookKeep, time.Duration(min(ttl, 86400))*time.Second))
	b.touch(v)
	if v.host != nil && v.host.key == target.key {
		return
	}
	b.leave(v)
	h := b.hosts.find(target.key)
	if h == nil {
		h = b.hosts.add(target.key)
		h.key, h.text = target.key, hostText(h.text[:0], target.name)
	}
	v.host, v.before = h, h.last
	if h.last == nil {
		h.first = v
	} else {
		h.last.behind = v
	}
	h.last = v
}

func (b *book) subtype(now time.Time, from netip.Addr, in *topic, label []byte) {
	v := b.services.find(in.key)
	if v == nil {
		if v = b.add(from, in); v == nil {
			return
		}
		v.expires = now.Add(bookKeep)
	}
	b.touch(v)
	for _, x := range v.subtypes {
		if x == string(label) {
			return
		}
	}
	if len(v.subtypes) < maxSubtypes {
		v.subtypes = append(v.subtypes, string(label))
	}
}

// add makes an entry for an instance, nil if there is no room for one of this sender's.
// Where the book is full, what was heard longest ago goes.
func (b *book) add(addr netip.Addr, t *topic) *service {
	from := b.senders[addr]
	if from != nil && from.services >= maxServices/bookShare {
		return nil
	}
	if b.services.count >= maxServices {
		b.forget(b.recent.newer)
		from = b.senders[addr]
	}
	if from == nil {
		from = &sender{addr: addr}
		b.senders[addr] = from
	}
	from.services++
	v := b.services.add(t.key)
	v.key, v.name = t.key, append(v.name[:0], t.name...)
	v.typ, v.part, v.from = spanOf(t.name, t.typ), spanOf(t.name, t.part), from
	v.subtypes = v.subtypes[:0]
	v.newer, v.older = v, v
	return v
}

// touch makes the service the one heard last.
func (b *book) touch(v *service) {
	v.newer.older, v.older.newer = v.older, v.newer
	v.newer, v.older = &b.recent, b.recent.older
	v.newer.older, v.older.newer = v, v
}

func (b *book) forget(v *service) {
	b.leave(v)
	v.newer.older, v.older.newer = v.older, v.newer
	if v.from.services--; v.from.services <= 0 {
		delete(b.senders, v.from.addr)
	}
	clear(v.subtypes[:cap(v.subtypes)])
	v.newer, v.older, v.from = nil, nil, nil
	b.services.drop(v.key)
}

// leave takes the instance from its host.
func (b *book) leave(v *service) {
	h := v.host
	if h == nil {
		return
	}
	if v.before == nil {
		h.first = v.behind
	} else {
		v.before.behind = v.behind
	}
	if v.behind == nil {
		h.last = v.before
	} else {
		v.behind.before = v.before
	}
	v.host, v.before, v.behind = nil, nil, nil
	if h.first == nil {
		b.hosts.drop(h.key)
	}
}

// lookup returns the instance, nil if it isn't known. The book is locked.
func (b *book) lookup(now time.Time, t *topic) *service {
	if v := b.services.find(t.key); v != nil && now.Before(v.expires) {
		return v
	}
	return nil
}
