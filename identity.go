package lanfolk

import (
	"cmp"
	"slices"
	"strings"
)

// Which id a part gets. Ids, unlike joins, are kept from before:
//
//   - A device claims the parts that its facts ended up in, and those that hold
//     a strong identifier by which it was known last, if nothing speaks of it
//     any more. A part that no device claims so is claimed by the one
//     remembered device that had its host name (or, knowing no more, its IP
//     address), unless each has a MAC or protocol id.
//   - Of several parts a device keeps the one with a MAC of its, of those the one
//     that was heard first: who came to it by a claim never leaves with its id.
//     If none has a MAC, it keeps the one with the most of its protocol ids, then
//     of its weak identifiers, of its facts; then the one that was heard first.
//   - Of several devices that keep one part the oldest survives and the others
//     become aliases of it.
//   - A part left over takes the alias of a former device that was known by its
//     identifiers before the merge, and a new id if there is none.

// claim is what speaks for a part being the device.
type claim struct {
	part                   int
	dev                    *device
	macs, ids, weak, facts int
}

// outside is the number of MACs of a device that has facts outside of the region.
const outside = 1 << 30

// stronger orders claims of one device, the strongest first.
func (c *core) stronger(a, b claim) int {
	earlier := c.earlier(&c.join.parts[a.part], &c.join.parts[b.part])
	if a.macs > 0 && b.macs > 0 && a.macs < outside && b.macs < outside {
		return earlier
	}
	return cmp.Or(
		cmp.Compare(b.macs, a.macs), cmp.Compare(b.ids, a.ids), cmp.Compare(b.weak, a.weak), cmp.Compare(b.facts, a.facts), earlier)
}

// earlier orders parts by when they were heard first.
func (c *core) earlier(a, b *part) int {
	x, y := a.eldest(), b.eldest()
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return -1
	case y == nil:
		return 1
	}
	return elder(x, y)
}

// elder orders facts by when they were heard first.
func elder(a, b *fact) int {
	return cmp.Or(cmp.Compare(a.first, b.first), strings.Compare(a.scope.Protocol, b.scope.Protocol),
		strings.Compare(a.scope.Link, b.scope.Link), strings.Compare(a.scope.Gateway, b.scope.Gateway),
		strings.Compare(a.key(), b.key()), strings.Compare(string(a.scope.Kind), string(b.scope.Kind)))
}

func (p *part) eldest() *fact {
	if len(p.facts) == 0 {
		return nil
	}
	return slices.MinFunc(p.facts, elder)
}

// identifyAlone finds the device of a part of one fact.
func (c *core) identifyAlone(p *part) {
	f := p.facts[0]
	if f.dev == nil && !slices.ContainsFunc(f.ids, func(i *ident) bool { return i.last() != nil }) {
		p.dev = c.newDevice(f.first)
		return
	}
	saved := c.join.parts
	c.epoch++
	c.join.parts = []part{*p}
	c.join.region = append(c.join.region[:0], f)
	c.identify()
	p.dev = c.join.parts[0].dev
	c.join.parts = saved
}

// identify gives every part its device.
func (c *core) identify() {
	j := &c.join
	for _, f := range j.region {
		if d := f.dev; d != nil {
			if d.epoch != c.epoch {
				d.epoch, d.inRegion, d.label = c.epoch, 0, undecided
			}
			d.inRegion++
		}
	}
	claims := c.claims()
	former := make([][]*device, len(j.parts))
	for _, k := range claims {
		former[k.part] = append(former[k.part], k.dev)
	}
	// The oldest device chooses first, and takes what is strongest for it.
	slices.SortStableFunc(claims, func(a, b claim) int { return older(a.dev, b.dev) })
	for from := 0; from < len(claims); {
		d := claims[from].dev
		to := from
		var best *claim
		for ; to < len(claims) && claims[to].dev == d; to++ {
			k := &claims[to]
			if c.elsewhere(d) && j.parts[k.part].boundary != d {
				continue
			}
			if best == nil || c.stronger(*k, *best) < 0 {
				best = k
			}
		}
		from = to
		switch {
		case best == nil:
		case j.parts[best.part].dev == nil:
			j.parts[best.part].dev = d
		default:
			c.merge(d, j.parts[best.part].dev)
		}
	}
	for n := range j.parts {
		p := &j.parts[n]
		if p.dev == nil {
			p.dev = c.reviveFor(p, former[n])
		}
		if p.dev == nil {
			p.dev = c.newDevice(p.eldest().first)
			if slices.ContainsFunc(p.facts, func(f *fact) bool { return f.dev != nil }) {
				p.dev.split = c.now
			}
		}
	}
}

// elsewhere says whether the device has live facts outside of the region, so
// that its id is not to be had.
func (c *core) elsewhere(d *device) bool {
	return d.epoch == c.epoch && d.nlive > int(d.inRegion) || d.epoch != c.epoch && d.nlive > 0
}

// claims returns what each device has to say for each part.
func (c *core) claims() []claim {
	j := &c.join
	var claims []claim
	var idents []*ident
	for n := range j.parts {
		p := &j.parts[n]
		from := len(claims)
		at := func(d *device) *claim {
			for m := from; m < len(claims); m++ {
				if claims[m].dev == d {
					return &claims[m]
				}
			}
			claims = append(claims, claim{part: n, dev: d})
			return &claims[len(claims)-1]
		}
		if p.boundary != nil {
			at(p.boundary).macs = outside
		}
		idents = idents[:0]
		for _, f := range p.facts {
			if f.dev != nil && !f.dev.nameless {
				at(f.dev).facts++
			}
			for _, i := range f.ids {
				if i.last() != nil && i.joins() {
					idents = append(idents, i)
				}
			}
		}
		slices.SortFunc(idents, func(a, b *ident) int { return cmp.Compare(a.slot, b.slot) })
		idents = slices.Compact(idents)
		for _, i := range idents {
			if !i.strong || (i.last().nlive > 0 || i.claimed && !i.kept) && !claimed(claims[from:], i.last()) {
				continue // the owner lives by something else, or was one of several
			}
			if k := at(i.last()); i.anchors() {
				k.macs++
			} else {
				k.ids++
			}
		}
		if len(claims) == from {
			if d := c.recall(p, idents); d != nil {
				at(d)
			}
		}
		for _, i := range idents {
			if !i.strong && claimed(claims[from:], i.last()) {
				at(i.last()).weak++
			}
		}
	}
	return claims
}

func claimed(claims []claim, d *device) bool {
	return slices.ContainsFunc(claims, func(k claim) bool { return k.dev == d })
}

// recall finds the one remembered device that the part's weak identifiers
// speak of.
func (c *core) recall(p *part, idents []*ident) *device {
	strong := slices.ContainsFunc(p.facts, func(f *fact) bool {
		return slices.ContainsFunc(f.ids, func(i *ident) bool { return i.strong && i.joins() })
	})
	for _, kind := range [...]IdentifierKind{IDHost, IDIP} {
		var found *device
		for _, i := range idents {
			d := i.last()
			if i.scope.kind != kind || d.nlive > 0 || d == found {
				continue
			}
			known := slices.ContainsFunc(d.memory, func(m *ident) bool { return m.strong })
			named := slices.ContainsFunc(d.memory, func(m *ident) bool { return m.scope.kind == IDHost })
			if (strong && (known || kind == IDIP)) || (kind == IDIP && (known || named)) {
				continue
			}
			if found != nil {
				return nil
			}
			found = d
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// reviveFor finds the alias of a former device that was known by the part's
// identifiers, and makes it a device again.
func (c *core) reviveFor(p *part, former []*device) *device {
	var best *device
	bestRank := 0
	for _, d := range former {
		for _, a := range d.root().aliases {
			if slices.Contains(former, a) {
				continue // merged just now, with what was stronger
			}
			rank := 0
			for _, m := range a.memory {
				if !slices.ContainsFunc(p.facts, func(f *fact) bool { return has(f.ids, m) }) {
					continue
				}
				switch {
				case m.anchors():
					rank += 1 << 20
				case m.strong && m.joins():
					rank += 1 << 10
				default:
					rank++
				}
			}
			known := slices.ContainsFunc(a.memory, func(m *ident) bool { return m.anchors() })
			if known && rank < 1<<20 {
				continue // it is its MAC's, and that is elsewhere
			}
			if rank > bestRank || (rank == bestRank && rank > 0 && older(a, best) < 0) {
				best, bestRank = a, rank
			}
		}
	}
	if best != nil {
		c.revive(best)
	}
	return best
}
