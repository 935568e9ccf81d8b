package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// maxWatched bounds the commands that a stream begins with.
const maxWatched = 20_000

type watchCommandsQuery struct {
	ID      []string `query:"id" maxItems:"200" doc:"These commands, with commas between."`
	From    string   `query:"from" maxLength:"64" doc:"Commands from this id on: with to, those of one request."`
	To      string   `query:"to" maxLength:"64" doc:"Commands up to this id."`
	Gateway string   `query:"gateway" maxLength:"255" doc:"For this gateway: its id or name."`
	By      string   `query:"by" maxLength:"255" doc:"Asked for by this user."`
	Limit   int      `query:"limit" minimum:"0" maximum:"1000" doc:"Begin with so many of the newest, 100 if it is left out; id and from begin with all that they name."`
}

func (s *Server) commandEventRoutes() {
	op := operation("watch-commands", http.MethodGet, "/commands/events", "Watch commands", "fleet",
		http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "Server-sent events: an add for each command as it stands, a synced, then what changes. Of changes that come faster than they are taken only " +
		"the last one of a command may be told. Outputs are left out. Comments keep a quiet stream alive. A client that takes nothing for 30 seconds is cut off."
	op.Responses = s.eventResponse(wire.CommandEvent{}, "CommandEvent")
	huma.Register(s.api, op, func(ctx context.Context, in *watchCommandsQuery) (*huma.StreamResponse, error) {
		if !s.runsCommands() {
			return nil, errNoFleet()
		}
		if in.From == "" && in.To != "" {
			return nil, refused("query.to", "is for from", in.To)
		}
		gateway, err := s.gatewayID(ctx, in.Gateway)
		if err != nil {
			return nil, failed(err)
		}
		ctx, done, err := s.stream(ctx)
		if err != nil {
			return nil, failed(err)
		}
		w := &commandWatch{s: s, in: in, gateway: gateway, seen: make(map[string]uint64)}
		// Changes are gathered from before the first picture on.
		ctx, cancel := context.WithCancel(ctx)
		changes := s.o.Fleet.Runner.Watch(ctx, in.ID...)
		first, err := w.first(ctx)
		if err != nil {
			cancel()
			done()
			return nil, failed(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer done()
			defer cancel()
			_, rw := humago.Unwrap(c)
			w.out = newEventWriter(rw, "text/event-stream")
			if err := w.run(ctx, first, changes); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "stream of commands cut off", "err", err)
			}
		}}, nil
	})
}

// commandWatch is somebody who watches commands.
type commandWatch struct {
	s       *Server
	in      *watchCommandsQuery
	gateway string
	out     *eventWriter
	// seen are the revisions of the first picture, until a later one comes: a change
	// that was gathered before may be older.
	seen map[string]uint64
}

// first returns what the stream begins with, the oldest first.
func (w *commandWatch) first(ctx context.Context) ([]fleet.Command, error) {
	log := w.s.o.Fleet.Commands
	var out []fleet.Command
	if len(w.in.ID) > 0 {
		for _, id := range w.in.ID {
			c, err := log.Command(ctx, id)
			if err != nil {
				return nil, err
			}
			if w.wants(c) {
				out = append(out, c)
			}
		}
		return out, nil
	}
	f := fleet.CommandFilter{Gateway: w.gateway, By: w.in.By, Limit: w.in.Limit}
	if w.in.From == "" {
		out, err := log.Commands(ctx, f)
		slices.Reverse(out)
		return out, err
	}
	f.Limit = maxCommands
	if w.in.To != "" { // a page ends before an id
		c, err := log.Command(ctx, w.in.To)
		if err != nil && !errors.Is(err, fleet.ErrUnknown) {
			return nil, err
		}
		if err == nil && w.wants(c) {
			out = append(out, c)
		}
		f.Before = w.in.To
	}
	for {
		page, err := log.Commands(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			if c.ID < w.in.From {
				slices.Reverse(out)
				return out, nil
			}
			out = append(out, c)
		}
		if len(page) < f.Limit {
			slices.Reverse(out)
			return out, nil
		}
		if len(out) > maxWatched {
			return nil, fmt.Errorf("%w: more than %d commands since %s", fleet.ErrInvalid, maxWatched, w.in.From)
		}
		f.Before = page[len(page)-1].ID
	}
}

// wants says whether a command is one of those that are watched.
func (w *commandWatch) wants(c fleet.Command) bool {
	return (w.gateway == "" || c.Gateway == w.gateway) && (w.in.By == "" || c.By == w.in.By) &&
		(w.in.From == "" || c.ID >= w.in.From) && (w.in.To == "" || c.ID <= w.in.To)
}

// run writes events until ctx ends or the client is gone or too slow.
func (w *commandWatch) run(ctx context.Context, first []fleet.Command, changes <-chan fleet.Command) error {
	if err := w.out.comment("lanfolk"); err != nil {
		return err
	}
	for part := range slices.Chunk(first, maxBatch) {
		if err := w.out.deadline(); err != nil {
			return err
		}
		for _, c := range part {
			w.seen[c.ID] = c.Revision
			if err := w.event(ctx, wire.Add, c); err != nil {
				return err
			}
		}
	}
	if err := w.out.message(wire.Synced, SyncedEvent{Event: wire.Synced}); err != nil {
		return err
	}
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			if err := w.out.comment("alive"); err != nil {
				return err
			}
		case c, ok := <-changes:
			if !ok {
				return nil // ctx has ended
			}
			if err := w.some(ctx, c, changes); err != nil {
				return err
			}
		}
	}
}

// some writes a change, and those that wait behind it.
func (w *commandWatch) some(ctx context.Context, c fleet.Command, more <-chan fleet.Command) error {
	if err := w.out.deadline(); err != nil {
		return err
	}
	for range maxBatch {
		if err := w.change(ctx, c); err != nil {
			return err
		}
		var ok bool
		select {
		case c, ok = <-more:
		default:
		}
		if !ok {
			break
		}
	}
	return w.out.flush()
}

func (w *commandWatch) change(ctx context.Context, c fleet.Command) error {
	if !w.wants(c) {
		return nil
	}
	was, known := w.seen[c.ID]
	if known && c.Revision <= was {
		return nil
	}
	delete(w.seen, c.ID)
	if known || c.Revision > 1 {
		return w.event(ctx, wire.Update, c)
	}
	return w.event(ctx, wire.Add, c)
}

func (w *commandWatch) event(ctx context.Context, op string, c fleet.Command) error {
	return w.out.data(op, wire.CommandEvent{Event: op, Key: c.ID, Command: wireCommand(c, w.s.gatewayName(ctx, c.Gateway))})
}
