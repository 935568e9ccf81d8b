package lanfolk

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxBatch is how many sightings one batch holds at most.
const maxBatch = 20000

// outgoing is a batch on its way to the sink, and where it came from.
type outgoing struct {
	Batch
	facts   []*fact
	devices []*device
}

// unsaved takes what is not saved yet as a batch, nil if there is nothing.
func (c *core) unsaved() *outgoing {
	if len(c.unsavedFacts) == 0 && len(c.unsavedDevices) == 0 && len(c.ended) == 0 && len(c.forgotten) == 0 {
		return nil
	}
	var o outgoing
	for _, d := range c.unsavedDevices {
		d.unsaved = false
		if !d.forgotten {
			o.devices = append(o.devices, d)
			o.Devices = append(o.Devices, d.record())
			delete(c.forgotten, d.id)
		}
	}
	clear(c.unsavedDevices)
	c.unsavedDevices = c.unsavedDevices[:0]
	n := min(maxBatch, len(c.unsavedFacts))
	for _, f := range c.unsavedFacts[:n] {
		f.unsaved = false
		if !f.dead && !f.gone {
			o.facts = append(o.facts, f)
			s := f.stored()
			o.Sightings = append(o.Sightings, s)
			delete(c.ended, s.Sighting.ID())
		}
	}
	rest := copy(c.unsavedFacts, c.unsavedFacts[n:])
	clear(c.unsavedFacts[rest:])
	c.unsavedFacts = c.unsavedFacts[:rest]
	for id := range c.ended {
		o.Ended = append(o.Ended, id)
	}
	for id := range c.forgotten {
		o.Forgotten = append(o.Forgotten, id)
	}
	clear(c.ended)
	clear(c.forgotten)
	return &o
}

// takeBack notes that a batch was not saved.
func (c *core) takeBack(o *outgoing) {
	for _, d := range o.devices {
		if !d.forgotten {
			c.unsavedDevice(d)
		}
	}
	for _, f := range o.facts {
		if !f.dead && !f.gone {
			c.unsavedFact(f)
		}
	}
	for _, id := range o.Ended {
		if len(c.ended) < maxEnded {
			c.ended[id] = struct{}{}
		}
	}
	for _, id := range o.Forgotten {
		if len(c.forgotten) < maxEnded {
			c.forgotten[id] = struct{}{}
		}
	}
}

func (f *fact) stored() StoredSighting {
	s := StoredSighting{Sighting: f.sighting(), FirstSeen: timeOf(f.first), Ended: f.ended}
	if f.dev != nil {
		s.Device = f.dev.id
	}
	return s
}

// snapshot returns all that restore needs.
func (c *core) snapshot() Snapshot {
	s := Snapshot{Devices: []DeviceRecord{}, Sightings: []StoredSighting{}}
	for _, d := range c.devices {
		s.Devices = append(s.Devices, d.record())
	}
	slices.SortFunc(s.Devices, func(a, b DeviceRecord) int { return strings.Compare(a.ID, b.ID) })
	for _, f := range c.facts.items {
		if f != nil && !f.gone {
			s.Sightings = append(s.Sightings, f.stored())
		}
	}
	return s
}

// restore fills an empty core.
func (c *core) restore(now time.Time, s Snapshot) error {
	if len(c.devices) > 0 || c.facts.used > 0 {
		return fmt.Errorf("lanfolk: restore: the inventory is not empty")
	}
	c.advance(now)
	if err := c.restoreDevices(s.Devices); err != nil {
		return err
	}
	for n := range s.Sightings {
		c.restoreSighting(&s.Sightings[n])
	}
	held := make([]*fact, 0, len(c.pending))
	for _, f := range c.pending {
		f.pending = false
		if len(f.ids) == 0 {
			c.link(f, &c.nobody)
			continue
		}
		held = append(held, f)
	}
	c.pending = nil
	c.attachAll(held)
	for _, f := range held {
		c.seed(f)
	}
	c.retie()
	c.rejoin()
	for _, d := range c.order {
		if d != nil {
			c.noteEmpty(d)
		}
	}
	c.settleEmpty()
	c.drain()
	// What ran out while nobody ran ends now, in its turn.
	c.expire(now)
	return nil
}

func (c *core) restoreDevices(records []DeviceRecord) error {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b DeviceRecord) int {
		return older(&device{id: a.ID, first: nanos(a.FirstSeen)}, &device{id: b.ID, first: nanos(b.FirstSeen)})
	})
	for _, r := range records {
		if r.ID == "" || c.devices[r.ID] != nil {
			return fmt.Errorf("lanfolk: restore: device id %q is empty or there twice", r.ID)
		}
		d := &device{
			id: r.ID, first: nanos(r.FirstSeen), last: nanos(r.LastSeen), heard: slices.Clone(r.Heard),
			protocols: slices.Clone(r.Protocols), gateway: r.Gateway, split: nanos(r.Split), signals: boundSignals(slices.Clone(r.Signals)),
		}
		if !r.Said.Empty() {
			said := r.Said.clone()
			d.said = &said
			c.mute(said.Separated, 1)
		}
		c.devices[d.id] = d
	}
	for _, r := range records {
		d := c.devices[r.ID]
		if into := c.devices[r.MergedInto]; into != nil && into != d {
			d.into = into
		}
	}
	for _, r := range records {
		d := c.devices[r.ID]
		for n := 0; d.into != nil && d.into.into != nil; n++ {
			if d.into = d.into.into; n > len(records) { // a ring: nobody stands for the others
				d.into = nil
			}
		}
	}
	for _, r := range records {
		d := c.devices[r.ID]
		if d.into == nil {
			c.enlist(d)
		} else {
			d.into.aliases = append(d.into.aliases, d)
		}
		for n := range r.Identifiers {
			if i := c.ident(&r.Identifiers[n]); i != nil && !i.void && !has(d.memory, i) && len(d.memory) < maxMemory {
				c.recollect(d, i)
			}
		}
	}
	return nil
}

// recollect puts an identifier into a restored device's memory. A device that
// was merged may remember what others do too; of the rest the one that was
// heard last owns it.
func (c *core) recollect(d *device, i *ident) {
	if d.into == nil {
		if i.owner != nil {
			if i.owner.last > d.last {
				return
			}
			i.refs++
			c.unremember(i.owner, i)
			i.refs--
		}
		i.owner, i.kept = d, true
	}
	d.memory = append(d.memory, i)
	i.refs++
}

// restoreSighting takes back one stored sighting, if it still held when it was
// saved or is kept to be shown.
func (c *core) restoreSighting(st *StoredSighting) {
	s := &st.Sighting
	d := c.devices[st.Device]
	if d != nil {
		d = d.root()
	}
	sc := c.scope(s)
	if s.Key == "" || len(s.Key) > maxKey || sc == nil || s.Gone {
		return
	}
	if !fits(s) {
		cut := clip(*s)
		s = &cut
	}
	f := &fact{
		scope: sc, blob: string(pack(nil, s)), hash: c.hash(sc.num, s.Key), first: nanos(st.FirstSeen),
		heard: min(nanos(s.Time), c.now), state: stateIndex(s.State), replies: s.replies(),
	}
	f.first = min(f.first, f.heard)
	life := s.Lifetime
	if life <= 0 {
		life = DefaultLifetime
	}
	f.ends = f.heard + int64(min(life, maxLifetime))
	if c.facts.find(f.hash, func(x *fact) bool { return x.scope == sc && x.key() == s.Key }) != nil {
		return
	}
	f.ended = st.Ended
	if d != nil {
		d.first, d.last = min(d.first, f.first), max(d.last, f.heard)
	}
	f.ids = c.identsOf(s)
	if len(f.ids) == 0 {
		d = &c.nobody
	}
	if f.ended && (!f.service() || d == nil || f.ends+int64(c.serviceRetention) <= c.now) || c.facts.used >= c.sightings {
		c.releaseIdents(f.ids)
		c.endedFact(f)
		return
	}
	f.src = c.source(s.Origin.Source)
	f.src.n++
	f.slot = c.facts.put(f.hash, f)
	c.read(f, s)
	if d != nil {
		c.link(f, d)
	}
	if f.ended {
		f.due = f.ends + int64(c.serviceRetention)
		c.pushTimer(timer{at: f.due, f: f})
		return
	}
	c.setTimer(f)
	c.await(f)
}
