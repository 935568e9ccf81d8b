package dnssd

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// settleDirty brings the picture of every touched service up to date and tells
// what changed.
func (c *catalog) settleDirty(now time.Time) {
	for i := 0; i < len(c.dirty); i++ {
		s := c.dirty[i]
		s.isDirty = false
		c.update(now, s)
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
}

func (c *catalog) update(now time.Time, s *service) {
	s.pointers = slices.DeleteFunc(s.pointers, func(p *pointer) bool { return !p.live() })
	if len(s.pointers) == 0 {
		c.drop(s)
		return
	}
	pic := s.last
	c.pointTo(s, &pic)
	complete := true
	if c.resolve && !s.isType {
		complete = c.resolved(now, s, &pic)
	}
	switch {
	case !s.told && !complete:
	case !s.told:
		c.add(s, pic)
	case !s.last.same(&pic), c.refreshes && pic.Expires.Sub(s.last.Expires).Abs() >= time.Second:
		s.last = pic
		c.out = append(c.out, Event{Update, pic})
	}
}

func (c *catalog) add(s *service, pic Service) {
	s.told, s.last = true, pic
	delete(c.pending, s)
	c.out = append(c.out, Event{Add, pic})
}

// pointTo fills in what the service's PTR records say.
func (c *catalog) pointTo(s *service, pic *Service) {
	pic.Subtypes, pic.Expires = nil, time.Time{}
	for _, p := range s.pointers {
		if p.subtype != "" && !slices.Contains(pic.Subtypes, p.subtype) {
			pic.Subtypes = append(pic.Subtypes, p.subtype)
		}
		if u := p.until(); u.After(pic.Expires) {
			pic.Expires, pic.TTL, pic.Source = u, p.ttl, p.source
		}
	}
	slices.Sort(pic.Subtypes)
}

// resolved fills in what SRV, TXT and address records say. It returns whether
// that is all there is to know.
func (c *catalog) resolved(now time.Time, s *service, pic *Service) bool {
	if s.self == nil {
		return false
	}
	delete(c.replacing, s)
	srv, srvFact := bestSRV(s.self.of(dnswire.TypeSRV))
	if srvFact != nil && (s.host == nil || !s.host.name.Equal(srv.Target)) {
		if !slices.Contains(s.others, s.host) {
			c.release(s, s.host)
		}
		s.host = c.use(s, s.key.link, srv.Target)
	}
	if srvFact != nil {
		c.askHost(s, s.host)
	}
	var addresses []netip.Addr
	var addressUntil time.Time
	if srvFact != nil {
		addresses, addressUntil = s.host.addresses()
		// The old host's addresses aren't the new one's. What is known stays
		// until these come, or for a moment.
		if len(addresses) == 0 && s.last.Resolved && pic.Host != srv.Target.String() {
			if s.moved.IsZero() {
				s.moved = now
				c.moving[s] = struct{}{}
			}
			if now.Sub(s.moved) < textWait {
				return true
			}
			pic.Addresses = nil
		}
	}
	s.moved = time.Time{}
	delete(c.moving, s)
	txt := s.self.of(dnswire.TypeTXT)
	if len(txt) > 0 {
		c.texts(now, s, txt, pic)
	}
	pic.Resolved = srvFact != nil && len(addresses) > 0
	if srvFact != nil {
		pic.Host, pic.Port, pic.Priority, pic.Weight = srv.Target.String(), srv.Port, srv.Priority, srv.Weight
	}
	if pic.Resolved {
		pic.Addresses = addresses
		for _, t := range [...]time.Time{srvFact.until(), addressUntil} {
			if t.Before(pic.Expires) {
				pic.Expires = t
			}
		}
	}
	all := c.targets(now, s, pic)
	if c.definite {
		return all && s.self.answered(dnswire.TypeTXT) && (s.self.denied(dnswire.TypeSRV) || srvFact != nil && s.host.bothFamilies())
	}
	// A TXT record must be there (RFC 6763 §6.1), but some hosts have none.
	return pic.Resolved && (s.host.bothFamilies() || s.host.cameWith(srvFact) || now.Sub(s.found) >= addressWait) && (all || now.Sub(s.found) >= textWait) &&
		(len(txt) > 0 || s.self.denied(dnswire.TypeTXT) || now.Sub(s.found) >= textWait)
}

// bothFamilies says whether it is known which IPv4 and which IPv6 addresses the
// host has.
func (n *node) bothFamilies() bool { return n.answered(dnswire.TypeA) && n.answered(dnswire.TypeAAAA) }

// cameWith says whether an address of the host came along with its SRV record. A
// host that sends one sends those of both families (RFC 6762 §6.2): if only one
// is there, it most likely has no other.
func (n *node) cameWith(srv *fact) bool {
	for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
		if slices.ContainsFunc(n.of(t), func(f *fact) bool { return f.cameWith(srv) }) {
			return true
		}
	}
	return false
}

// answered says whether it is known which records of the type the name has.
func (n *node) answered(t dnswire.Type) bool { return len(n.of(t)) > 0 || n.denied(t) }

// textWait is how long a service that is known but for its TXT record waits for
// it, and one that moved for the addresses of its new host.
const textWait = time.Second

// addressWait is how long a service whose host has addresses of one family
// waits for those of the other: they may come in a packet of their own, which
// is sent up to 120 ms later (RFC 6762 §6).
const addressWait = 120 * time.Millisecond

// bestSRV returns the record with the lowest priority, of these the heaviest
// (RFC 2782), of these the newest: after a change the old one stays for a second.
func bestSRV(facts []*fact) (best dnswire.SRV, from *fact) {
	for _, f := range facts {
		srv, ok := f.rr.SRV()
		if !ok {
			continue
		}
		if from == nil || cmp.Or(cmp.Compare(srv.Priority, best.Priority), cmp.Compare(best.Weight, srv.Weight)) <= 0 {
			best, from = srv, f
		}
	}
	return best, from
}

// addresses returns the host's addresses in order, and until when one of them holds.
func (n *node) addresses() ([]netip.Addr, time.Time) {
	var out []netip.Addr
	var until time.Time
	for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
		for _, f := range n.of(t) {
			if a, ok := f.rr.Addr(); ok {
				out = append(out, a)
				if u := f.until(); u.After(until) {
					until = u
				}
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, until
}

func (c *catalog) drop(s *service) {
	c.release(s, s.self)
	c.release(s, s.host)
	for _, n := range s.others {
		c.release(s, n)
	}
	delete(c.services, s.key)
	delete(c.replacing, s)
	delete(c.pending, s)
	delete(c.moving, s)
	l := c.links[s.key.link]
	if s.isType {
		l.types--
	} else {
		l.services--
	}
	if *l == (links{}) {
		delete(c.links, s.key.link)
	}
	if s.told {
		c.out = append(c.out, Event{Remove, s.last})
	}
}

// tellPartial tells the services that were found before the given time and
// couldn't be resolved, as far as they are known. It returns when to call it again
// for those that are left, the zero time if none are.
func (c *catalog) tellPartial(now time.Time, wait time.Duration) time.Time {
	if len(c.pending) > 0 && wait > 0 && now.Before(c.partialAt) {
		return c.partialAt // none is due before that, those that came since neither
	}
	var next time.Time
	for s := range c.pending {
		at := s.found.Add(wait)
		if at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		pic := s.last
		c.pointTo(s, &pic)
		c.resolved(now, s, &pic)
		c.add(s, pic)
	}
	c.partialAt = next
	return next
}
