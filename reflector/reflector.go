package reflector

import (
	"log/slog"
	"net/netip"
	"sync"

	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// Reflector passes mDNS packets on between the links of an engine. Set the
// fields, put it into the engine's Relays, then run the engine; Stats may be
// called at any time.
type Reflector struct {
	// Links names the links that take part. None means all that the engine has.
	Links []string
	// Rules say what may pass. nil: everything.
	Rules *Rules
	// DryRun counts what would become of each packet and sends nothing.
	DryRun bool
	// CrossFamilies passes packets on from IPv4 to IPv6 and back, too. Hosts
	// that speak both then hear everything twice and see their own records come
	// back: leave it off unless a link has one family only.
	CrossFamilies bool
	// ForwardMalformed passes packets on that can't be parsed, to the links
	// that Rules is nil for, or lets pass everything to.
	ForwardMalformed bool
	// Decided is told what becomes of every question and record on its way to
	// every other link, and why; nil tells nobody. It costs much of the speed
	// and is called by several goroutines at a time.
	Decided func(Decision)
	// Proxy answers queries from what is known of the other links and passes on
	// only what it must; nil passes on everything.
	Proxy *Proxy
	// Log gets what a person might want to know; nil is silent.
	Log *slog.Logger

	once sync.Once
	mu   sync.RWMutex // guards what follows; sides themselves are never changed
	side map[mdns.Zone]*side
	own  map[netip.Addr]bool // this host's addresses on all links
	log  *slog.Logger
}

// side is a link and an address family: what the reflector passes packets on
// from and to. It is made anew when its link changes.
type side struct {
	zone mdns.Zone
	link packet.Link
	send func([]packet.Datagram) (int, error)
	book *book // stays when the link changes

	mu     sync.Mutex // guards what follows
	editor editor
	grams  []packet.Datagram
}

func (r *Reflector) init() {
	r.once.Do(func() {
		r.side, r.own = map[mdns.Zone]*side{}, map[netip.Addr]bool{}
		if r.log = r.Log; r.log == nil {
			r.log = slog.New(slog.DiscardHandler)
		}
	})
}

// Opened implements mdns.Relay.
func (r *Reflector) Opened(p mdns.RelayPort) {
	r.init()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &side{zone: p.Zone, link: p.Link, send: p.Send, book: newBook()}
	s.editor.decided = r.Decided
	if old := r.side[p.Zone]; old != nil {
		s.book = old.book
	}
	r.side[p.Zone] = s
	r.findOwn()
}

// Closed implements mdns.Relay.
func (r *Reflector) Closed(z mdns.Zone) {
	r.init()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.side, z)
	r.findOwn()
}

func (r *Reflector) findOwn() {
	clear(r.own)
	for _, s := range r.side {
		for _, p := range s.link.Prefixes {
			r.own[p.Addr().Unmap().WithZone("")] = true
		}
	}
}

// Relay implements mdns.Relay.
func (r *Reflector) Relay(z mdns.Zone, packets []mdns.Packet) []mdns.Packet {
	r.init()
	r.mu.RLock()
	defer r.mu.RUnlock()
	from := r.side[z]
	if from == nil {
		return packets
	}
	pass := packets
	if r.Proxy != nil {
		pass = r.Proxy.rest(r, from, packets)
	}
	for _, to := range r.side {
		if r.reaches(from, to) {
			r.pass(from, to, pass)
		}
	}
	return packets
}

// reaches says whether packets are passed on from one side to another.
func (r *Reflector) reaches(from, to *side) bool {
	return to.zone.Link != from.zone.Link && to.zone.Family == from.zone.Family
}

func (r *Reflector) pass(from, to *side, packets []mdns.Packet) {
	to.mu.Lock()
	defer to.mu.Unlock()
	to.grams = to.grams[:0]
	to.editor.reset()
	for i := range packets {
		p := &packets[i]
		if p.Malformed != nil || r.own[p.Src.Addr()] {
			continue
		}
		data, _ := r.Rules.apply(&to.editor, from, to, p)
		if data != nil {
			to.grams = append(to.grams, packet.Datagram{Data: data})
			for _, d := range to.editor.more {
				to.grams = append(to.grams, packet.Datagram{Data: d})
			}
		}
	}
	if !r.DryRun {
		_, _ = to.send(to.grams) // TODO
	}
}
