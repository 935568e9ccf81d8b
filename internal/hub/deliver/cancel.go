package deliver

import (
	"context"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Cancel calls a command off and returns it as it is then: ended, unless its gateway
// has it and has to be told. One that has ended stays as it is.
func (d *Dispatcher) Cancel(ctx context.Context, by, id string) (fleet.Command, error) {
	if err := d.wait(ctx); err != nil {
		return fleet.Command{}, err
	}
	c, was, err := d.find(ctx, id)
	if err != nil || c == nil {
		return was, err
	}
	if _, err := d.Audit.Append(ctx, fleet.Entry{Time: time.Now(), Who: by, What: whatCancel, Gateway: was.Gateway, Ref: id}); err != nil {
		return was, fmt.Errorf("deliver: the request can't be put on record: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if e, abandoned := d.callOff(c, by); e != nil {
		if abandoned {
			d.Wire.Abandon(was.Gateway, id) // before the next one may go there
		}
		return d.end(ctx, c, e)
	}
	if err := d.writeNow(ctx, c); err != nil {
		// It is told all the same, and the log follows.
		d.again(c, "that a command was called off is not on record", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.is, nil
}

// callOff says that a command shall end. It returns how, if that needn't wait for
// its gateway, and whether the gateway is waited for no more.
func (d *Dispatcher) callOff(c *command, by string) (e *ending, abandoned bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.is.State.Ended() {
		return &ending{}, false
	}
	if c.is.CancelledBy == "" {
		c.is.CancelledBy = by
	}
	session, there := d.Wire.Session(c.is.Gateway)
	switch {
	case c.gateway.answer == c:
		abandoned = true
		if c.sending != nil {
			c.sending()
		}
	case c.wasSent() && there && session.Native:
		c.dirty = true
		if c.cancelled.IsZero() {
			c.cancelled = time.Now()
		}
		d.plan(c)
		d.tell(c)
		return nil, false
	}
	return &ending{state: fleet.Cancelled, text: "cancelled by " + c.is.CancelledBy}, abandoned
}

// find returns the command with an id that is outstanding, and what is known of it;
// of one that has ended only that.
func (d *Dispatcher) find(ctx context.Context, id string) (*command, fleet.Command, error) {
	for {
		d.mu.Lock()
		if c := d.commands[id]; c != nil && !c.fresh {
			defer d.mu.Unlock()
			return c, c.is, nil
		}
		d.mu.Unlock()
		is, err := d.Log.Command(ctx, id)
		if err != nil {
			return nil, is, fmt.Errorf("deliver: %w", err)
		}
		if is.State.Ended() {
			return nil, is, nil
		}
		if err := d.adopt(is); err != nil {
			return nil, is, err
		}
	}
}

// adopt takes up a command that another hub made, or this one in an earlier life.
func (d *Dispatcher) adopt(is fleet.Command) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.commands[is.ID] != nil:
		if d.commands[is.ID].fresh {
			return fmt.Errorf("deliver: %w: %s", fleet.ErrUnknown, is.ID)
		}
		return nil
	case len(d.commands) >= 2*d.MaxOutstanding:
		return fmt.Errorf("deliver: %w: %d", ErrBusy, len(d.commands))
	}
	d.add(inherited(is))
	return nil
}

// inherited returns a command of an earlier life.
func inherited(is fleet.Command) *command {
	c := newCommand(is)
	c.partial = true
	insecure := (&fleet.Gateway{ID: is.Gateway}).Insecure()
	c.doubtful = !insecure // of the others the log says it before they are sent
	if insecure && is.State != fleet.Queued {
		c.verdict = &ending{state: fleet.Interrupted, text: "the hub ended before the answer came"}
	}
	return c
}
