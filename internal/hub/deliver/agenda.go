package deliver

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// An agenda holds commands in the order in which something is due for them: a state
// to be written, an end.
type agenda []*command

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *agenda) Push(x any) {
	c := x.(*command)
	c.index = len(*a)
	*a = append(*a, c)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	c := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	c.index = -1
	return c
}

func (a *agenda) remove(c *command) {
	if c.index >= 0 {
		heap.Remove(a, c.index)
	}
}

func (a *agenda) put(c *command, due time.Time) {
	c.due = due
	if c.index >= 0 {
		heap.Fix(a, c.index)
		return
	}
	heap.Push(a, c)
}

// plan puts a command on the agenda for what comes next.
func (d *Dispatcher) plan(c *command) {
	at := c.overdue()
	if c.dirty {
		if soon := time.Now().Add(settleTime); at.IsZero() || soon.Before(at) {
			at = soon
		}
	}
	d.planAt(c, at)
}

// planAt puts a command on the agenda; the zero time takes it off.
func (d *Dispatcher) planAt(c *command, at time.Time) {
	if at.IsZero() {
		d.agenda.remove(c)
		return
	}
	d.agenda.put(c, at)
	if c.index == 0 {
		select {
		case d.woken <- struct{}{}:
		default:
		}
	}
}

// overdue returns when nobody waits for a command any more, the zero time for never.
func (c *command) overdue() time.Time {
	deadline := c.is.Deadline
	switch {
	case c.verdict != nil:
		return time.Unix(0, 0) // at once: now would never come for who asks again
	case !c.cancelled.IsZero():
		return c.cancelled.Add(grace)
	case deadline.IsZero():
		return time.Time{}
	case c.result != nil:
		late := c.moved.Add(grace)
		if most := deadline.Add(maxLate); late.After(most) {
			late = most
		}
		if least := deadline.Add(grace); late.Before(least) {
			late = least
		}
		return late
	case c.gateway.answer == c || !c.wasSent():
		return deadline
	}
	return deadline.Add(grace)
}

// wasSent says whether the gateway may have the command.
func (c *command) wasSent() bool {
	return c.is.State != fleet.Queued && !c.held || c.session != 0 || c.sending != nil || c.doubtful
}

// doWhatIsDue begins what is due, and returns when the next is.
func (d *Dispatcher) doWhatIsDue(now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.agenda) > 0 {
		c := d.agenda[0]
		if c.due.After(now) {
			return c.due
		}
		d.agenda.remove(c)
		if at := c.overdue(); !at.IsZero() && !at.After(now) {
			if c.verdict == nil {
				c.verdict = c.late()
				wake(&c.changed)
			}
			abandoned, gateway, id := c.gateway.answer == c, c.is.Gateway, c.is.ID
			if c.sending != nil {
				c.sending()
			}
			d.backgroundLocked(func(ctx context.Context) {
				if abandoned {
					d.Wire.Abandon(gateway, id) // before the next one may go there
				}
				d.endInTime(ctx, c)
			})
			continue
		}
		if c.dirty {
			d.backgroundLocked(func(ctx context.Context) { d.writeState(ctx, c) })
			continue
		}
		d.plan(c)
	}
	return time.Time{}
}

// late returns how a command ends for which nobody waits any more.
func (c *command) late() *ending {
	switch {
	case c.is.CancelledBy != "":
		return &ending{state: fleet.Cancelled, text: "its gateway did not say how it ended"}
	case c.interrupted:
		return &ending{state: fleet.Interrupted, text: "the gateway died while it ran"}
	case !c.wasSent() && c.unvetted != nil:
		return &ending{state: fleet.Error, text: "not sent: whether it may be run still can't be looked up: " + c.unvetted.Error()}
	case !c.wasSent():
		return &ending{state: fleet.Offline, text: "the gateway did not come in time"}
	case c.is.State == fleet.Queued && c.doubtful:
		return &ending{state: fleet.Timeout, text: "no answer in time; the hub started anew, and whether the gateway got it is not known"}
	}
	return &ending{state: fleet.Timeout, text: fmt.Sprintf("no answer in %v", c.is.Deadline.Sub(c.is.Created))}
}

// endInTime ends a command whose end is decided, or plans another try.
func (d *Dispatcher) endInTime(ctx context.Context, c *command) {
	if !take(ctx, d.enders) {
		return
	}
	defer func() { <-d.enders }()
	_, _ = d.end(ctx, c, nil) // tried again, if need be
}

// again plans another try of what was due.
func (d *Dispatcher) again(c *command, what string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.failures == 0 {
		d.Logger.Error(what, "command", c.is.ID, "gateway", c.is.Gateway, "err", err)
	}
	pause := retryAfter(c.failures)
	c.failures++
	if !c.is.State.Ended() {
		d.planAt(c, time.Now().Add(pause))
	}
}

// settle decides how a command ends, unless that was decided before, and lets it end
// in its own time.
func (d *Dispatcher) settle(c *command, e ending) {
	if !c.isOver() {
		c.verdict = &e
		d.plan(c)
		wake(&c.changed)
	}
}
