package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A right is what an operation takes of its caller at a hub. At a node whoever may
// call may do everything.
type right int

const (
	// byMethod is what an operation takes that says nothing: what asks the network
	// is run, GET reads, the rest is for admins. What is forgotten is closed.
	byMethod right = iota
	toRead
	toRun    // an operator: it asks gateways or the network
	toManage // an admin
	// toSelf is for everybody who is recognised: the handler asks further.
	toSelf
)

// rightKey is where an operation's right is in its metadata.
const rightKey = "right"

// takes says which right an operation takes.
func takes(r right, op huma.Operation) huma.Operation {
	op.Metadata = map[string]any{rightKey: r}
	return op
}

// authorise keeps callers from what is not for them. Who they are the guard knows.
func (s *Server) authorise(ctx huma.Context, next func(huma.Context)) {
	if err := s.mayCall(whoOf(ctx.Context()), ctx.Operation()); err != nil {
		// An error means that the client has gone.
		_ = huma.WriteErr(s.api, ctx, http.StatusForbidden, err.Error())
		return
	}
	next(ctx)
}

func (s *Server) mayCall(who access.Who, op *huma.Operation) error {
	if s.o.Access == nil || op.Security != nil && len(op.Security) == 0 {
		return nil
	}
	r, _ := op.Metadata[rightKey].(right)
	if r == byMethod {
		switch {
		case slices.Contains(op.Tags, "ask"):
			r = toRun
		case op.Method == http.MethodGet:
			r = toRead
		default:
			r = toManage
		}
	}
	switch r {
	case toRead, toSelf:
		return who.MayRead()
	case toRun:
		return who.MayRun("find", nil)
	case toManage:
		return who.MayManage()
	}
	return fmt.Errorf("%w: %s takes a right that there isn't", access.ErrDenied, op.OperationID)
}

// whoOf returns who asks. At a node that is an admin.
func whoOf(ctx context.Context) access.Who { return callerOf(ctx).who }

// anybody is a node's caller, who may do everything.
func anybody(c caller) access.Who {
	who := access.Who{Name: c.name, Role: fleet.Admin, Via: c.via, Addr: c.addr}
	if c.via == access.ViaSocket {
		who.Name = "uid:unknown"
		if c.known {
			who.Name = "uid:" + strconv.Itoa(c.uid)
		}
	}
	return who
}
