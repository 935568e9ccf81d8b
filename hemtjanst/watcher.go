package hemtjanst

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Watcher tells which devices and providers a broker knows, and what changes. It publishes
// nothing but a message to itself, which nobody keeps. Broker and Event must be set; no
// field may be changed once Run was called.
type Watcher struct {
	Broker Transport
	Tenant string
	// ClientID is made up if it is empty.
	ClientID  string
	KeepAlive time.Duration
	// Event is called from Run's goroutine for each change. While it works nothing else is told.
	Event func(Event)
	// MaxDevices and MaxBytes bound what is kept, as in a Model.
	MaxDevices, MaxBytes int
	Log                  *slog.Logger // nil is silent

	status status
	stats  atomic.Pointer[ModelStats]
}

// Run watches until ctx is done, and then returns nil. A connection that is lost is made again. It fails if
// the tenant can't be one, and if the broker refuses the first connection.
func (w *Watcher) Run(ctx context.Context) error {
	if w.Broker == nil {
		return errNoBroker
	}
	m := &Model{MaxDevices: w.MaxDevices, MaxBytes: w.MaxBytes}
	f := follower{
		broker: w.Broker, topics: Topics{w.Tenant}, clientID: w.ClientID, keepAlive: w.KeepAlive,
		log: silentIfNil(w.Log), status: &w.status, model: m,
	}
	if f.clientID == "" {
		f.clientID = randomID()
	}
	f.events = func(_ time.Time, events []Event) {
		s := m.Stats()
		w.stats.Store(&s)
		for _, e := range events {
			w.Event(e)
		}
	}
	return f.run(ctx)
}

// Status says how the watcher is connected. It may be called at any time, as may Stats.
func (w *Watcher) Status() Status { return w.status.get() }

// Stats returns what was counted up to the last change.
func (w *Watcher) Stats() ModelStats {
	if s := w.stats.Load(); s != nil {
		return *s
	}
	return ModelStats{Unfinished: true}
}
