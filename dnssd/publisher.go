package dnssd

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// Keeper remembers names that had to be changed because somebody else had
// them, so that the same are tried first after a restart (RFC 6762 §9). Its
// methods may be called from any goroutine.
type Keeper interface {
	// Kept returns the label that was kept for a name, "" if none was.
	Kept(name string) string
	// Keep remembers the label that took the place of the first one of the
	// name, until it is told otherwise.
	Keep(name, label string)
}

// Publisher announces services on an engine's links, and the hosts that they
// run on. A host is published as long as one of its services is, and on the
// same links. Set the fields, then call Publish; at any time, from any goroutine.
type Publisher struct {
	Engine *mdns.Engine
	// Host is the label of this machine in .local, see HostLabel; "" is the one
	// of a machine without a name. Another host may have it already: then this
	// one becomes "nas-2".
	Host string
	// Keeper remembers changed names. nil: nobody does.
	Keeper Keeper
	// MaxTXT is the most that a TXT record may have, in bytes. 0 means
	// DefaultMaxTXT.
	MaxTXT int
	// Log gets what a person might want to know; nil is silent.
	Log *slog.Logger

	mu    sync.Mutex
	hosts map[dnswire.Name]*machine   // by folded name, as it was wanted
	names map[dnswire.Name]*Published // by folded names of instances, as they are at present
	// later is what the engine is to be told, and what is to be kept, but not
	// by the goroutine that found out.
	later   map[*mdns.Published]struct{}
	keep    map[string]string
	running bool // a goroutine works on these

	feeds map[*ownFeed]struct{}
	own   map[dnswire.Name][]published // what live returns; nil when that isn't true any more
}

// machine is a host that services run on.
type machine struct {
	name   dnswire.Name // as it was wanted
	label  string       // at present
	users  map[*Published]struct{}
	reach  map[spot]int // how many users want it to be published there
	zones  map[mdns.Zone]mdns.PublicationState
	links  map[mdns.Zone]packet.Link // as they were when records were last asked for
	shared map[mdns.Zone]bool        // another program of this machine may publish its name there, too
	handle *mdns.Published           // nil for one that publishes itself
}

// spot is a link where a host is published, "" for all, and one of its
// addresses; none for this machine, whose links have them.
type spot struct {
	link string
	addr netip.Addr
}

// Publish begins to announce a service. It is published until Withdraw, or
// until the engine ends. If another host has the name, or if this publisher has
// it already, the name becomes "Web (2)".
func (p *Publisher) Publish(a Announcement) (*Published, error) {
	if p.Engine == nil {
		return nil, errors.New("dnssd: Publisher without Engine")
	}
	o, err := newOffer(a, DefaultDomain, cmp.Or(p.MaxTXT, DefaultMaxTXT))
	if err != nil {
		return nil, err
	}
	p.warn(a, &o)
	s := &Published{publisher: p, offer: o, zones: map[mdns.Zone]mdns.PublicationState{}, changed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names == nil {
		p.names, p.hosts = map[dnswire.Name]*Published{}, map[dnswire.Name]*machine{}
		p.later, p.keep = map[*mdns.Published]struct{}{}, map[string]string{}
	}
	if err := p.joinHost(s); err != nil {
		return nil, err
	}
	label := p.kept(s.offer.instance(s.offer.Name), s.offer.Name)
	for p.taken(s, label) {
		label = mdns.RenameService(label)
	}
	p.enlist(s, label)
	s.handle = p.Engine.Publish(mdns.Publication{
		Label:   s.label,
		Records: s.records,
		Rename:  s.rename,
		Changed: s.heard,
	})
	return s, nil
}

// warn tells what a person might not have meant.
func (p *Publisher) warn(a Announcement, o *offer) {
	log := p.log()
	if size := o.TXT.size(); size > LargeTXT {
		log.Warn("a large TXT record", "service", o.Name, "type", o.Type, "n", size)
	}
	if o.Name != a.Name {
		log.Warn("a name was cut to 63 bytes", "service", o.Name, "type", o.Type)
	}
}

func (p *Publisher) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}

// kept returns the label that was kept for a name, or else the one that it begins with.
func (p *Publisher) kept(name dnswire.Name, label string) string {
	if p.Keeper != nil {
		if k := p.Keeper.Kept(name.String()); k != "" && len(k) <= maxLabel {
			return k
		}
	}
	return label
}

// taken says whether another service of this publisher has a name that s would
// have under the label.
func (p *Publisher) taken(s *Published, label string) bool {
	for n := range s.offer.names(label) {
		if o := p.names[n]; o != nil && o != s {
			return true
		}
	}
	return false
}

// enlist gives the service the label, in the list of names too.
func (p *Publisher) enlist(s *Published, label string) {
	p.strike(s)
	s.label = label
	for n := range s.offer.names(label) {
		p.names[n] = s
	}
}

// strike takes the service's names out of the list.
func (p *Publisher) strike(s *Published) {
	for n := range s.offer.names(s.label) {
		if p.names[n] == s {
			delete(p.names, n)
		}
	}
}

// ownHost returns the name of this machine as it is wanted.
func (p *Publisher) ownHost() (dnswire.Name, error) {
	return dnswire.NameOf(cmp.Or(p.Host, namelessHost), DefaultDomain)
}

// joinHost makes the service use its host.
func (p *Publisher) joinHost(s *Published) error {
	name := s.offer.host
	own, err := p.ownHost()
	if err != nil {
		return err
	}
	if name == "" {
		name = own
	} else if name.Equal(own) {
		if len(s.offer.Host.Addresses) > 0 {
			return errors.New("dnssd: host " + name.String() + " is this machine: its addresses are those of its links")
		}
		s.offer.host = ""
	}
	h := p.hosts[name.Fold()]
	if h == nil {
		h = &machine{name: name, label: name.Label(0), users: map[*Published]struct{}{}, reach: map[spot]int{},
			zones: map[mdns.Zone]mdns.PublicationState{}, links: map[mdns.Zone]packet.Link{}, shared: map[mdns.Zone]bool{}}
		p.hosts[name.Fold()] = h
	}
	s.host = h
	h.users[s] = struct{}{}
	p.spread(h, s.offer.spots(), nil)
	return nil
}

// leaveHost is the opposite of joinHost.
func (p *Publisher) leaveHost(s *Published) {
	h := s.host
	delete(h.users, s)
	if len(h.users) > 0 {
		p.spread(h, nil, s.offer.spots())
		return
	}
	delete(p.hosts, h.name.Fold())
	p.nudge()
	if h.handle != nil {
		h.handle.Withdraw()
	}
}

// spots lists where the offer wants its host to be published.
func (o *offer) spots() []spot {
	links, addresses := o.Links, o.Host.Addresses
	if len(links) == 0 {
		links = []string{""}
	}
	if o.host == "" {
		addresses = []netip.Addr{{}}
	}
	out := make([]spot, 0, len(links)*len(addresses))
	for _, l := range links {
		for _, a := range addresses {
			out = append(out, spot{l, a.Unmap().WithZone("")})
		}
	}
	return out
}

// spread adds spots to the host and takes others away. Its records are asked
// for again only if that changes them: others hear of few changes a minute
// (RFC 6762 §8.4).
func (p *Publisher) spread(h *machine, more, less []spot) {
	changed := false
	for _, x := range more {
		h.reach[x]++
		changed = changed || h.reach[x] == 1
	}
	for _, x := range less {
		if h.reach[x]--; h.reach[x] == 0 {
			delete(h.reach, x)
			changed = true
		}
	}
	switch {
	case !changed:
	case h.handle != nil:
		p.soon(h.handle)
	default:
		h.label = p.kept(h.name, h.label)
		h.handle = p.Engine.Publish(mdns.Publication{
			Label:   h.label,
			Records: func(z mdns.Zone, l packet.Link, label string) []mdns.Record { return p.hostRecords(h, z, l, label) },
			Rename:  mdns.RenameHost,
			Changed: func(ev mdns.PublicationEvent) { p.heardHost(h, ev) },
		})
	}
}

// full returns the host's name at present.
func (h *machine) full() dnswire.Name {
	n, err := h.name.Parent().Prepend(h.label)
	if err != nil {
		return h.name
	}
	return n
}

// hostRecords runs on the engine's goroutine.
func (p *Publisher) hostRecords(h *machine, z mdns.Zone, l packet.Link, label string) []mdns.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.links[z] = l
	p.nudge()
	// Asked each time: another program may have come or gone.
	h.shared[z] = p.Engine.AskUnicast != nil && !p.Engine.AskUnicast(l)
	return h.records(l, label, h.shared[z])
}

// records returns the host's addresses for the links of its services. shared
// says that another program of this machine may publish them, too.
func (h *machine) records(l packet.Link, label string, shared bool) []mdns.Record {
	name, err := h.name.Parent().Prepend(label)
	if err != nil {
		return nil
	}
	var addresses []netip.Addr
	for x := range h.reach {
		switch {
		case x.link != "" && x.link != l.Name:
		case !x.addr.IsValid():
			return ownRecords(name, l, shared)
		case !slices.Contains(addresses, x.addr):
			addresses = append(addresses, x.addr)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return proxyRecords(name, l, addresses, shared)
}

// heardHost runs on the engine's goroutine.
func (p *Publisher) heardHost(h *machine, ev mdns.PublicationEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	note(h.zones, ev)
	p.nudge()
	if speaks(ev) && ev.Label != h.label {
		h.label = ev.Label
		// The services of the host lead to it by its name (RFC 6762 §9).
		for s := range h.users {
			p.soon(s.handle)
		}
		p.remember(h.name, ev.Label)
	}
	for s := range h.users {
		s.tell()
	}
}

// speaks says whether the event's label is the one that the publication has now.
func speaks(ev mdns.PublicationEvent) bool {
	return ev.State == mdns.PublicationProbing || ev.State == mdns.PublicationAnnounced
}

// note takes a state over into the states by zone.
func note(zones map[mdns.Zone]mdns.PublicationState, ev mdns.PublicationEvent) {
	if ev.State == mdns.PublicationWithdrawn {
		delete(zones, ev.Zone)
	} else {
		zones[ev.Zone] = ev.State
	}
}

// remember has a changed label kept.
func (p *Publisher) remember(name dnswire.Name, label string) {
	if p.Keeper != nil {
		p.keep[name.String()] = label
		p.start()
	}
}

// soon has a publication's records asked for again.
func (p *Publisher) soon(h *mdns.Published) {
	if h != nil {
		p.later[h] = struct{}{}
		p.start()
	}
}

// start begins to work on what is to be done later. p.mu is held.
func (p *Publisher) start() {
	if !p.running {
		p.running = true
		go p.catchUp()
	}
}

func (p *Publisher) catchUp() {
	for {
		p.mu.Lock()
		later, keep := p.later, p.keep
		p.later, p.keep = map[*mdns.Published]struct{}{}, map[string]string{}
		if len(later) == 0 && len(keep) == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		for h := range later {
			h.Update()
		}
		for _, name := range slices.Sorted(maps.Keys(keep)) {
			p.Keeper.Keep(name, keep[name])
		}
	}
}
