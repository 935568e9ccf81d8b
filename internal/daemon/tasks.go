package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

// Tasks are all that a daemon runs, in the order in which they were added.
type Tasks struct {
	Log *slog.Logger

	mu  sync.Mutex
	all []*Task
}

// A Supervisor runs some of a daemon's tasks.
type Supervisor struct {
	of         *Tasks
	supervisor *suture.Supervisor
	done       <-chan error
}

// Supervise runs tasks until ctx ends, each on its own: one that fails is started
// again after a pause that grows. A task may take so long to stop.
func (t *Tasks) Supervise(ctx context.Context, name string, stop time.Duration, tasks ...*Task) *Supervisor {
	s := &Supervisor{of: t, supervisor: suture.New(name, suture.Spec{
		EventHook:        t.event,
		FailureThreshold: 4,
		FailureDecay:     30,
		FailureBackoff:   5 * time.Second,
		Timeout:          stop,
	})}
	for _, task := range tasks {
		s.Add(task)
	}
	s.done = s.supervisor.ServeBackground(ctx)
	return s
}

// Add runs one more task, until the supervisor's context ends or drop is called, which
// takes it out of the status, too.
func (s *Supervisor) Add(task *Task) (drop func()) {
	t := s.of
	t.mu.Lock()
	t.all = append(t.all, task)
	t.mu.Unlock()
	token := s.supervisor.Add(task)
	return func() {
		if err := s.supervisor.Remove(token); err != nil {
			t.Log.Debug("part not ended", "part", task.Name, "err", err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all = slices.DeleteFunc(t.all, func(x *Task) bool { return x == task })
	}
}

// Wait returns when every task has ended, or took too long.
func (s *Supervisor) Wait() {
	if err := <-s.done; err != nil && !errors.Is(err, context.Canceled) {
		s.of.Log.Warn("supervisor ended", "err", err)
	}
}

// Parts returns how the tasks are.
func (t *Tasks) Parts() []Part {
	t.mu.Lock()
	all := slices.Clone(t.all)
	t.mu.Unlock()
	out := make([]Part, len(all))
	for i, task := range all {
		out[i] = task.part()
	}
	return out
}

// event logs what a supervisor sees.
func (t *Tasks) event(e suture.Event) {
	switch e := e.(type) {
	case suture.EventServicePanic:
		t.Log.Error("a part panicked", "part", e.ServiceName, "err", e.PanicMsg, "stack", e.Stacktrace)
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, task := range t.all {
			if task.Name == e.ServiceName {
				task.panicked(e.PanicMsg)
			}
		}
	case suture.EventServiceTerminate:
		t.Log.Warn("a part failed and starts again", "part", e.ServiceName, "err", e.Err)
	case suture.EventStopTimeout:
		t.Log.Error("a part doesn't stop", "part", e.ServiceName)
	case suture.EventBackoff, suture.EventResume:
		t.Log.Debug("supervisor", "event", e.String())
	}
}
