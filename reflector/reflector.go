package reflector

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	// ForwardMalformed passes packets on that can't be parsed, between links
	// for which there are no rules.
	ForwardMalformed bool
	// Decided is told what becomes of every question and record on its way to
	// every other link, and why; nil tells nobody. It costs much of the speed
	// and is called by several goroutines at a time.
	Decided func(Decision)
	// Proxy answers queries from what is known of the other links and passes on
	// only what it must; nil passes on everything.
	Proxy *Proxy
	// SourceRate and SourceBurst limit the packets of one host on a link that
	// are passed on, in packets a second and at once; LinkRate and LinkBurst
	// those that are passed on to one link. 0 means the default.
	SourceRate, SourceBurst, LinkRate, LinkBurst int
	// MaxPending bounds the one-shot queries and those with the QU bit whose
	// askers wait for answers. 0 means DefaultMaxPending.
	MaxPending int
	// Log gets what a person might want to know; nil is silent.
	Log *slog.Logger

	once    sync.Once
	guard   *guard
	waiters waiters
	// draining says that a goroutine reads what waits on other links.
	draining atomic.Bool
	log      *slog.Logger

	mu     sync.RWMutex // guards what follows
	side   map[mdns.Zone]*side
	own    map[netip.Addr]bool // this host's addresses on all links
	counts map[countKey]*counts
}

// side is a link and an address family: what the reflector passes packets on
// from and to. It stays when its link changes.
type side struct {
	zone    mdns.Zone
	link    packet.Link
	unicast bool // what is sent to our port 5353 alone comes to us
	send    func([]packet.Datagram) (int, error)
	drain   func()
	book    *book
	heard   *counts
	outs    []out // where its packets go

	in  incoming
	mu  sync.Mutex // guards what follows
	out outgoing
	// editor is for what is passed on to the side.
	editor editor
}

// out is a side that another's packets are passed on to.
type out struct {
	to     *side
	counts *counts
}

func (r *Reflector) init() {
	r.once.Do(func() {
		r.side, r.own, r.counts = map[mdns.Zone]*side{}, map[netip.Addr]bool{}, map[countKey]*counts{}
		r.guard = newGuard(r.CrossFamilies, time.Now())
		r.waiters.init(cmp.Or(r.MaxPending, DefaultMaxPending))
		if r.log = r.Log; r.log == nil {
			r.log = slog.New(slog.DiscardHandler)
		}
	})
}

// Opened implements mdns.Relay.
func (r *Reflector) Opened(p mdns.RelayPort) {
	r.init()
	if len(r.Links) > 0 && !slices.Contains(r.Links, p.Link.Name) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.side[p.Zone]
	if s == nil {
		s = &side{zone: p.Zone, book: newBook(r.guard.seed), heard: r.count(p.Zone, mdns.Zone{})}
		s.editor.decided, s.editor.scratch.seed = r.Decided, r.guard.seed
		s.in.reader.seed = r.guard.seed
		r.side[p.Zone] = s
	}
	s.link, s.unicast, s.send, s.drain = p.Link, p.Unicast, p.Send, p.Drain
	r.connect()
}

// Closed implements mdns.Relay.
func (r *Reflector) Closed(z mdns.Zone) {
	r.init()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.side, z)
	r.connect()
}

// connect finds out anew where each side's packets go and which addresses are ours.
func (r *Reflector) connect() {
	clear(r.own)
	for _, s := range r.side {
		for _, p := range s.link.Prefixes {
			r.own[p.Addr().Unmap().WithZone("")] = true
		}
		s.outs = s.outs[:0]
		for _, to := range r.side {
			if r.reaches(s, to) {
				s.outs = append(s.outs, out{to, r.count(s.zone, to.zone)})
			}
		}
		slices.SortFunc(s.outs, func(a, b out) int {
			return cmp.Or(cmp.Compare(a.to.zone.Link, b.to.zone.Link), cmp.Compare(a.to.zone.Family, b.to.zone.Family))
		})
	}
	if r.Proxy != nil {
		r.Proxy.connect(r)
	}
}

// reaches says whether packets are passed on from one side to another.
func (r *Reflector) reaches(from, to *side) bool {
	return to.zone.Link != from.zone.Link && (r.CrossFamilies || to.zone.Family == from.zone.Family)
}
