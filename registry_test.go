package lanfolk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
)

// store keeps what the registry saves, in memory, and fails when told to.
type store struct {
	mu        sync.Mutex
	devices   map[string]lanfolk.DeviceRecord
	sightings map[lanfolk.ID]lanfolk.StoredSighting
	fail      error
	saves     int
	inside    bool
}

func newStore() *store {
	return &store{devices: map[string]lanfolk.DeviceRecord{}, sightings: map[lanfolk.ID]lanfolk.StoredSighting{}}
}

func (s *store) enter() (leave func()) {
	s.mu.Lock()
	if s.inside {
		panic("Save and Commit at once")
	}
	s.inside = true
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	return func() { s.inside = false; s.mu.Unlock() }
}

func (s *store) Save(_ context.Context, b lanfolk.Batch) error {
	defer s.enter()()
	s.saves++
	if s.fail != nil {
		return s.fail
	}
	seen := map[any]bool{}
	once := func(k any) {
		if seen[k] {
			panic(fmt.Sprintf("%v twice in a batch", k))
		}
		seen[k] = true
	}
	for _, d := range b.Devices {
		once(d.ID)
		s.devices[d.ID] = d
	}
	for _, id := range b.Forgotten {
		once(id)
		delete(s.devices, id)
	}
	for _, x := range b.Sightings {
		once(x.Sighting.ID())
		s.sightings[x.Sighting.ID()] = x
	}
	for _, id := range b.Ended {
		once(id)
		delete(s.sightings, id)
	}
	return nil
}

func (s *store) Commit(_ context.Context, records []lanfolk.DeviceRecord) error {
	defer s.enter()()
	if s.fail != nil {
		return s.fail
	}
	for _, d := range records {
		s.devices[d.ID] = d
	}
	return nil
}

func (s *store) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *store) snapshot() lanfolk.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out lanfolk.Snapshot
	for _, d := range s.devices {
		out.Devices = append(out.Devices, d)
	}
	for _, x := range s.sightings {
		out.Sightings = append(out.Sightings, x)
	}
	return out
}

func arp(mac, ip string) lanfolk.Sighting {
	m, err := lanfolk.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	o := lanfolk.Origin{Protocol: "arp", Link: "eth0", Source: ip}
	return lanfolk.Sighting{
		Origin: o, Key: mac, Kind: lanfolk.KindDevice, What: ip + " is at " + mac, Lifetime: time.Minute,
		Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(m, o), lanfolk.IPIdentifier(netip.MustParseAddr(ip), o)},
	}
}

func web(name, host, ip string) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: "mdns", Link: "eth0", Source: ip}
	a := netip.MustParseAddr(ip)
	return lanfolk.Sighting{
		Origin: o, Key: name + "._http._tcp.local", Kind: lanfolk.KindService, Name: name, Type: "_http._tcp", Host: host,
		Identifiers: []lanfolk.Identifier{lanfolk.HostIdentifier(host, o), lanfolk.IPIdentifier(a, o)},
		Addresses:   []netip.Addr{a}, Port: 80, Attributes: map[string]string{"path": "/"}, Lifetime: 2 * time.Minute,
	}
}

// run runs a registry until the test ends.
func run(t *testing.T, o lanfolk.RegistryOptions, s lanfolk.Snapshot) (r *lanfolk.Registry, stop func()) {
	t.Helper()
	r = lanfolk.NewRegistry(o)
	if err := r.Restore(s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func describe(e lanfolk.Event) string {
	switch {
	case e.Device != nil:
		return fmt.Sprintf("%s %s %s", e.Op, strings.Join(e.Device.Names, ","), e.Device.State)
	case e.Service != nil:
		return fmt.Sprintf("%s %s %s", e.Op, e.Service.Name, e.Service.State)
	}
	return string(e.Op)
}

// heard takes what a watcher was sent until nothing more comes.
func heard(events <-chan lanfolk.Event) []string {
	var out []string
	for {
		synctest.Wait()
		select {
		case e, open := <-events:
			if !open {
				return append(out, "closed")
			}
			out = append(out, describe(e))
		default:
			return out
		}
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := run(t, lanfolk.RegistryOptions{}, lanfolk.Snapshot{})
		r.Observe(web("Blog", "nas.local", "10.0.0.5"))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		all := r.Watch(ctx, lanfolk.Filter{})
		up := r.Watch(ctx, lanfolk.Filter{State: lanfolk.Reachable, Kind: lanfolk.KindService})
		want(t, heard(all), "add nas.local,Blog reachable", "add Blog reachable", "synced")
		want(t, heard(up), "add Blog reachable", "synced")
		time.Sleep(time.Minute)
		r.Observe(web("Blog", "nas.local", "10.0.0.5"))
		want(t, heard(all))
		time.Sleep(119 * time.Second)
		want(t, heard(all))
		time.Sleep(time.Second)
		want(t, heard(all), "update nas.local,Blog unreachable", "update Blog unreachable")
		want(t, heard(up), "remove Blog unreachable")
		r.Observe(web("Blog", "nas.local", "10.0.0.5"))
		want(t, heard(up), "add Blog reachable")
		bye := web("Blog", "nas.local", "10.0.0.5")
		bye.Gone = true
		r.Observe(bye)
		want(t, heard(all), "update nas.local,Blog reachable", "update Blog reachable", "remove Blog reachable", "update nas.local,Blog unreachable")
		want(t, heard(up), "remove Blog reachable")
		cancel()
		want(t, heard(all), "closed")
		want(t, heard(up), "closed")
		if s := r.Stats(); s.Watchers != 0 {
			t.Errorf("%d watchers left", s.Watchers)
		}
	})
}

func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := run(t, lanfolk.RegistryOptions{WatchQueue: 10}, lanfolk.Snapshot{})
		r.Observe(web("Kept", "kept.local", "10.0.1.1"), web("Lost", "lost.local", "10.0.1.2"))
		synctest.Wait()
		slow := r.Watch(t.Context(), lanfolk.Filter{Kind: lanfolk.KindService})
		synctest.Wait()
		want(t, heard(slow), "add Kept reachable", "add Lost reachable", "synced")
		for n := range 50 { // nobody reads, and nobody waits for it
			r.Observe(web(fmt.Sprint("W", n), fmt.Sprint("h", n, ".local"), fmt.Sprint("10.0.0.", n+1)))
			synctest.Wait()
		}
		bye := web("Lost", "lost.local", "10.0.1.2")
		bye.Gone = true
		r.Observe(bye)
		got := heard(slow)
		// The first event was on its way already; the rest is a difference.
		if len(got) < 52 || got[len(got)-1] != "synced" || !slices.Contains(got, "remove Lost reachable") || slices.Contains(got, "add Kept reachable") {
			t.Errorf("%d events: %v", len(got), got)
		}
		if s := r.Stats(); s.Resyncs != 1 || s.Devices != 52 {
			t.Errorf("%+v", s)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{Queue: 3}) // not running: nothing is taken
	for n := range 5 {
		r.Observe(arp(fmt.Sprintf("00:00:5e:00:53:%02x", n), "10.0.0.5"))
	}
	if s := r.Stats(); s.Queued != 3 || s.DroppedQueue != 2 {
		t.Errorf("%+v", s)
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newStore()
		r, stop := run(t, lanfolk.RegistryOptions{Sink: db, Journal: db}, lanfolk.Snapshot{})
		for _, s := range []lanfolk.Sighting{arp("00:00:5e:00:53:01", "10.0.0.5"), arp("00:00:5e:00:53:02", "10.0.0.6"), web("Blog", "nas.local", "10.0.0.5")} {
			r.Observe(s)
			time.Sleep(time.Second)
		}
		if _, err := r.SetNames(t.Context(), "10.0.0.5", "Attic", " Attic "); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SetTags(t.Context(), "Attic", "storage"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Separate(t.Context(), "Attic", ipOf(t, r, "Attic")); err != nil {
			t.Fatal(err)
		}
		shared := ipOf(t, r, "Attic")
		time.Sleep(2 * time.Second)
		before := r.Devices(lanfolk.Filter{})
		stop()
		if len(before) != 3 {
			t.Fatalf("%d devices, want 3: %v", len(before), before)
		}
		r, _ = run(t, lanfolk.RegistryOptions{Sink: db, Journal: db}, db.snapshot())
		if after := r.Devices(lanfolk.Filter{}); view(before) != view(after) {
			t.Errorf("before\n%v\nafter\n%v", view(before), view(after))
		}
		// Both sides of the split show it, and it can be taken back from either.
		for ref, separated := range map[string][]lanfolk.Identifier{"Attic": {shared}, "nas.local": {shared}, "10.0.0.6": {}} {
			if d, err := r.Device(ref); err != nil || d.Separated == nil || !slices.Equal(d.Separated, separated) {
				t.Errorf("separated of %s: %+v, %v", ref, d, err)
			}
		}
		if d, err := r.Rejoin(t.Context(), "nas.local", shared); err != nil || d.Separated == nil || len(d.Separated) > 0 {
			t.Fatal(d, err)
		}
		d, err := r.Device("nas.local")
		if err != nil || d.Names[0] != "Attic" || len(d.Services) != 1 || len(d.Aliases) != 1 || !slices.Equal(d.Tags, []string{"storage"}) {
			t.Errorf("%+v, %v", d, err)
		}
		if byAlias, err := r.Device(d.Aliases[0]); err != nil || byAlias.ID != d.ID {
			t.Errorf("the alias means %v, %v", byAlias, err)
		}
	})
}

// ipOf returns the IP identifier in the evidence for a device.
func ipOf(t *testing.T, r *lanfolk.Registry, ref string) lanfolk.Identifier {
	t.Helper()
	_, evidence, err := r.Explain(ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range evidence {
		for _, id := range e.Identifiers {
			if id.Kind == lanfolk.IDIP {
				return id
			}
		}
	}
	t.Fatalf("%s has no IP", ref)
	panic("unreachable")
}

// view returns devices as JSON, so that they can be compared and read.
func view(devices []*lanfolk.Device) string {
	b, err := json.MarshalIndent(devices, "", " ")
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newStore()
		full := errors.New("disk full")
		db.failWith(full)
		r, stop := run(t, lanfolk.RegistryOptions{Sink: db, Journal: db}, lanfolk.Snapshot{})
		r.Observe(arp("00:00:5e:00:53:01", "10.0.0.5"), web("Blog", "nas.local", "10.0.0.7"))
		time.Sleep(3 * time.Second)
		if s := r.Stats(); s.SaveErrors < 2 || s.SaveError != "disk full" || s.Devices != 2 {
			t.Errorf("%+v", s)
		}
		if _, err := r.SetNames(t.Context(), "10.0.0.5", "Attic"); !errors.Is(err, full) {
			t.Errorf("a name that was not committed was acknowledged: %v", err)
		}
		if d, err := r.Device("10.0.0.5"); err != nil || len(d.Names) != 0 {
			t.Errorf("and shown: %v %v", d, err)
		}
		bye := web("Blog", "nas.local", "10.0.0.7")
		bye.Gone = true
		r.Observe(bye)
		db.failWith(nil)
		time.Sleep(2 * time.Second)
		if s := r.Stats(); s.SaveError != "" {
			t.Errorf("%+v", s)
		}
		stop()
		if s := db.snapshot(); len(s.Devices) != 2 || len(s.Sightings) != 1 {
			t.Errorf("saved %+v", s)
		}
	})
}

func TestSayErrors(t *testing.T) {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	ctx := t.Context()
	_, err := r.SetNames(ctx, "nobody", "x")
	check := func(err error, is error, msg string) {
		t.Helper()
		if !errors.Is(err, is) || err.Error() != msg {
			t.Errorf("got %v, want %s", err, msg)
		}
	}
	check(err, lanfolk.ErrNotFound, `lanfolk: device "nobody": not found`)
	synctest.Test(t, func(t *testing.T) {
		r, _ := run(t, lanfolk.RegistryOptions{NewID: func() string { return "d1" }}, lanfolk.Snapshot{})
		r.Observe(arp("00:00:5e:00:53:01", "10.0.0.5"))
		synctest.Wait()
		_, err := r.SetNames(ctx, "d1", "")
		check(err, lanfolk.ErrInvalid, "lanfolk: name of 0 bytes, want 1 to 256: invalid")
		_, err = r.SetTags(ctx, "d1", "a\x1b[31m")
		check(err, lanfolk.ErrInvalid, `lanfolk: tag "a\x1b[31m" holds control characters: invalid`)
		host := lanfolk.Identifier{Kind: lanfolk.IDHost, Value: "x", Link: "eth0"}
		_, err = r.Separate(ctx, "d1", host)
		check(err, lanfolk.ErrNotFound, "lanfolk: device d1 has no host x on eth0: not found")
		_, err = r.Rejoin(ctx, "d1", host)
		check(err, lanfolk.ErrNotFound, "lanfolk: host x on eth0 is not separated: not found")
	})
}

// TestListingLetsOthersIn has somebody ask for the last device while the first
// list of many is made.
func TestListingLetsOthersIn(t *testing.T) {
	const devices = 5000
	mac := func(n int) string { return fmt.Sprintf("00:00:5e:00:%02x:%02x", n>>8, n&255) }
	var order []string // in which devices were looked at; the registry calls one at a time
	var r *lanfolk.Registry
	asked := make(chan error, 1)
	r, _ = run(t, lanfolk.RegistryOptions{Vendor: func(m lanfolk.MAC) string {
		if order = append(order, m.String()); len(order) == 1 {
			started := make(chan struct{})
			go func() {
				close(started)
				_, err := r.Device(mac(devices - 1))
				asked <- err
			}()
			<-started
		}
		if len(order)%256 == 0 {
			time.Sleep(2 * time.Millisecond) // who waits longer than one is let in first
		}
		return "Acme"
	}}, lanfolk.Snapshot{})
	for n := range devices {
		r.Observe(arp(mac(n), fmt.Sprintf("10.0.%d.%d", n>>8, n&255)))
	}
	for r.Stats().Observed < devices {
		time.Sleep(time.Millisecond)
	}
	if got := r.Devices(lanfolk.Filter{}); len(got) != devices || got[devices-1].Vendor != "Acme" {
		t.Fatalf("%d devices", len(got))
	}
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	if at := slices.Index(order, mac(devices-1)); len(order) != devices || at > devices-2 {
		t.Errorf("who asked for one of %d devices waited for the list of %d", devices, at)
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	if r.Devices(lanfolk.Filter{}) == nil || r.Services(lanfolk.Filter{}) == nil || r.Snapshot().Devices == nil {
		t.Error("a list is nil")
	}
}

func TestRestoreErrors(t *testing.T) {
	for msg, s := range map[string]lanfolk.Snapshot{
		`lanfolk: restore: device id "" is empty or there twice`:  {Devices: []lanfolk.DeviceRecord{{}}},
		`lanfolk: restore: device id "a" is empty or there twice`: {Devices: []lanfolk.DeviceRecord{{ID: "a"}, {ID: "a"}}},
	} {
		if err := lanfolk.NewRegistry(lanfolk.RegistryOptions{}).Restore(s); err == nil || err.Error() != msg {
			t.Errorf("got %v, want %s", err, msg)
		}
	}
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	seen := time.Now()
	ring := lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{
		{ID: "a", MergedInto: "b", LastSeen: seen}, {ID: "b", MergedInto: "a", LastSeen: seen}, {ID: "c", MergedInto: "lost", LastSeen: seen},
	}}
	if err := r.Restore(ring); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := r.Device(id); err != nil {
			t.Error(err)
		}
	}
}
