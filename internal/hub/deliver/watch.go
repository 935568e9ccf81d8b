package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Watch returns each change of commands: of those with the ids, first how they are
// now, or of all. Who reads slowly gets the newest state of a command and none
// between. The channel is closed when ctx is done, or when too many commands wait for
// the reader.
func (d *Dispatcher) Watch(ctx context.Context, ids ...string) <-chan fleet.Command {
	d.begin()
	// Under the lock, so that nothing changes between the look and the watch.
	d.mu.Lock()
	w := d.board.Watch(ids)
	var others []string
	for _, id := range ids {
		if c := d.commands[id]; c != nil {
			w.Tell(id, c.is)
		} else {
			others = append(others, id)
		}
	}
	d.mu.Unlock()
	changes := make(chan fleet.Command)
	go func() {
		defer close(changes)
		for _, id := range others {
			// It has ended, or isn't taken up yet; then there may be something newer.
			if c, err := d.look(ctx, id); err == nil {
				w.TellFirst(id, c)
			}
		}
		w.Pass(ctx, func(_ string, c fleet.Command) bool {
			select {
			case changes <- c:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	return changes
}

// Command returns a command as it is, one that hasn't ended without a look at the log;
// fleet.ErrUnknown.
func (d *Dispatcher) Command(ctx context.Context, id string) (fleet.Command, error) {
	d.mu.Lock()
	c := d.commands[id]
	if c != nil && !c.fresh {
		defer d.mu.Unlock()
		return c.is, nil
	}
	d.mu.Unlock()
	is, err := d.Log.Command(ctx, id)
	if err != nil {
		err = fmt.Errorf("deliver: %w", err)
	}
	return is, err
}

// look reads a command from the log, and again while the log is away.
func (d *Dispatcher) look(ctx context.Context, id string) (fleet.Command, error) {
	for n := 0; ; n++ {
		c, err := d.Log.Command(ctx, id)
		if err == nil || errors.Is(err, fleet.ErrUnknown) {
			return c, err
		}
		select {
		case <-time.After(retryAfter(n)):
		case <-ctx.Done():
			return c, context.Cause(ctx)
		}
	}
}

// Output reads a command's result from offset on, as far as it has come. With follow
// it waits for more until the command has ended. A command that ended without a
// result has an empty one. An error that is fleet.ErrUnknown says that there is no
// such command, or that its result was kept long enough. Reading is for one
// goroutine.
func (d *Dispatcher) Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("deliver: %w: offset %d", fleet.ErrInvalid, offset)
	}
	if err := d.wait(ctx); err != nil {
		return nil, err
	}
	c, was, err := d.find(ctx, id)
	if err != nil {
		return nil, err
	}
	o := &output{ctx: ctx, d: d, id: id, command: c, at: offset, follow: follow}
	if c == nil {
		if err := o.openWhole(was); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// output reads a result while it comes.
type output struct {
	ctx     context.Context // of whoever asked: io.Reader has no place for it
	d       *Dispatcher
	id      string
	command *command // nil: it has ended
	follow  bool
	at      int64

	part  fleet.BlobPart    // nil: nothing of it has come, or all
	whole io.ReadSeekCloser // nil: it isn't whole, or there is none
	over  bool              // nothing more comes
}

// Read implements io.Reader.
func (o *output) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		if o.whole != nil {
			n, err := o.whole.Read(b)
			o.at += int64(n)
			return n, err
		}
		if o.over {
			return 0, io.EOF
		}
		// Asked for before the look at what is there.
		o.d.mu.Lock()
		is, grown := o.command.is, waitOn(&o.command.grown)
		rest, here := o.command.rest(o.at)
		o.d.mu.Unlock()
		if here && len(rest) > 0 {
			n := copy(b, rest)
			o.at += int64(n)
			return n, nil
		}
		if is.State.Ended() {
			if o.over = here; here {
				continue
			}
			if err := o.openWhole(is); err != nil {
				return 0, err
			}
			continue
		}
		n, err := o.readPart(b)
		if n > 0 || err != nil {
			return n, err
		}
		if !o.follow {
			return 0, io.EOF
		}
		select {
		case <-grown:
		case <-o.ctx.Done():
			return 0, context.Cause(o.ctx)
		}
	}
}

// readPart reads what has come of a result that isn't whole.
func (o *output) readPart(b []byte) (n int, err error) {
	if o.part == nil {
		o.part, err = o.d.Blobs.Part(o.ctx, o.id)
		if errors.Is(err, fleet.ErrUnknown) {
			return 0, nil
		}
		if err != nil {
			o.part = nil
			return 0, fmt.Errorf("deliver: %w", err)
		}
	}
	n, err = o.part.ReadAt(b, o.at)
	o.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// openWhole goes on to the result of a command that has ended.
func (o *output) openWhole(is fleet.Command) error {
	o.over = true
	if is.SHA256 == [32]byte{} {
		return nil
	}
	_, r, err := o.d.Blobs.Open(o.ctx, o.id)
	if err != nil {
		return fmt.Errorf("deliver: the result of %s: %w", o.id, err)
	}
	if _, err := r.Seek(o.at, io.SeekStart); err != nil {
		_ = r.Close()
		return fmt.Errorf("deliver: the result of %s: %w", o.id, err)
	}
	o.whole = r
	return nil
}

// Close implements io.Closer.
func (o *output) Close() error {
	var errs []error
	if o.part != nil {
		errs = append(errs, o.part.Close())
	}
	if o.whole != nil {
		errs = append(errs, o.whole.Close())
	}
	o.part, o.whole, o.over = nil, nil, true
	return errors.Join(errs...)
}
