package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// showService returns a service as it is shown.
func (g *gateway) showService(s *service) *lanfolk.Service {
	if s.view != nil {
		return s.view
	}
	v := *s.told
	v.Gateway = g.label()
	if s.last.After(v.LastSeen) {
		v.LastSeen = s.last
	}
	if s.expires.After(v.Expires) {
		v.Expires = s.expires
	}
	s.view = &v
	if g.online {
		s.told = s.view // says the same, and needs no room of its own
	} else {
		v.State = lanfolk.Unknown
	}
	return s.view
}

// showDevice returns a device as it is shown.
func (i *Inventory) showDevice(g *gateway, d *device) *lanfolk.Device {
	if d.view != nil {
		return d.view
	}
	v := *d.told
	v.Gateway = g.label()
	if d.last.After(v.LastSeen) {
		v.LastSeen = d.last
	}
	if !g.online {
		v.State = lanfolk.Unknown
	}
	v.Services = make([]*lanfolk.Service, len(d.offers))
	for n, s := range d.offers {
		v.Services[n] = g.showService(s)
	}
	slices.SortFunc(v.Services, func(a, b *lanfolk.Service) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name), strings.Compare(a.Protocol, b.Protocol),
			strings.Compare(a.Interface, b.Interface), strings.Compare(a.ID, b.ID))
	})
	d.view = &v
	if !i.addWords(&v) && g.online {
		d.told = d.view // as for services
	}
	return d.view
}

// pictures returns all that is shown. mu is held.
func (i *Inventory) pictures() (devices []*lanfolk.Device, services []*lanfolk.Service) {
	devices, services = []*lanfolk.Device{}, []*lanfolk.Service{}
	for _, g := range i.sorted() {
		if g.hidden {
			continue
		}
		for _, d := range g.list() {
			v := i.showDevice(g, d)
			devices = append(devices, v)
			services = append(services, v.Services...)
		}
		for _, s := range g.alone() {
			services = append(services, g.showService(s))
		}
	}
	return devices, services
}

// sorted returns the gateways as they are shown.
func (i *Inventory) sorted() []*gateway {
	if i.order == nil {
		i.order = make([]*gateway, 0, len(i.gateways))
		for _, g := range i.gateways {
			i.order = append(i.order, g)
		}
		slices.SortFunc(i.order, func(a, b *gateway) int {
			return cmp.Or(strings.Compare(a.label(), b.label()), strings.Compare(a.id, b.id))
		})
	}
	return i.order
}

// list returns the gateway's devices, the oldest first.
func (g *gateway) list() []*device {
	if g.sorted == nil {
		g.sorted = make([]*device, 0, len(g.devices))
		for _, d := range g.devices {
			g.sorted = append(g.sorted, d)
		}
		slices.SortFunc(g.sorted, func(a, b *device) int {
			return cmp.Or(a.told.FirstSeen.Compare(b.told.FirstSeen), strings.Compare(a.id, b.id))
		})
	}
	return g.sorted
}

// alone returns the gateway's services that are of no device.
func (g *gateway) alone() []*service {
	var all []*service
	for _, s := range g.services {
		if s.of == nil {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *service) int { return strings.Compare(a.told.ID, b.told.ID) })
	return all
}

// match is a filter in which the gateway may be meant by its name or its id.
type match struct {
	filter  lanfolk.Filter
	gateway string
}

func matching(f lanfolk.Filter) match {
	m := match{f, f.Gateway}
	m.filter.Gateway = ""
	return m
}

func (m *match) of(gateway, id string) bool {
	return m.gateway == "" || gateway == m.gateway || strings.HasPrefix(id, m.gateway+separator)
}

func (m *match) device(d *lanfolk.Device) bool {
	return m.of(d.Gateway, d.ID) && m.filter.MatchDevice(d)
}

func (m *match) service(s *lanfolk.Service) bool {
	return m.of(s.Gateway, s.ID) && m.filter.MatchService(s)
}

// Devices implements api.Inventory. f.Gateway is a gateway's name or id.
func (i *Inventory) Devices(f lanfolk.Filter) []*lanfolk.Device {
	i.mu.Lock()
	devices, _ := i.pictures()
	i.mu.Unlock()
	m := matching(f)
	return slices.DeleteFunc(devices, func(d *lanfolk.Device) bool { return !m.device(d) })
}

// Services implements api.Inventory, as Devices does.
func (i *Inventory) Services(f lanfolk.Filter) []*lanfolk.Service {
	i.mu.Lock()
	_, services := i.pictures()
	i.mu.Unlock()
	m := matching(f)
	return slices.DeleteFunc(services, func(s *lanfolk.Service) bool { return !m.service(s) })
}

// counts is an Inventory as an api.Counts.
type counts struct{ i *Inventory }

// Counts says how many devices a gateway told of: an api.Counts.
func (i *Inventory) Counts() interface{ Devices(gateway string) int } { return counts{i} }

func (c counts) Devices(gateway string) int {
	c.i.mu.Lock()
	defer c.i.mu.Unlock()
	g := c.i.gateways[gateway]
	if g == nil || g.hidden {
		return 0
	}
	return len(g.devices)
}

// Device implements api.Inventory. A reference is the hub's id of the device, the id that
// its gateway gave it, a MAC, an address, or a name.
func (i *Inventory) Device(ref string) (*lanfolk.Device, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	g, d, err := i.find(ref)
	if err != nil {
		return nil, err
	}
	return i.showDevice(g, d), nil
}

// find finds the one device that is meant. mu is held.
func (i *Inventory) find(ref string) (*gateway, *device, error) {
	if id, local, ok := strings.Cut(ref, separator); ok {
		if g := i.gateways[id]; g != nil && !g.hidden && g.devices[local] != nil {
			return g, g.devices[local], nil
		}
	}
	type place struct {
		g *gateway
		d *device
	}
	var found []place
	for _, is := range meanings(ref) {
		for _, g := range i.sorted() {
			if g.hidden {
				continue
			}
			for _, d := range g.list() {
				if is(d, i.showDevice(g, d)) {
					found = append(found, place{g, d})
				}
			}
		}
		if len(found) > 0 {
			break
		}
	}
	if live := slices.DeleteFunc(slices.Clone(found), func(p place) bool { return p.d.view.State != lanfolk.Reachable }); len(live) == 1 {
		found = live
	}
	switch len(found) {
	case 0:
		return nil, nil, fmt.Errorf("inventory: device %q: %w", clip(ref), lanfolk.ErrNotFound)
	case 1:
		return found[0].g, found[0].d, nil
	}
	var ids []string
	for _, p := range found[:min(8, len(found))] {
		ids = append(ids, fmt.Sprintf("%s (%s)", p.d.view.ID, p.g.label()))
	}
	return nil, nil, fmt.Errorf("inventory: device %q: %w: it may be any of %s", clip(ref), lanfolk.ErrAmbiguous, strings.Join(ids, ", "))
}

func clip(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}

// meanings are what a reference may mean, the surest first.
func meanings(ref string) []func(*device, *lanfolk.Device) bool {
	all := []func(*device, *lanfolk.Device) bool{func(d *device, v *lanfolk.Device) bool {
		return d.id == ref || slices.Contains(v.Aliases, ref) || v.ID == ref
	}}
	if m, err := lanfolk.ParseMAC(ref); err == nil {
		all = append(all, func(_ *device, v *lanfolk.Device) bool { return slices.Contains(v.MACs, m) })
	} else if a, err := netip.ParseAddr(ref); err == nil {
		a = a.Unmap().WithZone("")
		all = append(all, func(_ *device, v *lanfolk.Device) bool {
			return slices.ContainsFunc(v.Addresses, func(b netip.Addr) bool { return b.WithZone("") == a })
		})
	}
	want := fold(ref)
	return append(all, func(_ *device, v *lanfolk.Device) bool {
		return want != "" && slices.ContainsFunc(v.Names, func(n string) bool { return called(n, want) })
	})
}

// fold makes names comparable: case and a last dot make no difference.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// called says whether a name is the one that is wanted, which may leave out ".local".
func called(name, want string) bool {
	name = fold(name)
	return name == want || name == want+".local"
}

// readFor bounds a look into the database.
const readFor = 10 * time.Second

// Explain implements api.Inventory: with each piece of evidence that the gateway has, as it
// was when it told of it last.
func (i *Inventory) Explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, error) {
	d, evidence, _, err := i.explain(ref)
	return d, evidence, err
}

// Reasons implements api.Inventory.
func (i *Inventory) Reasons(ref string) ([]lanfolk.Conclusion, error) {
	d, _, reasons, err := i.explain(ref)
	if err != nil {
		return nil, err
	}
	return i.reasons(d, reasons), nil
}

func (i *Inventory) explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, []lanfolk.Conclusion, error) {
	i.mu.Lock()
	g, d, err := i.find(ref)
	if err != nil {
		i.mu.Unlock()
		return nil, nil, nil, err
	}
	v, gateway, label, local := i.showDevice(g, d), g.id, g.label(), d.id
	i.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), readFor)
	defer cancel()
	evidence, reasons := []lanfolk.Evidence{}, []lanfolk.Conclusion{}
	for part, parts := 0, 1; part < parts; part++ {
		item, err := i.o.Feed.Item(ctx, gateway, feed.Key{Kind: feed.Evidence, ID: local, Part: part}.String())
		if errors.Is(err, fleet.ErrUnknown) {
			break // it comes a little after the device
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("inventory: %w", err)
		}
		more, why, n, err := feed.ParseEvidence(item.Doc)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("inventory: %s of %s: %w", item.Key, gateway, err)
		}
		if part == 0 {
			parts, reasons = n, append(reasons, why...)
		}
		evidence = append(evidence, more...)
	}
	for n := range evidence {
		for k := range evidence[n].Identifiers {
			if id := &evidence[n].Identifiers[k]; id.Link != "" { // it means one device there only
				id.Gateway = label
			}
		}
	}
	return v, evidence, reasons, nil
}
