package lanfolk

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Proxies. A router that answers in its own name for hosts beyond it (RFC 1027,
// RFC 4389) says the same as a host that is asked for its address, so one answer
// proves nothing. What gives it away is how much it answers for:
//
//   - A MAC answers for an address if a sighting of TypeAnswer says so. It has the
//     address if any other sighting tells both, as when it asks in the name of it.
//   - Who answers on a link for more than maxAnswered4 or maxAnswered6 addresses of
//     a family and has none of them is a proxy for them. Those sightings tell of it
//     then, but not that the address is its own: for joining, and for what is shown,
//     they hold only its MAC.
//
// It is a rule about the set of live sightings, and so about no order. Only of MACs
// that many sightings tell is kept what they answer for.

// How many addresses of a link a host may answer for and never speak from. Many
// servers have some IPv4 addresses; a host with temporary IPv6 addresses (RFC 8981
// §3.4) has eight of each prefix.
const (
	maxAnswered4 = 8
	maxAnswered6 = 32
)

// answers is what a MAC answers for.
type answers struct {
	facts int // with the MAC and an address
	addrs map[*ident]*answer
	lent  map[span]map[*ident]struct{} // addresses that it answers for and hasn't
}

// answer is what the facts with a MAC say of an address.
type answer struct {
	own int     // facts by which it has the address
	by  []*fact // those of TypeAnswer
}

// span is where addresses are counted together.
type span struct {
	scope *idScope
	six   bool
}

func spanOf(ip *ident) span {
	a, _ := netip.ParseAddr(ip.value)
	return span{ip.scope, a.Is6()}
}

// most returns how many addresses a host may answer for and not have.
func (c *core) most(s span) int {
	if s.six {
		return c.answered6
	}
	return c.answered4
}

// replies says whether a sighting may tell no more than that a MAC answers for an address.
func (s *Sighting) replies() bool { return s.Kind == KindDevice && s.Type == TypeAnswer }

// all returns the fact's identifiers, those among them that don't count.
func (f *fact) all() []*ident { return f.ids[:len(f.ids)+int(f.veiled)] }

// answered returns the MAC and the address if the fact says no more than that the
// one answers for the other.
func (f *fact) answered() (m, ip *ident) {
	ids := f.all()
	if !f.replies || len(ids) < 2 || ids[0].scope.kind != IDMAC || ids[1].scope.kind != IDIP ||
		slices.ContainsFunc(ids[2:], func(i *ident) bool { return i.scope.kind != IDEUI64 }) {
		return nil, nil
	}
	return ids[0], ids[1]
}

// count notes that a fact comes to hold its identifiers, or that it no longer does.
func (c *core) count(f *fact, by int) {
	for _, m := range f.all() {
		if m.scope.kind != IDMAC || m.void {
			continue
		}
		t := c.answers[m]
		if t == nil {
			if by < 0 || m.n() < min(c.answered4, c.answered6) {
				continue
			}
			t = c.track(m)
		}
		if c.tally(t, m, f, by); t.facts == 0 {
			delete(c.answers, m)
		}
	}
}

// track begins to count what the facts with a MAC tell.
func (c *core) track(m *ident) *answers {
	t := &answers{addrs: map[*ident]*answer{}, lent: map[span]map[*ident]struct{}{}}
	c.answers[m] = t
	m.each(func(h *fact) bool { c.tally(t, m, h, 1); return true })
	return t
}

// attachAll attaches the facts of an inventory that is restored: as what one of them
// tells depends on others, all are counted first.
func (c *core) attachAll(all []*fact) {
	for _, f := range all {
		for _, m := range f.ids {
			if m.scope.kind == IDMAC && !m.void && c.answers[m] == nil {
				c.track(m)
			}
		}
		c.count(f, 1)
		f.turned = true // is counted
	}
	clear(c.turned)
	c.turned = c.turned[:0]
	for _, f := range all {
		c.attach(f)
	}
	for m := range c.answers {
		if m.n() < min(c.answered4, c.answered6) {
			delete(c.answers, m)
		}
	}
}

// tally counts the addresses of a fact with a MAC.
func (c *core) tally(t *answers, m *ident, f *fact, by int) {
	mac, answered := f.answered()
	for _, ip := range f.all() {
		if ip.scope.kind != IDIP || ip.void {
			continue
		}
		t.facts += by
		a := t.addrs[ip]
		if a == nil {
			a = new(answer)
			t.addrs[ip] = a
		}
		switch {
		case mac != m || answered != ip:
			a.own += by
		case by > 0:
			a.by = append(a.by, f)
		default:
			n := slices.Index(a.by, f)
			a.by = slices.Delete(a.by, n, n+1)
		}
		c.lend(t, ip, a)
		if a.own == 0 && len(a.by) == 0 {
			delete(t.addrs, ip)
		}
	}
}

// lend notes whether an address is one that the MAC answers for and hasn't, and
// which facts that concerns.
func (c *core) lend(t *answers, ip *ident, a *answer) {
	s, is := spanOf(ip), a.own == 0 && len(a.by) > 0
	lent := t.lent[s]
	if _, was := lent[ip]; was == is {
		return
	}
	most := c.most(s)
	proxy := len(lent) > most
	if is {
		if lent == nil {
			lent = map[*ident]struct{}{}
			t.lent[s] = lent
		}
		lent[ip] = struct{}{}
	} else {
		delete(lent, ip)
	}
	c.turned = append(c.turned, a.by...)
	if proxy != (len(lent) > most) {
		n := len(c.turned)
		for i := range lent {
			c.turned = append(c.turned, t.addrs[i].by...)
		}
		// In an order that no map and no restart changes.
		slices.SortFunc(c.turned[n:], func(a, b *fact) int {
			return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.key(), b.key()))
		})
	}
	if len(lent) == 0 {
		delete(t.lent, s)
	}
}

// lent says whether a fact tells an address that its MAC answers for as a proxy.
func (c *core) lent(f *fact) bool {
	if len(c.answers) == 0 {
		return false
	}
	m, ip := f.answered()
	t := c.answers[m]
	if m == nil || t == nil {
		return false
	}
	s := spanOf(ip)
	_, lent := t.lent[s][ip]
	return lent && len(t.lent[s]) > c.most(s)
}

// veil decides which identifiers of a fact that isn't attached count.
func (c *core) veil(f *fact) {
	f.ids = f.all()
	f.veiled = 0
	if c.lent(f) {
		f.veiled = uint8(len(f.ids) - 1)
		f.ids = f.ids[:1]
	}
}

// reveal has the facts placed anew whose address is a proxy's now, or no longer is.
func (c *core) reveal() {
	for n := 0; n < len(c.turned); n++ {
		f := c.turned[n]
		if !f.live() || f.pending || c.lent(f) == (f.veiled > 0) {
			continue // what is pending is looked at when it is placed
		}
		hidden := f.ids[1:]
		c.detach(f, false)
		for _, i := range hidden {
			if i.n() == 0 && !i.kept {
				i.owner = nil // it never was the device's
			}
		}
		if f.dev != nil { // nil if it was attached in this step
			c.touch(f.dev)
			c.unsavedDevice(f.dev) // its record may name the address
		}
		f.turned = true
		c.await(f)
	}
	clear(c.turned)
	c.turned = c.turned[:0]
}

// proxied says why the address of a fact is none of its MAC's.
func (c *core) proxied(f *fact) string {
	m, ip := f.answered()
	return fmt.Sprintf("%s isn't its own: a proxy, it answers there for %d that it never speaks from", ip.identifier(), len(c.answers[m].lent[spanOf(ip)]))
}
