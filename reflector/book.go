package reflector

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Limits of a book.
const (
	maxServices        = 16384
	maxServicesPerHost = 256
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
	bookSample  = 16 // services that are looked at to find one to forget
)

// book is what the packets heard in one zone said of who offers what. Rules
// need it, because a record alone doesn't tell: an address, whose services are
// on that host; a PTR record, on which host its service is. Readers of other
// zones look into it, too.
type book struct {
	mu       sync.Mutex
	services map[string]*service // by the name's wire form, letters lowered
	hosts    map[string]*host
	senders  map[netip.Addr]int // services by who said so
	// stranded are hosts of which only addresses are known that mean nothing on
	// another link, and until when that holds. numStranded is how many.
	stranded    map[string]time.Time
	numStranded atomic.Int64
}

// service is an instance.
type service struct {
	name     string // as the key
	typ      []byte // as in topic
	instance []byte
	subtypes []string
	host     *host // nil: not known
	from     netip.Addr
	expires  time.Time
}

// host is a host that has services.
type host struct {
	key      string // wire form, letters lowered
	text     []byte // as hostText has it
	services []*service
	all      int // those that didn't fit in, too
}

func newBook() *book {
	return &book{services: map[string]*service{}, hosts: map[string]*host{}, senders: map[netip.Addr]int{}, stranded: map[string]time.Time{}}
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
			var t topic
			if t, s.owner = foldView(s.owner, r.Name); t.kind != kindInstance {
				continue
			}
			s.target = srv.Target.AppendFolded(s.target[:0])
			b.serve(now, from, t, s, r.TTL)
		case dnswire.TypePTR:
			target, ok := r.PTR()
			if !ok {
				continue
			}
			var t topic
			if t, s.owner = foldView(s.owner, r.Name); t.kind != kindSubtype {
				continue
			}
			var in topic
			if in, s.target = foldView(s.target, target); in.kind != kindInstance || r.TTL == 0 {
				continue
			}
			b.subtype(now, from, in, t.part)
		}
	}
}

// serve notes that the instance, whose name is s.owner, is on the host s.target.
func (b *book) serve(now time.Time, from netip.Addr, t topic, s *scratch, ttl uint32) {
	v := b.services[string(t.name)]
	if ttl == 0 {
		if v != nil {
			v.expires = now.Add(goodbyeKeep)
		}
		return
	}
	if v == nil {
		if v = b.add(now, from, t); v == nil {
			return
		}
	}
	v.expires = now.Add(max(bookKeep, time.Duration(min(ttl, 86400))*time.Second))
	if v.host != nil && v.host.key == string(s.target) {
		return
	}
	b.leave(v)
	h := b.hosts[string(s.target)]
	if h == nil {
		h = &host{key: string(s.target), text: hostText(nil, s.target)}
		b.hosts[h.key] = h
	}
	v.host = h
	h.all++
	if len(h.services) < maxServicesPerHost {
		h.services = append(h.services, v)
	}
}

func (b *book) subtype(now time.Time, from netip.Addr, in topic, label []byte) {
	v := b.services[string(in.name)]
	if v == nil {
		if v = b.add(now, from, in); v == nil {
			return
		}
		v.expires = now.Add(bookKeep)
	}
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
func (b *book) add(now time.Time, from netip.Addr, t topic) *service {
	if b.senders[from] >= maxServices/bookShare {
		return nil
	}
	if len(b.services) >= maxServices {
		var oldest *service
		n := 0
		for _, v := range b.services {
			if oldest == nil || v.expires.Before(oldest.expires) {
				oldest = v
			}
			if n++; n >= bookSample || v.expires.Before(now) {
				break
			}
		}
		b.forget(oldest)
	}
	v := &service{name: string(t.name), typ: slices.Clone(t.typ), instance: slices.Clone(t.part), from: from}
	b.services[v.name] = v
	b.senders[from]++
	return v
}

func (b *book) forget(v *service) {
	b.leave(v)
	delete(b.services, v.name)
	if b.senders[v.from]--; b.senders[v.from] <= 0 {
		delete(b.senders, v.from)
	}
}

// leave takes the instance from its host.
func (b *book) leave(v *service) {
	h := v.host
	if h == nil {
		return
	}
	v.host = nil
	h.services = slices.DeleteFunc(h.services, func(x *service) bool { return x == v })
	if h.all--; h.all <= 0 {
		delete(b.hosts, h.key)
	}
}

// lookup returns the instance, nil if it isn't known. The book is locked.
func (b *book) lookup(now time.Time, name []byte) *service {
	if v := b.services[string(name)]; v != nil && now.Before(v.expires) {
		return v
	}
	return nil
}

// scratch is room for names.
type scratch struct{ owner, target, text []byte }
