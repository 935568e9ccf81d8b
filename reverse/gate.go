package reverse

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of the gate. A herd that comes back at once is let in by and by: that is
// quicker, and leaves less garbage between what stays. Who says nothing keeps
// others out only for a moment, and those of another source not at all.
const (
	gateWidth     = 160 // handshakes at a time
	gateWidthOf   = 128 // those of one source
	gateHold      = time.Second
	maxUnshaken   = 16 << 10 // connections whose handshake isn't done
	maxUnshakenOf = 12 << 10 // those of one source; gateways behind one router are many
)

// A gate bounds the handshakes that go on, all of them and those of one source, whose
// turns come one after another. The zero value is ready.
type gate struct {
	mu      sync.Mutex
	open    int // connections between admit and their leave
	inside  int // between enter and theirs
	sources map[string]*source
	waiting []*source // for whom somebody waits, in the order of their turns
}

// A source is where connections come from.
type source struct {
	open, inside int
	queue        []chan struct{} // closed when it may enter
}

// admit counts a connection, whose handshake begins when it says something. False: there
// are too many.
func (g *gate) admit(from string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[from]
	if s == nil {
		s = &source{}
	}
	if g.open >= maxUnshaken || s.open >= maxUnshakenOf {
		return nil, false
	}
	if g.sources == nil {
		g.sources = make(map[string]*source)
	}
	g.sources[from] = s
	g.open++
	s.open++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open--
		if s.open--; s.open == 0 {
			delete(g.sources, from)
		}
	}, true
}

// enter waits until one more handshake may go on, of a connection that was admitted. It
// counts until leave is called, or gateHold is over.
func (g *gate) enter(from string) (leave func()) {
	g.mu.Lock()
	s := g.sources[from]
	if g.inside < gateWidth && s.inside < gateWidthOf && len(s.queue) == 0 {
		g.inside++
		s.inside++
		g.mu.Unlock()
	} else {
		turn := make(chan struct{})
		if s.queue = append(s.queue, turn); len(s.queue) == 1 {
			g.waiting = append(g.waiting, s)
		}
		g.mu.Unlock()
		<-turn // soon: whoever is inside leaves after gateHold
	}
	out := sync.OnceFunc(func() { g.exit(s) })
	late := time.AfterFunc(gateHold, out)
	return func() { late.Stop(); out() }
}

// exit frees a place and gives it to the next.
func (g *gate) exit(s *source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	s.inside--
	for i, next := range g.waiting {
		if next.inside >= gateWidthOf {
			continue
		}
		g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
		g.inside++
		next.inside++
		close(next.queue[0])
		if next.queue = next.queue[1:]; len(next.queue) > 0 {
			g.waiting = append(g.waiting, next)
		}
		return
	}
}

// Source returns what counts as one place from which connections come: an address of
// IPv4, or a /64 of IPv6, as a machine has all of that.
func Source(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
