package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A hub is a real one as far as certificates and connections go; what is delivered it
// keeps in memory. Its clock can be set.
type hub struct {
	*reverse.Server
	authority   *ca.Authority
	revocations *ca.Revocations
	registrar   *ca.Registrar
	address     string // for gateways
	bare        string // without TLS
	ids         reverse.IDs

	mu      sync.Mutex
	skew    time.Duration
	epoch   uint64
	results map[string]*result
	begun   int // sessions
}

// A result is one command's at the hub.
type result struct {
	hub  *hub
	text []byte
	next uint64
	end  chan reverse.Meta
	why  error
}

func startHub(t *testing.T) *hub {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	h := &hub{results: map[string]*result{}, ids: reverse.IDs{Random: rand.Reader}}
	db, err := store.Open(ctx, filepath.Join(dir, "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := fleet.Open(ctx, db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h.authority, err = ca.Open(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	h.revocations = &ca.Revocations{Kept: kept.Once, Gateways: kept.Sessions, Audit: kept.Audit, Now: h.now}
	h.registrar = &ca.Registrar{Authority: h.authority, Revocations: h.revocations, Tokens: kept.Once, Gateways: kept.Sessions, Audit: kept.Audit, Now: h.now}
	if err := h.revocations.Load(ctx); err != nil {
		t.Fatal(err)
	}
	h.Server = &reverse.Server{Authenticate: h.revocations.Authenticate, Sessions: h, Control: h, Results: h}
	h.revocations.Drop = h.Drop
	g := h.GRPC(h.authority.ServerTLS([]string{"127.0.0.1"}, h.revocations, h.now))
	h.registrar.Register(g)
	h.address = serve(t, g)
	h.bare = serve(t, h.GRPC(nil))
	t.Cleanup(func() {
		h.Close()
		g.Stop()
		if err := errors.Join(kept.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func serve(t *testing.T, g *grpc.Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	return l.Addr().String()
}

func (h *hub) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.skew)
}

func (h *hub) setClock(skew time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.skew = skew
}

// join does what `lanfolk join` does, beside a node or before it runs.
func (h *hub) join(t *testing.T, path string, addresses ...string) enrol.Status {
	t.Helper()
	s, err := h.tryJoin(t, path, addresses...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *hub) tryJoin(t *testing.T, path string, addresses ...string) (enrol.Status, error) {
	t.Helper()
	if len(addresses) == 0 {
		addresses = []string{h.address}
	}
	text, _, err := h.registrar.Invite(t.Context(), ca.TokenRequest{Name: "attic", By: "uid:0", Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	to, err := invitation.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	i, err := enrol.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = i.Join(t.Context(), to, func(ctx context.Context, address string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	})
	return i.Status(), err
}

// run sends a command to a gateway, and returns its result.
func (h *hub) run(t *testing.T, gateway, line string) (string, reverse.Meta) {
	t.Helper()
	id, r := h.send(t, gateway, line)
	return h.await(t, id, r)
}

// await returns the result of a command that was sent.
func (h *hub) await(t *testing.T, id string, r *result) (string, reverse.Meta) {
	t.Helper()
	select {
	case m := <-r.end:
		h.mu.Lock()
		defer h.mu.Unlock()
		return string(r.text), m
	case <-time.After(2 * time.Minute):
		h.mu.Lock()
		defer h.mu.Unlock()
		t.Fatalf("command %s doesn't end; %d bytes came; refused: %v", id, len(r.text), r.why)
	}
	return "", reverse.Meta{}
}

func (h *hub) send(t *testing.T, gateway, line string) (string, *result) {
	t.Helper()
	id, err := h.ids.Next(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &result{hub: h, end: make(chan reverse.Meta, 1)}
	h.mu.Lock()
	h.results[id] = r
	h.mu.Unlock()
	eventually(t, gateway+" is online", func() bool {
		err := h.Send(t.Context(), gateway, reverse.Command{ID: id, Line: line}) // a session may just end
		if err != nil && !errors.Is(err, reverse.ErrOffline) {
			t.Fatal(err)
		}
		return err == nil
	})
	return id, r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

// Begin implements reverse.Sessions.
func (h *hub) Begin(context.Context, reverse.Peer) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	h.begun++
	return h.epoch, nil
}

// End implements reverse.Sessions.
func (h *hub) End(reverse.Session, error) {}

// Hello implements reverse.Control.
func (h *hub) Hello(_ context.Context, p reverse.Peer, _ *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	return &lanfolkpb.Welcome{Gateway: p.Gateway, Name: "attic", Version: "the hub's"}, nil
}

// Follow implements reverse.Control.
func (h *hub) Follow(ctx context.Context, _ reverse.Peer, _ string, send func(*lanfolkpb.Terms) error) error {
	if err := send(&lanfolkpb.Terms{Timeout: 30_000}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// Open implements reverse.Results.
func (h *hub) Open(_ context.Context, _ reverse.Peer, command string) (reverse.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.results[command]
	if r == nil {
		return nil, reverse.ErrUnknown
	}
	return r, nil
}

func (r *result) Held() (uint64, io.ReadCloser, error) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	return r.next, io.NopCloser(bytes.NewReader(bytes.Clone(r.text))), nil
}

func (r *result) Limit() uint64 { return 0 }

func (r *result) Write(_ context.Context, _ reverse.Meta, data []byte) error {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.text = append(r.text, data...)
	r.next++
	return nil
}

func (r *result) Finish(_ context.Context, _ reverse.Type, m reverse.Meta) error {
	r.end <- m
	return nil
}

func (r *result) Abort(why error) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.why = why
}

func (r *result) Close() error { return nil }
