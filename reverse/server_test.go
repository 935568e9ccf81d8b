package reverse_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

func TestCommandAndAnswer(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo}
	start(t, g)
	if s := h.online(t, "g1"); !s.Native || s.Insecure || s.Epoch != 1 {
		t.Errorf("the session is %+v", s)
	}
	id := h.run(t, "g1", "status")
	r := h.answer(t, id)
	if string(r.text) != "you said status" || r.meta.Status != reverse.StatusOK || r.kind != reverse.TypeResult {
		t.Errorf("got %q, %+v", r.text, r.meta)
	}
	h.expect(t, "Delivered", func() bool { err, ok := g.said(id); return ok && err == nil })
}

// The original program cut results at 4 MiB, the limit of a message, and at a
// NUL.
func TestLargeResultWithNULArrivesWhole(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	all := make([]byte, 5<<20+7)
	if _, err := rand.Read(all); err != nil {
		t.Fatal(err)
	}
	all[1] = 0
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: func(context.Context, string) *reverse.Outgoing {
		return text(string(all))
	}}
	start(t, g)
	h.online(t, "g1")
	if r := h.answer(t, h.run(t, "g1", "get x")); !bytes.Equal(r.text, all) {
		t.Errorf("%d bytes came, not the %d that were sent", len(r.text), len(all))
	}
}

func TestOfflineGateway(t *testing.T) {
	h := newHub(t)
	id, _ := h.command(t, "g1")
	err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "status"})
	if !errors.Is(err, reverse.ErrOffline) {
		t.Errorf("got %v", err)
	}
	if err = h.Send(t.Context(), "g1", reverse.Command{ID: "x", Line: "status"}); !errors.Is(err, reverse.ErrID) {
		t.Errorf("got %v", err)
	}
	if err = h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "a\nb"}); err == nil || !strings.Contains(err.Error(), "control character") {
		t.Errorf("got %v", err)
	}
}

// A second connection of a gateway replaces the first, which learns of it.
func TestSecondConnectionReplacesFirst(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	conf := pki.gateway("g1")
	dialled := false
	once := func(ctx context.Context) (net.Conn, error) {
		if dialled { // it doesn't fight for its place
			<-ctx.Done()
			return nil, ctx.Err()
		}
		dialled = true
		return h.dial(ctx)
	}
	first := &gateway{Client: reverse.Client{Dial: once, TLS: conf, Chance: never}, serve: echo}
	start(t, first)
	h.online(t, "g1")
	second := &gateway{Client: reverse.Client{Dial: h.dial, TLS: conf}, serve: func(context.Context, string) *reverse.Outgoing {
		return text("second")
	}}
	start(t, second)
	h.expect(t, "the end of the first", func() bool { return len(h.ended["g1"]) == 1 })
	if !errors.Is(h.ended["g1"][0], reverse.ErrReplaced) {
		t.Errorf("it ended since %v", h.ended["g1"][0])
	}
	h.expect(t, "the first knows", func() bool { return status.Code(first.State().Err) == codes.Aborted })
	if s := h.online(t, "g1"); s.Epoch != 2 {
		t.Errorf("online is %+v", s)
	}
	if r := h.answer(t, h.run(t, "g1", "status")); string(r.text) != "second" {
		t.Errorf("got %q", r.text)
	}
}

// never makes a client wait as long as it may.
func never() float64 { return 1 }

// An identity that the certificate doesn't have is refused, in the request and in
// the metadata; so is whoever has none, and whoever's was revoked.
func TestIdentityIsTheCertificates(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g1 := secureRaw(t, h, pki.gateway("g1"))
	refusedWith(t, g1.subscribe("g2"), codes.PermissionDenied, `the id "g2" is not the certificate's, "g1"`)
	if _, err := g1.send("g2", "", "x"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	none := pki.gateway("g1")
	none.Certificates = nil
	refusedWith(t, secureRaw(t, h, none).subscribe("g1"), codes.Unauthenticated, "no client certificate")
	stranger := newPKI(t).gateway("g1")
	stranger.RootCAs = pki.pool()
	if _, err := secureRaw(t, h, stranger).send("", "", "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("another authority's certificate: got %v", err)
	}
	s := g1.subscribe("g1")
	h.online(t, "g1")
	h.mu.Lock()
	h.revoked["g1"] = true
	h.mu.Unlock()
	if _, err := g1.send("", "", "x"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call of a revoked gateway: got %v", err)
	}
	h.Drop("g1", status.Error(codes.PermissionDenied, "reverse: the gateway was revoked"))
	refusedWith(t, s, codes.PermissionDenied, "the gateway was revoked")
	h.offline(t, "g1")
	refusedWith(t, secureRaw(t, h, pki.gateway("g1")).subscribe(""), codes.Unauthenticated, "revoked")
	if n := h.Stats().Identity; n != 5 {
		t.Errorf("%d refusals counted", n)
	}
}

// secureRaw is a client in Go, without Client, with a certificate.
func secureRaw(t *testing.T, h *hub, conf *tls.Config) raw {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(credentials.NewTLS(conf)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return raw{t, reversepb.NewReverserClient(cc)}
}

// A result that is slow to keep holds up no other command of the gateway, and no
// other gateway.
func TestSlowResultHoldsUpNothing(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	big := strings.Repeat("x", 3<<20)
	for _, id := range []string{"g1", "g2"} {
		start(t, &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway(id)}, serve: func(_ context.Context, line string) *reverse.Outgoing {
			if line == "big" {
				return text(big)
			}
			return text(line)
		}})
		h.online(t, id)
	}
	stuck, _ := h.command(t, "g1")
	gate := make(chan struct{})
	h.mu.Lock()
	h.slow[stuck] = gate
	h.mu.Unlock()
	if err := h.Send(t.Context(), "g1", reverse.Command{ID: stuck, Line: "big"}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		h.answer(t, h.run(t, "g1", "quick"))
		h.answer(t, h.run(t, "g2", "quick"))
	}
	h.answer(t, h.run(t, "g2", "big"))
	if h.results[stuck].done {
		t.Fatal("the slow one wasn't slow")
	}
	close(gate)
	if r := h.answer(t, stuck); string(r.text) != big {
		t.Errorf("%d bytes came", len(r.text))
	}
}

// What is wrong with a chunk is said to whoever sent it, counted, and leaves
// nothing behind.
func TestBadChunks(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	conf := pki.gateway("g1")
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: conf}, serve: echo}
	start(t, g)
	h.online(t, "g1")
	cc, err := g.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, control := raw{t, reversepb.NewReverserClient(cc)}, lanfolkpb.NewControlClient(cc)
	id, _ := h.command(t, "g1")
	other, _ := h.command(t, "g2")
	sum := sha256.Sum256([]byte("ab"))
	right := fmt.Sprintf(`"sha256":%q,"total":2,"status":"ok","last":true`, hex.EncodeToString(sum[:]))
	wrong := strings.Replace(right, `"sha256":"`, `"sha256":"00`, 1)
	wrong = strings.Replace(wrong, hex.EncodeToString(sum[31:])+`"`, `"`, 1)

	for _, c := range []struct {
		name, meta, data, reason string
		count                    func(reverse.Stats) uint64
	}{
		{"no JSON", "hello", "x", "not lanfolk's meta", func(s reverse.Stats) uint64 { return s.Meta }},
		{"junk", `{"id":5}`, "x", "id can't be a number", func(s reverse.Stats) uint64 { return s.Meta }},
		{"no status", strings.Replace(`{"id":"`+id+`",`+right+`}`, `"status":"ok",`, "", 1), "ab", "the last chunk has no status", func(s reverse.Stats) uint64 { return s.Meta }},
		{"not its command", `{"id":"` + other + `","seq":0}`, "x", "no such command of this gateway", func(s reverse.Stats) uint64 { return s.Unexpected }},
		{"out of order", `{"id":"` + id + `","seq":99}`, "x", "chunk 99 came, 0 is wanted", func(s reverse.Stats) uint64 { return s.Order }},
		{"large", `{"id":"` + id + `","seq":0}`, strings.Repeat("x", reverse.MaxChunk+1), "chunk too large", func(s reverse.Stats) uint64 { return s.TooLarge }},
		{"wrong hash", `{"id":"` + id + `","seq":0,` + wrong + `}`, "ab", "doesn't match its hash", func(s reverse.Stats) uint64 { return s.Mismatch }},
		{"after that", `{"id":"` + id + `","seq":0}`, "ab", "doesn't match its hash", func(s reverse.Stats) uint64 { return s.Mismatch }},
	} {
		before := c.count(h.Stats())
		var trailer metadata.MD
		reply, err := r.SendResource(t.Context(), &reversepb.ResourceRequest{Type: 1, Meta: c.meta, Data: []byte(c.data)}, grpc.Trailer(&trailer))
		if err != nil || reply.GetStatus() != reverse.Refused || !strings.Contains(strings.Join(trailer.Get(reverse.ReasonKey), ""), c.reason) {
			t.Errorf("%s: %v, %v, %q; want %q", c.name, reply, err, trailer, c.reason)
		}
		if c.count(h.Stats()) != before+1 {
			t.Errorf("%s: not counted: %+v", c.name, h.Stats())
		}
	}
	if got := h.results[id]; got.why == nil || len(got.text) > 0 || got.done {
		t.Errorf("it left %+v", got)
	}
	progress, err := control.Progress(t.Context(), &lanfolkpb.ProgressRequest{Type: 1, Id: id})
	if err != nil || progress.GetState() != lanfolkpb.ProgressReply_REFUSED || !strings.Contains(progress.GetReason(), "hash") {
		t.Errorf("progress: %v, %v", progress, err)
	}
	_, err = r.SendResource(t.Context(), &reversepb.ResourceRequest{Type: 1, Data: make([]byte, 1<<20)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of 1 MiB: %v", err)
	}
	h.expect(t, "its count", func() bool { return h.Stats().Oversize == 1 }) // grpc tells of it when it has answered
	if _, err = r.SendResource(t.Context(), &reversepb.ResourceRequest{Type: 9}); err != nil || h.Stats().Meta != 4 {
		t.Errorf("type 9: %v; %+v", err, h.Stats())
	}
}

// A connection that isn't the gateway's current one brings nothing in.
func TestOldConnectionIsFencedOff(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	conf := pki.gateway("g1")
	first := &gateway{Client: reverse.Client{Dial: h.dial, TLS: conf, Chance: never}, serve: echo}
	start(t, first)
	h.online(t, "g1")
	// Another connection, which said Hello and doesn't listen.
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(credentials.NewTLS(conf)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	control := lanfolkpb.NewControlClient(cc)
	id, _ := h.command(t, "g1")
	if _, err := control.Progress(t.Context(), &lanfolkpb.ProgressRequest{Id: id}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Progress before Hello: %v", err)
	}
	if _, err := control.Hello(t.Context(), &lanfolkpb.HelloRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Progress(t.Context(), &lanfolkpb.ProgressRequest{Id: id}); status.Code(err) != codes.Aborted {
		t.Errorf("Progress on the other connection: %v", err)
	}
	raw{t, reversepb.NewReverserClient(cc)}.must(reverse.Refused, "", `{"id":"`+id+`"}`, "x")
	h.answer(t, h.run(t, "g1", "status"))
}

func TestHubGoesDown(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1"), Chance: never}, serve: echo}
	start(t, g)
	h.online(t, "g1")
	h.Close()
	h.offline(t, "g1")
	h.expect(t, "the gateway knows", func() bool { return status.Code(g.State().Err) == codes.Unavailable })
	if why := h.ended["g1"][0]; !errors.Is(why, reverse.ErrClosed) {
		t.Errorf("it ended since %v", why)
	}
}

func TestFeeds(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo}
	start(t, g)
	sum := sha256.Sum256([]byte("{}"))
	m := reverse.Meta{ID: "known", Last: true, SHA256: hex.EncodeToString(sum[:]), Total: 2}
	if want, err := g.Feed(t.Context(), reverse.TypeInventory, m, []byte("{}")); err != nil || want != nil {
		t.Errorf("got %v, %v", want, err)
	}
	m.ID = "new"
	want, err := g.Feed(t.Context(), reverse.TypeFingerprints, m, []byte("{}"))
	if err != nil || want.GetState() != lanfolkpb.ProgressReply_SNAPSHOT {
		t.Errorf("got %v, %v", want, err)
	}
	if got := strings.Join(h.feeds, ","); got != "inventory {}" {
		t.Errorf("the hub has %s", got)
	}
}
