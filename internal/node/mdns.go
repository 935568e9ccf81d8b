package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/mdns"
)

// multicast is the engine that runs at present. After a failure there is a new one.
type multicast struct {
	mu        sync.Mutex
	engine    *mdns.Engine
	publisher *dnssd.Publisher // on the engine, nil while nothing is announced
	changed   chan struct{}    // closed when there is another engine
}

func (m *multicast) set(e *mdns.Engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.engine, m.publisher = e, nil
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// watch returns the engine, nil while none runs, and a channel that is closed
// when that changes.
func (m *multicast) watch() (*mdns.Engine, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.engine, m.changed
}

func (m *multicast) get() *mdns.Engine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine
}

// publish takes over what announces on the engine.
func (m *multicast) publish(e *mdns.Engine, p *dnssd.Publisher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engine == e {
		m.publisher = p
	}
}

// source returns what to ask, nil while no engine runs. It knows what the node
// announces itself, too.
func (m *multicast) source() dnssd.Source {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.engine == nil:
		return nil
	case m.publisher == nil:
		return dnssd.Multicast(m.engine)
	}
	return m.publisher.Include(dnssd.Multicast(m.engine))
}

// runMDNS asks for all services and hosts by mDNS and tells the registry.
func (n *Node) runMDNS(ctx context.Context) error {
	c := n.Config.MDNS
	if !c.Enabled {
		return daemon.Unavailable{Reason: errors.New("the config says mdns.enabled = false")}
	}
	var hosts dnssd.Hosts
	engine := sockets.Engine(n.selection, sockets.Family(c.IPv4, c.IPv6), n.Log, &hosts)
	engine.Silent = c.Silent
	beside := n.reflectOn(engine)
	n.mdns.set(engine)
	defer n.mdns.set(nil)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return engine.Run(ctx) })
	if beside != nil {
		tasks.Go(func() error { return beside(ctx) })
	}
	tasks.Go(func() error {
		return source.MDNS{Gateway: n.Config.Name, Own: n.announced.owns}.Feed(ctx, dnssd.Multicast(engine), &hosts, n.registry.Observe)
	})
	return tasks.Wait()
}

func (m *multicast) detail() string {
	e := m.get()
	if e == nil {
		return ""
	}
	open, records := 0, 0
	var broken string
	for _, z := range e.Stats().Zones {
		if z.Open {
			open++
			records += z.Records
		} else if z.Error != "" {
			broken += "; " + z.Zone.String() + ": " + z.Error
		}
	}
	return fmt.Sprintf("%d sockets, %d records%s", open, records, broken)
}

func (m *multicast) counters() map[string]uint64 {
	e := m.get()
	if e == nil {
		return map[string]uint64{}
	}
	s := e.Stats()
	c := map[string]uint64{
		"received": s.Received, "responses": s.Responses, "queries": s.Queries, "sent": s.Sent,
		"send_errors": s.SendErrors, "suppressed": s.Suppressed, "evicted": s.Evicted,
	}
	for reason, count := range s.Dropped {
		c["dropped: "+reason] = count
	}
	return c
}
