package hub

import (
	"context"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// gateways are the records of the gateways, as people change them: the inventory
// hears of it. By the hub's lease, which is extended all the time, it is known whether
// the database takes what is written.
type gateways struct {
	fleet.Sessions
	pulse     *pulse
	inventory *inventory.Inventory
}

// Rename implements fleet.Sessions.
func (g *gateways) Rename(ctx context.Context, id, name string) error {
	err := g.Sessions.Rename(ctx, id, name)
	g.tell(ctx, id, err)
	return err
}

// MarkRevoked implements fleet.Sessions.
func (g *gateways) MarkRevoked(ctx context.Context, id string, when time.Time) error {
	err := g.Sessions.MarkRevoked(ctx, id, when)
	g.tell(ctx, id, err)
	return err
}

// Enrol implements fleet.Sessions.
func (g *gateways) Enrol(ctx context.Context, x fleet.Gateway) (fleet.Gateway, error) {
	x, err := g.Sessions.Enrol(ctx, x)
	g.tell(ctx, x.ID, err)
	return x, err
}

// Forget implements fleet.Sessions.
func (g *gateways) Forget(ctx context.Context, id string) error {
	if err := g.inventory.Forget(ctx, id); err != nil { // first: a record without devices harms nothing
		return err
	}
	return g.Sessions.Forget(ctx, id)
}

// tell tells the inventory how a gateway stands, if err is nil.
func (g *gateways) tell(ctx context.Context, id string, err error) {
	if err != nil {
		return
	}
	if now, err := g.Gateway(ctx, id, time.Now()); err == nil { // else it hears of it when the gateway comes
		g.inventory.Gateway(now)
	}
}

// Attend implements fleet.Sessions.
func (g *gateways) Attend(ctx context.Context, hub string, now, until time.Time) (uint64, error) {
	run, err := g.Sessions.Attend(ctx, hub, now, until)
	g.pulse.beat(ctx, err)
	return run, err
}

// Extend implements fleet.Sessions.
func (g *gateways) Extend(ctx context.Context, hub string, run uint64, until time.Time) error {
	err := g.Sessions.Extend(ctx, hub, run, until)
	g.pulse.beat(ctx, err)
	return err
}

// pulse is whether the database took what was written last.
type pulse struct {
	mu    sync.Mutex
	err   error
	since time.Time // of err
}

func (p *pulse) beat(ctx context.Context, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil: // nobody waited for it
	case err == nil:
		p.err, p.since = nil, time.Time{}
	case p.err == nil:
		p.since = time.Now()
		fallthrough
	default:
		p.err = err
	}
}

func (p *pulse) feel() (err error, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err, p.since
}

// tellInventory tells the inventory how the gateways stand, and who comes and goes.
func (h *Hub) tellInventory(ctx context.Context) error {
	changes := h.roll.Watch(ctx) // first, so that none is missed
	all, err := h.fleet.Sessions.Gateways(ctx, fleet.GatewayFilter{}, time.Now())
	if err != nil {
		return err
	}
	for _, g := range all {
		h.inventory.Gateway(g)
	}
	for g := range changes {
		h.inventory.Gateway(g)
	}
	return nil
}
