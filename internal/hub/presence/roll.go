// Package presence keeps which gateways listen at this hub.
package presence

import (
	"context"
	"errors"
	"log/slog"
	"time"

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
}

// Run keeps the hub's lease until ctx is done, and then gives it up. It returns an
// error that is fleet.ErrFenced if another process runs as this hub. Gateways are
// told to come again until it has the lease.
func (r *Roll) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Greet returns what a gateway is told when it says Hello, and notes its version.
func (r *Roll) Greet(ctx context.Context, p reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	return &lanfolkpb.Welcome{}, nil
}

// Begin implements reverse.Sessions.
func (r *Roll) Begin(ctx context.Context, p reverse.Peer) (epoch uint64, err error) {
	return 0, errors.New("presence: not yet")
}

// End implements reverse.Sessions.
func (r *Roll) End(s reverse.Session, why error) {}

// Watch returns each gateway that comes or goes. Who reads slowly gets the newest
// state of a gateway and none between. The channel is closed when ctx is done.
func (r *Roll) Watch(ctx context.Context) <-chan fleet.Standing {
	c := make(chan fleet.Standing)
	close(c)
	return c
}
