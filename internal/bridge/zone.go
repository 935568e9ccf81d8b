package bridge

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
)

// AllTypes among a Zone's types chooses every type that there is.
const AllTypes = "*"

// DefaultTTL is the most that what is known by mDNS is remembered by others: it may
// change at any moment (RFC 8766 §5.5.1).
const DefaultTTL = 10 * time.Second

// Zone publishes services in a DNS-SD zone. Set its exported fields before anything
// else. All methods may be called from any goroutine.
type Zone struct {
	Zone *zone.Zone
	// Links are the only ones whose services are published; none means all.
	Links []string
	TTL   time.Duration // 0 is DefaultTTL
	// Own says whether this node announces the service itself: what is heard of it has
	// come back, by a reflector say. nil: it announces none.
	Own func(dnssd.Service) bool
	// FirstSeen says when a service on a link was heard of first, in this run or an
	// earlier one; the zero time if that isn't known. nil knows of none.
	FirstSeen func(dnssd.Service) time.Time
	Log       *slog.Logger // nil is silent

	mu        sync.Mutex
	instances map[string]*instance // by key
	hosts     map[string]*host     // by their names in .local, folded
	touched   map[*host]struct{}   // what attach and detach changed
	taken     map[string]struct{}  // names in the zone, folded
	groups    uint64               // how many there ever were
	rejected  uint64
}

// Stats counts what a Zone publishes.
type Stats struct {
	// Published is how many services are in the zone, Renamed how many of them have
	// another name there, because two links have the same.
	Published, Renamed int
	// Hidden is how many services are known on a link and not published: their hosts
	// have no address that is of use elsewhere, or the zone wouldn't take them.
	Hidden   int
	Rejected uint64 // how many times the zone wouldn't take a service
}

// Stats returns the counters.
func (z *Zone) Stats() Stats {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := Stats{Rejected: z.rejected}
	for _, in := range z.instances {
		shown := 0
		for _, g := range in.groups {
			if !g.published {
				continue
			}
			shown += len(g.links)
			s.Published++
			if !strings.EqualFold(g.name, in.name) {
				s.Renamed++
			}
		}
		s.Hidden += len(in.heard) - shown
	}
	return s
}

// Run publishes what is found of the types, "_ipp._tcp" or with a subtype
// "_universal._sub._ipp._tcp", until ctx ends or the source does. If the source does,
// what was found is taken back. settled, if it isn't nil, is called when the first look is
// complete: what is there has most likely been found.
func (z *Zone) Run(ctx context.Context, src dnssd.Source, types []string, settled func()) error {
	tasks, running := errgroup.WithContext(ctx)
	var looking atomic.Int64
	looking.Store(int64(len(types)))
	for i, t := range types {
		b := dnssd.Browser{Source: src, Type: t, Resolve: true}
		if sub, service, ok := strings.Cut(t, "._sub."); ok {
			b.Type, b.Subtype = service, sub
		}
		if t == AllTypes {
			b.Type, b.All = "", true
		}
		tasks.Go(func() error {
			for ev, err := range b.Events(running) {
				switch {
				case err != nil:
					return err
				case ev.Op == dnssd.Settled:
					if looking.Add(-1) == 0 && settled != nil {
						settled()
					}
				default:
					z.Hear(time.Now(), i, ev)
				}
			}
			return nil
		})
	}
	err := tasks.Wait()
	if ctx.Err() == nil {
		for i := range types {
			z.forget(i)
		}
	}
	return err
}

// own is the feed of what this node announces itself; those of Run count from 0.
const own = -1

// Announced takes over what this node announces itself: all of it, one service for
// each link.
func (z *Zone) Announced(now time.Time, services []dnssd.Service) {
	z.mu.Lock()
	defer z.mu.Unlock()
	current := map[string]bool{}
	for _, s := range services {
		current[key(s.Instance)+"\x00"+s.Interface] = true
		s.Resolved, s.Via = true, "mdns"
		z.put(now, own, s)
	}
	for k, in := range z.instances {
		for link, h := range in.heard {
			if _, mine := h.feeds[own]; mine && !current[k+"\x00"+link] {
				z.drop(now, own, in, link)
			}
		}
	}
}

// Hear takes over an event of one of several feeds, which count from 0: Run does so
// with what browsers tell.
func (z *Zone) Hear(now time.Time, feed int, ev dnssd.Event) {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := ev.Service
	if s.Name == "" || s.Via != "mdns" || !strings.EqualFold(s.Domain, dnssd.DefaultDomain) {
		return
	}
	if len(z.Links) > 0 && !slices.Contains(z.Links, s.Interface) {
		return
	}
	if ev.Op == dnssd.Remove || !s.Resolved || z.Own != nil && z.Own(s) {
		if in := z.instances[key(s.Instance)]; in != nil {
			z.drop(now, feed, in, s.Interface)
		}
		return
	}
	z.put(now, feed, s)
}

// forget takes back all that a feed said.
func (z *Zone) forget(feed int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := time.Now()
	for _, in := range z.instances {
		for link := range in.heard {
			z.drop(now, feed, in, link)
		}
	}
}

// key tells an instance from others.
func key(i dnssd.Instance) string { return fold(i.Service) + "\x00" + fold(i.Name) }

// fold lowers ASCII letters only (RFC 6762 §16).
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// put takes over what a feed says of a service. z.mu is held.
func (z *Zone) put(now time.Time, feed int, s dnssd.Service) {
	if z.instances == nil {
		z.instances, z.hosts = map[string]*instance{}, map[string]*host{}
		z.touched, z.taken = map[*host]struct{}{}, map[string]struct{}{}
	}
	k := key(s.Instance)
	in := z.instances[k]
	if in == nil {
		in = &instance{key: k, name: s.Name, heard: map[string]*heard{}}
		z.instances[k] = in
	}
	h := in.heard[s.Interface]
	if h == nil {
		h = &heard{in: in, link: s.Interface, feeds: map[int]dnssd.Service{}, first: z.first(now, feed, s)}
		in.heard[s.Interface] = h
	}
	z.detach(h)
	h.feeds[feed] = s
	h.merge(z.Zone.Domain())
	z.attach(h)
	z.settle(now, in)
}

// drop takes back what a feed says of an instance on a link. z.mu is held.
func (z *Zone) drop(now time.Time, feed int, in *instance, link string) {
	h := in.heard[link]
	if h == nil {
		return
	}
	if _, said := h.feeds[feed]; !said {
		return
	}
	z.detach(h)
	delete(h.feeds, feed)
	if len(h.feeds) > 0 {
		h.merge(z.Zone.Domain())
		z.attach(h)
	} else {
		delete(in.heard, link)
	}
	z.settle(now, in)
	if len(in.heard) == 0 {
		delete(z.instances, in.key)
	}
}

// first says since when a service is known. This node's own come before all others.
func (z *Zone) first(now time.Time, feed int, s dnssd.Service) time.Time {
	if feed == own {
		return time.Time{}
	}
	if z.FirstSeen != nil {
		if t := z.FirstSeen(s); !t.IsZero() {
			return t
		}
	}
	return now
}

// publish brings the zone up to date about an instance on links that belong
// together: what is said on that where it was first heard, with the host's addresses on
// all of them. z.mu is held.
func (z *Zone) publish(now time.Time, in *instance, g *group) {
	h := in.heard[g.links[0]]
	s := zone.Service{Name: g.name, Type: h.said.Instance.Service, TTL: cmp.Or(z.TTL, DefaultTTL), TXT: []dnssd.TXT{h.said.TXT}}
	if ttl := time.Duration(h.said.TTL) * time.Second; ttl > 0 {
		s.TTL = min(s.TTL, ttl)
	}
	for _, link := range g.links {
		for _, sub := range in.heard[link].said.Subtypes {
			if !slices.ContainsFunc(s.Subtypes, func(o string) bool { return fold(o) == fold(sub) }) {
				s.Subtypes = append(s.Subtypes, sub)
			}
		}
	}
	for _, t := range h.targets {
		if t.local {
			hg := z.hosts[t.key].group(h.link)
			if hg == nil {
				continue
			}
			t.Host, t.Addresses = hg.name, hg.addresses
		}
		s.Targets = append(s.Targets, t.Target)
	}
	err := z.Zone.Put(now, g.id, s)
	if err == nil {
		g.published = true
		return
	}
	z.rejected++
	if z.Log != nil {
		z.Log.Debug("a service isn't published", "service", in.name, "if", h.link, "err", err)
	}
	z.unpublish(now, g)
}

// unpublish takes an instance out of the zone. z.mu is held.
func (z *Zone) unpublish(now time.Time, g *group) {
	if g.published {
		z.Zone.Remove(now, g.id)
		g.published = false
	}
}
