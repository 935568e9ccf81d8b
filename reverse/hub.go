package reverse

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// A Peer is a gateway on one connection.
type Peer struct {
	Gateway  string         // its id; insecure/NAME on a listener without TLS
	Address  netip.AddrPort // where it dials from; the zero value where it isn't IP
	Insecure bool           // nobody vouches for the id
	Native   bool           // it knows lanfolk.v1: it said Hello
}

// A Session is a gateway that listens.
type Session struct {
	Peer
	Epoch uint64    // rises with each session of the gateway
	Since time.Time // when it began
}

// Sessions keeps who listens where. Its methods may be called at once, for one
// gateway too.
type Sessions interface {
	// Begin is called before a gateway counts as listening. It returns the
	// session's epoch, which is above that of each earlier session of the
	// gateway, at whichever hub: of two at once the higher one stays. An error
	// refuses the gateway; one made by package status goes to it as it is.
	Begin(ctx context.Context, p Peer) (epoch uint64, err error)
	// End is called once for each Begin that succeeded; it must leave a session
	// of another epoch alone. Why is never nil; it is ErrReplaced if a newer one
	// took over, ErrOverdue if an answer didn't come.
	End(s Session, why error)
}

// Control is what a hub knows of the commands of a gateway that knows lanfolk.v1.
type Control interface {
	// Hello is a gateway's first word on a connection. Commands may be sent to
	// it once it has the answer and listens.
	Hello(ctx context.Context, p Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error)
	// Follow calls send with the terms of a command of the gateway, at once and
	// when they change. It returns when the hub wants no more of the command,
	// or ctx ends.
	Follow(ctx context.Context, p Peer, command string, send func(*lanfolkpb.Terms) error) error
}

// Results is where the hub keeps what gateways answer.
type Results interface {
	// Open is called when the first chunk of a command's result comes, and again
	// after the session or the hub broke off; never twice at once for a command.
	// Errors that are ErrUnknown, ErrComplete or ErrAway say that there is no such
	// command of that gateway, that all of its result is here, and that it may be
	// tried again; any other one refuses the result for good.
	Open(ctx context.Context, p Peer, command string) (Result, error)
}

// A Result is one command's result while it comes. It is used by one goroutine
// at a time. An error of Write and Finish may be tried again, with the same
// chunk, unless it is ErrTooLarge or ErrUnknown.
type Result interface {
	// Held returns which chunk comes next, and what the ones before held; nil if
	// next is 0. It is called once, first.
	Held() (next uint64, content io.ReadCloser, err error)
	// Limit returns how many bytes the result may have; 0 is no limit.
	Limit() uint64
	// Write keeps the next chunk. When it returns, the chunk survives whatever
	// may happen to the hub; of the last chunk, which m.Last marks, Finish may
	// see to that, which follows at once. It may take its time, and holds up
	// nothing else.
	Write(ctx context.Context, m Meta, data []byte) error
	// Finish is called after the last chunk, whose length and hash were right; m
	// is its meta. Then, too, the result survives.
	Finish(ctx context.Context, t Type, m Meta) error
	// Abort drops what was kept: the result is refused for good, and why says
	// for what. Open must return an error from then on.
	Abort(why error)
	// Close ends the use, after Finish and Abort too.
	Close() error
}

// Feeds takes what gateways send of their own accord: TypeInventory and
// TypeFingerprints.
type Feeds interface {
	// Take keeps one batch. m.ID is the feed's epoch, m.Seq the batch's number.
	// An error refuses it; Progress says what the gateway does next.
	Take(ctx context.Context, p Peer, t Type, m Meta, data []byte) error
	Progress(ctx context.Context, p Peer, t Type, epoch string) (*lanfolkpb.ProgressReply, error)
}

// Errors that pass between a Server and what it is handed.
var (
	ErrReplaced = errors.New("reverse: another connection of the same gateway took over")
	ErrOverdue  = errors.New("reverse: no answer in time")
	ErrOffline  = errors.New("reverse: the gateway is not connected")
	ErrUnsent   = errors.New("reverse: nothing of the command went out")
	ErrUnknown  = errors.New("reverse: no such command of this gateway")
	ErrAway     = errors.New("reverse: not now")
	ErrClosed   = errors.New("reverse: the hub is going down")
)

// A Command is one line for a gateway.
type Command struct {
	ID   string // see IDs
	Line string // see Split
	// Timeout is how long a gateway that doesn't know lanfolk.v1 may take to
	// answer; 0 is a minute. Others are told by Control.Follow.
	Timeout time.Duration
}
