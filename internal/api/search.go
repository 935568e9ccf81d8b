package api

import (
	"context"
	"iter"
	"time"
)

// search is one that runs while its answer is written.
type search[T any] struct {
	first []T    // what it found before the answer began
	found chan T // the rest, closed at the end
	err   error  // read it after that
}

// begin starts a search. What can't be asked fails at once, with an error, and
// that decides the status; one that has nothing to say for a while gets a good
// one.
func begin[T any](ctx context.Context, from iter.Seq2[T, error]) (*search[T], error) {
	b := &search[T]{found: make(chan T, 16)}
	go b.run(ctx, from)
	wait := time.NewTimer(heartbeat)
	defer wait.Stop()
	select {
	case x, ok := <-b.found:
		switch {
		case ok:
			b.first = append(b.first, x)
		case b.err != nil:
			return nil, b.err
		}
	case <-wait.C:
	}
	return b, nil
}

func (b *search[T]) run(ctx context.Context, from iter.Seq2[T, error]) {
	defer close(b.found)
	for x, err := range from {
		if err != nil {
			b.err = err
			return
		}
		select {
		case b.found <- x:
		case <-ctx.Done():
			return
		}
	}
}

// write writes what is found until the search has ended, each by item; alive
// keeps a quiet stream alive. Its error is the client's.
func (b *search[T]) write(out *eventWriter, alive string, item func(T) error) error {
	for _, x := range b.first {
		if err := item(x); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil { // the client learns that it is heard
		return err
	}
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	for {
		select {
		case x, ok := <-b.found:
			if !ok {
				return nil
			}
			if err := item(x); err != nil {
				return err
			}
			quiet.Reset(heartbeat)
		case <-quiet.C:
			if err := out.text(alive); err != nil {
				return err
			}
		}
	}
}
