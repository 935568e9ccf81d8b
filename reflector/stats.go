package reflector

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/lanfolk/lanfolk/mdns"
)

// countKey names what is counted: a zone that packets are heard in, and one
// that they are passed on to, the zero Zone for all. Link indexes are left
// out: links that come and go leave no more counters than they have names.
type countKey struct {
	from, to             string
	fromFamily, toFamily mdns.Family
}

// counts are packets by what became of them.
type counts struct{ n [numVerdicts]atomic.Uint64 }

func (c *counts) add(v verdict) { c.n[v].Add(1) }

// maxCounts bounds the table of counters.
const maxCounts = 4096

func (r *Reflector) count(from, to mdns.Zone) *counts {
	k := countKey{from.Interface, to.Interface, from.Family, to.Family}
	c := r.counts[k]
	if c == nil {
		c = &counts{}
		if len(r.counts) < maxCounts {
			r.counts[k] = c
		}
	}
	return c
}

// Stats are a reflector's counters since it began.
type Stats struct {
	Sides []SideStats
	Pairs []PairStats
}

// SideStats are counters of the packets that were heard on one link and family.
type SideStats struct {
	Interface string
	Family    mdns.Family
	// Stopped counts packets that were passed on nowhere, by reason.
	Stopped map[string]uint64
	// Reflectors are other hosts that pass packets on between the same links.
	Reflectors []netip.Addr
}

// PairStats are counters of the packets from one link and family to another.
type PairStats struct {
	From, To             string // interfaces
	FromFamily, ToFamily mdns.Family
	Passed               uint64 // whole or in part
	// Packets counts them by what became of them.
	Packets map[string]uint64
}

// Stats returns the counters.
func (r *Reflector) Stats() Stats {
	r.init()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var s Stats
	for k, c := range r.counts {
		if k.to == "" {
			s.Sides = append(s.Sides, SideStats{k.from, k.fromFamily, c.byReason(), r.reflectors(k)})
			continue
		}
		s.Pairs = append(s.Pairs, PairStats{
			From: k.from, To: k.to, FromFamily: k.fromFamily, ToFamily: k.toFamily,
			Passed:  c.n[passed].Load() + c.n[edited].Load() + c.n[split].Load() + c.n[answered].Load(),
			Packets: c.byReason(),
		})
	}
	slices.SortFunc(s.Sides, func(a, b SideStats) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Family, b.Family))
	})
	slices.SortFunc(s.Pairs, func(a, b PairStats) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.FromFamily, b.FromFamily), cmp.Compare(a.To, b.To), cmp.Compare(a.ToFamily, b.ToFamily))
	})
	return s
}

func (c *counts) byReason() map[string]uint64 {
	m := map[string]uint64{}
	for i := range c.n {
		if n := c.n[i].Load(); n > 0 {
			m[verdict(i).String()] = n
		}
	}
	return m
}

func (r *Reflector) reflectors(k countKey) (found []netip.Addr) {
	for _, s := range r.side {
		if s.zone.Interface != k.from || s.zone.Family != k.fromFamily {
			continue
		}
		s.in.mu.Lock()
		for i := range s.in.sources.sets {
			for _, x := range &s.in.sources.sets[i].all {
				if x.told {
					found = append(found, x.addr)
				}
			}
		}
		s.in.mu.Unlock()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return found
}
