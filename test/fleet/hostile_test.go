package fleet

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
	"github.com/lanfolk/lanfolk/test/lab"
)

// counters returns all that the hub counts, by name.
func (s *site) counters() map[string]uint64 {
	s.t.Helper()
	var status struct {
		Parts []struct {
			Name     string
			Counters map[string]uint64
		}
	}
	if err := s.hub.JSON(&status, "status"); err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]uint64)
	for _, p := range status.Parts {
		for name, n := range p.Counters {
			all[name] += n
		}
	}
	return all
}

// hostileCases are answers that a hub must not take.
type hostileCase struct {
	name, counter string
	send          func(l *liar, command string) (uint32, string, error)
	why           string
	code          codes.Code
}

func hostileCases() []hostileCase {
	meta := func(m reverse.Meta) string { return m.String() }
	chunk := func(l *liar, m reverse.Meta, data []byte) (uint32, string, error) {
		return l.send(reverse.TypeResult, meta(m), data)
	}
	last := func(id string, seq uint64, data []byte) reverse.Meta {
		return reverse.Meta{ID: id, Seq: seq, Last: true, Status: reverse.StatusOK, SHA256: hashed(data), Total: uint64(len(data))}
	}
	half := half()
	return []hostileCase{
		{name: "oversized message", counter: "refused: oversize", code: codes.ResourceExhausted, why: "larger than max",
			send: func(l *liar, id string) (uint32, string, error) {
				return chunk(l, reverse.Meta{ID: id}, make([]byte, 32<<20))
			}},
		{name: "chunk too large", counter: "refused: too large", why: "chunk",
			send: func(l *liar, id string) (uint32, string, error) {
				return chunk(l, reverse.Meta{ID: id}, make([]byte, reverse.MaxChunk+1))
			}},
		{name: "junk meta", counter: "refused: meta", why: "meta",
			send: func(l *liar, id string) (uint32, string, error) {
				return l.send(reverse.TypeResult, `{"id":"`+id+`","seq":"first"`, half)
			}},
		{name: "meta that is too long", counter: "refused: meta", why: "meta",
			send: func(l *liar, id string) (uint32, string, error) {
				return l.send(reverse.TypeResult, `{"id":"`+id+`","x":"`+strings.Repeat("x", reverse.MaxMeta)+`"}`, half)
			}},
		{name: "a type that doesn't exist", counter: "refused: meta", why: "type",
			send: func(l *liar, id string) (uint32, string, error) { return l.send(99, meta(last(id, 0, half)), half) }},
		{name: "chunk out of order", counter: "refused: order", why: "order",
			send: func(l *liar, id string) (uint32, string, error) { return chunk(l, reverse.Meta{ID: id, Seq: 99}, half) }},
		{name: "somebody else's command", counter: "refused: unexpected", why: "no such command",
			send: func(l *liar, _ string) (uint32, string, error) {
				id := strings.Repeat("0", reverse.IDLen)
				return chunk(l, last(id, 0, half), half)
			}},
		{name: "another's id", counter: "refused: identity", code: codes.PermissionDenied, why: "not the certificate's",
			send: func(l *liar, id string) (uint32, string, error) {
				ctx := metadata.AppendToOutgoingContext(l.t.Context(), reverse.ClientID, "gaaaaaaaaaaaaaaaa")
				_, err := l.SendResource(ctx, &reversepb.ResourceRequest{Type: 1, Meta: meta(last(id, 0, half)), Data: half})
				return 0, "", err
			}},
		// The result is refused for good with this one, so it is the last.
		{name: "a hash that doesn't match", counter: "refused: hash", why: "match",
			send: func(l *liar, id string) (uint32, string, error) {
				if n, why, err := chunk(l, reverse.Meta{ID: id}, half); n != reverse.Accepted || err != nil {
					return n, why, fmt.Errorf("the first half isn't taken: %w", err)
				}
				m := last(id, 1, []byte("something else"))
				m.Total = uint64(2 * len(half))
				return chunk(l, m, half)
			}},
	}
}

// TestHostileGateway: an enrolled gateway sends what it mustn't. It is told why, it is
// counted, nothing of it is kept, and others notice nothing.
func TestHostileGateway(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	honest := s.gateway("honest", "")
	honest.put(t, "fine", []byte("fine"))
	l := s.liar("liar")
	stream := l.listen()
	s.waitState("liar", "online", patience)

	asks := s.at.Lanfolk("run", "liar", "-o", "jsonl", "--timeout", "10m", "--state", s.hub.State, "--", "status").Start()
	command, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range hostileCases() {
		before := s.counters()[c.counter]
		n, why, err := c.send(l, command.GetId())
		text := why
		if err != nil {
			text = status.Convert(err).Message()
		}
		if status.Code(err) != c.code || c.code == codes.OK && n != reverse.Refused || !strings.Contains(text, c.why) {
			t.Errorf("%s: status %d, %q, %v; want %s and why", c.name, n, why, err, c.code)
		}
		// grpc tells of some only when it has answered.
		lab.Eventually(t, patience, c.name+": the count of "+c.counter, func() error {
			if all := s.counters(); all[c.counter] <= before {
				return fmt.Errorf("it was %d: %v", before, all)
			}
			return nil
		})
		if o := s.run("honest", "get", "fine"); o.Output != "fine" {
			t.Fatalf("%s: others notice: %+v", c.name, o)
		}
	}
	// It can't make up for it, and is told so.
	right := []byte("half of ithalf of it")
	if n, why, err := l.send(reverse.TypeResult, reverse.Meta{
		ID: command.GetId(), Last: true, Status: reverse.StatusOK, SHA256: hashed(right), Total: uint64(len(right)),
	}.String(), right); err != nil || n != reverse.Refused || why == "" {
		t.Errorf("another answer: status %d, %q, %v", n, why, err)
	}
	if p, err := l.Progress(t.Context(), &lanfolkpb.ProgressRequest{Type: 1, Id: command.GetId()}); err != nil || p.GetState() != lanfolkpb.ProgressReply_REFUSED || p.GetReason() == "" {
		t.Errorf("progress: %v, %v; want it refused", p, err)
	}
	asks.Wait(patience)
	all := outcomes(t, asks.Stdout())
	if len(all) == 0 {
		t.Fatalf("run says nothing: %s", asks.Stderr())
	}
	o := all[len(all)-1]
	if o.Status != "error" || o.Output != "" || o.Size != 0 || !strings.Contains(o.Error+asks.Stderr(), "match") {
		t.Errorf("who asked sees %+v, %s", o, asks.Stderr())
	}
	if r := s.hub.Run("commands", "output", command.GetId()); r.Stdout != "" {
		t.Errorf("something is kept: %q", r.Stdout)
	}
	if held := s.holding(t, half()); held != "" {
		t.Errorf("%s holds a part of what was refused", held)
	}
}

func half() []byte { return []byte("half of it") }

// holding returns a file of the hub's results that has the bytes in it.
func (s *site) holding(t *testing.T, b []byte) (found string) {
	t.Helper()
	_ = filepath.WalkDir(filepath.Join(s.hub.State, "hub"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, b) {
			found = path
		}
		return nil
	})
	return found
}

// TestTokens: a token lets one key in, for its time, at its hub; and the same key again.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	h := s.Host("shop").Join(s.net)
	join := func(state, text string) lab.Result {
		c := h.Lanfolk("join", "-", "--state", state)
		c.Stdin = text + "\n"
		return c.Run()
	}
	text := s.token(nil, "--gateway", "shop")
	state := s.folder("shop")
	if r := join(state, text); r.Exit != 0 {
		t.Fatalf("exit %d: %s", r.Exit, r.Stderr)
	}
	shop, ok := s.listedAs("shop")
	if !ok || shop.State != "offline" {
		t.Fatalf("listed are %+v", s.gateways())
	}
	if r := join(state, text); r.Exit != 0 {
		t.Errorf("the same key again: exit %d: %s", r.Exit, r.Stderr)
	}
	says := func(what, why string, r lab.Result) {
		t.Helper()
		if r.Exit != 1 && r.Exit != 2 && r.Exit != 4 || !strings.Contains(r.Stderr, why) {
			t.Errorf("%s: exit %d: %s; want %q", what, r.Exit, r.Stderr, why)
		}
	}
	other := s.folder("other")
	says("used by another key", "used", join(other, text))
	says("made up", "token", join(s.folder("made-up"), s.reencode(text, func(i *invitation.Invitation) { i.Secret = strings.Repeat("0", len(i.Secret)) })))
	says("cut", "cut", join(other, text[:len(text)-3]))
	says("no token", "lanfolk1.", join(other, "please"))
	short := s.token(nil, "--gateway", "late", "--ttl", "1s")
	time.Sleep(1500 * time.Millisecond)
	says("expired", "expired", join(other, short))
	if all := s.gateways(); len(all) != 1 || all[0].ID != shop.ID {
		t.Errorf("listed are %+v", all)
	}
	// Nothing half-made is left that up would take for an identity.
	if b, err := os.ReadFile(filepath.Join(other, "gateway", "identity.json")); err == nil && strings.Contains(string(b), `"chain"`) {
		t.Errorf("a refused gateway has a certificate: %s", b)
	}
	audit := s.ok("audit", "--json")
	if !strings.Contains(audit, "token") {
		t.Errorf("the audit has no token: %s", audit)
	}
	if n := s.counters()["refused: enrolment"]; n < 3 {
		t.Errorf("refused tokens counted: %d of %v", n, s.counters())
	}
}

// TestCertificateOfAnotherCA: a gateway of one hub comes to another one. Neither takes
// the other, and both say why.
func TestCertificateOfAnotherCA(t *testing.T) {
	t.Parallel()
	ours := newSite(t, "")
	theirs := &site{Lab: ours.Lab, t: t, net: ours.net, at: ours.Host("theirs").Join(ours.net)}
	theirs.address = theirs.at.Link(theirs.net).V4.String() + ":" + grpcPort
	theirs.startHub("")
	// A join string of ours that leads to theirs.
	c := ours.at.Lanfolk("join", "-", "--state", ours.folder("lost"))
	c.Stdin = ours.token([]string{theirs.address}) + "\n"
	if r := c.Run(); r.Exit == 0 || !strings.Contains(r.Stderr, "it was told nothing") {
		t.Errorf("join at another hub: exit %d: %s", r.Exit, r.Stderr)
	}
	// A gateway of ours that is told that its hub is theirs.
	g := ours.join(ours.Host("shop").Join(ours.net), "shop", "hub = [\""+theirs.address+"\"]\n")
	g.start()
	lab.Eventually(t, patience, "the gateway's reason", func() error {
		r := g.Run("status", "--json")
		if !strings.Contains(r.Stdout, "certificate") {
			return fmt.Errorf("status: %s", r.Stdout)
		}
		return nil
	})
	if all := theirs.gateways(); len(all) > 0 {
		t.Errorf("the other hub lists %+v", all)
	}
	// One that believes everybody is refused by the hub itself.
	config, _ := g.credentials(t)
	config.InsecureSkipVerify, config.VerifyConnection, config.VerifyPeerCertificate = true, nil, nil
	var raw net.Conn
	if err := g.host.Do(func() (err error) { raw, err = net.Dial("tcp", theirs.address); return err }); err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	config.NextProtos = []string{"h2"}
	conn := tls.Client(raw, config)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the other hub says %v", err)
	}
	lab.Eventually(t, patience, "the other hub's count", func() error {
		if n := theirs.counters()["refused: handshake"]; n == 0 {
			return fmt.Errorf("%v", theirs.counters())
		}
		return nil
	})
	if g, _ := ours.listedAs("shop"); g.State != "offline" {
		t.Errorf("listed as %+v", g)
	}
}

// TestClocksThatDiffer: a clock that is an hour off changes nothing; one that is off by
// weeks keeps a gateway out, which is told why. The gateway's clock is that of its TLS.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	g := s.join(s.Host("shop").Join(s.net), "shop", "")
	config, id := g.credentials(t)
	for _, c := range []struct {
		off time.Duration
		why string
	}{
		{time.Hour, ""},
		{-time.Hour, ""},
		{-72 * time.Hour, "not yet valid"},
		{200 * 24 * time.Hour, "expired"},
	} {
		skewed := config.Clone()
		skewed.Time = func() time.Time { return time.Now().Add(c.off) }
		l := s.lie(g.host, skewed, id)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := l.Hello(ctx, &lanfolkpb.HelloRequest{Version: "skewed"})
		cancel()
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%v off: %v; want %q", c.off, err, c.why)
		}
		l.cc.Close()
	}
}

// TestNobodyButGatewaysMayCall: without a certificate there is enrolment, and nothing
// else; and TLS 1.2 isn't spoken.
func TestNobodyButGatewaysMayCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	stranger := s.Host("stranger").Join(s.net)
	cc := dial(t, stranger, s.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := lanfolkpb.NewControlClient(cc).Hello(ctx, &lanfolkpb.HelloRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("hello: %v", err)
	}
	if _, err := lanfolkpb.NewEnrolmentClient(cc).Renew(ctx, &lanfolkpb.RenewRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renew: %v", err)
	}
	stream, err := reversepb.NewReverserClient(cc).SubscribeCommand(ctx, &reversepb.CommandRequest{Id: "me"})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := reversepb.NewReverserClient(cc).SendResource(ctx, &reversepb.ResourceRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("send: %v", err)
	}
	old := dial(t, stranger, s.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12})
	if _, err := lanfolkpb.NewControlClient(old).Hello(ctx, &lanfolkpb.HelloRequest{}, grpc.WaitForReady(false)); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
}
