package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

var (
	_ reverse.Control = (*Dispatcher)(nil)
	_ reverse.Results = (*Dispatcher)(nil)
)

// maxJournal bounds how many entries of a gateway's journal are looked at. Lanfolk's
// own has fewer.
const maxJournal = 4096

// Hello implements reverse.Control. What the journal doesn't name is sent when the
// gateway listens.
func (d *Dispatcher) Hello(ctx context.Context, p reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	if err := d.wait(ctx); err != nil {
		return nil, err
	}
	w := &lanfolkpb.Welcome{Gateway: p.Gateway}
	if d.Greet != nil {
		var err error
		if w, err = d.Greet(ctx, p, hello); err != nil {
			return nil, err
		}
	}
	journal := hello.GetJournal()
	if len(journal) > maxJournal {
		d.Logger.Warn("a gateway's journal is longer than any", "gateway", p.Gateway, "n", len(journal))
		journal = journal[:maxJournal]
	}
	named := make(map[string]lanfolkpb.JournalEntry_State, len(journal))
	for _, e := range journal {
		id := e.GetCommandId()
		if reverse.CheckID(id) != nil {
			continue // it can't be one of ours, nor be told
		}
		c, was, err := d.find(ctx, id)
		switch {
		case err != nil && !errors.Is(err, fleet.ErrUnknown):
			return nil, fmt.Errorf("%w: %w", reverse.ErrAway, err)
		case err != nil || c == nil || was.Gateway != p.Gateway:
			w.Forget = append(w.Forget, id)
		default:
			named[id] = e.GetState()
		}
	}
	d.compare(p.Gateway, named)
	return w, nil
}

// compare notes what a gateway's journal says of its commands.
func (d *Dispatcher) compare(gateway string, named map[string]lanfolkpb.JournalEntry_State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gateways[gateway]
	if g == nil {
		return
	}
	now := time.Now()
	for id, c := range g.all {
		state, ok := named[id]
		c.journal, c.interrupted = ok, state == lanfolkpb.JournalEntry_INTERRUPTED
		switch state {
		case lanfolkpb.JournalEntry_ACCEPTED:
			d.moveTo(c, fleet.Sent, now)
		case lanfolkpb.JournalEntry_STARTED, lanfolkpb.JournalEntry_DONE, lanfolkpb.JournalEntry_INTERRUPTED:
			d.moveTo(c, fleet.Running, now)
		}
	}
}

// Follow implements reverse.Control. That a gateway calls it means that the command
// runs.
func (d *Dispatcher) Follow(ctx context.Context, p reverse.Peer, id string, send func(*lanfolkpb.Terms) error) error {
	c, err := d.of(ctx, p, id)
	if errors.Is(err, reverse.ErrComplete) {
		return fmt.Errorf("%w: %w", reverse.ErrUnknown, err)
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.moveTo(c, fleet.Running, time.Now())
	d.mu.Unlock()
	for told, last := false, false; ; {
		d.mu.Lock()
		over := c.is.State.Ended() || c.verdict != nil && !c.verdict.blob
		cancelled := c.is.CancelledBy != ""
		terms := &lanfolkpb.Terms{Timeout: c.left(time.Now()), Cancelled: cancelled, MaxBytes: d.MaxBytes}
		if cancelled && c.cancelled.IsZero() && !over {
			c.cancelled = time.Now()
			d.plan(c)
		}
		changed := waitOn(&c.changed)
		d.mu.Unlock()
		if over {
			return nil
		}
		if !told || cancelled != last {
			if err := send(terms); err != nil {
				return err
			}
			told, last = true, cancelled
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// left returns how many milliseconds a command has left; 0 is for ever.
func (c *command) left(now time.Time) uint64 {
	if c.is.Deadline.IsZero() {
		return 0
	}
	return uint64(max(1, c.is.Deadline.Sub(now).Milliseconds()))
}

// of returns an outstanding command of a gateway. The errors are those that package
// reverse asks for.
func (d *Dispatcher) of(ctx context.Context, p reverse.Peer, id string) (*command, error) {
	if err := d.wait(ctx); err != nil {
		return nil, err
	}
	c, was, err := d.find(ctx, id)
	switch {
	case errors.Is(err, fleet.ErrUnknown):
		return nil, fmt.Errorf("%w: %s", reverse.ErrUnknown, id)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", reverse.ErrAway, err)
	case was.Gateway != p.Gateway:
		return nil, fmt.Errorf("%w: %s", reverse.ErrUnknown, id)
	case c == nil && was.SHA256 != [32]byte{}:
		return nil, fmt.Errorf("%w: command %s has ended: %s", reverse.ErrComplete, id, was.State)
	case c == nil:
		return nil, fmt.Errorf("%w: %s has ended: %s", reverse.ErrUnknown, id, was.State)
	}
	return c, nil
}
