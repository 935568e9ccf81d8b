package reverse

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// A job is a command on the gateway.
type job struct {
	id    string
	label string // the id that the hub gave it
	line  string
}

// do runs a command and brings its result up. Failed is why it can't run.
func (c *Client) do(ctx context.Context, foreign bool, j job, failed error) {
	if failed != nil {
		c.log().Error("command not accepted", slog.String("command", j.id), slog.Any("err", failed))
		if err := c.deliver(ctx, j.id, j.label, Failure(StatusError, failed.Error())); err != nil {
			c.log().Warn("result not delivered", slog.String("command", j.id), slog.Any("err", err))
		}
		return
	}
	f := follower{client: c, id: j.id, first: make(chan error, 1)}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var terms Terms
	if !foreign {
		following := make(chan struct{})
		defer func() { cancel(nil); <-following }()
		go func() {
			defer close(following)
			f.run(running, cancel)
		}()
		select {
		case err := <-f.first:
			if err != nil {
				c.Handler.Delivered(j.id, fmt.Errorf("%w: %w", ErrRefused, err))
				return
			}
			terms = f.terms
		case <-ctx.Done():
			return
		}
	}
	out := c.Handler.Run(running, j.id, j.line, terms)
	err := c.deliver(ctx, j.id, j.label, out)
	if ctx.Err() == nil {
		c.Handler.Delivered(j.id, err)
	}
}

// A follower follows the terms of one command, over as many connections as it
// takes.
type follower struct {
	client *Client
	id     string
	terms  Terms      // the first ones, once first has said nil
	first  chan error // says once whether the hub wants the command
	told   bool
	timer  *time.Timer
}

// run follows until ctx is done or the hub wants no more of the command.
func (f *follower) run(ctx context.Context, cancel context.CancelCauseFunc) {
	f.timer = time.AfterFunc(time.Hour, func() { cancel(ErrTimeout) })
	f.timer.Stop()
	defer f.timer.Stop()
	for n := 0; ; n++ {
		l, err := f.client.wait(ctx)
		if err != nil {
			return
		}
		err = f.follow(ctx, l, cancel)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, io.EOF) || status.Code(err) == codes.NotFound {
			if !f.told {
				f.first <- fmt.Errorf("reverse: the hub wants no more of it: %w", err)
				return
			}
			cancel(ErrCancelled)
			return
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return
		case <-time.After(pause(n, f.client.chance())):
		}
	}
}

// follow follows on one link.
func (f *follower) follow(ctx context.Context, l *link, cancel context.CancelCauseFunc) error {
	stream, err := l.control.Follow(ctx, &lanfolkpb.FollowRequest{CommandId: f.id})
	if err != nil {
		return err
	}
	for {
		t, err := stream.Recv()
		if err != nil {
			return err
		}
		f.timer.Stop()
		timeout := time.Duration(min(t.GetTimeout(), uint64(maxTimeout/time.Millisecond))) * time.Millisecond
		if timeout > 0 {
			f.timer.Reset(timeout)
		}
		if t.GetCancelled() {
			cancel(ErrCancelled)
		}
		if !f.told {
			f.told = true
			f.terms = Terms{Timeout: timeout, MaxBytes: t.GetMaxBytes()}
			f.first <- nil
		}
	}
}

// maxTimeout bounds what a hub may say: nothing takes longer than a year.
const maxTimeout = 365 * 24 * time.Hour

// Failure returns a result without content that says why there is none.
func Failure(s Status, text string) *Outgoing {
	return &Outgoing{
		Type: TypeError, Fresh: true,
		End: func() End { return End{Status: s, Error: text, SHA256: sha256.Sum256(nil)} },
	}
}
