package reverse

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

const (
	// inFlight chunks of a result are on their way at once, so that a long way
	// doesn't make it slow.
	inFlight = 4
	// firstChunk bounds the first one: most results are small. Each further one
	// may be four times as large, up to MaxChunk.
	firstChunk = 16 << 10
)

// place is how far a result has got.
type place struct {
	seq    uint64
	offset uint64
}

// Deliver brings a result to the hub, over as many connections as it takes. It
// returns nil when the hub has all of it, an error that is ErrRefused when the
// hub doesn't want it, and another one when ctx is done or Content fails. Run
// must be running.
func (c *Client) Deliver(ctx context.Context, id string, out *Outgoing) error {
	return c.deliver(ctx, id, id, out)
}

// deliver is Deliver with the id that stands in the meta.
func (c *Client) deliver(ctx context.Context, id, label string, out *Outgoing) error {
	var at place
	known := out.Fresh
	for n := 0; ; n++ {
		l, err := c.wait(ctx)
		if err != nil {
			return err
		}
		before := at
		if !known && !l.foreign {
			var complete bool
			at, complete, err = l.resume(ctx, out.Type, id)
			if complete {
				return nil
			}
		}
		if err == nil {
			if err = l.send(ctx, label, out, &at); err == nil {
				return nil
			}
		}
		known = false
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.verdict(l, err); err != nil {
			return err
		}
		if at.seq > before.seq {
			n = 0
		}
		select {
		case <-l.done: // the next link is a new chance
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause(n, c.chance())):
		}
	}
}

// verdict returns an error if what went wrong with a result is for good.
func (c *Client) verdict(l *link, err error) error {
	var content *contentError
	code := status.Code(err)
	switch {
	case errors.Is(err, ErrRefused), errors.As(err, &content):
		return err
	case l.foreign && errors.Is(err, errNotAccepted), code == codes.ResourceExhausted, code == codes.Unimplemented, code == codes.InvalidArgument:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// resume asks how far the result has come.
func (l *link) resume(ctx context.Context, t Type, id string) (at place, complete bool, err error) {
	reply, err := l.control.Progress(ctx, &lanfolkpb.ProgressRequest{Type: uint32(t), Id: id})
	switch {
	case err != nil:
		return place{}, false, err
	case reply.GetState() == lanfolkpb.ProgressReply_OPEN:
		return place{reply.GetNextSeq(), reply.GetOffset()}, false, nil
	case reply.GetState() == lanfolkpb.ProgressReply_COMPLETE:
		return place{}, true, nil
	case reply.GetState() == lanfolkpb.ProgressReply_REFUSED:
		return place{}, false, fmt.Errorf("%w: %s", ErrRefused, reply.GetReason())
	}
	return place{}, false, fmt.Errorf("%w: %s", errNotAccepted, reply.GetReason())
}

// contentError is why a result can't be read.
type contentError struct{ err error }

func (e *contentError) Error() string { return "reverse: read the result: " + e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// send sends what is left of a result from at on. To a foreign hub chunks go one
// by one, and at says what arrived.
func (l *link) send(ctx context.Context, label string, out *Outgoing, at *place) error {
	window := inFlight
	if l.foreign {
		window = 1
	}
	calls, ctx := errgroup.WithContext(ctx)
	free := make(chan []byte, window) // buffers that are not in use
	for range window {
		free <- nil
	}
	next, size := *at, firstChunk
	for last := false; !last; size = min(4*size, MaxChunk) {
		var b []byte
		select {
		case b = <-free:
		case <-ctx.Done():
			return calls.Wait()
		}
		if cap(b) < size {
			b = make([]byte, size)
		}
		var n int
		var err error
		if n, last, err = read(out.Content, b[:size], next.offset); err != nil {
			_ = calls.Wait()
			return &contentError{err}
		}
		m := Meta{ID: label, Seq: next.seq, Last: last}
		if last {
			end := out.End()
			end.put(&m)
			if end.Status != StatusOK && next.offset+uint64(n) > end.Total {
				m.SHA256 = "" // the hub has more than is known of here any more
			}
		}
		next = place{next.seq + 1, next.offset + uint64(n)}
		then := next
		req := &reversepb.ResourceRequest{Type: uint32(out.Type), Meta: m.String(), Data: b[:n]}
		calls.Go(func() error {
			if err := l.put(ctx, req); err != nil {
				return err
			}
			if window == 1 {
				*at = then
			}
			free <- b
			return nil
		})
	}
	return calls.Wait()
}

// read reads the next chunk, and says whether it is the last.
func read(r io.ReaderAt, b []byte, offset uint64) (n int, last bool, err error) {
	if r == nil {
		return 0, true, nil
	}
	n, err = r.ReadAt(b, int64(offset))
	switch {
	case errors.Is(err, io.EOF):
		return n, true, nil
	case err == nil && n == 0:
		return 0, false, io.ErrNoProgress
	}
	return n, false, err
}

func (e End) put(m *Meta) {
	m.Status, m.Exit, m.Error = e.Status, e.Exit, e.Error
	m.SHA256, m.Total = hex.EncodeToString(e.SHA256[:]), e.Total
}

// Feed sends one batch of a feed, once. If the hub didn't accept it, it returns
// what the hub wants instead; nil if it did. A hub that knows reverse_access only
// takes no feeds: then the error is errors.ErrUnsupported.
func (c *Client) Feed(ctx context.Context, t Type, m Meta, data []byte) (*lanfolkpb.ProgressReply, error) {
	l, err := c.wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case l.foreign:
		return nil, fmt.Errorf("reverse: %s: %w", t, errors.ErrUnsupported)
	}
	err = l.put(ctx, &reversepb.ResourceRequest{Type: uint32(t), Meta: m.String(), Data: data})
	if !errors.Is(err, errNotAccepted) {
		return nil, err
	}
	return l.control.Progress(ctx, &lanfolkpb.ProgressRequest{Type: uint32(t), Id: m.ID})
}

// Progress asks how far a feed has come.
func (c *Client) Progress(ctx context.Context, t Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	l, err := c.wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case l.foreign:
		return nil, fmt.Errorf("reverse: %s: %w", t, errors.ErrUnsupported)
	}
	return l.control.Progress(ctx, &lanfolkpb.ProgressRequest{Type: uint32(t), Id: epoch})
}
