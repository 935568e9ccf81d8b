package ca_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

const address = "hub.example.org:7443"

// A clock is the hub's: as far from the test's as a test wants.
type clock struct {
	mu      sync.Mutex
	skew    time.Duration
	stopped time.Time // zero: it goes
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped.IsZero() {
		return c.stopped.Add(c.skew)
	}
	return time.Now().Add(c.skew)
}

// stop has it go on by set alone.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = time.Now()
}

func (c *clock) set(skew time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew = skew
}

// A hub is a real one, as far as certificates go: its storage in a folder, and gRPC
// on a listener in memory.
type hub struct {
	*reverse.Server
	dir         string
	clock       *clock
	fleet       *fleet.Fleet
	authority   *ca.Authority
	revocations *ca.Revocations
	registrar   *ca.Registrar
	listener    *bufconn.Listener
	stop        func()

	mu    sync.Mutex
	lost  int // answers that don't arrive
	epoch uint64
	ended []error // why sessions did
}

// startHub starts one in a folder, which it may have had before.
func startHub(t testing.TB, dir string, change ...func(*hub)) *hub {
	t.Helper()
	ctx := context.Background()
	h := &hub{dir: dir, clock: &clock{}}
	db, err := store.Open(ctx, filepath.Join(dir, "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	if h.fleet, err = fleet.Open(ctx, db, fleet.Options{}); err != nil {
		t.Fatal(err)
	}
	if h.authority, err = ca.Open(filepath.Join(dir, "authority.pem")); err != nil {
		t.Fatal(err)
	}
	h.revocations = &ca.Revocations{Kept: h.fleet.Once, Gateways: h.fleet.Sessions, Audit: h.fleet.Audit, Now: h.clock.now}
	h.registrar = &ca.Registrar{
		Authority: h.authority, Revocations: h.revocations, Tokens: h.fleet.Once,
		Gateways: h.fleet.Sessions, Audit: h.fleet.Audit, Now: h.clock.now,
	}
	for _, c := range change {
		c(h)
	}
	if err := h.revocations.Load(ctx); err != nil {
		t.Fatal(err)
	}
	h.Server = &reverse.Server{Authenticate: h.revocations.Authenticate, Sessions: h, Control: h}
	h.revocations.Drop = h.Drop
	g := h.GRPC(h.authority.ServerTLS([]string{"hub.example.org", "192.0.2.7"}, h.revocations, h.clock.now), grpc.UnaryInterceptor(h.lose))
	h.registrar.Register(g)
	h.listener = bufconn.Listen(64 << 10)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(h.listener) }()
	h.stop = sync.OnceFunc(func() {
		h.Close()
		g.Stop()
		<-served
		if err := errors.Join(h.fleet.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// lose keeps answers back that were made.
func (h *hub) lose(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	answer, err := handler(ctx, req)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost > 0 && strings.Contains(info.FullMethod, "Enrolment") {
		h.lost--
		return nil, errors.New("lost") // UNKNOWN: as if the connection had broken
	}
	return answer, err
}

func (h *hub) dial(ctx context.Context, _ string) (net.Conn, error) {
	return h.listener.DialContext(ctx)
}

// Begin implements reverse.Sessions.
func (h *hub) Begin(context.Context, reverse.Peer) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	return h.epoch, nil
}

// End implements reverse.Sessions.
func (h *hub) End(_ reverse.Session, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, why)
}

// Hello implements reverse.Control.
func (h *hub) Hello(_ context.Context, p reverse.Peer, _ *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	return &lanfolkpb.Welcome{Gateway: p.Gateway}, nil
}

// Follow implements reverse.Control.
func (h *hub) Follow(ctx context.Context, _ reverse.Peer, _ string, _ func(*lanfolkpb.Terms) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// invite makes an invitation.
func (h *hub) invite(t testing.TB, q ca.TokenRequest) invitation.Invitation {
	t.Helper()
	q.By = "uid:0"
	if q.Addresses == nil {
		q.Addresses = []string{address}
	}
	text, _, err := h.registrar.Invite(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	i, err := invitation.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// audit returns the audit's lines, the oldest first.
func (h *hub) audit(t testing.TB) (lines []string) {
	t.Helper()
	entries, err := h.fleet.Audit.Entries(t.Context(), fleet.AuditFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		lines = append(lines, strings.Join([]string{e.Who, e.What, e.Gateway, e.Ref, e.Detail, e.Outcome}, "|"))
	}
	slices.Reverse(lines)
	return lines
}

func open(t testing.TB, path string) *enrol.Identity {
	t.Helper()
	i, err := enrol.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// joined returns a new gateway of the hub, and its file.
func (h *hub) joined(t testing.TB) (*enrol.Identity, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.json")
	i := open(t, path)
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{Name: "attic"}), h.dial); err != nil {
		t.Fatal(err)
	}
	return i, path
}

func tlsOf(t testing.TB, i *enrol.Identity) *tls.Config {
	t.Helper()
	config, err := i.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// conn returns gRPC to the hub with a TLS configuration.
func (h *hub) conn(t testing.TB, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub",
		grpc.WithContextDialer(h.dial), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// greet says Hello with an identity, and returns what comes of it.
func (h *hub) greet(t testing.TB, i *enrol.Identity) error {
	t.Helper()
	_, err := lanfolkpb.NewControlClient(h.conn(t, tlsOf(t, i))).Hello(t.Context(), &lanfolkpb.HelloRequest{})
	return err
}

// refused checks that the hub refuses handshakes with a TLS configuration, and that
// the gateway can say why. The alert may be lost where the hub hangs up while the
// gateway speaks: so it tries more than once.
func (h *hub) refused(t testing.TB, config *tls.Config, want string) {
	t.Helper()
	var err error
	for range 20 {
		_, err = lanfolkpb.NewControlClient(h.conn(t, config)).Hello(t.Context(), &lanfolkpb.HelloRequest{})
		if err == nil {
			t.Fatal("the hub talks to it")
		}
		if err = enrol.Explain(err); strings.Contains(err.Error(), want) {
			return
		}
	}
	t.Errorf("refused with %v; want %q", err, want)
}

// stranger returns gRPC to the hub without a certificate, and without looking at the
// hub's.
func (h *hub) stranger(t testing.TB) lanfolkpb.EnrolmentClient {
	t.Helper()
	return lanfolkpb.NewEnrolmentClient(h.conn(t, &tls.Config{InsecureSkipVerify: true}))
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it did not come to that", what)
		}
	}
}

// A handler is the gateway's side of commands: there are none.
type handler struct{}

func (handler) Hello() *lanfolkpb.HelloRequest      { return &lanfolkpb.HelloRequest{Version: "test"} }
func (handler) Welcome(*lanfolkpb.Welcome)          {}
func (handler) Accept(string, string) (bool, error) { return false, errors.New("no commands here") }
func (handler) Run(context.Context, string, string, reverse.Terms) *reverse.Outgoing {
	return &reverse.Outgoing{}
}
func (handler) Delivered(string, error) {}

// connected runs a gateway's client until the test ends, and waits until the hub
// lists it.
func (h *hub) connected(t testing.TB, i *enrol.Identity) *reverse.Client {
	t.Helper()
	c := &reverse.Client{
		Dial: func(ctx context.Context) (net.Conn, error) { return h.dial(ctx, address) },
		TLS:  tlsOf(t, i), Handler: handler{}, Chance: func() float64 { return 0.05 },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the gateway listens", func() bool {
		_, ok := h.Session(i.Status().Gateway)
		return ok
	})
	return c
}
