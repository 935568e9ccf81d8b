package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

// part is one thing that a node runs: supervised, restarted after a failure
// with growing pauses, and visible in the status. A failing part never stops
// another.
type part struct {
	name string
	// run works until ctx ends. An unavailable error says that it can't run
	// here at all; any other error, or a return before ctx ends, is a failure.
	run func(ctx context.Context) error
	// detail says in a line what the part is doing, nil if there's no more to say.
	detail func() string
	// counters are the part's own, nil if it has none.
	counters func() map[string]uint64

	mu       sync.Mutex
	state    PartState
	err      error
	gain     string
	since    time.Time
	failures int
}

// unavailable says that a part can't run here, and what would be gained by
// the right or the setting that is missing.
type unavailable struct {
	reason error
	gain   string
}

func (u unavailable) Error() string { return u.reason.Error() }
func (u unavailable) Unwrap() error { return u.reason }

// errEndedEarly is the failure of a part that stopped without being told to.
var errEndedEarly = errors.New("node: ended without being told to")

// Serve implements suture.Service.
func (p *part) Serve(ctx context.Context) error {
	p.set(Running, nil, "")
	err := p.run(ctx)
	if ctx.Err() != nil {
		p.set(Stopped, nil, "")
		return nil
	}
	if u := (unavailable{}); errors.As(err, &u) {
		p.set(Off, u.reason, u.gain)
		return suture.ErrDoNotRestart
	}
	if err == nil {
		err = errEndedEarly
	}
	p.set(Failed, err, "")
	return err
}

// String implements fmt.Stringer: suture's logs name the part.
func (p *part) String() string { return p.name }

func (p *part) set(s PartState, err error, gain string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == Failed {
		p.failures++
	}
	// The last failure stays visible while the part runs again.
	if err != nil || s != Running {
		p.err = err
	}
	p.state, p.gain, p.since = s, gain, time.Now()
}

// panicked records what suture caught: Serve never returned.
func (p *part) panicked(message string) { p.set(Failed, errors.New("panic: "+message), "") }

// status returns the part's picture.
func (p *part) status() Part {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Part{Name: p.name, State: p.state, Since: p.since.UTC(), Failures: p.failures, Gain: p.gain, Counters: map[string]uint64{}}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	if p.detail != nil && p.state == Running {
		s.Detail = p.detail()
	}
	if p.counters != nil {
		s.Counters = p.counters()
	}
	return s
}
