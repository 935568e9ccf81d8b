package lanfolk

import (
	"slices"
	"strings"
	"time"
)

// Bounds of what is kept of a device beside its live sightings.
const (
	maxMemory     = 64 // identifiers
	maxWeakMemory = 8  // of them weak ones
	maxHeard      = 8  // names
	maxAliases    = 16
	maxSaid       = 64 // names, tags, separated identifiers each
)

// brief is how long a device that split off another may live by host names and
// addresses alone, and be forgotten at its end.
const brief = int64(10 * time.Second)

// device is a device as the core keeps it.
type device struct {
	id      string
	into    *device   // the device that this one turned out to be
	aliases []*device // those that turned out to be this one, oldest first

	facts []*fact // live ones, and services that ran out
	nlive int     // how many of them are live

	first, last int64
	due         int64 // when its timer runs out
	split       int64 // when it split off another, 0 if it didn't

	// memory holds identifiers that it was known by and no live fact has, the
	// latest last. heard, protocols and gateway are the picture before its
	// last facts ended.
	memory    []*ident
	heard     []string
	heardAt   int64 // when heard was taken
	protocols []string
	gateway   string

	said *Said
	view *Device // the last picture; nil if none was wanted

	signals []Signal        // of facts that ended; see keepSignals
	class   *Classification // nil before it was wanted
	classBy []Signal        // what class follows from, with a vendor
	classOf string

	step, epoch uint32
	label       int32
	inRegion    int32
	order       int32 // index in core.order

	anchored  bool // has a MAC to which others attach
	changed   bool // view is out of date
	stale     bool // view's times are
	touched   bool // in core.touched
	emptied   bool // in core.emptied
	unsaved   bool // in core.unsavedDevices
	nameless  bool // core.nobody
	forgotten bool
	pinned    bool // a person is saying something about it
}

// root is the device that stands for this one.
func (d *device) root() *device {
	if d.into != nil {
		return d.into
	}
	return d
}

// named says whether a person said something about the device.
func (d *device) named() bool {
	if d.said != nil || d.pinned {
		return true
	}
	return slices.ContainsFunc(d.aliases, func(a *device) bool { return a.said != nil })
}

// older orders devices by age.
func older(a, b *device) int {
	if a.first != b.first {
		if a.first < b.first {
			return -1
		}
		return 1
	}
	return strings.Compare(a.id, b.id)
}

// touch notes that the device's picture may have changed.
func (c *core) touch(d *device) {
	d.changed = true
	if c.watching && !d.touched {
		d.touched = true
		c.touched = append(c.touched, d)
	}
}

func (c *core) noteEmpty(d *device) {
	if d.nlive == 0 && !d.emptied && !d.nameless {
		d.emptied = true
		c.emptied = append(c.emptied, d)
	}
}

// create makes a device with a new id.
func (c *core) newDevice(first int64) *device {
	c.makeRoom()
	d := &device{first: first, last: first}
	for d.id == "" || c.devices[d.id] != nil {
		d.id = c.newID()
	}
	c.enlist(d)
	c.unsavedDevice(d)
	delete(c.forgotten, d.id)
	return d
}

// enlist puts a device into the index and, if it stands for itself, the list.
func (c *core) enlist(d *device) {
	c.devices[d.id] = d
	if d.into == nil {
		d.order = int32(len(c.order))
		c.order = append(c.order, d)
	}
}

// delist takes a device out of the list, and closes the list's holes when half
// of it is gone.
func (c *core) delist(d *device) {
	c.order[d.order] = nil
	c.holes++
	if c.holes < 64 || c.holes < len(c.order)/2 {
		return
	}
	kept := c.order[:0]
	for _, d := range c.order {
		if d != nil {
			d.order = int32(len(kept))
			kept = append(kept, d)
		}
	}
	clear(c.order[len(kept):])
	c.order, c.holes = kept, 0
}

// makeRoom forgets a device that nothing speaks of and nobody named, a newcomer
// if there is one, when there are as many devices as there may be.
func (c *core) makeRoom() {
	if len(c.order)-c.holes < c.limits.devices {
		return
	}
	var worst *device
	looked := 0
	for range c.order {
		c.handDev = (c.handDev + 1) % len(c.order)
		d := c.order[c.handDev]
		if d == nil {
			continue
		}
		if looked++; looked > 64 {
			break
		}
		if d.nlive == 0 && !d.emptied && !d.named() && (worst == nil || d.lesserThan(worst)) {
			worst = d
		}
	}
	if worst != nil {
		c.stats.EvictedDevices++
		c.forget(worst)
	}
}

// lesserThan says whether less is lost with d than with another device.
func (d *device) lesserThan(other *device) bool {
	if a, b := d.last-d.first < int64(newcomer), other.last-other.first < int64(newcomer); a != b {
		return a
	}
	return d.last < other.last
}

// forget removes a device and all that is remembered of it.
func (c *core) forget(d *device) {
	for len(d.facts) > 0 {
		c.drop(d.facts[len(d.facts)-1])
	}
	for len(d.aliases) > 0 {
		c.forgetAlias(d.aliases[len(d.aliases)-1])
	}
	if d.view != nil && c.watching {
		c.removed = append(c.removed, d.view)
	}
	c.wipe(d)
	c.delist(d)
}

// forgetAlias removes the record of a device that was merged into another.
func (c *core) forgetAlias(a *device) {
	d := a.into
	d.aliases = slices.DeleteFunc(d.aliases, func(x *device) bool { return x == a })
	c.wipe(a)
	c.touch(d)
}

func (c *core) wipe(d *device) {
	for len(d.memory) > 0 {
		c.unremember(d, d.memory[0])
	}
	if d.said != nil {
		c.mute(d.said.Separated, -1)
	}
	delete(c.devices, d.id)
	d.forgotten = true
	if c.saving && len(c.forgotten) < maxEnded {
		c.forgotten[d.id] = struct{}{}
	}
}

// remember keeps the picture of a device that is about to lose a fact, so that
// it can be shown when none is left. Once a step is enough.
func (c *core) remember(d *device) {
	if d.nameless || d.step == c.step {
		return
	}
	d.step, d.heardAt = c.step, c.now
	c.unsavedDevice(d)
	p := d.portrait()
	if names := p.heardNames(); len(names) > 0 {
		d.heard = mergeNames(names, d.heard)
	}
	if len(p.protocols) > 0 {
		d.protocols = p.sortedProtocols()
		d.gateway = p.gateway
	}
}

// mergeNames returns the names of a, then those of b that a lacks, bounded.
func mergeNames(a, b []string) []string {
	out := make([]string, 0, maxHeard)
	for _, names := range [2][]string{a, b} {
		for _, n := range names {
			if len(out) < maxHeard && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// keepIdent remembers an identifier that the device's last fact with it let go.
func (c *core) keepIdent(d *device, i *ident) {
	if i.void || has(d.memory, i) {
		return
	}
	d.memory = append(d.memory, i)
	i.refs++
	i.kept = i.owner == d
	weak := 0
	for _, m := range d.memory {
		if !m.strong {
			weak++
		}
	}
	if weak > maxWeakMemory || (weak > 0 && len(d.memory) > maxMemory) {
		c.unremember(d, d.memory[slices.IndexFunc(d.memory, func(m *ident) bool { return !m.strong })])
	} else if len(d.memory) > maxMemory {
		c.unremember(d, d.memory[0])
	}
	c.unsavedDevice(d)
}

// unremember takes an identifier out of the device's memory.
func (c *core) unremember(d *device, i *ident) {
	d.memory = slices.DeleteFunc(d.memory, func(m *ident) bool { return m == i })
	if i.owner == d {
		i.kept = false
		if i.n() == 0 {
			i.owner = nil
		}
	}
	i.refs--
	c.release(i)
	if d.into == nil && d.nlive == 0 {
		c.touch(d)
	}
	c.unsavedDevice(d)
}

// own notes that the device is the last that held the identifier.
func (c *core) own(d *device, i *ident) {
	if i.void || (i.owner == d && !i.kept) {
		return
	}
	if i.kept {
		i.refs++ // not to be freed in between
		c.unremember(i.owner, i)
		i.refs--
	}
	i.owner, i.kept = d, false
}

// link makes the fact one of the device's.
func (c *core) link(f *fact, d *device) {
	if f.dev == d {
		return
	}
	if f.dev != nil {
		c.touch(f.dev)
		c.unlink(f)
	}
	f.dev = d
	f.dpos = uint32(len(d.facts))
	d.facts = append(d.facts, f)
	if f.live() {
		if d.nlive++; d.nlive == 1 && d.heardAt == c.now {
			d.heard = nil // said and taken back in one moment
			c.unsavedDevice(d)
		}
	}
	d.first, d.last = min(d.first, f.first), max(d.last, f.heard)
	f.view = nil
	c.touch(d)
	c.unsavedFact(f)
}

// unlink takes the fact away from its device.
func (c *core) unlink(f *fact) {
	d := f.dev
	last := len(d.facts) - 1
	moved := d.facts[last]
	d.facts[f.dpos] = moved
	moved.dpos = f.dpos
	d.facts[last] = nil
	d.facts = d.facts[:last]
	if f.live() {
		d.nlive--
		c.noteEmpty(d)
	}
	f.dev = nil
	c.unsavedDevice(d) // its times no longer follow from its facts
}

// settleEmpty turns devices that lost their last live fact into remembered
// ones.
func (c *core) settleEmpty() {
	for _, d := range c.emptied {
		d.emptied = false
		if d.nlive > 0 || d.into != nil || d.forgotten {
			continue
		}
		if c.remnant(d) {
			c.forget(d)
			continue
		}
		d.split = 0 // it stays, whatever becomes of what it remembers
		d.anchored = false
		c.touch(d)
		c.unsavedDevice(d)
		if !d.named() {
			c.setRetention(d)
		}
	}
	c.emptied = c.emptied[:0]
}

// remnant says whether a device that nothing speaks of was only what was left of another
// for a moment: what a device says ends piece by piece, and that which leads from a host's name to
// its MAC may be the first to go.
func (c *core) remnant(d *device) bool {
	return d.split > 0 && c.now-d.split < brief && len(d.facts) == 0 && len(d.aliases) == 0 && !d.named() &&
		!slices.ContainsFunc(d.memory, func(i *ident) bool { return i.strong })
}

// setRetention sets the time at which a device that nothing speaks of is
// forgotten.
func (c *core) setRetention(d *device) {
	d.due = d.last + int64(c.retention)
	c.pushTimer(timer{at: d.due, d: d})
}

// merge makes d an alias of the older device a: a keeps its id, and both ids
// name it from now on.
func (c *core) merge(d, a *device) {
	c.stats.Merges++
	for _, f := range d.facts {
		for _, i := range f.ids {
			if i.dev == d {
				i.dev = a
			}
			if i.owner != d {
				continue
			}
			if len(d.memory) < maxMemory && !i.void && !has(d.memory, i) {
				d.memory = append(d.memory, i)
				i.refs++
			} else if !has(d.memory, i) {
				i.owner = a
			}
		}
	}
	for _, i := range d.memory {
		if i.owner == d {
			i.owner, i.kept = a, false
			if i.n() == 0 {
				c.keepIdent(a, i)
			}
		}
	}
	c.remember(d)
	for len(d.facts) > 0 {
		c.link(d.facts[len(d.facts)-1], a)
	}
	if d.view != nil && c.watching {
		c.removed = append(c.removed, d.view)
	}
	c.delist(d)
	d.into, d.view, d.due = a, nil, 0
	a.last = max(a.last, d.last)
	joined := append(d.aliases, d)
	d.aliases = nil
	for _, x := range joined {
		x.into = a
		c.unsavedDevice(x)
	}
	a.aliases = append(a.aliases, joined...)
	slices.SortFunc(a.aliases, older)
	for n := len(a.aliases) - 1; n >= 0 && len(a.aliases) > maxAliases; n-- {
		if a.aliases[n].said == nil {
			c.forgetAlias(a.aliases[n])
		}
	}
	c.touch(a)
	c.unsavedDevice(a)
}

// revive makes an alias a device of its own again.
func (c *core) revive(a *device) {
	c.touch(a.into)
	a.into.aliases = slices.DeleteFunc(a.into.aliases, func(x *device) bool { return x == a })
	c.unsavedDevice(a.into)
	a.into = nil
	for _, i := range slices.Clone(a.memory) {
		switch {
		case i.n() > 0: // its facts say whose it is
			c.unremember(a, i)
		case i.owner != a:
			if i.kept {
				c.unremember(i.owner, i)
			}
			i.owner, i.kept = a, true
		}
	}
	c.enlist(a)
	c.unsavedDevice(a)
}

// record returns the device's stored form.
func (d *device) record() DeviceRecord {
	r := DeviceRecord{
		ID: d.id, Identifiers: []Identifier{}, Heard: slices.Clone(d.heard), Protocols: slices.Clone(d.protocols),
		Gateway: d.gateway, FirstSeen: timeOf(d.first), LastSeen: timeOf(d.last), Split: timeOf(d.split),
	}
	if d.into != nil {
		r.MergedInto = d.into.id
	}
	seen := map[*ident]bool{}
	add := func(i *ident) {
		if len(seen) < maxMemory && !seen[i] && !i.void {
			seen[i] = true
			r.Identifiers = append(r.Identifiers, i.identifier())
		}
	}
	for _, i := range d.memory {
		add(i)
	}
	for _, f := range d.facts {
		if !f.live() {
			continue
		}
		for _, i := range f.ids {
			add(i)
		}
	}
	if r.Heard == nil {
		r.Heard = []string{}
	}
	if r.Protocols == nil {
		r.Protocols = []string{}
	}
	r.Signals = slices.Clone(d.signals)
	r.Said = Said{Names: []string{}, Tags: []string{}, Separated: []Identifier{}}
	if d.said != nil {
		r.Said = d.said.clone()
	}
	return r
}

func (s *Said) clone() Said {
	c := Said{Names: slices.Clone(s.Names), Tags: slices.Clone(s.Tags), Separated: slices.Clone(s.Separated)}
	if c.Names == nil {
		c.Names = []string{}
	}
	if c.Tags == nil {
		c.Tags = []string{}
	}
	if c.Separated == nil {
		c.Separated = []Identifier{}
	}
	return c
}
