package lanfolk

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// drawSighting draws from few values, so that identifiers meet often.
func drawSighting(t *rapid.T) Sighting {
	n := rapid.IntRange(0, 11).Draw(t, "key")
	s := sight(fmt.Sprintf("%s/%d", []string{"arp", "mdns", "dhcp"}[n%3], n))
	s.Kind = []Kind{KindDevice, KindService}[n/3%2]
	s.Name = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "name")
	values := map[IdentifierKind][]string{
		IDMAC:      {"00:00:5e:00:53:01", "00:00:5e:00:53:02", "02:00:5e:00:53:03", "ff:ff:ff:ff:ff:ff"},
		IDProtocol: {"p:1", "p:2", "duid:1", "duid:2", "uuid:00005e005301", "lanfolk:1"},
		IDHost:     {"a.local", "b.local", "c.local", "d.local", "e.local", "f.local", "localhost"},
		IDIP:       {"10.0.0.1", "10.0.0.2", "10.0.0.3", "fe80::1"},
	}
	values[IDEUI64] = []string{"00:00:5e:00:53:01", "00:00:5e:00:53:02"}
	weights := []IdentifierKind{IDMAC, IDProtocol, IDHost, IDHost, IDIP, IDIP, IDIP}
	if rapid.Bool().Draw(t, "claims") { // as strict rules about claimed ids are seldom met else
		weights = []IdentifierKind{IDMAC, IDMAC, IDProtocol, IDProtocol, IDHost, IDIP, IDEUI64}
	}
	for range rapid.IntRange(0, 3).Draw(t, "identifiers") {
		kind := rapid.SampledFrom(weights).Draw(t, "kind")
		id := Identifier{Kind: kind, Value: rapid.SampledFrom(values[kind]).Draw(t, "value"), Link: "eth0"}
		if !slices.Contains(s.Identifiers, id) {
			s.Identifiers = append(s.Identifiers, id)
		}
	}
	if s.Kind == KindDevice && rapid.Bool().Draw(t, "answer") {
		mac := rapid.SampledFrom(values[IDMAC][:3]).Draw(t, "answers")
		s.Type = TypeAnswer
		s.Identifiers = []Identifier{{Kind: IDMAC, Value: mac, Link: "eth0"}, {Kind: IDIP, Value: rapid.SampledFrom(append(values[IDIP], "fe80::2")).Draw(t, "for"), Link: "eth0"}}
	}
	s.State = rapid.SampledFrom([]State{Unknown, Reachable, Unreachable, Lost}).Draw(t, "state")
	s.Lifetime = time.Duration(rapid.IntRange(1, 120).Draw(t, "lifetime")) * time.Second
	return s
}

// TestOrderMakesNoDifference holds the core to: for one now the order of
// sightings doesn't change the devices that result.
func TestOrderMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SliceOfN(rapid.Custom(drawSighting), 1, 16).Draw(t, "sightings")
		for n := range s {
			s[n].Time = t0.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Millisecond)
			s[n].Gone = rapid.IntRange(0, 9).Draw(t, "gone") == 0
		}
		shuffled := rapid.Permutation(s).Draw(t, "shuffled")
		a, b := testCore(), testCore()
		for _, x := range s {
			a.observe(t0, x)
		}
		b.observe(t0, shuffled...)
		a.check(t)
		b.check(t)
		ignore := cmpopts.IgnoreFields(Device{}, "ID", "Aliases", "FirstSeen", "LastSeen")
		ignoreS := cmpopts.IgnoreFields(Service{}, "Device", "FirstSeen")
		if diff := cmp.Diff(livePictures(a), livePictures(b), ignore, ignoreS, addrs); diff != "" {
			t.Fatalf("another order, other devices:\n%s", diff)
		}
	})
}

var addrs = cmpopts.EquateComparable(netip.Addr{})

// livePictures returns the devices that a live sighting speaks of, in an order
// that their ids have no part in.
func livePictures(c *core) []*Device {
	type keyed struct {
		key string
		d   *Device
	}
	var all []keyed
	for _, d := range c.order {
		if d == nil || d.nlive == 0 {
			continue
		}
		var keys []string
		for _, f := range d.facts {
			if f.live() {
				keys = append(keys, f.key())
			}
		}
		slices.Sort(keys)
		all = append(all, keyed{fmt.Sprint(keys), c.picture(d)})
	}
	slices.SortFunc(all, func(a, b keyed) int { return cmpString(a.key, b.key) })
	out := make([]*Device, len(all))
	for n := range all {
		out[n] = all[n].d
	}
	return out
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestLongRun lets sightings come, change, run out and go, people speak and
// the process restart, and holds every step against the model, the events
// against the pictures, and the ids against what was promised.
func TestLongRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := 0
		newID := func() string { ids++; return fmt.Sprint("d", ids) }
		c := testCore()
		c.saving, c.newID = true, newID
		now := t0
		ends := map[string]time.Time{} // of the live sightings, by key
		devices, services := map[string]*Device{}, map[string]*Service{}
		follow := func(events []Event) {
			for _, e := range events {
				switch {
				case e.Device != nil && e.Op == OpRemove:
					if devices[e.Device.ID] == nil {
						t.Fatalf("%s removed, never added", e.Device.ID)
					}
					delete(devices, e.Device.ID)
				case e.Device != nil:
					if (e.Op == OpAdd) != (devices[e.Device.ID] == nil) {
						t.Fatalf("%s of device %s", e.Op, e.Device.ID)
					}
					devices[e.Device.ID] = e.Device
				case e.Op == OpRemove:
					if services[e.Service.ID] == nil {
						t.Fatalf("service %s removed, never added", e.Service.Name)
					}
					delete(services, e.Service.ID)
				default:
					if (e.Op == OpAdd) != (services[e.Service.ID] == nil) {
						t.Fatalf("%s of service %s", e.Op, e.Service.ID)
					}
					services[e.Service.ID] = e.Service
				}
			}
		}
		kept := sink{map[string]DeviceRecord{}, map[ID]StoredSighting{}}
		known := map[string]bool{} // ids that were handed out
		forgotten := map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				var batch []Sighting
				for range rapid.IntRange(1, 4).Draw(t, "n") {
					s := drawSighting(t)
					s.Time = now
					s.Gone = rapid.IntRange(0, 5).Draw(t, "gone") == 0
					batch = append(batch, s)
					now = now.Add(time.Microsecond)
					if s.Gone {
						delete(ends, s.Key)
					} else {
						ends[s.Key] = s.Time.Add(s.Lifetime)
					}
				}
				follow(c.observe(now, batch...))
			},
			"pass": func(t *rapid.T) {
				now = now.Add(pause(t))
				follow(c.expire(now))
			},
			"speak": func(t *rapid.T) {
				if len(c.order) == 0 {
					t.Skip()
				}
				d := rapid.SampledFrom(c.order).Draw(t, "device")
				if d == nil {
					t.Skip()
				}
				c.advance(now)
				if rapid.Bool().Draw(t, "name") {
					c.hear(d.change(func(s *Said) { s.Names = rapid.SliceOfN(rapid.SampledFrom([]string{"u", "v"}), 0, 2).Draw(t, "names") }))
				} else {
					ids := d.record().Identifiers
					c.hear(d.change(func(s *Said) {
						s.Separated = []Identifier{}
						if len(ids) > 0 && rapid.Bool().Draw(t, "separate") {
							s.Separated = append(s.Separated, rapid.SampledFrom(ids).Draw(t, "id"))
						}
					}))
				}
				c.settle()
				follow(c.drain())
			},
			"save": func(*rapid.T) { kept.save(c.unsaved()) },
			"restart": func(t *rapid.T) {
				before := c.picturesByID()
				s := c.snapshot()
				from := s
				kept.save(c.unsaved())
				if rapid.Bool().Draw(t, "saved") {
					from = kept.snapshot()
				}
				c = testCore()
				c.saving, c.newID = true, newID
				if err := c.restore(now, from); err != nil {
					t.Fatal(err)
				}
				after := c.picturesByID()
				if diff := cmp.Diff(before, after, addrs); diff != "" {
					t.Fatalf("the restart changed (-before +after):\n%s", diff)
				}
				if again := c.snapshot(); cmp.Diff(sorted(s), sorted(again), addrs) != "" {
					t.Fatalf("the restart changed what is saved (-before +after):\n%s", cmp.Diff(sorted(s), sorted(again), addrs))
				}
			},
			// After a time down all is as if it had run through. Of an identifier
			// that several hold it isn't saved who took it last, so an alias may
			// remember one more or less; nobody sees that.
			"down": func(t *rapid.T) {
				kept.save(c.unsaved())
				before, made := c, ids
				now = now.Add(pause(t))
				before.expire(now)
				c, ids = testCore(), made
				c.saving, c.newID = true, newID
				if err := c.restore(now, kept.snapshot()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before.picturesByID(), c.picturesByID(), addrs); diff != "" {
					t.Fatalf("not as if it had run (-want +got):\n%s", diff)
				}
				devices, services = c.picturesByID(), c.servicesByID()
			},
			"": func(t *rapid.T) {
				c.check(t)
				for _, f := range c.facts.items {
					if f != nil && f.live() && ends[f.key()].IsZero() {
						t.Fatalf("%s lives on after its goodbye", f.key())
					}
				}
				for key, end := range ends {
					var live bool
					for _, f := range c.facts.items {
						live = live || f != nil && f.key() == key && f.live()
					}
					if end.After(now) != live && !(live && c.timers[0].at <= now.UnixNano()) {
						t.Fatalf("%s ends in %v, live %v", key, end.Sub(now), live)
					}
				}
				times := cmp.Options{cmpopts.IgnoreFields(Device{}, "LastSeen"), cmpopts.IgnoreFields(Service{}, "LastSeen", "Expires"), addrs}
				if diff := cmp.Diff(c.picturesByID(), devices, times); diff != "" {
					t.Fatalf("devices, and what the events told of them:\n%s", diff)
				}
				if diff := cmp.Diff(c.servicesByID(), services, times); diff != "" {
					t.Fatalf("services, and what the events told of them:\n%s", diff)
				}
				for id := range c.devices {
					known[id] = true
				}
				for id := range c.forgotten {
					forgotten[id] = true
				}
				for id := range known {
					if c.devices[id] == nil && !forgotten[id] {
						t.Fatalf("id %s was handed out, not forgotten, and means nothing", id)
					}
				}
			},
		})
	})
}

// pause draws how long nothing happens: some seconds, sometimes a day.
func pause(t *rapid.T) time.Duration {
	d := time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second
	if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
		d += 26 * time.Hour
	}
	return d
}

// sink keeps batches as a store does.
type sink struct {
	devices   map[string]DeviceRecord
	sightings map[ID]StoredSighting
}

func (k sink) save(o *outgoing) {
	if o == nil {
		return
	}
	for _, d := range o.Devices {
		k.devices[d.ID] = d
	}
	for _, id := range o.Forgotten {
		delete(k.devices, id)
	}
	for _, s := range o.Sightings {
		k.sightings[s.Sighting.ID()] = s
	}
	for _, id := range o.Ended {
		delete(k.sightings, id)
	}
}

func (k sink) snapshot() Snapshot {
	return Snapshot{Devices: slices.Collect(maps.Values(k.devices)), Sightings: slices.Collect(maps.Values(k.sightings))}
}

func (c *core) picturesByID() map[string]*Device {
	all, _ := c.pictures()
	m := map[string]*Device{}
	for _, d := range all {
		m[d.ID] = d
	}
	return m
}

func (c *core) servicesByID() map[string]*Service {
	all, orphans := c.pictures()
	m := map[string]*Service{}
	for _, d := range all {
		for _, s := range d.Services {
			m[s.ID] = s
		}
	}
	for _, s := range orphans {
		m[s.ID] = s
	}
	return m
}

// sorted puts a snapshot into an order of its own.
func sorted(s Snapshot) Snapshot {
	s.Sightings = slices.Clone(s.Sightings)
	slices.SortFunc(s.Sightings, func(a, b StoredSighting) int { return cmpString(a.Sighting.Key, b.Sighting.Key) })
	s.Devices = slices.Clone(s.Devices)
	for n := range s.Devices {
		ids := slices.Clone(s.Devices[n].Identifiers)
		slices.SortFunc(ids, compareIdentifiers)
		s.Devices[n].Identifiers = ids
	}
	return s
}
