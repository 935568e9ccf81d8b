package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Submit makes a command of r for each of its gateways and sends it. Whether By may
// do that, was found out before. The commands are in the order of r.Gateways; the
// ids rise. Without r.Queue one for a gateway that isn't there has ended already.
// With an error nothing is sent.
func (d *Dispatcher) Submit(ctx context.Context, r fleet.Request) ([]fleet.Command, error) {
	d.begin()
	if err := d.check(&r); err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	if err := d.wait(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	all := make([]fleet.Command, len(r.Gateways))
	intents := make([]fleet.Entry, len(r.Gateways))
	for i, g := range r.Gateways {
		id, err := d.ids.Next(now)
		if err != nil {
			return nil, err
		}
		all[i] = fleet.Command{
			ID: id, Gateway: g.ID, Line: r.Line, By: r.By, Created: now, Deadline: now.Add(r.Timeout), Queue: r.Queue,
			Revision: 1, State: fleet.Queued,
		}
		intents[i] = fleet.Entry{Time: now, Who: r.By, What: whatRun, Gateway: g.ID, Ref: id, Detail: r.Line}
	}
	made, err := d.reserve(all)
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	if err := d.Log.Create(ctx, intents, all...); err != nil {
		d.background(func(ctx context.Context) { d.retract(ctx, made, err) })
		return nil, fmt.Errorf("deliver: the request can't be put on record, so nothing was sent: %w", err)
	}
	away := d.dispatch(made)
	// From here on what was asked for happens, whether or not somebody waits.
	d.endAll(context.WithoutCancel(ctx), away)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range made {
		all[i] = c.is
	}
	return all, nil
}

// check fills in what the request leaves open.
func (d *Dispatcher) check(r *fleet.Request) error {
	words, err := reverse.Split(r.Line)
	switch {
	case err != nil:
		return err
	case words[0] == "":
		return &reverse.LineError{At: 1, Why: "the verb is empty"}
	case len(r.Gateways) == 0:
		return fmt.Errorf("%w: no gateway is named", fleet.ErrInvalid)
	case len(r.Gateways) > d.MaxOutstanding || len(r.Line)*len(r.Gateways) > maxFanOut:
		return fmt.Errorf("%w: %d gateways, each with a line of %d bytes", ErrBusy, len(r.Gateways), len(r.Line))
	case r.Timeout < 0 || r.Timeout > d.MaxTimeout:
		return fmt.Errorf("%w: a timeout of %v; at most %v", fleet.ErrInvalid, r.Timeout, d.MaxTimeout)
	}
	seen := make(map[string]bool, len(r.Gateways))
	for _, g := range r.Gateways {
		if g.ID == "" || seen[g.ID] {
			return fmt.Errorf("%w: gateway %q is named twice", fleet.ErrInvalid, g.ID)
		}
		seen[g.ID] = true
	}
	if r.Timeout == 0 {
		if r.Timeout = d.Timeout; r.Timeout <= 0 {
			r.Timeout = time.Minute
			if r.Queue {
				r.Timeout = 24 * time.Hour
			}
		}
	}
	return nil
}

// reserve makes commands outstanding that are going to be kept. Nothing happens to
// them until they are dispatched.
func (d *Dispatcher) reserve(all []fleet.Command) ([]*command, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil || d.run.Err() != nil {
		return nil, ErrStopped
	}
	if len(d.commands)+len(all) > d.MaxOutstanding {
		return nil, fmt.Errorf("%w: %d", ErrBusy, len(d.commands))
	}
	for _, c := range all {
		if g := d.gateways[c.Gateway]; g != nil && len(g.all) >= maxOfGateway {
			return nil, fmt.Errorf("%w: %d at gateway %s", ErrBusy, len(g.all), c.Gateway)
		}
	}
	made := make([]*command, len(all))
	for i := range all {
		made[i] = newCommand(all[i])
		made[i].fresh, made[i].vetted = true, all[i].Created
		d.add(made[i])
	}
	return made, nil
}

// release takes commands off that are not kept after all.
func (d *Dispatcher) release(made []*command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range made {
		c.is.State, c.is.Ended = fleet.Error, time.Now()
		d.drop(c)
	}
}

// retract takes requests back that were not kept. Which is not certain: a database may
// lose its client while it commits.
func (d *Dispatcher) retract(ctx context.Context, made []*command, why error) {
	e := ending{state: fleet.Error, text: "not kept, so not sent: " + why.Error()}
	for n := 0; ; n++ {
		_, err := d.Log.Command(ctx, made[0].is.ID)
		switch {
		case err == nil:
			d.mu.Lock()
			for _, c := range made {
				c.fresh, c.verdict = false, &e
			}
			d.mu.Unlock()
			d.endAll(ctx, made)
			return
		case errors.Is(err, fleet.ErrUnknown):
			d.release(made)
			return
		}
		select {
		case <-time.After(retryAfter(n)):
		case <-ctx.Done():
			return
		}
	}
}

// dispatch lets commands go to their gateways. It returns those that have nowhere to
// go.
func (d *Dispatcher) dispatch(made []*command) (away []*command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range made {
		c.fresh = false
		d.plan(c)
		d.tell(c)
		if _, there := d.Wire.Session(c.is.Gateway); there {
			d.enqueue(c)
		} else if !c.is.Queue {
			c.verdict = c.absent()
			away = append(away, c)
		}
	}
	return away
}

func (c *command) absent() *ending {
	return &ending{state: fleet.Offline, text: "the gateway is not connected"}
}

// endAll ends commands, and leaves those to the agenda that can't be ended now.
func (d *Dispatcher) endAll(ctx context.Context, all []*command) {
	done := make(chan struct{}, len(all))
	for _, c := range all {
		d.enders <- struct{}{}
		go func() {
			_, _ = d.end(ctx, c, nil) // tried again, if need be
			<-d.enders
			done <- struct{}{}
		}()
	}
	for range all {
		<-done
	}
}
