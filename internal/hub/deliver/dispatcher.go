package deliver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

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

	Timeout        time.Duration // of a command that names none; 0 is a minute, and a day for one that may wait for its gateway
	MaxTimeout     time.Duration // that may be asked for; 0 is 30 days
	MaxBytes       uint64        // of one result, which gateways are told; 0 is no bound
	MaxOutstanding int           // commands; 0 is 100,000
	Retention      time.Duration // how long an ended command is kept; 0 is for ever
	Logger         *slog.Logger  // nil is silent
}

var errSoon = errors.New("deliver: not yet")

// Run takes up what is outstanding and sees to deadlines until ctx is done. It
// returns an error if what is outstanding can't be read. The other methods wait
// until it has been read.
func (d *Dispatcher) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Submit makes a command of r for each of its gateways and sends it. Whether By may
// do that, was found out before. The commands are in the order of r.Gateways; the
// ids rise. Without r.Queue one for a gateway that isn't there is ended already.
// With an error nothing is sent.
func (d *Dispatcher) Submit(ctx context.Context, r fleet.Request) ([]fleet.Command, error) {
	return nil, errSoon
}

// Cancel calls a command off and returns it as it is then: ended if its gateway
// needn't be told.
func (d *Dispatcher) Cancel(ctx context.Context, by, id string) (fleet.Command, error) {
	return fleet.Command{}, errSoon
}

// Watch returns each change of commands: of those with the ids, first how they are
// now, or of all. Who reads slowly gets the newest state of a command and none
// between. The channel is closed when ctx is done, or when too many commands wait for
// the reader.
func (d *Dispatcher) Watch(ctx context.Context, ids ...string) <-chan fleet.Command {
	c := make(chan fleet.Command)
	close(c)
	return c
}

// Output reads a command's result from offset on, as far as it has come. With follow
// it waits for more until the command has ended.
func (d *Dispatcher) Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	return nil, errSoon
}

// Arrived is called when a gateway listens, and Left when a session has ended.
// They don't block.
func (d *Dispatcher) Arrived(s reverse.Session) {}

// Left is called when a session has ended.
func (d *Dispatcher) Left(s reverse.Session) {}

// Hello implements reverse.Control.
func (d *Dispatcher) Hello(ctx context.Context, p reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	return nil, errSoon
}

// Follow implements reverse.Control.
func (d *Dispatcher) Follow(ctx context.Context, p reverse.Peer, command string, send func(*lanfolkpb.Terms) error) error {
	return errSoon
}

// Open implements reverse.Results.
func (d *Dispatcher) Open(ctx context.Context, p reverse.Peer, command string) (reverse.Result, error) {
	return nil, errSoon
}
