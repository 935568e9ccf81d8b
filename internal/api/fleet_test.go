package api_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// hub is a fleet in memory: gateways whose answers a test gives.
type hub struct {
	mu       sync.Mutex
	ids      reverse.IDs
	gateways map[string]fleet.Standing
	commands map[string]fleet.Command
	results  map[string][]byte
	entries  []fleet.Entry
	changed  chan struct{} // closed at each change
	watchers map[chan fleet.Command]map[string]bool
	presence map[chan fleet.Standing]bool
	reads    int // of the whole list
	failing  error
}

func newHub(gateways ...fleet.Standing) *hub {
	h := &hub{
		ids: reverse.IDs{Random: bytes.NewReader(make([]byte, 1<<20))}, gateways: map[string]fleet.Standing{}, commands: map[string]fleet.Command{},
		results: map[string][]byte{}, changed: make(chan struct{}),
		watchers: map[chan fleet.Command]map[string]bool{}, presence: map[chan fleet.Standing]bool{},
	}
	for _, g := range gateways {
		h.gateways[g.ID] = g
	}
	return h
}

// standing is a gateway that is online.
func standing(id, name string, labels map[string]string) fleet.Standing {
	return fleet.Standing{
		Gateway: fleet.Gateway{ID: id, Name: name, Labels: labels, Version: "1.2", Address: "192.0.2.7:4000", LastSeen: noon(), Enrolled: noon().Add(-time.Hour)},
		Session: fleet.Session{Gateway: id, Epoch: 1, Since: noon().Add(-time.Minute)}, Online: true,
	}
}

func (h *hub) options(o *api.Options) {
	o.Fleet = &api.Fleet{Gateways: h, Commands: h, Runner: h, Presence: arrivals{h}, Counts: h, Audit: h}
}

func (h *hub) Gateways(_ context.Context, f fleet.GatewayFilter, _ time.Time) ([]fleet.Standing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	var out []fleet.Standing
	for _, g := range h.gateways {
		if fleet.Matches(f.Selector, g.Labels) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b fleet.Standing) int { return cmp.Compare(a.ID, b.ID) })
	return out, h.failing
}

func (h *hub) Gateway(_ context.Context, id string, _ time.Time) (fleet.Standing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, ok := h.gateways[id]
	if !ok {
		return g, fmt.Errorf("%w gateway %q", fleet.ErrUnknown, id)
	}
	return g, nil
}

func (h *hub) Devices(gateway string) int { return len(gateway) }

func (h *hub) Append(_ context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entries...)
	return fleet.Head{}, h.failing
}

// set changes a gateway's record and, unless it is silent, says so as Presence does.
func (h *hub) set(g fleet.Standing, silent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gateways[g.ID] = g
	for c := range h.presence {
		if !silent {
			c <- g
		}
	}
}

type arrivals struct{ h *hub }

func (a arrivals) Watch(ctx context.Context) <-chan fleet.Standing {
	c := make(chan fleet.Standing, 1000)
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.h.presence[c] = true
	context.AfterFunc(ctx, func() {
		a.h.mu.Lock()
		defer a.h.mu.Unlock()
		delete(a.h.presence, c)
		close(c)
	})
	return c
}

func (h *hub) Command(_ context.Context, id string) (fleet.Command, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.commands[id]
	if !ok {
		return c, fmt.Errorf("%w command %q", fleet.ErrUnknown, id)
	}
	return c, nil
}

func (h *hub) Commands(_ context.Context, f fleet.CommandFilter) ([]fleet.Command, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []fleet.Command
	for _, c := range h.commands {
		if (f.Gateway == "" || f.Gateway == c.Gateway) && (f.By == "" || f.By == c.By) && (f.Before == "" || c.ID < f.Before) &&
			(len(f.States) == 0 || slices.Contains(f.States, c.State)) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b fleet.Command) int { return -cmp.Compare(a.ID, b.ID) })
	return out[:min(len(out), cmp.Or(f.Limit, 100))], nil
}

func (h *hub) Submit(_ context.Context, r fleet.Request) ([]fleet.Command, error) {
	var out []fleet.Command
	for _, g := range r.Gateways {
		id, err := h.ids.Next(noon())
		if err != nil {
			return nil, err
		}
		c := fleet.Command{ID: id, Gateway: g.ID, Line: r.Line, By: r.By, Created: noon(), Deadline: noon().Add(r.Timeout), Queue: r.Queue, State: fleet.Queued, Revision: 1}
		h.mu.Lock()
		online := h.gateways[g.ID].Online
		h.mu.Unlock()
		if !online && !r.Queue {
			c.State, c.Ended = fleet.Offline, noon()
		}
		h.put(c)
		out = append(out, c)
	}
	return out, h.failing
}

// put keeps a command and tells the watchers.
func (h *hub) put(c fleet.Command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands[c.ID] = c
	for w, ids := range h.watchers {
		if len(ids) == 0 || ids[c.ID] {
			w <- c
		}
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// say adds to a command's result.
func (h *hub) say(id, text string) {
	h.mu.Lock()
	h.results[id] = append(h.results[id], text...)
	c := h.commands[id]
	h.mu.Unlock()
	c.State, c.Revision = fleet.Running, c.Revision+1
	h.put(c)
}

// end ends a command with what was said.
func (h *hub) end(id string, state fleet.State) fleet.Command {
	h.mu.Lock()
	c, b := h.commands[id], h.results[id]
	h.mu.Unlock()
	c.State, c.Revision, c.Ended, c.Size, c.Type = state, c.Revision+1, noon().Add(time.Second), int64(len(b)), uint32(reverse.TypeResult)
	if len(b) > 0 {
		c.SHA256 = sha256.Sum256(b)
	}
	h.put(c)
	return c
}

func (h *hub) Cancel(ctx context.Context, by, id string) (fleet.Command, error) {
	c, err := h.Command(ctx, id)
	switch {
	case err != nil:
		return c, err
	case c.State.Ended():
		return c, fmt.Errorf("%w: it has ended", fleet.ErrState)
	}
	c.CancelledBy, c.State, c.Revision = by, fleet.Cancelled, c.Revision+1
	h.put(c)
	return c, nil
}

func (h *hub) Watch(ctx context.Context, ids ...string) <-chan fleet.Command {
	c := make(chan fleet.Command, 1000)
	set := make(map[string]bool)
	for _, id := range ids {
		set[id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[c] = set
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
		close(c)
	})
	return c
}

func (h *hub) Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.results[id]; !ok && !follow {
		return nil, fmt.Errorf("%w result %q", fleet.ErrUnknown, id)
	}
	return &result{h: h, ctx: ctx, id: id, at: int(offset), follow: follow}, nil
}

// result reads what a gateway has said.
type result struct {
	h      *hub
	ctx    context.Context
	id     string
	at     int
	follow bool
}

func (r *result) Read(p []byte) (int, error) {
	for {
		r.h.mu.Lock()
		b, ended, changed := r.h.results[r.id], r.h.commands[r.id].State.Ended(), r.h.changed
		r.h.mu.Unlock()
		switch {
		case r.at < len(b):
			n := copy(p, b[r.at:])
			r.at += n
			return n, nil
		case ended || !r.follow:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

func (*result) Close() error { return nil }

// people lets these call with API tokens. It returns the tokens by name; who has none of
// the roles gets grants of exec for site=north.
func people(t *testing.T, roles map[string]fleet.Role, grants ...fleet.Grant) (func(*api.Options), map[string]string) {
	t.Helper()
	db, err := store.Open(t.Context(), t.TempDir()+"/hub.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := fleet.Open(t.Context(), db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	tokens := make(map[string]string)
	for name, role := range roles {
		err := f.Accounts.CreateUser(t.Context(), fleet.User{Name: name, Role: role, Created: noon().Add(-time.Hour)}, "")
		if err == nil {
			tokens[name], _, err = f.Accounts.CreateAPIToken(t.Context(), fleet.APIToken{User: name, Created: time.Now()})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range grants {
		if _, err := f.Accounts.Grant(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	desk := &access.Desk{Accounts: f.Accounts, Audit: f.Audit, Gateways: f.Sessions, Tokens: f.Once}
	return func(o *api.Options) { o.Access = desk }, tokens
}

func bearerOf(token string) []string { return []string{"Authorization", "Bearer " + token} }
