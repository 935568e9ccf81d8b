package mdns

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/lanfolk/lanfolk/packet"
)

// Defaults of an Engine's limits.
const (
	DefaultMaxRecords          = 65536
	DefaultMaxRecordsPerSource = 57344
)

// ErrStopped is returned by what waits for an engine that has ended.
var ErrStopped = errors.New("mdns: engine stopped")

// Engine owns the mDNS sockets of a host, one for each link and address
// family, and what is heard on them, one cache for each. A process has at most
// one. Set the fields, then call Run once; the other methods may be called at
// any time, from any goroutine.
type Engine struct {
	// Links tells which links there are: the whole set at once and again after
	// each change. The engine uses those that are up, can multicast and have
	// an address. Its channel is closed when ctx ends.
	Links func(ctx context.Context) (<-chan []packet.Link, error)
	// Listen opens a socket on a link, bound to the link and to the group's
	// port, joined to the group. An error is not final: it is tried again.
	Listen func(link packet.Link, group netip.AddrPort) (Conn, error)
	// AskUnicast says whether first queries on a link may ask for unicast
	// answers (RFC 6762 §5.4): only if no other program on this host holds
	// port 5353, since it would get some of them in our place (§15.1). It is
	// called whenever a socket is opened. nil means no.
	AskUnicast func(link packet.Link) bool
	// Family is the only address family that is used; the zero value means both.
	Family Family
	// Silent keeps the engine from sending anything at all: it hears, caches,
	// and draws its conclusions from what others ask and answer (RFC 6762
	// §10.5). Nothing is published, and relays can't send.
	Silent bool
	// Observers see what is heard.
	Observers []Observer
	// Relays see every packet first and may pass it on to other links.
	Relays []Relay
	// Log gets what a person might want to know; nil is silent.
	Log *slog.Logger
	// MaxRecords bounds each zone's cache, and MaxRecordsPerSource what one
	// host may put into it. 0 means the default. From 16,384 records on, those
	// that nobody asks for make room for others.
	MaxRecords, MaxRecordsPerSource int

	once  sync.Once
	wake  chan struct{}
	ended chan struct{}
	stats counters

	mu      sync.Mutex
	inbox   []func(*core) // run on the goroutine that owns the state
	hints   map[hint]struct{}
	running bool
	stopped bool
}

func (e *Engine) init() {
	e.once.Do(func() {
		e.wake = make(chan struct{}, 1)
		e.ended = make(chan struct{})
	})
}

// post has f run by the goroutine that owns the state, in order, once Run has
// begun. It returns false if the engine has ended.
func (e *Engine) post(f func(*core)) bool {
	e.init()
	e.mu.Lock()
	ok := !e.stopped
	if ok {
		e.inbox = append(e.inbox, f)
	}
	e.mu.Unlock()
	if ok {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
	return ok
}

func (e *Engine) takeInbox() []func(*core) {
	e.mu.Lock()
	defer e.mu.Unlock()
	in := e.inbox
	e.inbox = nil
	return in
}

// Run asks and listens until ctx ends; then it returns nil. What goes wrong on
// one link is logged and tried again; only a failure of Links is an error.
func (e *Engine) Run(ctx context.Context) error {
	e.init()
	e.mu.Lock()
	if e.running || e.stopped {
		e.mu.Unlock()
		return errors.New("mdns: Run called twice")
	}
	e.running = true
	e.mu.Unlock()

	c := newCore(e)
	defer func() {
		c.close()
		e.mu.Lock()
		e.running, e.stopped, e.inbox = false, true, nil
		e.mu.Unlock()
		close(e.ended)
	}()
	return c.run(ctx)
}

// Stats returns the engine's counters and zones.
func (e *Engine) Stats() Stats {
	s := e.stats.snapshot()
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	if !running {
		return s
	}
	zones := make(chan []ZoneStats, 1)
	if e.post(func(c *core) { zones <- c.zoneStats() }) {
		select {
		case s.Zones = <-zones:
		case <-e.ended:
		}
	}
	return s
}
