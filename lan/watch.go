package lan

import (
	"context"
	"time"
)

// pollEvery is how often a watch lists anew while it has no subscription.
const pollEvery = 2 * time.Second

// A watch tells of changes of a list that the kernel keeps. What the kernel
// says on each change is used only as a hint to list anew: so a message that was
// lost (ENOBUFS) costs nothing, and what is told is always a state that was.
type watch[E any] struct {
	list func() ([]E, error)
	// subscribe starts to send on hints, never blocking, and returns what stops
	// that. lost is called, from another goroutine, when the subscription fails later.
	subscribe func(hint, lost func()) (stop func(), err error)
	// changes returns what to tell somebody who knows old; nil if nothing.
	changes func(old, now []E) []E
	settle  time.Duration // how long to wait for more changes before listing
}

// run tells out of first, and then of every change until ctx ends. Somebody who
// reads slowly gets one message about all that changed meanwhile. Without a
// subscription, from the beginning or since it was lost, run lists every
// two seconds.
func (w *watch[E]) run(ctx context.Context, first []E, subscribed bool, hints, lost <-chan struct{}, out chan<- []E) {
	settle, poll := time.NewTimer(0), time.NewTimer(pollEvery)
	defer settle.Stop()
	defer poll.Stop()
	settle.Stop()
	if subscribed {
		poll.Stop()
	}
	var told []E
	now, everTold, settling := first, false, false
	for {
		var send chan<- []E
		message := now
		if everTold {
			message = w.changes(told, now)
		}
		if !everTold || message != nil {
			send = out
		}
		select {
		case <-ctx.Done():
			return
		case send <- message:
			told, everTold = now, true
			continue
		case <-hints:
			if !settling {
				settling = true
				settle.Reset(w.settle)
			}
			continue
		case <-settle.C:
			settling = false
		case <-lost:
			subscribed = false
		case <-poll.C:
		}
		list, err := w.list()
		if err == nil {
			now = list
		}
		if !subscribed || err != nil {
			poll.Reset(pollEvery)
		}
	}
}

// start lists once in the caller's thread, and thus in its network namespace, and
// goes on in a goroutine. done is called when that ends, or on an error.
func (w *watch[E]) start(ctx context.Context, done func()) (<-chan []E, error) {
	hints, lost := make(chan struct{}, 1), make(chan struct{}, 1)
	// First subscribe, then list: nothing is missed between the two.
	stop, subErr := w.subscribe(func() { poke(hints) }, func() { poke(lost) })
	if subErr != nil {
		stop = func() {}
	}
	first, err := w.list()
	if err != nil {
		stop()
		done()
		return nil, err
	}
	out := make(chan []E)
	go func() {
		defer done()
		defer stop()
		defer close(out)
		w.run(ctx, first, subErr == nil, hints, lost, out)
	}()
	return out, nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
