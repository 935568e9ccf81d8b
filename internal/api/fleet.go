package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Fleet is what a hub has beside an inventory: gateways, and what they are told.
// Each part belongs to somebody else. What is left out answers 501.
type Fleet struct {
	Gateways GatewayLog
	Commands CommandLog
	Runner   Runner
	Presence Presence
	// Counts says how many devices a gateway has told of. Nil: none.
	Counts Counts
	// Audit keeps what was refused; what is asked for is kept by the Runner.
	Audit AuditLog
}

// GatewayLog keeps the gateways' records: a fleet.Sessions.
type GatewayLog interface {
	Gateways(ctx context.Context, f fleet.GatewayFilter, now time.Time) ([]fleet.Standing, error)
	Gateway(ctx context.Context, id string, now time.Time) (fleet.Standing, error)
}

// CommandLog keeps commands: a fleet.CommandLog.
type CommandLog interface {
	Command(ctx context.Context, id string) (fleet.Command, error)
	Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error)
}

// Runner brings commands to gateways: a deliver.Dispatcher. Who may have one run
// is decided before it is asked.
type Runner interface {
	// Submit makes a command for each of r.Gateways, in their order, and returns when
	// all are kept.
	Submit(ctx context.Context, r fleet.Request) ([]fleet.Command, error)
	// Command returns a command as it is now.
	Command(ctx context.Context, id string) (fleet.Command, error)
	// Cancel asks for a command's end, which may come later, or too late.
	Cancel(ctx context.Context, by, id string) (fleet.Command, error)
	// Watch yields each change of the commands, of all for none, until ctx has ended;
	// then it closes the channel. A slow reader gets the newest state of each.
	Watch(ctx context.Context, ids ...string) <-chan fleet.Command
	// Output reads what has come of a command's result, from offset on; with follow
	// it waits for more until the command has ended. ctx ends a wait.
	Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error)
}

// Presence tells who comes and goes.
type Presence interface {
	// Watch yields a gateway whenever it has come or gone, until ctx has ended; then
	// it closes the channel. A slow reader gets the newest state of each.
	Watch(ctx context.Context) <-chan fleet.Standing
}

// Counts counts what gateways have told.
type Counts interface {
	// Devices returns how many devices a gateway knows of.
	Devices(gateway string) int
}

// AuditLog takes entries of the audit: a fleet.Audit. Append returns when they are kept.
type AuditLog interface {
	Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error)
}

// errNoFleet is the answer of a node to what only a hub can do.
func errNoFleet() huma.StatusError {
	return huma.NewError(http.StatusNotImplemented, "this is no hub: it has no gateways")
}
