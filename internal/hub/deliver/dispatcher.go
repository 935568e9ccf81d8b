package deliver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/newest"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A Wire carries commands to gateways: a reverse.Server.
type Wire interface {
	Send(ctx context.Context, gateway string, cmd reverse.Command) error
	Abandon(gateway, command string)
	Session(gateway string) (reverse.Session, bool)
}

// A Dispatcher sees to it that commands get to their gateways and results back. It
// is the reverse.Control and the reverse.Results of the hub's Server, which is its
// Wire; the Server's Listening is its Arrived, and it hears of each session's end
// by Left. The fields are set before use.
type Dispatcher struct {
	Log   fleet.CommandLog
	Blobs fleet.Blobs
	Audit fleet.Audit
	Wire  Wire
	// Greet returns what a gateway is told when it says Hello, but for what its
	// journal shall forget; nil is nothing.
	Greet func(ctx context.Context, p reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error)
	// Objection returns why a command, of this verb, may not be run any more, "" if it
	// may: rights can go while it waits. It is asked right before a command is sent,
	// unless that was asked for, or looked at, less than two seconds ago. An error says
	// that nobody knows; then the command waits. nil objects to nothing.
	Objection func(ctx context.Context, verb string, c fleet.Command) (why string, err error)

	Timeout        time.Duration // of a command that names none; 0 is a minute, and a day for one that may wait for its gateway
	MaxTimeout     time.Duration // that may be asked for; 0 is 30 days
	MaxBytes       uint64        // of one result, which gateways are told; 0 is no bound
	MaxOutstanding int           // commands; 0 is 100,000
	Retention      time.Duration // how long an ended command is kept; 0 is for ever
	Logger         *slog.Logger  // nil is silent

	setup sync.Once
	ready chan struct{} // closed when what was outstanding has been read
	ids   reverse.IDs
	enders,
	writers chan struct{} // hold who ends a command, and who writes a state
	board newest.Board[string, fleet.Command]
	tasks sync.WaitGroup

	mu       sync.Mutex
	run      context.Context     // of Run; nil before and after
	open     bool                // ready is closed
	commands map[string]*command // that are outstanding
	gateways map[string]*gateway // that have some
	agenda   agenda
	woken    chan struct{} // holds a token when the agenda has a new first
	unsent   []*gateway    // that have something to be sent, and nobody who does it
	senders  int
}

// Bounds of what goes on at once, and times.
const (
	maxOutstanding = 100_000
	maxOfGateway   = 1000      // commands that are outstanding at one
	maxFanOut      = 128 << 20 // bytes that the lines of one request may take
	maxEnders      = 512       // a transaction's worth
	maxWriters     = 128
	maxSenders     = 64
	sendHold       = time.Second     // after it, who sends doesn't count any more
	vettedFor      = 2 * time.Second // what was found out about rights holds
	settleTime     = 250 * time.Millisecond
	grace          = 15 * time.Second // for an answer behind the deadline
	maxLate        = time.Hour        // and for one that keeps coming
	maxRetry       = 30 * time.Second
	sweepEvery     = time.Hour
)

// Why a request is refused, besides fleet.ErrInvalid and a *reverse.LineError.
var (
	// ErrBusy: too many commands are outstanding.
	ErrBusy = errors.New("too many commands are outstanding")
	// ErrStopped: the hub goes down.
	ErrStopped = errors.New("the hub goes down")
)

// begin makes what the zero value lacks.
func (d *Dispatcher) begin() {
	d.setup.Do(func() {
		d.ready, d.woken = make(chan struct{}), make(chan struct{}, 1)
		d.enders, d.writers = make(chan struct{}, maxEnders), make(chan struct{}, maxWriters)
		d.commands, d.gateways = make(map[string]*command), make(map[string]*gateway)
		d.ids.Random = rand.Reader
		d.MaxOutstanding = orElse(d.MaxOutstanding, maxOutstanding)
		d.MaxTimeout = orElse(d.MaxTimeout, 30*24*time.Hour)
		if d.Logger == nil {
			d.Logger = slog.New(slog.DiscardHandler)
		}
	})
}

func orElse[T ~int | ~int64](v, other T) T {
	if v > 0 {
		return v
	}
	return other
}

// wait waits until what was outstanding has been read.
func (d *Dispatcher) wait(ctx context.Context) error {
	d.begin()
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("deliver: %w", context.Cause(ctx))
	}
}

// Run takes up what is outstanding and sees to deadlines, until ctx is done; then it
// returns nil. What isn't ended then is taken up by the next start. The other
// methods wait until it has read what is outstanding. It is called once.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.begin()
	d.mu.Lock()
	d.run = ctx
	d.mu.Unlock()
	defer d.stop()
	for n := 0; ; n++ {
		err := d.takeUp(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		pause := retryAfter(n)
		d.Logger.Error("outstanding commands can't be read", "err", err, "dur", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	d.letIn()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.woken:
		case <-next.C:
		case <-sweep.C:
			d.background(d.sweep)
		}
		if at := d.doWhatIsDue(time.Now()); !at.IsZero() {
			next.Reset(time.Until(at))
		}
	}
}

// letIn begins to send. Gateways may be there already.
func (d *Dispatcher) letIn() {
	close(d.ready)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
	for _, g := range d.gateways {
		if s, there := d.Wire.Session(g.id); there {
			d.arrived(g, s)
		}
	}
}

// stop waits for what goes on.
func (d *Dispatcher) stop() {
	d.mu.Lock()
	d.run = nil
	d.mu.Unlock()
	d.tasks.Wait()
}

// background runs something that ends soon after Run has to.
func (d *Dispatcher) background(do func(ctx context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.backgroundLocked(do)
}

// backgroundLocked is background under the lock.
func (d *Dispatcher) backgroundLocked(do func(ctx context.Context)) {
	if ctx := d.run; ctx != nil && ctx.Err() == nil {
		d.tasks.Go(func() { do(ctx) })
	}
}

// retryAfter returns how long to wait after so many failures.
func retryAfter(n int) time.Duration { return min(time.Second<<min(n, 10), maxRetry) }

// take takes a place, and returns false if ctx ended first.
func take(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
