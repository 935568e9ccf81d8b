package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

// A Task is one thing that a daemon runs: supervised, restarted after a failure
// with growing pauses, and visible in the status as a Part. A failing task never
// stops another.
type Task struct {
	Name string
	// Run works until ctx ends. An Unavailable error says that it can't run
	// here at all; any other error, or a return before ctx ends, is a failure.
	Run func(ctx context.Context) error
	// Detail says in a line what the task is doing, nil if there's no more to say.
	Detail func() string
	// Counters are the task's own, nil if it has none.
	Counters func() map[string]uint64

	mu       sync.Mutex
	state    PartState
	err      error
	gain     string
	since    time.Time
	failures int
}

// Part is how a task is, in the status.
type Part struct {
	Name     string            `json:"name"`
	State    PartState         `json:"state"`
	Since    time.Time         `json:"since"`
	Detail   string            `json:"detail"`
	Error    string            `json:"error"`    // why it is off, or the last failure
	Gain     string            `json:"gain"`     // what it would gain with more rights
	Failures int               `json:"failures"` // since the start
	Counters map[string]uint64 `json:"counters"`
}

// PartState says how a task is.
type PartState string

// The states of a task.
const (
	Running PartState = "running"
	Failed  PartState = "failed" // it will be started again
	Off     PartState = "off"    // it can't run here, or the config says no
	Stopped PartState = "stopped"
)

// Unavailable says that a task can't run here, and what would be gained by
// the right or the setting that is missing.
type Unavailable struct {
	Reason error
	Gain   string
}

// Error implements error.
func (u Unavailable) Error() string { return u.Reason.Error() }

// Unwrap returns the reason.
func (u Unavailable) Unwrap() error { return u.Reason }

// errEndedEarly is the failure of a task that stopped without being told to.
var errEndedEarly = errors.New("daemon: ended without being told to")

// Serve implements suture.Service.
func (t *Task) Serve(ctx context.Context) error {
	t.set(Running, nil, "")
	err := t.Run(ctx)
	if ctx.Err() != nil {
		t.set(Stopped, nil, "")
		return nil
	}
	if u := (Unavailable{}); errors.As(err, &u) {
		t.set(Off, u.Reason, u.Gain)
		return suture.ErrDoNotRestart
	}
	if err == nil {
		err = errEndedEarly
	}
	t.set(Failed, err, "")
	return err
}

// String implements fmt.Stringer: suture's logs name the task.
func (t *Task) String() string { return t.Name }

func (t *Task) set(s PartState, err error, gain string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == Failed {
		t.failures++
	}
	// The last failure stays visible while the task runs again.
	if err != nil || s != Running {
		t.err = err
	}
	t.state, t.gain, t.since = s, gain, time.Now()
}

// panicked records what suture caught: Serve never returned.
func (t *Task) panicked(message string) { t.set(Failed, errors.New("panic: "+message), "") }

// part returns how the task is.
func (t *Task) part() Part {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Part{Name: t.Name, State: t.state, Since: t.since.UTC(), Failures: t.failures, Gain: t.gain, Counters: map[string]uint64{}}
	if t.err != nil {
		p.Error = t.err.Error()
	}
	if t.Detail != nil && t.state == Running {
		p.Detail = t.Detail()
	}
	if t.Counters != nil {
		p.Counters = t.Counters()
	}
	return p
}
