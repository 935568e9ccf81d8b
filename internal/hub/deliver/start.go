package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// takeUp reads what earlier lives left outstanding, and ends what they had as good as
// ended. It can be called again after an error.
func (d *Dispatcher) takeUp(ctx context.Context) error {
	left, err := d.Log.Outstanding(ctx, "")
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	var all errgroup.Group
	all.SetLimit(maxEnders)
	for _, is := range left {
		d.mu.Lock()
		c := d.commands[is.ID]
		if c == nil {
			c = inherited(is)
			d.add(c)
		}
		d.mu.Unlock()
		all.Go(func() error { return d.resume(ctx, c) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if len(left) > 0 {
		d.Logger.Info("commands of an earlier start are taken up", "n", len(left))
	}
	return nil
}

// resume finds out how far a command came in an earlier life.
func (d *Dispatcher) resume(ctx context.Context, c *command) error {
	info, err := d.Blobs.Stat(ctx, c.is.ID)
	if err != nil && !errors.Is(err, fleet.ErrUnknown) {
		return fmt.Errorf("deliver: %w", err)
	}
	d.mu.Lock()
	if err == nil {
		e := endingOf(info)
		c.verdict = &e
	}
	over := c.verdict != nil
	d.mu.Unlock()
	if !over {
		return nil
	}
	_, err = d.end(ctx, c, nil)
	return err
}

// sweep lets old commands and results go.
func (d *Dispatcher) sweep(ctx context.Context) {
	now := time.Now()
	err := d.forget(ctx, now)
	var n int
	if err == nil {
		n, err = d.Blobs.Sweep(ctx, now)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.Logger.Warn("old commands and results stay for now", "err", err)
	case n > 0:
		d.Logger.Info("old results went", "n", n)
	}
}

func (d *Dispatcher) forget(ctx context.Context, now time.Time) error {
	if d.Retention <= 0 {
		return nil
	}
	const most = 1000
	for {
		gone, err := d.Log.Forget(ctx, now.Add(-d.Retention), most)
		if err != nil {
			return err
		}
		for _, id := range gone {
			if err := d.Blobs.Remove(ctx, id); err != nil && !errors.Is(err, fleet.ErrConflict) {
				return err // Blobs.Sweep gets it, in the end
			}
		}
		if len(gone) < most {
			return nil
		}
	}
}
