package hemtjanst

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// DefaultGrace is how long a provider may be gone before its devices are marked.
const DefaultGrace = 5 * time.Second

// Janitor says 0 on the reachable topics of devices whose provider is gone. Broker must be set; no field may be
// changed once Run was called.
//
// Several may be on one broker: one of them works, and another takes its place when it is gone or does
// nothing.
type Janitor struct {
	Broker Transport
	Tenant string
	// Grace is how long a provider may be gone before its devices are marked; 0 is DefaultGrace, and less
	// than that none at all.
	Grace time.Duration
	// DryRun tells what would be marked, and publishes nothing.
	DryRun bool
	// ClientID is of the connection that listens; it is made up if it is empty. The one that publishes has
	// an id that all janitors of a tenant share.
	ClientID  string
	KeepAlive time.Duration
	// Events, if set, is called from Run's goroutine with what was done and found. It mustn't keep the slice.
	Events func([]JanitorEvent)
	// Ready, if set, is called once: when all that is retained is known and it is clear who works.
	Ready func()
	// MaxDevices and MaxBytes bound what is kept, as in a Model.
	MaxDevices, MaxBytes int
	Log                  *slog.Logger // nil is silent

	status status
	mu     sync.Mutex
	state  JanitorStatus
}

// JanitorEventKind says what a janitor did or found.
type JanitorEventKind uint8

// The kinds of a janitor's events.
const (
	// Marked means that the device's reachable topic says 0 now, by the janitor's word.
	Marked JanitorEventKind = iota
	// WouldMark is Marked in a dry run.
	WouldMark
	// MarkLate means that a mark was on its way when the provider came back. A bridge that sees it says
	// 1 again.
	MarkLate
	// MarkFailed means that the broker didn't take a mark. It is tried again.
	MarkFailed
	// Spared means that a provider came back within the grace time.
	Spared
	// LeftAlone means that a device isn't looked after, because of its Problem.
	LeftAlone
	// Unconfirmed means that nothing was heard from a provider but what the broker had kept. If it died
	// together with the broker nobody can know. It is left alone.
	Unconfirmed
	// Confirmed means that such a provider was heard, or is gone.
	Confirmed
	// Working means that this janitor does the work from now on, and Resting that it doesn't any more.
	Working
	Resting
)

// String returns the kind in a word, as "marked".
func (k JanitorEventKind) String() string {
	return [...]string{"marked", "would-mark", "late", "failed", "spared", "left-alone", "unconfirmed", "confirmed", "working", "resting"}[k]
}

// JanitorEvent is something that a janitor did or found.
type JanitorEvent struct {
	Kind     JanitorEventKind
	Device   string // "" in those about a provider or the janitor itself
	Root     string
	Provider string
	Problem  Problem // of LeftAlone
}

// JanitorStatus is what a janitor is about.
type JanitorStatus struct {
	Status
	Complete bool // all that is retained is known
	Working  bool // it is the one that does the work
	// Worker names the janitor that works, as its retained topic does; "" is nobody.
	Worker      string
	Waiting     int // providers that are gone, for less than the grace time
	Left        int // devices still to be marked
	LeftAlone   int // devices with a problem
	Unconfirmed int // providers of which nothing was heard but what the broker kept
	Marked      uint64
	Late        uint64
	Failed      uint64
	Spared      uint64
	Model       ModelStats
}

// Run looks after the devices until ctx is done, and then returns nil. A connection that is lost is made again. It
// fails if the tenant can't be one, and if the broker refuses the first connection.
func (j *Janitor) Run(ctx context.Context) error {
	if j.Broker == nil {
		return errNoBroker
	}
	c := newCaretaker(j)
	f := &follower{
		broker: j.Broker, topics: c.topics, clientID: j.ClientID, keepAlive: j.KeepAlive,
		log: c.log, status: &j.status, model: c.model,
		events: c.events, due: c.due, advance: c.advance, also: []string{c.topic}, heard: c.heard, wake: c.wake,
	}
	if f.clientID == "" {
		f.clientID = randomID()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer c.terms.Wait() // it leaves the broker properly
	defer cancel()
	c.ctx, c.ears = ctx, f
	return f.run(ctx)
}

// Status says what the janitor is about. It may be called at any time.
func (j *Janitor) Status() JanitorStatus {
	j.mu.Lock()
	s := j.state
	j.mu.Unlock()
	s.Status = j.status.get()
	return s
}
