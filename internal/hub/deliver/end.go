package deliver

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// An ending is how a command ended.
type ending struct {
	state fleet.State
	exit  int
	text  string // for people
	kind  reverse.Type
	blob  bool // it has a result
	size  int64
	hash  [32]byte
}

// HubName is who says in the audit how commands end, and what the hub does by itself.
const HubName = "hub"

// What the audit says of commands.
const (
	whatRun    = "run"    // an intent
	whatCancel = "cancel" // an intent
	whatResult = "result" // how it ended
)

func (e *ending) put(c *fleet.Command, now time.Time) {
	c.State, c.Ended, c.Exit, c.Error = e.state, now, e.exit, e.text
	if e.blob {
		c.Type, c.Size, c.SHA256 = uint32(e.kind), e.size, e.hash
	}
}

// entry is what the audit says of it.
func (e *ending) entry(c *fleet.Command, now time.Time) fleet.Entry {
	var detail []string
	if e.exit != 0 {
		detail = append(detail, fmt.Sprintf("exit %d", e.exit))
	}
	if e.blob {
		detail = append(detail, fmt.Sprintf("%d bytes, SHA-256 %s", e.size, hex.EncodeToString(e.hash[:])))
	}
	if e.text != "" {
		detail = append(detail, e.text)
	}
	return fleet.Entry{
		Time: now, Who: HubName, What: whatResult, Gateway: c.Gateway, Ref: c.ID,
		Detail: strings.Join(detail, "; "), Outcome: string(e.state),
	}
}

// A note stands beside a whole blob: what the gateway said of the command's end. So a
// hub that dies before the end is in the log finds it.
type note struct {
	Type   reverse.Type   `json:"type"`
	Status reverse.Status `json:"status"`
	Exit   int            `json:"exit,omitempty"`
	Error  string         `json:"error,omitempty"`
}

func noteOf(t reverse.Type, m reverse.Meta) string {
	b, err := json.Marshal(note{t, m.Status, m.Exit, m.Error})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return string(b)
}

// endingOf returns how the command of a whole blob ended.
func endingOf(i fleet.BlobInfo) ending {
	e := ending{state: fleet.Error, blob: true, size: i.Size, hash: i.SHA256}
	var n note
	if err := json.Unmarshal([]byte(i.Note), &n); err != nil {
		e.text = "how it ended is not on record"
		return e
	}
	e.kind, e.exit, e.text = n.Type, n.Exit, n.Error
	switch n.Status {
	case reverse.StatusOK:
		e.state = fleet.OK
	case reverse.StatusTimeout:
		e.state = fleet.Timeout
	case reverse.StatusDenied:
		e.state = fleet.Denied
	case reverse.StatusCancelled:
		e.state = fleet.Cancelled
	case reverse.StatusInterrupted:
		e.state = fleet.Interrupted
	}
	return e
}

// end ends a command: log and audit say so in one step. It returns the command as it
// ended, which is not as proposed if another end was decided before; nil proposes none.
// With an error it hasn't ended, as far as anybody knows.
func (d *Dispatcher) end(ctx context.Context, c *command, proposed *ending) (fleet.Command, error) {
	after, err := d.endNow(ctx, c, proposed)
	if err != nil && ctx.Err() == nil {
		d.again(c, "the end of a command is not on record", err)
	}
	return after, err
}

// endNow is end that isn't tried again in time.
func (d *Dispatcher) endNow(ctx context.Context, c *command, proposed *ending) (fleet.Command, error) {
	if !c.lock(ctx) {
		return fleet.Command{}, fmt.Errorf("deliver: %w", context.Cause(ctx))
	}
	defer c.unlock()
	d.mu.Lock()
	if c.verdict == nil {
		c.verdict = proposed
	}
	is, e := c.is, c.verdict
	d.mu.Unlock()
	switch {
	case is.State.Ended():
		return is, nil
	case e == nil:
		return is, errors.New("deliver: nothing says how it ended")
	}
	now := time.Now()
	e.put(&is, now)
	after, err := d.write(ctx, is, e.entry(&is, now))
	if err != nil {
		return is, err
	}
	d.ended(c, after)
	return after, nil
}

// write writes a command to the log, whoever else did, and entries to the audit. It
// returns what the log says then, which is another end if there was one.
func (d *Dispatcher) write(ctx context.Context, c fleet.Command, entries ...fleet.Entry) (fleet.Command, error) {
	const tries = 10
	for range tries {
		after, err := d.Log.Update(ctx, c, entries...)
		if !errors.Is(err, fleet.ErrConflict) && !errors.Is(err, fleet.ErrState) {
			if err != nil {
				err = fmt.Errorf("deliver: %w", err)
			}
			return after, err
		}
		// Another hub was here, or an earlier try was committed after all.
		was, err := d.Log.Command(ctx, c.ID)
		if err != nil {
			return c, fmt.Errorf("deliver: %w", err)
		}
		if was.State.Ended() {
			return was, nil
		}
		if !was.State.Leads(c.State) {
			c.State = was.State
		}
		if c.CancelledBy == "" {
			c.CancelledBy = was.CancelledBy
		}
		c.Revision = was.Revision
	}
	return c, fmt.Errorf("deliver: command %s: %w", c.ID, fleet.ErrConflict)
}

// ended takes a command off: the log says how it ended.
func (d *Dispatcher) ended(c *command, after fleet.Command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.is, c.dirty = after, false
	d.drop(c)
	wake(&c.grown)
	d.tell(c)
	if c.result == nil && c.partial {
		d.backgroundLocked(func(ctx context.Context) { d.discard(ctx, c) })
	}
}

// discard removes what came of a result that isn't the command's. What it leaves,
// Blobs.Sweep removes.
func (d *Dispatcher) discard(ctx context.Context, c *command) {
	if c.is.SHA256 != ([32]byte{}) {
		return
	}
	if err := d.Blobs.Remove(ctx, c.is.ID); err != nil && ctx.Err() == nil {
		d.Logger.Warn("a part of a result stays", "command", c.is.ID, "err", err)
	}
}

// writeState brings the log up to a state that is no end. It may come late: a hub
// that dies before takes a command that is in the log as queued for one that may
// have been sent.
func (d *Dispatcher) writeState(ctx context.Context, c *command) {
	if !take(ctx, d.writers) {
		return
	}
	defer func() { <-d.writers }()
	if err := d.writeNow(ctx, c); err != nil && ctx.Err() == nil {
		d.again(c, "the state of a command is not on record", err)
	}
}

// writeNow is writeState at once.
func (d *Dispatcher) writeNow(ctx context.Context, c *command) error {
	if !c.lock(ctx) {
		return context.Cause(ctx)
	}
	defer c.unlock()
	d.mu.Lock()
	is, dirty := c.is, c.dirty
	d.mu.Unlock()
	if !dirty || is.State.Ended() {
		return nil
	}
	after, err := d.write(ctx, is)
	if err != nil {
		return err
	}
	if after.State.Ended() {
		d.ended(c, after) // by another hub
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.is.Revision, c.failures = after.Revision, 0
	c.dirty = c.is.State != after.State || c.is.CancelledBy != after.CancelledBy
	d.plan(c)
	return nil
}
