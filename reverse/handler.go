package reverse

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// A Handler does what the hub asks of a gateway.
type Handler interface {
	// Hello returns what the gateway says first on each connection: its version
	// and what its journal holds.
	Hello() *lanfolkpb.HelloRequest
	// Welcome is called with the hub's answer, before any command of the
	// connection. A hub that doesn't know lanfolk.v1 gives none.
	Welcome(w *lanfolkpb.Welcome)
	// Accept is called with each command, one after another. It returns whether
	// Run shall be called: not for one that came before. When it returns true,
	// the command is in the journal.
	Accept(id, line string) (run bool, err error)
	// Run runs a command and returns its result. It may return before the
	// command has ended, if the result's Content waits for what is still to
	// come. ctx ends when the result has arrived or was refused, and before that
	// when the command's time is over or the hub calls it off: then
	// context.Cause is ErrTimeout or ErrCancelled, and there is a result, too.
	Run(ctx context.Context, id, line string, terms Terms) *Outgoing
	// Delivered is called when the hub has the whole result that Run returned,
	// with nil, or when it refused it for good, with why.
	Delivered(id string, err error)
}

// Terms are what the hub grants a command.
type Terms struct {
	Timeout  time.Duration // from the moment at which they came; 0 is none
	MaxBytes uint64        // of the result; 0 is the gateway's own limit
}

// Why the context of a command ended.
var (
	ErrTimeout   = errors.New("reverse: the command's time is over")
	ErrCancelled = errors.New("reverse: the hub called the command off")
)

// ErrRefused is returned for a result that the hub refuses for good; the text
// says why.
var ErrRefused = errors.New("reverse: the hub refuses it")

// An Outgoing is a result on its way to the hub. What broke off is read again
// from where the hub has got to.
type Outgoing struct {
	Type Type
	// Content is what there is to send. ReadAt may wait for what is still to
	// come, and return less than was asked for, so that it is sent at once; it
	// returns io.EOF at the end and only there. Nil is nothing.
	Content io.ReaderAt
	// End returns how it ended. It is called when Content has ended.
	End func() End
	// Fresh says that none of it was ever sent, so that the hub needn't be asked
	// how far it has got.
	Fresh bool
}

// End is how a result ended.
type End struct {
	Status Status
	Exit   int
	Error  string
	SHA256 [32]byte // of all of Content
	Total  uint64   // bytes of Content
}
