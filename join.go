package lanfolk

import "math"

// Joining. Which sightings make one device is a function of the set of live
// sightings alone; neither their order nor what was known before counts.
//
//  1. Sightings that share a MAC are one component, and so are those of MACs that
//     are mates, which ties.go finds out by the ids that they claim. Such a
//     component is anchored. Sightings without a MAC that share a claimed id are
//     one component, too; where all MACs with its ids are in one anchored
//     component it belongs to that, and counts as a part of it. The others are
//     loose. An id that MACs of several components claim joins nothing.
//  2. An anchored component is a device. Two of them are never joined.
//  3. A weak identifier leads to a device when just one anchored component
//     holds it. If several hold it, it is ambiguous and leads nowhere. A loose
//     component whose identifiers lead to just one device belongs to it; one
//     whose identifiers lead to different devices is in conflict.
//  4. Then the same again a step farther out: an identifier that no anchored
//     component holds leads to a device when the components that step 3 gave
//     to it hold it, and those that it gave to others don't; and so on until a
//     step finds nothing. So a service of which only the host name is known
//     finds its device through the sighting that says the name's address. The
//     closest evidence decides: an address that a host mentions in passing
//     (that of a virtual bridge, say) changes nothing where its name or
//     another address leads to it directly.
//  5. Loose components that belong nowhere, those in conflict among them, are
//     joined with each other by the weak identifiers that they share. An IP
//     address under which more than maxNames host names go joins none of them.
//
// Identifiers that name nobody (loopback addresses, "localhost"), that a
// person separated, and weak ones that more than crowd sightings hold are as
// good as absent.
//
// settle does this only for the part of the inventory that a change can
// reach. Most changes reach nothing: place and leave see that from an
// identifier or two.

// maxNames is how many host names one IP address may have before it no longer
// joins sightings for which no MAC is known.
const maxNames = 4

// What an identifier leads to, beside components (0 and up) and devices
// outside of the region (below ambiguous, see joiner.boundary).
const (
	undecided = math.MinInt32
	ambiguous = math.MaxInt32
)

// component is a set of facts that strong identifiers join: facts from to to
// of joiner.region.
type component struct {
	from, to int
	anchored bool  // holds a MAC, or belongs by its ids to one that does
	label    int32 // what it belongs to; undecided; ambiguous: in conflict
	part     int32
	parent   int32 // in the union of those that belong nowhere
}

// part is a set of facts that is one device.
type part struct {
	facts    []*fact
	dev      *device
	boundary *device // the facts join this device, the rest of which isn't in the region
	anchored bool
}

// joiner is the scratch space of one recomputation.
type joiner struct {
	region   []*fact
	comps    []component
	boundary []*device
	level    int32
	front    []int32
	touched  []*ident
	parts    []part
}

// rejoin computes anew the devices of all facts that the seeds can reach.
func (c *core) rejoin() {
	c.stats.Rejoins++
	j := &c.join
	c.epoch++
	j.region, j.comps, j.boundary, j.parts = j.region[:0], j.comps[:0], j.boundary[:0], nil
	for _, f := range c.seeds {
		f.shaken = false
		if f.live() && len(f.ids) > 0 {
			c.enter(f)
		}
	}
	clear(c.seeds)
	c.seeds = c.seeds[:0]
	for n := 0; n < len(j.region); n++ {
		for _, i := range j.region[n].ids {
			if i.strong || i.epoch == c.epoch {
				continue
			}
			i.epoch, i.lead, i.level = c.epoch, undecided, 0
			if i.loose == 0 || !i.joins() {
				continue
			}
			i.each(func(h *fact) bool {
				if h.loose {
					c.enter(h)
				}
				return true
			})
		}
	}
	c.reached += len(j.region)
	c.lead()
	c.unite()
	c.collect()
	c.identify()
	c.move()
	clear(j.region)
	clear(j.boundary)
}

// enter takes the whole component of a fact into the region, and what belongs
// to it or what it belongs to.
func (c *core) enter(f *fact) {
	switch {
	case f.epoch == c.epoch:
	case f.bare():
		c.enterBare(f)
	default:
		c.enterCertain(f)
	}
}

// enterCertain takes in what is certainly about one device, and the mates of its
// MACs.
func (c *core) enterCertain(f *fact) {
	j := &c.join
	n := int32(len(j.comps))
	k := component{from: len(j.region), label: undecided, part: -1, parent: n}
	reach := func(h *fact) bool {
		if h.epoch != c.epoch {
			h.epoch, h.comp = c.epoch, n
			j.region = append(j.region, h)
		}
		return true
	}
	reach(f)
	claims := false
	for at := k.from; at < len(j.region); at++ {
		for _, i := range j.region[at].ids {
			claims = claims || i.claimed
			if !i.strong || i.claimed || i.epoch == c.epoch || !i.joins() {
				continue
			}
			i.epoch = c.epoch
			k.anchored = k.anchored || i.anchors()
			i.each(reach)
			if i.ties == nil {
				continue
			}
			for _, mate := range i.ties.mates {
				mate.each(reach)
			}
		}
	}
	k.to = len(j.region)
	if k.anchored {
		k.label = n
	}
	j.comps = append(j.comps, k)
	if !claims || !k.anchored {
		return
	}
	for at := k.from; at < k.to; at++ {
		for _, i := range j.region[at].ids {
			if !i.claimed || i.epoch == c.epoch || !i.joins() {
				continue
			}
			if m, contested := i.home(); m != nil && !contested && j.holds(n, m, c.epoch) {
				i.each(func(h *fact) bool {
					if h.bare() {
						c.enter(h)
					}
					return true
				})
				i.epoch = c.epoch
			}
		}
	}
}

// holds says whether component n holds a MAC.
func (j *joiner) holds(n int32, m *ident, epoch uint32) bool {
	f := m.any()
	return f.epoch == epoch && f.comp == n
}

// enterBare takes in facts without a MAC that the ids join that they claim, and
// the component where all of those ids lead, if there is just one.
func (c *core) enterBare(f *fact) {
	j := &c.join
	n := int32(len(j.comps))
	k := component{from: len(j.region), label: undecided, part: -1, parent: n}
	reach := func(h *fact) bool {
		if h.epoch != c.epoch && h.bare() {
			h.epoch, h.comp = c.epoch, n
			j.region = append(j.region, h)
		}
		return true
	}
	reach(f)
	var home *ident
	several := false
	for at := k.from; at < len(j.region); at++ {
		for _, i := range j.region[at].ids {
			if !i.claimed || i.epoch == c.epoch || !i.joins() {
				continue
			}
			i.epoch = c.epoch
			m, contested := i.home()
			if contested {
				continue
			}
			if m != nil {
				several = several || home != nil && home != m
				home = m
			}
			i.each(reach)
		}
	}
	k.to = len(j.region)
	j.comps = append(j.comps, k)
	if home != nil && !several {
		h := home.any()
		c.enter(h)
		j.comps[n].label, j.comps[n].anchored = h.comp, true
	}
}

// weak calls do for each weak identifier that may join the component.
func (c *core) weak(k *component, do func(*ident)) {
	for _, f := range c.join.region[k.from:k.to] {
		for _, i := range f.ids {
			if !i.strong && i.joins() {
				do(i)
			}
		}
	}
}

// suggest tells a loose component one thing that it may belong to.
func (k *component) suggest(label int32) {
	switch {
	case label == undecided || label == ambiguous || k.label == label:
	case k.label == undecided:
		k.label = label
	default:
		k.label = ambiguous
	}
}

// lead gives each loose component its label: steps 3 and 4 of the rule.
func (c *core) lead() {
	j := &c.join
	j.front = j.front[:0]
	for n := range j.comps {
		k := &j.comps[n]
		if k.anchored {
			continue
		}
		c.weak(k, func(i *ident) {
			if i.level == 0 {
				i.level, i.lead = 1, c.direct(i)
			}
			k.suggest(i.lead)
		})
		if k.label != undecided && k.label != ambiguous {
			j.front = append(j.front, int32(n))
		}
	}
	for j.level = 2; len(j.front) > 0; j.level++ {
		j.touched = j.touched[:0]
		for _, n := range j.front {
			k := &j.comps[n]
			c.weak(k, func(i *ident) {
				switch {
				case i.lead != undecided:
				case i.level != j.level:
					i.level, i.next = j.level, k.label
					j.touched = append(j.touched, i)
				case i.next != k.label:
					i.next = ambiguous
				}
			})
		}
		j.front = j.front[:0]
		var open []int32 // components that were undecided before this level
		for _, i := range j.touched {
			i.lead = i.next
			i.each(func(h *fact) bool {
				if k := &j.comps[h.comp]; h.epoch == c.epoch && !k.anchored && k.label == undecided {
					k.label = -1 // marked; told below
					open = append(open, h.comp)
				}
				return true
			})
		}
		for _, n := range open {
			k := &j.comps[n]
			k.label = undecided
			c.weak(k, func(i *ident) {
				if i.level == j.level {
					k.suggest(i.lead)
				}
			})
			if k.label != undecided && k.label != ambiguous {
				j.front = append(j.front, n)
			}
		}
	}
}

// direct returns what the anchored holders of a weak identifier say it leads to.
func (c *core) direct(i *ident) int32 {
	j := &c.join
	lead := int32(undecided)
	i.each(func(h *fact) bool {
		var label int32
		switch {
		case h.epoch == c.epoch && j.comps[h.comp].anchored:
			label = j.comps[h.comp].label
		case h.epoch == c.epoch || h.dev == nil:
			return true
		default:
			if h.dev.epoch != c.epoch {
				h.dev.epoch, h.dev.inRegion = c.epoch, 0
				h.dev.label = undecided
			}
			if h.dev.label == undecided {
				j.boundary = append(j.boundary, h.dev)
				h.dev.label = -1 - int32(len(j.boundary))
			}
			label = h.dev.label
		}
		if lead == undecided {
			lead = label
		} else if lead != label {
			lead = ambiguous
		}
		return lead != ambiguous
	})
	return lead
}

// unite joins the loose components that belong nowhere: step 5 of the rule.
func (c *core) unite() {
	j := &c.join
	j.level++
	for n := range j.comps {
		k := &j.comps[n]
		if k.label != undecided && k.label != ambiguous {
			continue
		}
		c.weak(k, func(i *ident) {
			if i.level != j.level {
				i.level, i.next = j.level, int32(n)
				if i.scope.kind == IDIP && c.names(i) > maxNames {
					i.next = -1
				}
				return
			}
			if i.next >= 0 {
				j.union(int32(n), i.next)
			}
		})
	}
}

// names counts the host names of an address among the components that belong
// nowhere, up to one more than maxNames.
func (c *core) names(ip *ident) int {
	var hosts [maxNames + 1]*ident
	n := 0
	ip.each(func(h *fact) bool {
		if h.epoch != c.epoch {
			return true
		}
		if l := c.join.comps[h.comp].label; l != undecided && l != ambiguous {
			return true
		}
		for _, i := range h.ids {
			if i.scope.kind == IDHost && n < len(hosts) && !has(hosts[:n], i) {
				hosts[n] = i
				n++
			}
		}
		return n < len(hosts)
	})
	return n
}

func (j *joiner) root(n int32) int32 {
	for j.comps[n].parent != n {
		j.comps[n].parent = j.comps[j.comps[n].parent].parent
		n = j.comps[n].parent
	}
	return n
}

func (j *joiner) union(a, b int32) {
	if a, b = j.root(a), j.root(b); a != b {
		j.comps[max(a, b)].parent = min(a, b)
	}
}

// collect makes parts of the labelled components.
func (c *core) collect() {
	j := &c.join
	outside := make([]int32, len(j.boundary))
	partOf := func(n int32) int32 {
		k := &j.comps[n]
		if k.part < 0 {
			k.part = int32(len(j.parts))
			j.parts = append(j.parts, part{anchored: k.anchored})
		}
		return k.part
	}
	for n := range j.comps {
		k := &j.comps[n]
		var p int32
		switch {
		case k.label == undecided || k.label == ambiguous:
			p = partOf(j.root(int32(n)))
		case k.label >= 0:
			p = partOf(k.label)
		default:
			b := -2 - k.label
			if outside[b] == 0 {
				j.parts = append(j.parts, part{boundary: j.boundary[b], anchored: true})
				outside[b] = int32(len(j.parts))
			}
			p = outside[b] - 1
		}
		j.parts[p].facts = append(j.parts[p].facts, j.region[k.from:k.to]...)
	}
}

// move gives the facts of each part to its device.
func (c *core) move() {
	j := &c.join
	for n := range j.parts {
		p := &j.parts[n]
		p.dev.anchored = p.anchored
		for _, f := range p.facts {
			c.link(f, p.dev)
			c.setLoose(f, !j.comps[f.comp].anchored)
		}
	}
	c.epoch++
	for n := range j.parts {
		p := &j.parts[n]
		for _, f := range p.facts {
			for _, i := range f.ids {
				if i.epoch == c.epoch {
					continue
				}
				i.epoch = c.epoch
				i.dev = p.dev
				if i.n() > crowd && !i.strong {
					i.dev = nil
				} else if !i.strong || i.claimed || i.muted > 0 || i.void {
					i.each(func(h *fact) bool {
						if h.dev != i.dev {
							i.dev = nil
						}
						return i.dev != nil
					})
				}
				c.own(p.dev, i)
			}
		}
	}
}
