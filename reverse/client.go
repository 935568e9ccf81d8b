package reverse

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// A Client is the gateway's side: it stays connected to the hub, listens, hands
// commands to a Handler and brings their results up. The fields are set before
// Run is called.
type Client struct {
	// Dial opens a connection to the hub. It is asked at each attempt, so it may
	// look for the hub anew.
	Dial func(ctx context.Context) (net.Conn, error)
	// TLS holds the gateway's certificate, the authorities that may vouch for the
	// hub, and its ServerName. Nil is none: for hubs that take a client's word.
	TLS *tls.Config
	// ID is what the gateway calls itself: CommandRequest.id and the metadata
	// client-id. With a certificate it may be empty, else it must be the
	// certificate's.
	ID      string
	Handler Handler
	// Foreign says that the hub is known to have reverse_access only. Otherwise
	// each connection finds out.
	Foreign bool
	Log     *slog.Logger   // nil is silent
	Chance  func() float64 // in [0, 1); nil is math/rand's

	ids   IDs
	slots chan struct{}
	tasks sync.WaitGroup

	mu      sync.Mutex
	link    *link              // nil while there is none
	changed chan struct{}      // closed, and made anew, when link changes
	again   context.CancelFunc // ends the connection, or the wait for the next one
	state   ClientState
}

// ClientState says how a Client is doing.
type ClientState struct {
	Connected bool
	Foreign   bool      // the hub has reverse_access only
	Since     time.Time // of Connected
	Attempts  int       // that failed since the last connection
	Err       error     // why the last connection or attempt ended; nil if none did
}

// Bounds of what a Client does at once.
const (
	maxCommands   = 32
	connectWithin = 30 * time.Second // dial, TLS and Hello
)

// Run stays connected until ctx is done, and returns nil then. When it returns,
// no Handler's method runs any more.
func (c *Client) Run(ctx context.Context) error {
	if c.Dial == nil || c.Handler == nil {
		return errors.New("reverse: Client: Dial and Handler must be set")
	}
	c.slots = make(chan struct{}, maxCommands)
	c.ids.Random = rand.Reader
	defer c.tasks.Wait()
	foreign := c.Foreign
	for n := 0; ctx.Err() == nil; {
		n = c.round(ctx, n, &foreign)
	}
	return nil
}

// round makes one connection, serves it to its end, and waits until the next one
// may be made. N is how many attempts failed before; round returns how many now.
func (c *Client) round(run context.Context, n int, foreign *bool) int {
	began := time.Now()
	ctx, again := context.WithCancel(run)
	defer again()
	c.mu.Lock()
	c.again = again
	c.mu.Unlock()
	err := c.once(run, ctx, foreign)
	if errors.Is(err, errOther) {
		err = c.once(run, ctx, foreign) // not a failure: this one suits what the hub is
	}
	if ctx.Err() != nil {
		return 0
	}
	if time.Since(began) >= steady {
		n = 0
	}
	if hopeless(err) {
		n = max(n, 6) // it takes people to change that: ask seldom
	}
	wait := pause(n, c.chance())
	c.failed(n+1, err, wait)
	select {
	case <-ctx.Done():
		return 0
	case <-time.After(wait):
		return n + 1
	}
}

// Reconnect makes the connection anew, at once: since there is a newer
// certificate, or another way to the hub. What is on its way goes on over the new
// one.
func (c *Client) Reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.again != nil {
		c.again()
	}
}

// hopeless says whether the hub doesn't know the gateway or wants no more of it.
func hopeless(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument:
		return true
	}
	return false
}

func (c *Client) failed(attempts int, err error, wait time.Duration) {
	c.mu.Lock()
	before := c.state.Err
	c.state.Attempts, c.state.Err = attempts, err
	c.mu.Unlock()
	level, what := slog.LevelInfo, "no connection to the hub"
	switch {
	case status.Code(err) == codes.Aborted:
		level, what = slog.LevelWarn, "another connection with this gateway's identity took over"
	case attempts > 1 && before != nil && before.Error() == err.Error():
		level = slog.LevelDebug // it was said
	}
	c.log().Log(context.Background(), level, what, slog.Any("err", err), slog.Int("n", attempts), slog.Duration("dur", wait))
}

// errOther ends a connection that was made for the other kind of hub.
var errOther = errors.New("reverse: the hub is of the other kind")

// once makes one connection and serves it to its end, at the latest that of ctx;
// commands go on until run ends. Foreign is what kind of hub it is thought to be, and
// then what it is.
func (c *Client) once(run, ctx context.Context, foreign *bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := c.open(*foreign)
	if err != nil {
		return err
	}
	defer func() { _ = l.cc.Close() }()
	if !c.Foreign {
		is, err := l.hello(ctx, c.Handler)
		if err != nil {
			return err
		}
		if is != *foreign {
			*foreign = is
			return errOther
		}
	}
	stream, err := l.subscribe(ctx, c.ID)
	if err != nil {
		return err
	}
	c.set(l)
	defer c.set(nil)
	defer close(l.done)
	for {
		reply, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := c.command(run, stream.Context(), l, reply); err != nil {
			return err
		}
	}
}

// set makes l the link that results take.
func (c *Client) set(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	c.state.Connected, c.state.Since = l != nil, time.Now()
	if l != nil {
		c.state.Foreign, c.state.Attempts = l.foreign, 0
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// State returns how the client is doing.
func (c *Client) State() ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// wait returns the link, when there is one.
func (c *Client) wait(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		if c.link != nil {
			defer c.mu.Unlock()
			return c.link, nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Conn returns the connection to the hub, when there is one, for other services
// that the hub has there. It is closed when the link breaks.
func (c *Client) Conn(ctx context.Context) (grpc.ClientConnInterface, error) {
	l, err := c.wait(ctx)
	if err != nil {
		return nil, err
	}
	return l.cc, nil
}

// command takes one command from the hub, whose stream lasts as long as ctx. An
// error ends the connection.
func (c *Client) command(run, ctx context.Context, l *link, reply *reversepb.CommandReply) error {
	j := job{id: reply.GetId(), label: reply.GetId(), line: reply.GetCommand()}
	if l.foreign {
		// Nobody knows what ids it gives: the command's, the gateway's, none.
		id, err := c.ids.Next(time.Now())
		if err != nil {
			return err
		}
		if j.id = id; j.label == "" || len(j.label) > maxID || !printable(j.label) {
			j.label = id
		}
	} else if err := CheckID(j.id); err != nil {
		return fmt.Errorf("reverse: the hub sent a command: %w", err)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	begin, err := c.Handler.Accept(j.id, j.line)
	if err == nil && !begin {
		<-c.slots
		return nil
	}
	c.tasks.Go(func() {
		defer func() { <-c.slots }()
		c.do(run, l.foreign, j, err)
	})
	return nil
}

func (c *Client) chance() float64 {
	if c.Chance != nil {
		return c.Chance()
	}
	return mathrand.Float64()
}

func (c *Client) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}
