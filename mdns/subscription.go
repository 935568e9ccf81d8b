package mdns

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxQueued is how many events may wait for a slow subscriber. Then it is told
// to begin anew.
const maxQueued = 1 << 16

// keepQueued is for how many events a subscription keeps room.
const keepQueued = 1 << 10

// errSubscriptionClosed is returned to who waits for a closed subscription.
var errSubscriptionClosed = errors.New("mdns: subscription closed")

// SubscribeOptions say what a subscription hears.
type SubscribeOptions struct {
	// Refreshes asks for OpUpdate events, which tell that records live longer.
	Refreshes bool
}

// Subscription asks questions of the network continuously, as RFC 6762 §5.2
// says, and gets what happens to their answers. Several subscriptions to one
// question share its queries. Its methods may be called from any goroutine,
// Next from one at a time. Close must be called at the end.
type Subscription struct {
	engine  *Engine
	options SubscribeOptions
	ready   chan struct{}

	// Of the goroutine that owns the engine's state.
	wants map[questionKey]*want

	mu     sync.Mutex
	queue  []Event
	spare  []Event
	lost   bool
	closed bool
	held   bool // more is about to come
}

// Subscribe begins to ask the questions. What is cached already comes at once;
// the network is asked after 20 to 120 ms (RFC 6762 §5.2).
func (e *Engine) Subscribe(o SubscribeOptions, questions ...Question) *Subscription {
	s := &Subscription{engine: e, options: o, ready: make(chan struct{}, 1), wants: map[questionKey]*want{}}
	e.post(func(c *core) { c.subs[s] = struct{}{} })
	s.Ask(questions...)
	return s
}

// Ask adds questions. One that is asked already only gets its Tries changed.
func (s *Subscription) Ask(questions ...Question) {
	if len(questions) == 0 {
		return
	}
	s.engine.post(func(c *core) {
		now := time.Now()
		s.hold(true)
		for _, q := range questions {
			c.ask(now, s, q)
		}
		s.hold(false)
	})
}

// Forget takes questions back. Events for them that wait in the queue still come.
func (s *Subscription) Forget(questions ...Question) {
	if len(questions) == 0 {
		return
	}
	s.engine.post(func(c *core) {
		for _, q := range questions {
			c.forget(s, q.key())
		}
	})
}

// Next waits for events and returns those that are there, in order. The slice is valid
// until the next call. The error is ctx's, or ErrStopped when the engine ended.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		if ev, ok, err := s.take(); err != nil || ok {
			return ev, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ready:
		case <-s.engine.ended:
			if ev, ok, _ := s.take(); ok {
				return ev, nil
			}
			return nil, ErrStopped
		}
	}
}

func (s *Subscription) take() ([]Event, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, false, errSubscriptionClosed
	case s.lost:
		s.lost = false
		s.engine.post(func(c *core) { c.replay(s) })
		return []Event{{Op: OpReset, Time: time.Now()}}, true, nil
	case len(s.queue) == 0 || s.held:
		return nil, false, nil
	}
	out := s.queue
	if cap(s.spare) > keepQueued {
		s.spare = nil // a burst is over
	}
	clear(s.spare) // lets go of the records
	s.queue, s.spare = s.spare[:0], out
	return out, true, nil
}

// Close ends the subscription. What only it asked is asked no more.
func (s *Subscription) Close() {
	s.mu.Lock()
	s.closed = true
	s.queue, s.spare = nil, nil
	s.mu.Unlock()
	s.wake()
	s.engine.post(func(c *core) {
		for k := range s.wants {
			c.forget(s, k)
		}
		delete(c.subs, s)
	})
}

// hold makes Next wait for the rest, so that what is cached for several questions comes as one.
func (s *Subscription) hold(on bool) {
	s.mu.Lock()
	s.held = on
	s.mu.Unlock()
	if !on {
		s.wake()
	}
}

func (s *Subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// receive implements receiver.
func (s *Subscription) receive(ev Event) {
	s.mu.Lock()
	switch {
	case s.closed || s.lost:
	case len(s.queue) >= maxQueued:
		s.lost, s.queue = true, nil
	default:
		s.queue = append(s.queue, ev)
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Subscription) refreshes() bool { return s.options.Refreshes }

func (c *core) ask(now time.Time, s *Subscription, q Question) {
	if _, live := c.subs[s]; !live || !q.Name.Valid() {
		return
	}
	k := q.key()
	if w := s.wants[k]; w != nil {
		w.q.Tries = q.Tries
		for _, p := range c.places {
			if q.in(p.zone.id) {
				p.zone.retry(now, w)
			}
		}
		return
	}
	w := &want{q: q, to: s}
	s.wants[k] = w
	for _, p := range c.places {
		if q.in(p.zone.id) {
			p.zone.attach(now, w)
		}
	}
}

func (c *core) forget(s *Subscription, k questionKey) {
	w := s.wants[k]
	if w == nil {
		return
	}
	delete(s.wants, k)
	for _, p := range c.places {
		if w.q.in(p.zone.id) {
			p.zone.detach(w)
		}
	}
}

// replay tells a subscriber that lost events all that is there.
func (c *core) replay(s *Subscription) {
	now := time.Now()
	for _, w := range s.wants {
		for _, p := range c.places {
			if w.q.in(p.zone.id) {
				p.zone.replay(now, w)
			}
		}
	}
}
