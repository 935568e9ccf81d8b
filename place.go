package lanfolk

// Placing: most facts come and go without moving others, which can be seen
// from an identifier or two. What can't is left to rejoin.

// attach makes the fact a holder of its identifiers.
func (c *core) attach(f *fact) {
	if !f.turned {
		c.count(f, 1)
	}
	f.turned = false
	c.veil(f)
	for _, i := range f.ids {
		joined := i.joins()
		i.add(f)
		if joined && !i.joins() {
			c.seedLoose(i)
		}
	}
	c.tie(f, 1)
}

// seedLoose has the loose holders of an identifier joined anew.
func (c *core) seedLoose(i *ident) {
	if i.loose == 0 {
		return
	}
	i.each(func(h *fact) bool {
		if h.loose {
			c.seed(h)
		}
		return true
	})
}

// seed has a fact joined anew.
func (c *core) seed(f *fact) {
	if !f.shaken {
		f.shaken = true
		c.seeds = append(c.seeds, f)
	}
}

// leave makes the fact, which still is live, no holder of its identifiers any
// more, and has those joined anew that were joined through it. It does
// nothing for a fact that isn't placed.
func (c *core) leave(f *fact) {
	if !f.pending || f.turned {
		c.count(f, -1)
		f.turned = false
	}
	if !f.pending {
		c.detach(f, true)
	}
}

// detach makes a fact that is placed no holder of its identifiers, which its device may
// keep in memory.
func (c *core) detach(f *fact, keep bool) {
	var few [maxIdentifiers]*ident
	rest := few[:0] // what others hold and did hold together with f
	var crossed []*ident
	bare := f.bare()
	for _, i := range f.ids {
		joined := i.joins()
		i.remove(f)
		if f.loose {
			i.loose--
		}
		switch {
		case i.n() == 0:
			i.dev = nil
			if f.dev != nil && keep {
				c.own(f.dev, i)
				c.keepIdent(f.dev, i)
			}
		case joined && i.claimed && !(bare && i.leads()):
			// Nothing was joined by it, or by ties alone.
		case joined:
			rest = append(rest, i)
		case i.joins():
			crossed = append(crossed, i)
		}
	}
	c.tie(f, -1)
	for _, i := range crossed {
		c.seedLoose(i)
	}
	// What was to be joined anew through f is now so through its neighbours.
	if f.shaken || !c.leavesQuietly(f, rest) {
		for _, i := range rest {
			if !i.strong {
				c.seedLoose(i)
				continue
			}
			if i.seeded != c.stats.Rejoins+1 {
				i.seeded = c.stats.Rejoins + 1
				i.each(func(h *fact) bool { c.seed(h); return true })
			}
		}
	}
	f.loose = false
}

// leavesQuietly says whether no other fact was joined through f, of whose
// identifiers others still hold rest.
func (c *core) leavesQuietly(f *fact, rest []*ident) bool {
	if len(rest) == 0 {
		return true
	}
	named := false
	for _, i := range f.ids {
		named = named || i.scope.kind == IDHost
	}
	if len(rest) == 1 {
		// A leaf connects nothing. But an anchored one may have been the
		// anchor, and a loose one may have been one name too many of an address.
		i := rest[0]
		switch {
		case f.loose && (i.scope.kind != IDIP || !named):
			return true
		case !f.loose && (i.anchors() || (!i.strong && i.loose == 0)):
			return true
		}
	}
	// Another fact of the same component and with the same identifiers holds
	// together whatever this one did.
	best := rest[0]
	for _, i := range rest {
		if i.many == nil && (best.many != nil || len(i.holders) < len(best.holders)) {
			best = i
		}
	}
	for n, h := range best.holders {
		if n == 4 {
			break
		}
		if h.dev == f.dev && h.dev != nil && h.loose == f.loose && !h.pending && holdsAll(h, f.ids) {
			return true
		}
	}
	return false
}

func holdsAll(f *fact, ids []*ident) bool {
	for _, i := range ids {
		if !has(f.ids, i) {
			return false
		}
	}
	return true
}

// settle places new facts and joins anew what was shaken.
func (c *core) settle() {
	c.reveal()
	c.retie()
	for n := 0; n < len(c.pending); n++ {
		f := c.pending[n]
		if !f.pending {
			continue
		}
		f.pending = false
		if !f.live() {
			continue
		}
		if len(f.ids) == 0 {
			c.link(f, &c.nobody)
			continue
		}
		c.attach(f)
		c.reveal()
		c.retie()
		if f.shaken || !c.place(f) {
			c.seed(f)
		}
	}
	clear(c.pending)
	c.pending = c.pending[:0]
	if len(c.seeds) > 0 {
		c.rejoin()
	}
	c.settleEmpty()
}

// place finds the device of a fact that was just attached, where that is plain
// to see and changes nothing for other facts. If not, it returns false.
func (c *core) place(f *fact) bool {
	var dev *device
	mac, strong, weak, several, looseHeld := false, false, false, false, false
	strongAnchored, strongLoose := false, false
	var ip *ident
	anchored := !f.bare()
	for _, i := range f.ids {
		if !i.joins() || i.claimed && (anchored || !i.leads()) {
			continue
		}
		mac = mac || i.anchors()
		if i.n() == 1 || i.claimed && !i.shared(f) {
			continue
		}
		if i.scope.kind == IDIP {
			ip = i
		}
		if i.strong {
			strong = true
			if i.loose > 0 {
				strongLoose = true
			} else {
				strongAnchored = true
			}
		} else {
			weak = true
			looseHeld = looseHeld || i.loose > 0
		}
		if i.dev == nil || (dev != nil && i.dev != dev) {
			several = true
		}
		dev = i.dev
	}
	if anchored && !c.leadsHere(f) {
		return false
	}
	switch {
	case !strong && !weak, mac && !strong && !looseHeld && !several:
		// Nobody else is concerned: a device of its own.
	case mac && !strong && !looseHeld:
		// A MAC that shares weak identifiers with other MACs only.
	case several:
		return false
	case strongAnchored && !strongLoose, !mac && !strongAnchored && (dev.anchored || ip == nil || twin(f, ip)):
		c.adopt(f, dev, !strongAnchored)
		return true
	default:
		return false
	}
	p := part{facts: []*fact{f}, anchored: mac}
	c.identifyAlone(&p)
	c.adopt(f, p.dev, !mac)
	p.dev.anchored = mac
	return true
}

// leadsHere says whether all that the ids lead to that a fact with a MAC claims
// is where its MAC is already.
func (c *core) leadsHere(f *fact) bool {
	var dev *device
	for _, i := range f.ids {
		if i.anchors() && i.n() > 1 {
			dev = i.dev
		}
	}
	for _, i := range f.ids {
		if i.claimed && i.n() > 1 && i.leads() && (dev == nil || i.dev != dev) {
			return false
		}
	}
	return true
}

// twin says whether one of the first few other holders of the identifier has
// just the identifiers of f: then it is where f belongs, whatever the rule.
func twin(f *fact, i *ident) bool {
	n, found := 0, false
	i.each(func(h *fact) bool {
		n++
		found = h != f && h.dev != nil && sameIdents(h.ids, f.ids)
		return n < 8 && !found
	})
	return found
}

// adopt gives the fact to the device.
func (c *core) adopt(f *fact, d *device, loose bool) {
	c.link(f, d)
	c.setLoose(f, loose)
	for _, i := range f.ids {
		if i.n() == 1 {
			i.dev = d
		} else if i.dev != d {
			i.dev = nil
		}
		c.own(d, i)
	}
}

func (c *core) setLoose(f *fact, loose bool) {
	if f.loose == loose {
		return
	}
	f.loose = loose
	for _, i := range f.ids {
		if loose {
			i.loose++
		} else {
			i.loose--
		}
	}
}
