package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/hub/newest"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A Roll says which gateways listen at this hub: it is the reverse.Sessions of the
// hub's Server. The fields are set before use.
type Roll struct {
	Sessions fleet.Sessions
	Hub      string        // the name of this hub, under which it has a lease
	Version  string        // of the hub's program, for gateways
	Lease    time.Duration // how long the sessions count when the hub dies; 0 is 30 s
	// Left is told of each session that has ended here; it doesn't block. Nil is
	// nobody.
	Left   func(reverse.Session)
	Logger *slog.Logger // nil is silent

	board newest.Board[string, struct{}]
	woken chan struct{} // holds a token when a session has ended
	setup sync.Once

	mu       sync.Mutex
	run      uint64 // of the lease; 0: there is none
	here     map[string]*session
	ended    map[string]farewell // that aren't on record yet
	versions map[string]string   // of gateways that said Hello and don't listen yet
}

// A session is one that goes on.
type session struct {
	epoch uint64
	seen  time.Time // that is on record
}

// A farewell is the end of a session.
type farewell struct {
	epoch uint64
	when  time.Time
	why   string
}

const (
	defaultLease = 30 * time.Second
	seenEvery    = time.Minute
	atOnce       = 256 // writes, which the database commits together
	maxRetry     = 30 * time.Second
	leaveWithin  = 5 * time.Second
	maxVersion   = 100 // bytes
)

// begin makes what the zero value lacks.
func (r *Roll) begin() {
	r.setup.Do(func() {
		r.woken = make(chan struct{}, 1)
		r.here, r.ended, r.versions = map[string]*session{}, map[string]farewell{}, map[string]string{}
		if r.Lease <= 0 {
			r.Lease = defaultLease
		}
		if r.Logger == nil {
			r.Logger = slog.New(slog.DiscardHandler)
		}
	})
}

// Greet returns what a gateway is told when it says Hello, and notes its version.
func (r *Roll) Greet(ctx context.Context, p reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	r.begin()
	g, err := r.Sessions.Gateway(ctx, p.Gateway, time.Now())
	if err != nil {
		return nil, r.refusal(ctx, p.Gateway, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.versions[p.Gateway] = clip(hello.GetVersion())
	return &lanfolkpb.Welcome{Gateway: g.ID, Name: g.Name, Version: r.Version}, nil
}

// clip makes what a gateway says of itself fit for a line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
	if len(s) > maxVersion {
		s = strings.ToValidUTF8(s[:maxVersion], "")
	}
	return s
}

// Begin implements reverse.Sessions.
func (r *Roll) Begin(ctx context.Context, p reverse.Peer) (epoch uint64, err error) {
	r.begin()
	r.mu.Lock()
	run, version := r.run, r.versions[p.Gateway]
	r.mu.Unlock()
	if run == 0 {
		return 0, status.Error(codes.Unavailable, "the hub is not ready yet, or goes down")
	}
	now := time.Now()
	n := fleet.Session{Gateway: p.Gateway, Hub: r.Hub, Run: run, Version: version, Since: now}
	if p.Address.IsValid() {
		n.Address = p.Address.String()
	}
	begun, replaced, err := r.Sessions.Begin(ctx, n)
	if err != nil {
		return 0, r.refusal(ctx, p.Gateway, err)
	}
	if replaced.Epoch > 0 && replaced.Hub != r.Hub {
		r.Logger.Warn("gateway came here: its session at another hub ends", "gateway", p.Gateway, "addr", n.Address,
			"earlier", replaced.Address, "hub", replaced.Hub)
	}
	r.mu.Lock()
	delete(r.versions, p.Gateway)
	if was := r.here[p.Gateway]; was == nil || was.epoch < begun.Epoch {
		r.here[p.Gateway] = &session{begun.Epoch, now}
	}
	r.mu.Unlock()
	r.board.Post(p.Gateway, struct{}{})
	return begun.Epoch, nil
}

// refusal returns an error as a gateway is told it.
func (r *Roll) refusal(ctx context.Context, gateway string, err error) error {
	switch {
	case errors.Is(err, fleet.ErrUnknown):
		return status.Errorf(codes.PermissionDenied, "this hub has no record of gateway %s: join again", gateway)
	case errors.Is(err, fleet.ErrQuota):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, fleet.ErrFenced):
		if g, err := r.Sessions.Gateway(ctx, gateway, time.Now()); err == nil && !g.Revoked.IsZero() {
			return status.Errorf(codes.PermissionDenied, "gateway %s is revoked", gateway)
		}
		return status.Error(codes.Unavailable, "another process runs as this hub")
	}
	// What is wrong with the database is no business of a gateway's.
	r.Logger.Warn("gateway sent away: its session can't be put on record", "gateway", gateway, "err", err)
	return status.Error(codes.Unavailable, "the hub can't put the session on record now")
}

// End implements reverse.Sessions. It doesn't wait for the database.
func (r *Roll) End(s reverse.Session, why error) {
	r.begin()
	r.mu.Lock()
	if here := r.here[s.Gateway]; here != nil && here.epoch == s.Epoch {
		delete(r.here, s.Gateway)
	}
	if r.ended[s.Gateway].epoch < s.Epoch {
		r.ended[s.Gateway] = farewell{s.Epoch, time.Now(), reason(why)}
	}
	r.mu.Unlock()
	r.wake()
	if r.Left != nil {
		r.Left(s)
	}
}

func (r *Roll) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// reason says for people why a session ended.
func reason(why error) string {
	switch {
	case errors.Is(why, reverse.ErrReplaced):
		return "another connection of the gateway took over"
	case errors.Is(why, reverse.ErrOverdue):
		return "an answer did not come in time"
	case errors.Is(why, reverse.ErrClosed):
		return "the hub went down"
	case errors.Is(why, context.Canceled):
		return "the connection ended"
	}
	if s, ok := status.FromError(why); ok {
		return s.Message()
	}
	return why.Error()
}

// Count returns how many gateways listen here.
func (r *Roll) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.here)
}

// Watch returns each gateway that comes or goes. Who reads slowly gets the newest
// state of a gateway and none between. The channel is closed when ctx is done, or
// when too many gateways wait for the reader.
func (r *Roll) Watch(ctx context.Context) <-chan fleet.Standing {
	r.begin()
	w := r.board.Watch(nil)
	changes := make(chan fleet.Standing)
	go func() {
		defer close(changes)
		w.Pass(ctx, func(gateway string, _ struct{}) bool {
			g, err := r.Sessions.Gateway(ctx, gateway, time.Now())
			switch {
			case ctx.Err() != nil:
				return false
			case errors.Is(err, fleet.ErrUnknown):
				return true // forgotten since
			case err != nil:
				w.Tell(gateway, struct{}{})
				return pause(ctx, time.Second)
			}
			select {
			case changes <- g:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	return changes
}

// pause waits, and returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// fenced is the error of Run when another process runs as this hub.
func (r *Roll) fenced(err error) error {
	return fmt.Errorf("presence: another process runs as hub %q: %w", r.Hub, err)
}
