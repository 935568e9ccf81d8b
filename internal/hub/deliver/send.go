package deliver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// enqueue lets a command be sent, behind those that were made before.
func (d *Dispatcher) enqueue(c *command) {
	g := c.gateway
	if c.waits || c.isOver() {
		return
	}
	c.waits = true
	at, _ := slices.BinarySearchFunc(g.queue, c.is.ID, func(other *command, id string) int { return strings.Compare(other.is.ID, id) })
	g.queue = slices.Insert(g.queue, at, c)
	d.kick(g)
}

// pop takes the first command off the queue.
func (g *gateway) pop() {
	g.queue[0].waits = false
	if g.queue[0], g.queue = nil, g.queue[1:]; len(g.queue) == 0 {
		g.queue = nil
	}
}

// kick sees to it that somebody sends what waits for a gateway.
func (d *Dispatcher) kick(g *gateway) {
	if g.busy || len(g.queue) == 0 || g.answer != nil {
		return
	}
	g.busy = true
	d.unsent = append(d.unsent, g)
	d.hire()
}

// hire begins one more sender, if there is work for it.
func (d *Dispatcher) hire() {
	if d.senders < maxSenders && len(d.unsent) > 0 {
		d.senders++
		d.backgroundLocked(d.send)
	}
}

// send sends to one gateway after another. One that holds it up, since its stream
// isn't read, or an answer must come first, keeps this goroutine to itself after a
// while, and another one goes on.
func (d *Dispatcher) send(ctx context.Context) {
	for {
		var g *gateway
		d.mu.Lock()
		if len(d.unsent) > 0 && ctx.Err() == nil {
			g, d.unsent = d.unsent[0], d.unsent[1:]
		} else {
			d.senders--
		}
		d.mu.Unlock()
		if g == nil {
			return
		}
		var left bool // under the lock
		late := time.AfterFunc(sendHold, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !left {
				left = true
				d.senders--
				d.hire()
			}
		})
		d.sendNext(ctx, g)
		late.Stop()
		d.mu.Lock()
		replaced := left
		left = true
		g.busy = false
		d.kick(g)
		if len(g.all) == 0 && !g.busy {
			delete(d.gateways, g.id)
		}
		d.mu.Unlock()
		if replaced {
			return
		}
	}
}

// sendNext sends the next command of a gateway's queue, if the gateway is there.
func (d *Dispatcher) sendNext(ctx context.Context, g *gateway) {
	d.mu.Lock()
	c, session, there := d.next(ctx, g)
	if c == nil {
		d.mu.Unlock()
		return
	}
	g.pop()
	if !there {
		// Arrived sends it, if it may wait.
		if !c.is.Queue && !c.wasSent() {
			d.settle(c, *c.absent())
		}
		d.mu.Unlock()
		return
	}
	var cancel context.CancelFunc
	if c.is.Deadline.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadline(ctx, c.is.Deadline)
	}
	cancel = sync.OnceFunc(cancel)
	defer cancel()
	c.sending = cancel
	order := reverse.Command{ID: c.is.ID, Line: c.is.Line}
	if !session.Native {
		g.answer = c
		d.moveTo(c, fleet.Sent, time.Now())
		if order.Timeout = time.Hour; !c.is.Deadline.IsZero() {
			order.Timeout = max(time.Until(c.is.Deadline), 0) + grace // it is abandoned before
		}
	}
	d.mu.Unlock()

	if !session.Native {
		// It keeps no journal: what the next start finds sent isn't sent again.
		if err := d.writeNow(ctx, c); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			c.sending = nil
			d.settle(c, ending{state: fleet.Error, text: "not sent, since that can't be put on record: " + err.Error()})
			return
		}
	}
	err := d.Wire.Send(ctx, g.id, order) // not if ctx is done

	d.mu.Lock()
	defer d.mu.Unlock()
	c.sending, c.held = nil, false
	switch unsent := errors.Is(err, reverse.ErrUnsent); {
	case !unsent:
		c.session = session.Epoch
	case !session.Native:
		c.held, g.answer = true, nil
	}
	switch {
	case c.isOver():
	case err == nil:
		d.moveTo(c, fleet.Sent, time.Now())
		d.plan(c)
		now, there := d.Wire.Session(g.id)
		switch gone := !there || now.Epoch != session.Epoch; {
		case gone && !session.Native:
			d.lost(c) // Left was called before it was known that the command went there
		case gone && there && !c.journal:
			d.enqueue(c) // it came back meanwhile
		}
	case !session.Native && !c.held:
		// Whether it got it, nobody can tell.
		d.lost(c)
	case errors.Is(err, reverse.ErrOffline):
		d.plan(c) // sent again when it is back
		if now, there := d.Wire.Session(g.id); there && now.Epoch != session.Epoch && !c.journal {
			d.enqueue(c)
		}
	case ctx.Err() == nil:
		d.settle(c, ending{state: fleet.Error, text: err.Error()})
	}
}

// next returns the first command of a gateway's queue, which may be sent if the gateway
// is there, and the gateway's session. It is called under the lock, and gives that up
// while it looks at rights.
func (d *Dispatcher) next(ctx context.Context, g *gateway) (c *command, s reverse.Session, there bool) {
	for failures := 0; ; failures++ {
		for len(g.queue) > 0 && g.queue[0].isOver() {
			g.pop()
		}
		if len(g.queue) == 0 {
			return nil, s, false
		}
		c = g.queue[0]
		if s, there = d.Wire.Session(g.id); !there || d.Objection == nil || time.Since(c.vetted) < vettedFor {
			return c, s, there
		}
		is := c.is
		d.mu.Unlock()
		why, err := d.objection(ctx, is)
		d.mu.Lock()
		if c.unvetted = err; err == nil {
			d.vet(c, why)
			failures = -1
			continue
		}
		if failures == 0 && ctx.Err() == nil {
			d.Logger.Warn("a command isn't sent: nobody can say whether it may be", "command", is.ID, "gateway", g.id, "err", err)
		}
		d.mu.Unlock()
		select {
		case <-time.After(retryAfter(failures)):
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return nil, s, false
		}
	}
}

func (d *Dispatcher) objection(ctx context.Context, c fleet.Command) (why string, err error) {
	words, err := reverse.Split(c.Line)
	if err != nil {
		return "", err
	}
	return d.Objection(ctx, words[0], c)
}

// vet notes that a command may be sent, or ends it for a reason why not.
func (d *Dispatcher) vet(c *command, why string) {
	c.vetted = time.Now()
	switch {
	case why == "":
	case c.is.State != fleet.Queued && !c.held: // its gateway says that it hasn't got it
		d.settle(c, ending{state: fleet.Denied, text: "not sent again: " + why})
	default:
		d.settle(c, ending{state: fleet.Denied, text: "not sent: " + why})
	}
}

// lost ends a command of which a gateway without a journal can't say what became. The
// wire breaks with one that let the command's time pass, perhaps before we look.
func (d *Dispatcher) lost(c *command) {
	if end := c.is.Deadline; !end.IsZero() && time.Until(end) < 100*time.Millisecond {
		d.settle(c, *c.late())
		return
	}
	d.settle(c, ending{state: fleet.Interrupted, text: "the connection broke before the answer came"})
}

// Arrived is called when a gateway listens: what it hasn't got is sent. It doesn't
// block.
func (d *Dispatcher) Arrived(s reverse.Session) {
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.gateways[s.Gateway]; g != nil && d.open {
		d.arrived(g, s)
	}
}

func (d *Dispatcher) arrived(g *gateway, s reverse.Session) {
	for _, c := range g.all {
		switch {
		case c.fresh || c.sending != nil || c.session == s.Epoch:
		case g.answer == c || !s.Native && (c.is.State != fleet.Queued && !c.held || c.doubtful):
			d.lost(c)
		case !s.Native || !c.journal:
			d.enqueue(c)
		}
	}
}

// Banish ends the commands of a gateway that never comes back, since it was revoked.
// It doesn't block.
func (d *Dispatcher) Banish(gateway, why string) {
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gateways[gateway]
	if g == nil {
		return
	}
	for _, c := range g.all {
		if !c.fresh {
			d.settle(c, ending{state: fleet.Error, text: "how it ended isn't known: " + why})
		}
	}
}

// Left is called when a session has ended. It doesn't block.
func (d *Dispatcher) Left(s reverse.Session) {
	if s.Native {
		return // it says what it has when it is back
	}
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gateways[s.Gateway]
	if g == nil {
		return
	}
	for _, c := range g.all {
		if c.session == s.Epoch && c.is.State != fleet.Queued {
			d.lost(c)
		}
	}
}
