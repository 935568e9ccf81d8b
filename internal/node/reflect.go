package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/reflector"
)

// reflection is the reflector on the engine that runs at present, and what
// outlives it: the rules and their counters.
type reflection struct {
	rules   *reflector.Rules
	macs    macs
	running atomic.Pointer[reflector.Reflector]
}

// openReflector reads the rules. They are well-formed: the config was checked.
func (n *Node) openReflector() error {
	c := n.Config.Reflect
	if !c.Enabled {
		return nil
	}
	o := c.Options()
	o.MAC = n.reflection.macs.of
	rules, err := reflector.NewRules(o)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n.reflection.rules = rules
	return nil
}

// reflectOn puts a reflector into the engine, if the config wants one. It returns
// what is to run beside the engine, nil for nothing.
func (n *Node) reflectOn(e *mdns.Engine) func(context.Context) error {
	c := n.Config.Reflect
	if !c.Enabled {
		return nil
	}
	r := &reflector.Reflector{
		Links: c.Interfaces, Rules: n.reflection.rules, DryRun: c.DryRun,
		CrossFamilies: c.CrossFamilies, ForwardMalformed: c.ForwardMalformed, Log: n.Log,
		SourceRate: c.SourceRate, SourceBurst: c.SourceBurst, LinkRate: c.LinkRate, LinkBurst: c.LinkBurst, MaxPending: c.MaxPending,
	}
	n.reflection.running.Store(r)
	e.Relays = append(e.Relays, r)
	if c.Mode != config.ReflectProxy {
		return nil
	}
	r.Proxy = &reflector.Proxy{}
	e.Observers = append(e.Observers, r.Proxy)
	return func(ctx context.Context) error { return r.Proxy.Run(ctx, e) }
}

// runReflector is the part that shows in the status: the engine does the work.
func (n *Node) runReflector(ctx context.Context) error {
	switch c := n.Config; {
	case !c.Reflect.Enabled:
		return daemon.Unavailable{Reason: errors.New("the config says reflect.enabled = false")}
	case !c.MDNS.Enabled:
		return daemon.Unavailable{Reason: errors.New("the config says mdns.enabled = false")}
	}
	<-ctx.Done()
	return nil
}

// reflectDetail says what is reflected between what.
func (n *Node) reflectDetail() string {
	c := n.Config.Reflect
	s := "between all used interfaces"
	if len(c.Interfaces) > 0 {
		s = fmt.Sprintf("between %v", c.Interfaces)
	}
	if c.Mode != config.ReflectPlain {
		s += ", mode " + string(c.Mode)
	}
	if c.DryRun {
		s += ", dry run: nothing is sent"
	}
	if r := n.reflection.running.Load(); r != nil {
		for _, x := range r.Stats().Sides {
			for _, a := range x.Reflectors {
				s += fmt.Sprintf("; another reflector on %s: %v", x.Interface, a)
			}
		}
	}
	return s
}

// reflectCounters are packets by what became of them, and questions and records by
// direction and the rule that decided.
func (n *Node) reflectCounters() map[string]uint64 {
	c := map[string]uint64{}
	if n.reflection.rules == nil {
		return c
	}
	if r := n.reflection.running.Load(); r != nil {
		s := r.Stats()
		for _, x := range s.Sides {
			for why, count := range x.Stopped {
				c[fmt.Sprintf("packets: %s %v: %s", x.Interface, x.Family, why)] = count
			}
		}
		for _, x := range s.Pairs {
			for why, count := range x.Packets {
				c[fmt.Sprintf("packets: %s %v to %s %v: %s", x.From, x.FromFamily, x.To, x.ToFamily, why)] = count
			}
		}
	}
	s := n.reflection.rules.Stats()
	for _, h := range s.Hits {
		where := h.From + " to " + h.To + ": " + h.Rule
		c["passed: "+where] += h.Passed
		c["stopped: "+where] += h.Stopped
	}
	return c
}

// macs are the hardware addresses of neighbours, for rules about them.
type macs struct {
	mu    sync.RWMutex
	known map[macKey]net.HardwareAddr
}

type macKey struct {
	link int
	ip   netip.Addr
}

// observe takes over rows of the neighbour table.
func (m *macs) observe(rows []lan.Neighbour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[macKey]net.HardwareAddr{}
	}
	for _, r := range rows {
		k := macKey{r.Link, r.IP}
		if r.State == lan.NeighbourGone {
			delete(m.known, k)
		} else if r.MAC != nil {
			m.known[k] = r.MAC
		}
	}
}

// of is a reflector.MACs.
func (m *macs) of(link int, host netip.Addr) (net.HardwareAddr, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	a, ok := m.known[macKey{link, host}]
	return a, ok
}
