package deliver

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// maxTail is how much of a result's end waits in memory for who follows it, in bytes.
const maxTail = 16 << 10

// A result is a command's result while it comes.
type result struct {
	d       *Dispatcher
	command *command
	writer  fleet.BlobWriter
	last    []byte // the last chunk, which Finish keeps
	whole   bool   // the blob is
}

// Open implements reverse.Results.
func (d *Dispatcher) Open(ctx context.Context, p reverse.Peer, id string) (reverse.Result, error) {
	c, err := d.of(ctx, p, id)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	verdict := c.verdict
	d.mu.Unlock()
	if verdict != nil && !verdict.blob {
		return nil, fmt.Errorf("%w: %s ends: %s: %s", reverse.ErrUnknown, id, verdict.state, verdict.text)
	}
	w, err := d.Blobs.Write(ctx, id, p.Gateway)
	switch {
	case errors.Is(err, fleet.ErrExists):
		return nil, d.wholeAlready(ctx, c, id)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", reverse.ErrAway, err)
	}
	r := &result{d: d, command: c, writer: w}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.result, c.moved, c.partial = r, time.Now(), true
	d.plan(c)
	return r, nil
}

// wholeAlready ends a command whose result is whole: the hub didn't come to that
// before it died, or couldn't.
func (d *Dispatcher) wholeAlready(ctx context.Context, c *command, id string) error {
	info, err := d.Blobs.Stat(ctx, id)
	if err == nil {
		e := endingOf(info)
		_, err = d.end(context.WithoutCancel(ctx), c, &e)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", reverse.ErrAway, err)
	}
	return fmt.Errorf("%w: %s", reverse.ErrComplete, id)
}

// Held implements reverse.Result.
func (r *result) Held() (next uint64, content io.ReadCloser, err error) {
	if r.writer.Chunks() == 0 {
		return 0, nil, nil
	}
	content, err = r.writer.Content()
	return r.writer.Chunks(), content, err
}

// Limit implements reverse.Result.
func (r *result) Limit() uint64 { return r.d.MaxBytes }

// Write implements reverse.Result.
func (r *result) Write(ctx context.Context, m reverse.Meta, data []byte) error {
	if err := r.wanted(); err != nil {
		return err
	}
	if m.Last {
		r.last = data
		return nil
	}
	err := r.writer.Append(ctx, r.writer.Size(), data)
	if errors.Is(err, fleet.ErrQuota) {
		if err = r.makeRoom(ctx); err == nil {
			err = r.writer.Append(ctx, r.writer.Size(), data)
		}
	}
	if err != nil {
		return refused(err)
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.command.moved = time.Now()
	wake(&r.command.grown)
	return nil
}

// wanted returns an error when nobody wants the result any more.
func (r *result) wanted() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	c := r.command
	if c.is.State.Ended() || c.verdict != nil && !c.verdict.blob {
		return fmt.Errorf("%w: %s has ended", reverse.ErrUnknown, c.is.ID)
	}
	return nil
}

// makeRoom lets old results go.
func (r *result) makeRoom(ctx context.Context) error {
	_, err := r.d.Blobs.Sweep(ctx, time.Now())
	return err
}

// refused returns an error as package reverse wants it: for good if there is no room
// for the result by the hub's own rules.
func refused(err error) error {
	if errors.Is(err, fleet.ErrQuota) {
		return fmt.Errorf("%w: %w", reverse.ErrTooLarge, err)
	}
	return err
}

// Finish implements reverse.Result. The gateway may forget the result only when the
// command's end is on record.
func (r *result) Finish(ctx context.Context, t reverse.Type, m reverse.Meta) error {
	if err := r.wanted(); err != nil {
		return err
	}
	var sum [32]byte
	if len(m.SHA256) != hex.EncodedLen(len(sum)) {
		return fmt.Errorf("deliver: the result's hash has %d digits", len(m.SHA256))
	}
	if _, err := hex.Decode(sum[:], []byte(m.SHA256)); err != nil {
		return fmt.Errorf("deliver: the result's hash: %w", err)
	}
	info := fleet.BlobInfo{Size: int64(m.Total), SHA256: sum, Stored: time.Now(), Note: noteOf(t, m)}
	if !r.whole {
		_, err := r.writer.Finish(ctx, r.last, info)
		if errors.Is(err, fleet.ErrQuota) {
			if err = r.makeRoom(ctx); err == nil {
				_, err = r.writer.Finish(ctx, r.last, info)
			}
		}
		if err != nil {
			return refused(err)
		}
		if len(r.last) <= maxTail {
			r.d.mu.Lock()
			r.command.tail = bytes.Clone(r.last)
			r.d.mu.Unlock()
		}
		r.whole, r.last = true, nil
	}
	e := endingOf(info)
	after, err := r.d.end(context.WithoutCancel(ctx), r.command, &e)
	if err != nil {
		return err
	}
	if after.SHA256 != sum {
		return fmt.Errorf("%w: %s has ended before: %s", reverse.ErrUnknown, after.ID, after.State)
	}
	return nil
}

// Abort implements reverse.Result.
func (r *result) Abort(why error) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.settle(r.command, ending{state: fleet.Error, text: "the result was refused: " + why.Error()})
}

// Close implements reverse.Result.
func (r *result) Close() error {
	err := r.writer.Close()
	d, c := r.d, r.command
	d.mu.Lock()
	defer d.mu.Unlock()
	c.result = nil
	switch {
	case c.is.State.Ended():
		d.backgroundLocked(func(ctx context.Context) { d.discard(ctx, c) })
	default:
		d.plan(c)
	}
	return err
}
