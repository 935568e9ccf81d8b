package lanfolk

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
)

// Ties. An id that a device tells of itself ("duid:…", "uuid:…") isn't signed:
// who hears it can say it as well, machines that were cloned say the same one,
// and some are all made with one. So such an id is no proof that two MACs are
// one device. It makes them one, mates, by this rule:
//
//   - An id counts if two MACs or more tell it, and maxMates at most: more have
//     the id of a maker, not of a device. It must be of a kind that is made to
//     tell machines apart, or hold the MAC of one of them; or else all of them
//     share a name, a second sign that doesn't depend on the id.
//   - For a MAC that tells more than maxTies ids none counts, nor for one that
//     goes by more than maxCalls names, nor for one that routers pass among each
//     other.
//   - MACs are mates if just the same ids count for each of them. So one that
//     tells the ids of two devices is a mate of neither.
//   - They are none if they contradict each other: if those that have names have
//     none in common, or those that have ids of some kind not one of that kind.
//     Then those among them are mates that go by just the same names, unless
//     they contradict each other, too.
//
// It is a rule about sets, not about chains: who joins A with B and B with C
// would have to join all of them. retie applies it to those MACs alone that a
// change can reach, which are never more than two ids away.

const (
	maxMates = 16 // MACs of one device that claimed ids join
	maxTies  = 32 // ids that one MAC may claim
	maxHeld  = 64 // MACs that may tell an id, those among them for which none counts
	maxCalls = 16 // host names that one MAC may have
)

// ownIDs begin the ids that lanfolk makes up itself, which nobody can claim on a network.
const ownIDs = "lanfolk:"

// certain says whether sightings that share the identifier are about one
// device whoever said them.
func (i Identifier) certain() bool {
	return i.Kind == IDMAC || i.Kind == IDProtocol && strings.HasPrefix(i.Value, ownIDs)
}

// machineIDs are the kinds of id that software makes once for a machine, so that two
// machines have the same one only if one is the copy of another.
func machineID(kind string) bool {
	switch kind {
	case "duid", "lldp", "deviceid", "hap":
		return true
	}
	return false
}

// ties are what a MAC has to do with the ids that are told with it, or an id with the MACs.
type ties struct {
	count counter
	names counter  // of a MAC: the host names that sightings give it
	mates []*ident // of a MAC: all that are one device with it, itself too; nil if it is alone
	off   bool     // of a MAC: no id counts for it; of an id: too many tell it
	works bool     // of an id: it counts
	shook bool     // in core.shaken
}

// counter counts the facts that hold an identifier together with each of others.
type counter struct {
	few  []counted
	many map[*ident]int32 // in place of few when those are more than maxHeld
}

type counted struct {
	i *ident
	n int32
}

func (c *counter) len() int { return max(len(c.few), len(c.many)) }

// add counts up or down and says whether i came or went with that.
func (c *counter) add(i *ident, by int32) bool {
	if c.many != nil {
		was := c.many[i]
		if c.many[i] = was + by; was+by == 0 {
			delete(c.many, i)
		}
		if len(c.many) <= maxHeld/2 {
			for i, n := range c.many {
				c.few = append(c.few, counted{i, n})
			}
			c.many = nil
		}
		return was == 0 || was+by == 0
	}
	for n := range c.few {
		if x := &c.few[n]; x.i == i {
			if x.n += by; x.n == 0 {
				c.few = slices.Delete(c.few, n, n+1)
				return true
			}
			return false
		}
	}
	c.few = append(c.few, counted{i, by})
	if len(c.few) > maxHeld {
		c.many = make(map[*ident]int32, 2*maxHeld)
		for _, x := range c.few {
			c.many[x.i] = x.n
		}
		c.few = nil
	}
	return true
}

// each calls do for all until it returns false.
func (c *counter) each(do func(*ident) bool) {
	for i := range c.many {
		if !do(i) {
			return
		}
	}
	for _, x := range c.few {
		if !do(x.i) {
			return
		}
	}
}

// tie notes that a fact came to hold its identifiers, or that it no longer does.
func (c *core) tie(f *fact, by int32) {
	claims, named := false, false
	for _, i := range f.ids {
		claims = claims || i.claimed
		named = named || i.scope.kind == IDHost
	}
	if !claims && !named {
		return
	}
	for _, m := range f.ids {
		if m.scope.kind != IDMAC || m.void {
			continue
		}
		if m.ties == nil && (!claims || m.roams()) {
			continue
		}
		if m.ties == nil {
			m.ties = new(ties)
			m.each(func(h *fact) bool {
				if h != f {
					m.ties.name(h, 1)
				}
				return true
			})
		}
		if m.ties != nil && m.ties.name(f, by) {
			c.shake(m)
			if !m.ties.off {
				m.ties.count.each(func(i *ident) bool { c.shake(i); return true })
			}
		}
		for _, i := range f.ids {
			if !i.claimed {
				continue
			}
			if i.ties == nil {
				i.ties = new(ties)
			}
			changed := m.ties.count.add(i, by)
			i.ties.count.add(m, by)
			if changed {
				c.shake(m)
				c.shake(i)
			}
		}
	}
}

// name counts the host names of a fact, and says whether one came or went.
func (t *ties) name(f *fact, by int32) (changed bool) {
	for _, i := range f.ids {
		if i.scope.kind == IDHost && !i.void {
			changed = t.names.add(i, by) || changed
		}
	}
	return changed
}

// shake has the ties of an identifier looked at anew.
func (c *core) shake(i *ident) {
	if i.ties != nil && !i.ties.shook {
		i.ties.shook = true
		c.shaken = append(c.shaken, i)
	}
}

// anchor returns a MAC that says which device a fact is about, nil if there is
// none.
func (f *fact) anchor() *ident {
	for _, i := range f.ids {
		if i.anchors() {
			return i
		}
	}
	return nil
}

// bare says whether a fact holds nothing that is certain, so that the ids that
// it claims may say whose it is.
func (f *fact) bare() bool {
	for _, i := range f.ids {
		if i.strong && !i.claimed && i.joins() {
			return false
		}
	}
	return true
}

// telling calls do for the MACs for which a claimed id may count.
func (i *ident) telling(do func(m *ident) bool) {
	if i.ties == nil {
		return
	}
	i.ties.count.each(func(m *ident) bool { return m.ties.off || do(m) })
}

// home returns the MAC to whose device a claimed id leads, or that mate of it
// that stands for all. The id leads nowhere if none has it, and says so; it is
// contested if several devices' have it.
func (i *ident) home() (m *ident, contested bool) {
	switch {
	case i.ties == nil:
		return nil, false
	case i.ties.count.len() > maxHeld:
		return nil, true
	}
	i.telling(func(n *ident) bool {
		switch {
		case m == nil:
			m = n.first()
		case m != n.first():
			contested = true
		}
		return !contested
	})
	return m, contested
}

// first is the MAC that stands for all mates of one.
func (m *ident) first() *ident {
	if m.ties == nil || m.ties.mates == nil {
		return m
	}
	return m.ties.mates[0]
}

// leads says whether a bare fact may be joined by a claimed id.
func (i *ident) leads() bool {
	if !i.claimed || !i.joins() {
		return false
	}
	_, contested := i.home()
	return !contested
}

// shared says whether the claimed id of a bare fact leads to anything: a MAC, or
// another bare fact.
func (i *ident) shared(f *fact) bool {
	if m, _ := i.home(); m != nil {
		return true
	}
	found := false
	i.each(func(h *fact) bool { found = h != f && h.bare(); return !found })
	return found
}

// retie finds the mates of all MACs that were shaken, and has all facts joined
// anew that this concerns.
func (c *core) retie() {
	if len(c.shaken) == 0 {
		return
	}
	c.epoch++
	macs := c.macs[:0]
	add := func(m *ident) bool {
		if m.epoch != c.epoch {
			m.epoch = c.epoch
			macs = append(macs, m)
		}
		return true
	}
	// Whether an id counts depends on its MACs, so those are judged first.
	for n := 0; n < len(c.shaken); n++ {
		m := c.shaken[n]
		if m.claimed {
			continue
		}
		add(m)
		if off := m.muted > 0 || m.ties.count.len() > maxTies || m.ties.names.len() > maxCalls; off != m.ties.off {
			m.ties.off = off
			m.ties.count.each(func(i *ident) bool { c.shake(i); return true })
		}
	}
	for _, i := range c.shaken {
		i.ties.shook = false
		if !i.claimed {
			continue
		}
		was := i.ties.off
		i.weigh()
		if was && i.ties.off {
			continue
		}
		c.seedBare(i)
		i.ties.count.each(add)
	}
	clear(c.shaken)
	c.shaken = c.shaken[:0]
	for n := range macs {
		for _, mate := range macs[n].ties.mates {
			add(mate)
		}
	}
	for _, m := range macs {
		c.pair(m)
	}
	c.macs = macs[:0]
}

// weigh finds out whether an id counts.
func (i *ident) weigh() {
	t := i.ties
	if t.off, t.works = t.count.len() > maxHeld, false; t.off {
		return
	}
	var all []*ident
	i.telling(func(m *ident) bool { all = append(all, m); return len(all) <= maxMates })
	t.off = len(all) > maxMates
	if t.off || len(all) < 2 || !i.joins() {
		return
	}
	kind := i.idKind()
	if t.works = machineID(kind) || slices.ContainsFunc(all, i.holds); !t.works {
		names, named := commonNames(all)
		t.works = named == len(all) && len(names) > 0
	}
}

// counts returns the ids that count for a MAC, in order of their slots.
func (m *ident) counts() []*ident {
	if m.ties == nil || m.ties.off {
		return nil
	}
	var ids []*ident
	m.ties.count.each(func(i *ident) bool {
		if i.ties.works {
			ids = append(ids, i)
		}
		return true
	})
	bySlot(ids)
	return ids
}

func bySlot(ids []*ident) {
	slices.SortFunc(ids, func(a, b *ident) int { return cmp.Compare(a.slot, b.slot) })
}

// alike returns all MACs for which the same ids count as for m, in order of
// their slots.
func (m *ident) alike(ids []*ident) []*ident {
	var all []*ident
	if len(ids) > 0 {
		ids[0].telling(func(n *ident) bool {
			if n == m || slices.Equal(n.counts(), ids) {
				all = append(all, n)
			}
			return true
		})
	}
	bySlot(all)
	return all
}

// pair finds a MAC's mates. Those that are alike get theirs with it.
func (c *core) pair(m *ident) {
	all := m.alike(m.counts())
	if len(all) == 0 {
		c.setMates(m, nil)
		return
	}
	if len(all) > 1 && contradiction(all) == "" {
		for _, n := range all {
			c.setMates(n, all)
		}
		return
	}
	// Who repeats an id under a name of its own must not part those that share theirs.
	for _, n := range all {
		same := slices.DeleteFunc(slices.Clone(all), func(x *ident) bool { return !slices.Equal(x.names(), n.names()) })
		if len(same) < 2 || len(n.names()) == 0 || contradiction(same) != "" {
			same = nil
		}
		c.setMates(n, same)
	}
}

// setMates notes a MAC's mates, and has its facts joined anew if they are others
// than before.
func (c *core) setMates(m *ident, mates []*ident) {
	if slices.Equal(m.ties.mates, mates) {
		return
	}
	m.ties.mates = mates
	m.each(func(f *fact) bool { c.seed(f); return true })
	m.ties.count.each(func(i *ident) bool { c.seedBare(i); return true })
}

// seedBare has the facts joined anew of which a claimed id may say whose they
// are.
func (c *core) seedBare(i *ident) {
	i.each(func(f *fact) bool {
		if f.bare() {
			c.seed(f)
		}
		return true
	})
}

// contradiction says why MACs for which the same ids count aren't one device, ""
// if they may be.
func contradiction(macs []*ident) string {
	if names, named := commonNames(macs); named > 1 && len(names) == 0 {
		return "they go by different names"
	}
	common, had := map[string][]*ident{}, map[string]bool{} // by kind
	for _, m := range macs {
		own := map[string][]*ident{}
		m.ties.count.each(func(i *ident) bool {
			if !i.ties.off && i.joins() {
				own[i.idKind()] = append(own[i.idKind()], i)
			}
			return true
		})
		for kind, ids := range own {
			if had[kind] {
				ids = slices.DeleteFunc(ids, func(i *ident) bool { return !has(common[kind], i) })
			}
			common[kind], had[kind] = ids, true
		}
	}
	differ := ""
	for kind, ids := range common {
		if len(ids) == 0 && (differ == "" || kind < differ) {
			differ = kind
		}
	}
	if differ != "" {
		return "each has another " + differ
	}
	return ""
}

// commonNames returns the names that all those of the MACs have that have any,
// and how many those are. A name is compared without its domain.
func commonNames(macs []*ident) (common []string, named int) {
	for _, m := range macs {
		names := m.names()
		if len(names) == 0 {
			continue
		}
		if named++; named == 1 {
			common = names
		} else {
			common = slices.DeleteFunc(common, func(s string) bool { return !slices.Contains(names, s) })
		}
	}
	return common, named
}

// names returns the names of a MAC.
func (m *ident) names() []string {
	var names []string
	m.ties.names.each(func(i *ident) bool {
		name, _, _ := strings.Cut(i.value, ".")
		names = append(names, foldHost(name))
		return true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// idKind is what a claimed id begins with: "duid" of "duid:0001…".
func (i *ident) idKind() string {
	kind, _, _ := strings.Cut(i.value, ":")
	return kind
}

// holds says whether an id ends in a MAC, as UUIDs of version 1 do that the
// device with that MAC made (RFC 9562 §5.1).
func (i *ident) holds(m *ident) bool {
	mac, err := ParseMAC(m.value)
	if err != nil {
		return false
	}
	digits := hex.EncodeToString(mac[:])
	return strings.HasSuffix(strings.ReplaceAll(foldHost(i.value), ":", ""), digits)
}
