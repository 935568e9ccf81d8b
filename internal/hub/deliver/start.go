package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// maxLooks bounds how much of the audit's end is searched for requests that came to
// nothing.
const (
	auditPage = 1000
	maxLooks  = 100 // pages
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
	return d.answerIntents(ctx)
}

// resume finds out how far a command came in an earlier life.
func (d *Dispatcher) resume(ctx context.Context, c *command) error {
	said, err := d.outcome(ctx, c.is.ID)
	if err != nil {
		return err
	}
	info, err := d.Blobs.Stat(ctx, c.is.ID)
	if err != nil && !errors.Is(err, fleet.ErrUnknown) {
		return fmt.Errorf("deliver: %w", err)
	}
	d.mu.Lock()
	if c.doubt = false; said != nil {
		c.decided = said
	}
	if err == nil {
		if e := endingOf(info); c.decided == nil {
			c.verdict = &e
		} else if c.decided.state == e.state {
			c.decided = &e
		}
	}
	over := c.verdict != nil || c.decided != nil
	d.mu.Unlock()
	if !over {
		return nil
	}
	_, err = d.end(ctx, c, nil)
	return err
}

// answerIntents looks for requests at the audit's end that were put on record and
// then not kept, since the hub died, and puts that on record, too.
func (d *Dispatcher) answerIntents(ctx context.Context) error {
	answered := map[string]bool{}
	var lost []fleet.Entry
	filter := fleet.AuditFilter{Limit: auditPage}
	for range maxLooks {
		page, err := d.Audit.Entries(ctx, filter)
		if err != nil {
			return fmt.Errorf("deliver: %w", err)
		}
		open := false
		for _, e := range page {
			filter.Before = e.Seq
			switch {
			case e.What == whatResult:
				answered[e.Ref] = true
			case e.What == whatRun && e.Outcome == "" && !answered[e.Ref]:
				open = true
				_, was, err := d.find(ctx, e.Ref)
				if errors.Is(err, fleet.ErrUnknown) {
					was = fleet.Command{ID: e.Ref, Gateway: e.Gateway}
					how := ending{state: fleet.Error, text: "the hub ended before the command was kept, so it was not sent"}
					lost = append(lost, how.entry(&was, time.Now()))
				} else if err != nil {
					return err
				}
			}
		}
		if !open || len(page) < auditPage {
			break
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if _, err := d.Audit.Append(ctx, lost...); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	d.Logger.Warn("requests came to nothing: the hub had ended before they were kept", "n", len(lost))
	return nil
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
