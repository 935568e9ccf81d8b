package reflector

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

// worth is what an address of one link is worth on another (RFC 8766 §5.5.2).
type worth uint8

const (
	// worthless: it means nothing beyond its link, or nothing at all.
	worthless worth = iota
	// doubtful: a private one outside the link's own subnets, of a container or a
	// tunnel perhaps. Nothing says that packets to it find their way.
	doubtful
	useful
)

// worthOf says what an address that was heard on a link is worth on others.
func worthOf(a netip.Addr, from *packet.Link) worth {
	switch {
	case a.IsLinkLocalUnicast(), a.IsLoopback(), a.IsUnspecified(), a.IsMulticast():
		return worthless
	case !a.IsPrivate() && !shared(a):
		return useful
	}
	for _, p := range from.Prefixes {
		if p.Contains(a) { // the address's bits behind the prefix don't matter
			return useful
		}
	}
	return doubtful
}

// shared says whether an address is of 100.64.0.0/10 (RFC 6598).
func shared(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 100 && b[1]&0xC0 == 64
}

// maxHomes bounds the hosts of one message whose addresses are compared. Of
// further ones the doubtful addresses stay.
const maxHomes = 32

// homes are the hosts in a message that have addresses, and the best that each has.
type homes struct{ list []home }

type home struct {
	key  uint64 // of its name
	best worth
	ttl  uint32
}

func (h *homes) find(key uint64) *home {
	for i := range h.list {
		if h.list[i].key == key {
			return &h.list[i]
		}
	}
	return nil
}

// addresses finds out whether a response holds addresses that are worth less
// than others, or is about a host of which there are none but those. It notes
// which hosts are such.
func (j *judge) addresses() bool {
	m, h := &j.p.Message, &j.e.homes
	h.list = h.list[:0]
	bad := j.from.book.numStranded.Load() > 0
	for r := range m.Records() {
		if a, ok := r.Addr(); ok && worthOf(a, &j.from.link) < useful {
			bad = true
			break
		}
	}
	if !bad {
		return false
	}
	for r := range m.Records() {
		a, ok := r.Addr()
		if !ok || r.TTL == 0 {
			continue
		}
		key := j.e.scratch.topic(r.Name).key
		x := h.find(key)
		if x == nil {
			if len(h.list) >= maxHomes {
				continue
			}
			h.list = append(h.list, home{key: key})
			x = &h.list[len(h.list)-1]
		}
		x.best, x.ttl = max(x.best, worthOf(a, &j.from.link)), max(x.ttl, r.TTL)
	}
	b := j.from.book
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range h.list {
		b.strand(j.now, x.key, x.best == worthless, min(time.Duration(x.ttl)*time.Second, bookKeep))
	}
	return true
}

// useless says whether a record of a response is of no use on the other side:
// an address, or part of a service that is on a host which has no other.
func (j *judge) useless(c *court, r *dnswire.Record) bool {
	switch r.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a, ok := r.Addr()
		if !ok {
			return false
		}
		switch worthOf(a, &j.from.link) {
		case worthless:
			return true
		case doubtful:
			x := j.e.homes.find(c.scratch.topic(r.Name).key)
			return x != nil && x.best == useful
		}
		return false
	}
	if len(c.book.stranded) == 0 || r.TTL == 0 {
		return false // goodbyes always help
	}
	n := r.Name
	switch r.Type {
	case dnswire.TypePTR:
		n, _ = r.PTR()
	case dnswire.TypeSRV:
		srv, _ := r.SRV()
		return c.book.isStranded(j.now, c.scratch.topic(srv.Target).key)
	}
	t := c.scratch.topic(n)
	if t.kind != kindInstance {
		return false
	}
	v := c.book.lookup(j.now, t)
	return v != nil && v.host != nil && c.book.isStranded(j.now, v.host.key)
}

// strand notes whether of a host only worthless addresses are known, and for
// how long that holds. The book is locked.
func (b *book) strand(now time.Time, key uint64, is bool, d time.Duration) {
	if _, was := b.stranded[key]; !is {
		if was {
			delete(b.stranded, key)
			b.numStranded.Store(int64(len(b.stranded)))
		}
		return
	}
	if len(b.stranded) >= maxStranded {
		for k := range b.stranded { // any: that is there to help, not to protect
			delete(b.stranded, k)
			break
		}
	}
	b.stranded[key] = now.Add(d)
	b.numStranded.Store(int64(len(b.stranded)))
}

// isStranded says whether of a host only worthless addresses are known. The book is locked.
func (b *book) isStranded(now time.Time, key uint64) bool {
	until, ok := b.stranded[key]
	if ok && !now.Before(until) {
		delete(b.stranded, key)
		b.numStranded.Store(int64(len(b.stranded)))
		ok = false
	}
	return ok
}
