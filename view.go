package lanfolk

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of what a picture shows.
const (
	maxNamesShown     = 32
	maxMACsShown      = 64
	maxAddressesShown = 64
	maxSeparatedShown = 64 // beside what was said of the device itself
)

// A name's rank: what sort of fact it comes from, the best first.
const (
	rankGateway = iota // what a gateway says of the host that it runs on
	rankDevice         // a fact about the device itself
	rankHost           // its host name
	rankService        // the name of one of its services
)

type rankedName struct {
	rank int
	fold string
	name string
}

// portrait is what a device's live facts say together.
type portrait struct {
	names     []rankedName
	protocols []string
	gateway   string
	macs      []MAC
	addresses []netip.Addr
	separated []Identifier
	reachable bool
	lost      bool // it may be reachable
}

// portrait gathers what the live facts say. Nothing in it depends on the order
// of the facts.
func (d *device) portrait() portrait {
	var p portrait
	first := true
	for _, f := range d.facts {
		if !f.live() {
			continue
		}
		switch states[f.state] {
		case Lost:
			p.lost = true
		case Unreachable:
		case Unknown, Reachable:
			p.reachable = true
		}
		if !slices.Contains(p.protocols, f.scope.Protocol) {
			p.protocols = append(p.protocols, f.scope.Protocol)
		}
		if first || f.scope.Gateway < p.gateway {
			p.gateway, first = f.scope.Gateway, false
		}
		c := f.content()
		if c.name != "" {
			rank := rankDevice
			switch {
			case f.service():
				rank = rankService
			case f.scope.Kind == KindGateway:
				rank = rankGateway
			}
			p.names = append(p.names, rankedName{rank, foldHost(c.name), c.name})
		}
		for range c.addresses {
			if f.veiled > 0 {
				break // another's
			}
			p.addresses = append(p.addresses, c.nextAddr())
		}
		for _, i := range f.ids {
			p.ident(i)
		}
	}
	return p
}

// ident adds what an identifier says.
func (p *portrait) ident(i *ident) {
	if i.muted > 0 {
		p.separated = append(p.separated, i.identifier())
	}
	switch i.scope.kind {
	case IDMAC:
		if m, err := ParseMAC(i.value); err == nil && !i.void {
			p.macs = append(p.macs, m)
		}
	case IDIP:
		if a, err := netip.ParseAddr(i.value); err == nil && !i.void {
			p.addresses = append(p.addresses, a)
		}
	case IDHost:
		if !i.void {
			p.names = append(p.names, rankedName{rankHost, foldHost(i.value), i.value})
		}
	}
}

// heardNames returns the names best first, each once whatever its case.
func (p *portrait) heardNames() []string {
	slices.SortFunc(p.names, func(a, b rankedName) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.fold, b.fold), strings.Compare(a.name, b.name))
	})
	p.names = slices.Compact(p.names)
	out := make([]string, 0, min(len(p.names), maxNamesShown))
	for _, n := range p.names {
		if len(out) == maxNamesShown {
			break
		}
		out = addName(out, n.name)
	}
	return out
}

// addName appends the name if it isn't there in any case and there is room.
func addName(names []string, name string) []string {
	if len(names) >= maxNamesShown || slices.ContainsFunc(names, func(n string) bool { return foldHost(n) == foldHost(name) }) {
		return names
	}
	return append(names, name)
}

func (p *portrait) sortedProtocols() []string {
	slices.Sort(p.protocols)
	return p.protocols
}

// picture returns the device as it is now. It is made anew only when
// something changed, and copied when only times did.
func (c *core) picture(d *device) *Device {
	switch {
	case d.view == nil || d.changed:
		d.view = c.paint(d)
	case d.stale:
		v := *d.view
		v.Services = c.services(d)
		v.LastSeen = timeOf(d.last)
		d.view = &v
	}
	d.changed, d.stale = false, false
	return d.view
}

// paint makes the picture of a device.
func (c *core) paint(d *device) *Device {
	p := d.portrait()
	v := &Device{
		ID: d.id, Aliases: make([]string, 0, len(d.aliases)), State: Unreachable,
		Gateway: p.gateway, FirstSeen: timeOf(d.first), LastSeen: timeOf(d.last),
	}
	v.Names, v.Tags = []string{}, []string{}
	for _, a := range append([]*device{d}, d.aliases...) {
		if a != d {
			v.Aliases = append(v.Aliases, a.id)
		}
		if a.said == nil {
			continue
		}
		for _, n := range a.said.Names {
			v.Names = addName(v.Names, n)
		}
		for _, t := range a.said.Tags {
			if !slices.Contains(v.Tags, t) {
				v.Tags = append(v.Tags, t)
			}
		}
	}
	switch {
	case p.reachable:
		v.State = Reachable
	case p.lost:
		v.State = Unknown
	}
	if d.nlive == 0 {
		for _, i := range d.memory {
			p.ident(i)
		}
		p.names = nil // heard holds them
		p.protocols = slices.Clone(d.protocols)
		v.Gateway = d.gateway
	}
	heard := p.heardNames()
	if len(heard) == 0 {
		heard = d.heard
	}
	for _, n := range heard {
		v.Names = addName(v.Names, n)
	}
	slices.SortFunc(p.macs, func(a, b MAC) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(p.addresses, netip.Addr.Compare)
	p.macs, p.addresses = slices.Compact(p.macs), slices.Compact(p.addresses)
	v.MACs = append(make([]MAC, 0, min(len(p.macs), maxMACsShown)), p.macs[:min(len(p.macs), maxMACsShown)]...)
	v.Addresses = append(make([]netip.Addr, 0, min(len(p.addresses), maxAddressesShown)), p.addresses[:min(len(p.addresses), maxAddressesShown)]...)
	v.Protocols = append(make([]string, 0, len(p.protocols)), p.sortedProtocols()...)
	v.RandomMAC = len(v.MACs) > 0 && !slices.ContainsFunc(v.MACs, func(m MAC) bool { return !m.Local() })
	if d.view != nil && slices.Equal(d.view.MACs, v.MACs) {
		v.Vendor = d.view.Vendor
	} else if c.vendor != nil {
		for _, m := range v.MACs {
			if v.Vendor == "" && !m.Local() {
				v.Vendor = c.vendor(m)
			}
		}
	}
	c.classify(d, v)
	v.Separated = d.separated(p.separated)
	v.Services = c.services(d)
	return v
}

// separated returns what a person separated, in a fixed order: all that was
// said of the device and its aliases, and of what it holds as much as is shown.
func (d *device) separated(held []Identifier) []Identifier {
	slices.SortFunc(held, compareIdentifiers)
	held = slices.Compact(held)
	out := append([]Identifier{}, held[:min(len(held), maxSeparatedShown)]...)
	for _, a := range append([]*device{d}, d.aliases...) {
		if a.said != nil {
			out = append(out, a.said.Separated...)
		}
	}
	slices.SortFunc(out, compareIdentifiers)
	return slices.Compact(out)
}

// services returns the pictures of a device's services, in a fixed order.
func (c *core) services(d *device) []*Service {
	n := 0
	for _, f := range d.facts {
		if f.service() {
			n++
		}
	}
	out := make([]*Service, 0, n)
	for _, f := range d.facts {
		if f.service() {
			out = append(out, f.picture())
		}
	}
	slices.SortFunc(out, compareServices)
	return out
}

func compareServices(a, b *Service) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name), strings.Compare(a.Protocol, b.Protocol),
		strings.Compare(a.Interface, b.Interface), strings.Compare(a.ID, b.ID))
}

// picture returns the service as it is now.
func (f *fact) picture() *Service {
	if v := f.view; v != nil {
		if v.LastSeen.UnixNano() == f.heard && v.Expires.UnixNano() == f.ends {
			return v
		}
		fresh := *v
		fresh.FirstSeen, fresh.LastSeen, fresh.Expires = timeOf(f.first), timeOf(f.heard), timeOf(f.ends)
		f.view = &fresh
		return f.view
	}
	c := f.content()
	v := &Service{
		ID: serviceID(f.id()), Name: c.name, Type: c.typ, Protocol: f.scope.Protocol, Host: c.host, Port: c.port,
		State: Reachable, Device: f.dev.id, Interface: f.scope.Link, Gateway: f.scope.Gateway,
		FirstSeen: timeOf(f.first), LastSeen: timeOf(f.heard), Expires: timeOf(f.ends),
	}
	switch {
	case f.ended || states[f.state] == Unreachable:
		v.State = Unreachable
	case states[f.state] == Lost:
		v.State = Unknown
	}
	v.Addresses = c.addrs()
	slices.SortFunc(v.Addresses, netip.Addr.Compare)
	v.Attributes = c.attrs()
	f.view = v
	return v
}

// serviceID names a service by what makes its sighting the same fact: the same
// in every run.
func serviceID(id ID) string {
	h := sha256.New()
	for _, s := range [...]string{id.Protocol, id.Gateway, id.Link, string(id.Kind), id.Key} {
		h.Write(appendString(nil, s))
	}
	return "s" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:10]))
}

// sameDevice says whether two pictures differ in nothing but when the device
// was last heard.
func sameDevice(a, b *Device) bool {
	return a.ID == b.ID && slices.Equal(a.Aliases, b.Aliases) && slices.Equal(a.Names, b.Names) &&
		slices.Equal(a.MACs, b.MACs) && slices.Equal(a.Addresses, b.Addresses) && a.Vendor == b.Vendor &&
		a.Model == b.Model && a.ModelConfidence == b.ModelConfidence && a.OS == b.OS && a.OSConfidence == b.OSConfidence &&
		a.Class == b.Class && a.ClassConfidence == b.ClassConfidence &&
		a.State == b.State && slices.Equal(a.Protocols, b.Protocols) && a.Gateway == b.Gateway &&
		slices.Equal(a.Tags, b.Tags) && slices.Equal(a.Separated, b.Separated) && a.RandomMAC == b.RandomMAC && a.FirstSeen.Equal(b.FirstSeen) &&
		slices.EqualFunc(a.Services, b.Services, sameService)
}

// sameService says whether two pictures differ in nothing but times that a
// refresh moves.
func sameService(a, b *Service) bool {
	return a == b || a.ID == b.ID && a.Name == b.Name && a.Type == b.Type && a.Host == b.Host && a.Port == b.Port &&
		a.State == b.State && a.Device == b.Device && a.FirstSeen.Equal(b.FirstSeen) &&
		slices.Equal(a.Addresses, b.Addresses) && maps.Equal(a.Attributes, b.Attributes)
}

// drain returns the events of a step: the differences between the pictures
// made before and those of now. Nobody watching, there are none.
func (c *core) drain() []Event {
	if len(c.touched) == 0 && len(c.removed) == 0 {
		return nil
	}
	var devices, fresh []Event
	was := map[string]*Service{}
	var now []*Service
	var gone []Event
	for _, v := range c.removed {
		gone = append(gone, Event{Op: OpRemove, Device: v})
		for _, s := range v.Services {
			was[s.ID] = s
		}
	}
	for _, d := range c.touched {
		d.touched = false
		if d.into != nil || d.forgotten {
			continue
		}
		old := d.view
		if old != nil {
			for _, s := range old.Services {
				was[s.ID] = s
			}
		}
		v := c.picture(d)
		now = append(now, v.Services...)
		switch {
		case d.nameless:
		case old == nil:
			devices = append(devices, Event{Op: OpAdd, Device: v})
		case !sameDevice(old, v):
			devices = append(devices, Event{Op: OpUpdate, Device: v})
		}
	}
	for _, s := range now {
		old := was[s.ID]
		delete(was, s.ID)
		switch {
		case old == nil:
			fresh = append(fresh, Event{Op: OpAdd, Service: s})
		case !sameService(old, s):
			fresh = append(fresh, Event{Op: OpUpdate, Service: s})
		}
	}
	events := make([]Event, 0, len(was)+len(gone)+len(devices)+len(fresh))
	for _, id := range slices.Sorted(maps.Keys(was)) {
		events = append(events, Event{Op: OpRemove, Service: was[id]})
	}
	events = append(append(append(events, gone...), devices...), fresh...)
	clear(c.touched)
	clear(c.removed)
	c.touched, c.removed = c.touched[:0], c.removed[:0]
	return events
}

// paintFrom makes pictures that are out of date, at most stepSize of them, and
// returns where to go on. It makes no event: nothing is touched between steps.
func (c *core) paintFrom(at int) (next int, more bool) {
	for left := stepSize; at < len(c.order); at++ {
		d := c.order[at]
		if d == nil || (d.view != nil && !d.changed && !d.stale) {
			continue
		}
		if left--; left < 0 {
			return at, true
		}
		c.picture(d)
	}
	return at, false
}

// pictures returns all devices in the order in which they were made, and the
// services that belong to none.
func (c *core) pictures() (devices []*Device, orphans []*Service) {
	devices = make([]*Device, 0, len(c.order)-c.holes)
	for _, d := range c.order {
		if d != nil {
			devices = append(devices, c.picture(d))
		}
	}
	return devices, c.picture(&c.nobody).Services
}
