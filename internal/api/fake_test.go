package api_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
)

// inventory is an Inventory in memory, without a network behind it.
type inventory struct {
	mu       sync.Mutex
	devices  map[string]*lanfolk.Device
	evidence map[string][]lanfolk.Evidence
	reasons  map[string][]lanfolk.Conclusion // nil: one for each class
	orphans  map[string]*lanfolk.Service     // services of which no device is known
	watchers map[chan lanfolk.Event]lanfolk.Filter
	failing  error // of SetNames and its like
}

func newInventory(devices ...*lanfolk.Device) *inventory {
	v := &inventory{
		devices: map[string]*lanfolk.Device{}, evidence: map[string][]lanfolk.Evidence{},
		orphans: map[string]*lanfolk.Service{}, watchers: map[chan lanfolk.Event]lanfolk.Filter{},
	}
	for _, d := range devices {
		v.devices[d.ID] = d
	}
	return v
}

// put adds or replaces a device and tells the watchers.
func (v *inventory) put(d *lanfolk.Device) {
	v.mu.Lock()
	defer v.mu.Unlock()
	op, old := lanfolk.OpAdd, v.devices[d.ID]
	if old != nil {
		op = lanfolk.OpUpdate
		for _, s := range old.Services {
			if !slices.ContainsFunc(d.Services, func(n *lanfolk.Service) bool { return n.ID == s.ID }) {
				v.tell(lanfolk.Event{Op: lanfolk.OpRemove, Service: s})
			}
		}
	}
	v.devices[d.ID] = d
	v.tell(lanfolk.Event{Op: op, Device: d})
	for _, s := range d.Services {
		v.tell(lanfolk.Event{Op: lanfolk.OpUpdate, Service: s})
	}
}

func (v *inventory) remove(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.devices[id]
	delete(v.devices, id)
	for _, s := range d.Services {
		v.tell(lanfolk.Event{Op: lanfolk.OpRemove, Service: s})
	}
	v.tell(lanfolk.Event{Op: lanfolk.OpRemove, Device: d})
}

func (v *inventory) tell(e lanfolk.Event) {
	for c, f := range v.watchers {
		if matches(f, e) {
			c <- e
		}
	}
}

func matches(f lanfolk.Filter, e lanfolk.Event) bool {
	if e.Device != nil {
		return f.Kind != lanfolk.KindService && f.MatchDevice(e.Device)
	}
	return f.Kind != lanfolk.KindDevice && f.MatchService(e.Service)
}

func (v *inventory) Devices(f lanfolk.Filter) []*lanfolk.Device {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*lanfolk.Device
	for _, d := range v.devices {
		if f.MatchDevice(d) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *lanfolk.Device) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

func (v *inventory) Services(f lanfolk.Filter) []*lanfolk.Service {
	var out []*lanfolk.Service
	for _, d := range v.Devices(lanfolk.Filter{}) {
		for _, s := range d.Services {
			if f.MatchService(s) {
				out = append(out, s)
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.orphans {
		if f.MatchService(s) {
			out = append(out, s)
		}
	}
	return out
}

func (v *inventory) Device(ref string) (*lanfolk.Device, error) {
	for _, d := range v.Devices(lanfolk.Filter{}) {
		if d.ID == ref || slices.Contains(d.Names, ref) ||
			slices.ContainsFunc(d.MACs, func(m lanfolk.MAC) bool { return m.String() == ref }) ||
			slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool { return a.String() == ref }) {
			return d, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", lanfolk.ErrNotFound, ref)
}

func (v *inventory) Explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, error) {
	d, err := v.Device(ref)
	if err != nil {
		return nil, nil, err
	}
	return d, v.evidence[d.ID], nil
}

func (v *inventory) Reasons(ref string) ([]lanfolk.Conclusion, error) {
	d, err := v.Device(ref)
	if err != nil || d.Class == "" {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reasons != nil {
		return v.reasons[d.ID], nil
	}
	return []lanfolk.Conclusion{{
		Answer: "class", Value: d.Class, Confidence: d.ClassConfidence, Rule: "printer-raw", Source: "Bonjour Printing Specification",
		Signals: []lanfolk.Signal{{Kind: "mdns.service", Value: "_pdl-datastream._tcp"}}, Verdict: "agrees",
	}}, nil
}

func (v *inventory) Watch(ctx context.Context, f lanfolk.Filter) <-chan lanfolk.Event {
	devices, services := v.Devices(lanfolk.Filter{}), v.Services(lanfolk.Filter{})
	c := make(chan lanfolk.Event, len(devices)+len(services)+1024)
	for _, d := range devices {
		if e := (lanfolk.Event{Op: lanfolk.OpAdd, Device: d}); matches(f, e) {
			c <- e
		}
	}
	for _, s := range services {
		if e := (lanfolk.Event{Op: lanfolk.OpAdd, Service: s}); matches(f, e) {
			c <- e
		}
	}
	c <- lanfolk.Event{Op: lanfolk.OpSynced}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watchers[c] = f
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.watchers, c)
	})
	return c
}

// change replaces a device by a changed copy.
func (v *inventory) change(ref string, f func(*lanfolk.Device)) (*lanfolk.Device, error) {
	if v.failing != nil {
		return nil, v.failing
	}
	d, err := v.Device(ref)
	if err != nil {
		return nil, err
	}
	c := *d
	f(&c)
	v.put(&c)
	return &c, nil
}

func (v *inventory) SetNames(_ context.Context, ref string, names ...string) (*lanfolk.Device, error) {
	return v.change(ref, func(d *lanfolk.Device) { d.Names = append(slices.Clone(names), d.Names...) })
}

func (v *inventory) SetTags(_ context.Context, ref string, tags ...string) (*lanfolk.Device, error) {
	return v.change(ref, func(d *lanfolk.Device) { d.Tags = slices.Clone(tags) })
}

func (v *inventory) Separate(_ context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return v.change(ref, func(d *lanfolk.Device) {
		d.MACs = slices.DeleteFunc(slices.Clone(d.MACs), func(m lanfolk.MAC) bool { return m.String() == id.Value })
		d.Separated = append(slices.Clone(d.Separated), id)
	})
}

func (v *inventory) Rejoin(_ context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return v.change(ref, func(d *lanfolk.Device) {
		if m, err := lanfolk.ParseMAC(id.Value); err == nil {
			d.MACs = append(slices.Clone(d.MACs), m)
		}
		d.Separated = slices.DeleteFunc(slices.Clone(d.Separated), func(x lanfolk.Identifier) bool { return x == id })
	})
}

// The address and MAC ranges of documentation: RFC 5737, RFC 3849, RFC 7042.

func mac(last byte) lanfolk.MAC { return lanfolk.MAC{0x00, 0x00, 0x5e, 0x00, 0x53, last} }

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// printer is a device with a service.
func printer() *lanfolk.Device {
	addr := netip.MustParseAddr("192.0.2.20")
	return &lanfolk.Device{
		ID: "d-printer", Aliases: []string{}, Names: []string{"Office printer", "printer.local"}, MACs: []lanfolk.MAC{mac(0x20)},
		Addresses: []netip.Addr{addr, netip.MustParseAddr("2001:db8::20")}, Vendor: "Example Printers", State: lanfolk.Reachable,
		Model: "Laser 5", ModelConfidence: 1, Class: "printer", ClassConfidence: 0.85,
		Protocols: []string{"arp", "mdns"}, Tags: []string{"office"}, Separated: []lanfolk.Identifier{}, FirstSeen: noon().Add(-time.Hour), LastSeen: noon(),
		Services: []*lanfolk.Service{{
			ID: "s-ipp", Name: "Office printer", Type: "_ipp._tcp", Protocol: "mdns", Host: "printer.local",
			Addresses: []netip.Addr{addr}, Port: 631, Attributes: map[string]string{"pdl": "application/pdf", "rp": "ipp/print"},
			State: lanfolk.Reachable, Device: "d-printer", Interface: "eth0",
			FirstSeen: noon().Add(-time.Hour), LastSeen: noon(), Expires: noon().Add(time.Hour),
		}},
	}
}
