package reverse_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// A hub is what a Server is handed in these tests: all in memory.
type hub struct {
	*reverse.Server
	secure, bare *grpc.Server
	dial         func(ctx context.Context) (net.Conn, error)
	dialBare     func(ctx context.Context) (net.Conn, error)

	mu      sync.Mutex
	epochs  map[string]uint64
	ended   map[string][]error // why sessions ended, by gateway
	results map[string]*result // by command
	terms   map[string]chan *lanfolkpb.Terms
	greeted []*lanfolkpb.HelloRequest
	welcome *lanfolkpb.Welcome
	feeds   []string
	slow    map[string]chan struct{} // results whose Write waits, by command
	revoked map[string]bool
	broken  error // what Write returns
	changed chan struct{}
}

// A result is one command's result at the hub.
type result struct {
	hub     *hub
	gateway string
	command string
	text    []byte
	next    uint64
	open    bool
	meta    reverse.Meta
	kind    reverse.Type
	done    bool
	why     error // of Abort
}

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{
		epochs: map[string]uint64{}, ended: map[string][]error{}, results: map[string]*result{},
		terms: map[string]chan *lanfolkpb.Terms{}, slow: map[string]chan struct{}{}, revoked: map[string]bool{},
		changed: make(chan struct{}),
	}
	h.Server = &reverse.Server{Authenticate: h.authenticate, Sessions: h, Control: h, Results: h, Feeds: feeds{h}}
	return h
}

// serve serves the hub on listeners in memory.
func (h *hub) serve(t testing.TB, pki *pki) *hub {
	t.Helper()
	h.secure, h.dial = served(t, h.GRPC(pki.server()))
	h.bare, h.dialBare = served(t, h.GRPC(nil))
	return h
}

func served(t testing.TB, g *grpc.Server) (*grpc.Server, func(context.Context) (net.Conn, error)) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-ended })
	return g, l.DialContext
}

// expect waits until ok says so of the hub.
func (h *hub) expect(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		h.mu.Lock()
		if ok() {
			h.mu.Unlock()
			return
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // what the Server knows changes without a word
		case <-deadline:
			t.Fatalf("%s: it did not come to that", what)
		}
	}
}

func (h *hub) stir() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hub) authenticate(_ context.Context, cert *x509.Certificate) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.revoked[cert.Subject.CommonName] {
		return "", errors.New("the certificate was revoked")
	}
	return cert.Subject.CommonName, nil
}

func (h *hub) Begin(_ context.Context, p reverse.Peer) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epochs[p.Gateway]++
	return h.epochs[p.Gateway], nil
}

func (h *hub) End(s reverse.Session, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[s.Gateway] = append(h.ended[s.Gateway], why)
	h.stir()
}

func (h *hub) Hello(_ context.Context, _ reverse.Peer, hello *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greeted = append(h.greeted, hello)
	if h.welcome == nil {
		return &lanfolkpb.Welcome{}, nil
	}
	return h.welcome, nil
}

func (h *hub) Follow(ctx context.Context, _ reverse.Peer, command string, send func(*lanfolkpb.Terms) error) error {
	h.mu.Lock()
	terms := h.terms[command]
	h.mu.Unlock()
	if terms == nil {
		return reverse.ErrUnknown
	}
	for {
		select {
		case t, ok := <-terms:
			if !ok {
				return nil
			}
			if err := send(t); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// command makes a command known to the hub, and returns its id. Terms can be sent
// to the channel; it has the first ones.
func (h *hub) command(t testing.TB, gateway string) (string, chan *lanfolkpb.Terms) {
	t.Helper()
	id, err := ids.Next(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.results[id] = &result{hub: h, gateway: gateway, command: id}
	h.terms[id] = make(chan *lanfolkpb.Terms, 4)
	h.terms[id] <- &lanfolkpb.Terms{Timeout: 60_000}
	return id, h.terms[id]
}

var ids = &reverse.IDs{Random: rand.Reader}

// run sends a command to a gateway and returns its id.
func (h *hub) run(t testing.TB, gateway, line string) string {
	t.Helper()
	id, _ := h.command(t, gateway)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Send(ctx, gateway, reverse.Command{ID: id, Line: line}); err != nil {
		t.Fatalf("send %q to %s: %v", line, gateway, err)
	}
	return id
}

// answer waits for a command's whole result.
func (h *hub) answer(t testing.TB, id string) *result {
	t.Helper()
	h.expect(t, "the result of "+id, func() bool { return h.results[id].done })
	return h.results[id]
}

func (h *hub) online(t testing.TB, gateway string) reverse.Session {
	t.Helper()
	var s reverse.Session
	h.expect(t, gateway+" online", func() bool {
		var ok bool
		s, ok = h.Session(gateway)
		return ok
	})
	return s
}

func (h *hub) offline(t testing.TB, gateway string) {
	t.Helper()
	h.expect(t, gateway+" offline", func() bool { _, ok := h.Session(gateway); return !ok })
}

func (h *hub) Open(_ context.Context, p reverse.Peer, command string) (reverse.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.results[command]
	switch {
	case r == nil || r.gateway != p.Gateway:
		return nil, reverse.ErrUnknown
	case r.why != nil:
		return nil, r.why
	case r.done:
		return nil, reverse.ErrComplete
	case r.open:
		panic("a result is open twice")
	}
	r.open = true
	return r, nil
}

func (r *result) Held() (uint64, io.ReadCloser, error) {
	return r.next, io.NopCloser(bytes.NewReader(r.text)), nil
}

func (r *result) Limit() uint64 { return 1 << 30 }

func (r *result) Write(ctx context.Context, m reverse.Meta, data []byte) error {
	r.hub.mu.Lock()
	slow, broken := r.hub.slow[r.command], r.hub.broken
	r.hub.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if broken != nil {
		return broken
	}
	if m.Seq != r.next {
		panic("a chunk out of order")
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.text = append(r.text, data...)
	r.next++
	r.hub.stir()
	return nil
}

func (r *result) Finish(_ context.Context, kind reverse.Type, m reverse.Meta) error {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.kind, r.meta, r.done = kind, m, true
	r.hub.stir()
	return nil
}

func (r *result) Abort(why error) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.text, r.why = nil, why
	r.hub.stir()
}

func (r *result) Close() error {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.open = false
	return nil
}

// feeds keeps the methods of Feeds out of hub's.
type feeds struct{ *hub }

func (f feeds) Take(_ context.Context, _ reverse.Peer, kind reverse.Type, m reverse.Meta, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.ID != "known" {
		return errors.New("unknown epoch")
	}
	f.feeds = append(f.feeds, kind.String()+" "+string(data))
	return nil
}

func (feeds) Progress(context.Context, reverse.Peer, reverse.Type, string) (*lanfolkpb.ProgressReply, error) {
	return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_SNAPSHOT}, nil
}

// A pki is an authority and what it signs.
type pki struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{t: t}
	p.key = p.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub's authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	p.cert = p.sign(template, template, &p.key.PublicKey)
	return p
}

func (p *pki) newKey() *ecdsa.PrivateKey {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}

func (p *pki) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	p.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

func (p *pki) leaf(name string, usage x509.ExtKeyUsage) tls.Certificate {
	p.t.Helper()
	key := p.newKey()
	cert := p.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"hub"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, p.cert, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (p *pki) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

func (p *pki) server() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.leaf("hub", x509.ExtKeyUsageServerAuth)},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: p.pool(), MinVersion: tls.VersionTLS13,
	}
}

// gateway returns the TLS configuration of an enrolled gateway.
func (p *pki) gateway(id string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.leaf(id, x509.ExtKeyUsageClientAuth)},
		RootCAs:      p.pool(), ServerName: "hub", MinVersion: tls.VersionTLS13,
	}
}

// A gateway is a Handler that answers each command with what serve returns.
type gateway struct {
	reverse.Client
	serve func(ctx context.Context, line string) *reverse.Outgoing

	mu        sync.Mutex
	seen      map[string]bool
	delivered map[string]error
	welcomes  []*lanfolkpb.Welcome
	ran       []string
}

// start runs a gateway until the test ends, or the returned function is called.
func start(t testing.TB, g *gateway) (stop func()) {
	t.Helper()
	g.seen, g.delivered = map[string]bool{}, map[string]error{}
	g.Handler = g
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := g.Client.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func (g *gateway) Hello() *lanfolkpb.HelloRequest { return &lanfolkpb.HelloRequest{Version: "test"} }

func (g *gateway) Welcome(w *lanfolkpb.Welcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.welcomes = append(g.welcomes, w)
}

func (g *gateway) Accept(id, _ string) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	again := g.seen[id]
	g.seen[id] = true
	return !again, nil
}

func (g *gateway) Run(ctx context.Context, _, line string, _ reverse.Terms) *reverse.Outgoing {
	g.mu.Lock()
	g.ran = append(g.ran, line)
	g.mu.Unlock()
	return g.serve(ctx, line)
}

func (g *gateway) Delivered(id string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delivered[id] = err
}

// said returns what Delivered was called with.
func (g *gateway) said(id string) (error, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err, ok := g.delivered[id]
	return err, ok
}

// text returns a result that holds text.
func text(s string) *reverse.Outgoing {
	return &reverse.Outgoing{
		Type: reverse.TypeResult, Content: bytes.NewReader([]byte(s)), Fresh: true,
		End: func() reverse.End {
			return reverse.End{Status: reverse.StatusOK, SHA256: sha256.Sum256([]byte(s)), Total: uint64(len(s))}
		},
	}
}

// echo answers with the command.
func echo(_ context.Context, line string) *reverse.Outgoing { return text("you said " + line) }
