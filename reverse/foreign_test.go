package reverse_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
	"github.com/lanfolk/lanfolk/test/lab"
)

// A script is a program in Python that was made from reverse_access.proto and
// shares nothing with us.
type script struct {
	t     *testing.T
	lines chan string
}

// python is Debian's, which has Debian's grpc.
const python = "/usr/bin/python3"

func startPython(t *testing.T, args ...string) *script {
	t.Helper()
	lab.Require(t, python, "protoc")
	if err := exec.CommandContext(t.Context(), python, "-c", "import grpc, google.protobuf").Run(); err != nil {
		lab.Missing(t, "Debian's packages python3-grpcio and python3-protobuf")
	}
	dir := t.TempDir()
	made := exec.CommandContext(t.Context(), "protoc", "-Ireversepb", "--python_out="+dir, "reverse_access.proto")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("protoc: %v\n%s", err, out)
	}
	path, err := filepath.Abs(filepath.Join("testdata", args[0]))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{path}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "GRPC_VERBOSITY=NONE")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, lines: make(chan string, 100)}
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", args[0], &stderr)
		}
	})
	return s
}

// line returns the script's next line.
func (s *script) line() string {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			s.t.Fatal("the script ended")
		}
		return line
	case <-time.After(5 * time.Minute):
		s.t.Fatal("the script says nothing")
		return ""
	}
}

func (s *script) expect(want string) {
	s.t.Helper()
	if got := s.line(); got != want {
		s.t.Errorf("the script says %q, want %q", got, want)
	}
}

// listenTCP serves a hub's listener without TLS on loopback.
func listenTCP(t *testing.T, g *grpc.Server) net.Addr {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-ended })
	return l.Addr()
}

func TestPythonGateway(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"connection", "metadata"} {
		t.Run("known by "+mode, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			addr := listenTCP(t, h.GRPC(nil))
			s := startPython(t, "client.py", addr.String(), "snake", mode)
			if s := h.online(t, "insecure/snake"); s.Native || !s.Insecure || !s.Address.IsValid() {
				t.Errorf("it is listed as %+v", s)
			}
			id := h.run(t, "insecure/snake", "list")
			s.expect("command list " + id)
			s.expect("reply 0")
			r := h.answer(t, id)
			if string(r.text) != "one.txt\ntwo\x00.bin\n" || r.kind != reverse.TypeListing || r.meta.Status != reverse.StatusOK {
				t.Errorf("got %q, %s, %+v", r.text, r.kind, r.meta)
			}
			if mode == "metadata" {
				return
			}
			id = h.run(t, "insecure/snake", "big")
			s.expect("command big " + id)
			s.expect("reply 0")
			if r := h.answer(t, id); !bytes.Equal(r.text, bytes.Repeat(every(), 6<<12)) {
				t.Errorf("%d bytes came", len(r.text))
			}
			id = h.run(t, "insecure/snake", "dance")
			s.expect("command dance " + id)
			s.expect("reply 0")
			if r := h.answer(t, id); r.meta.Status != reverse.StatusError || r.meta.Error != "what is that?" || r.kind != reverse.TypeError {
				t.Errorf("got %s, %+v", r.kind, r.meta)
			}
			id = h.run(t, "insecure/snake", "huge")
			s.expect("command huge " + id)
			if line := s.line(); !strings.HasPrefix(line, "failed RESOURCE_EXHAUSTED ") {
				t.Errorf("the script says %q", line)
			}
			h.expect(t, "its count", func() bool { return h.Stats().Oversize == 1 }) // grpc tells of it when it has answered
		})
	}
}

// every returns each byte once.
func every() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestPythonHub(t *testing.T) {
	t.Parallel()
	s := startPython(t, "server.py", "list", "status")
	var port int
	if _, err := fmt.Sscanf(s.line(), "ready %d", &port); err != nil {
		t.Fatal(err)
	}
	dials := 0
	g := &gateway{serve: echo}
	g.ID = "cellar"
	g.Dial = func(ctx context.Context) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
	stop := start(t, g)
	s.expect("subscribed cellar")
	s.expect("resource cellar 1 13 you said list")
	s.expect("resource cellar 1 15 you said status")
	stop()
	if dials != 2 {
		t.Errorf("dialled %d times: want once to find out what it is, and once more without its pings", dials)
	}
	if state := g.State(); !state.Foreign {
		t.Errorf("the client doesn't know: %+v", state)
	}
}

// A raw is a foreign client in Go, without Client.
type raw struct {
	t *testing.T
	reversepb.ReverserClient
}

func dialRaw(t *testing.T, dial func(context.Context) (net.Conn, error)) raw {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return raw{t, reversepb.NewReverserClient(cc)}
}

func (r raw) subscribe(id string) grpc.ServerStreamingClient[reversepb.CommandReply] {
	r.t.Helper()
	s, err := r.SubscribeCommand(r.t.Context(), &reversepb.CommandRequest{Id: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// send sends a resource and returns the reply's status.
func (r raw) send(id, meta, data string) (uint32, error) {
	ctx := r.t.Context()
	if id != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, reverse.ClientID, id)
	}
	reply, err := r.SendResource(ctx, &reversepb.ResourceRequest{Type: 1, Meta: meta, Data: []byte(data)})
	return reply.GetStatus(), err
}

// must is send, of which the status must be want.
func (r raw) must(want uint32, id, meta, data string) {
	r.t.Helper()
	if got, err := r.send(id, meta, data); err != nil || got != want {
		r.t.Errorf("sent %q as %q: status %d, %v; want %d", data, id, got, err, want)
	}
}

// refusedWith checks how a stream ends.
func refusedWith(t *testing.T, s grpc.ServerStreamingClient[reversepb.CommandReply], code codes.Code, text string) {
	t.Helper()
	reply, err := s.Recv()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, %v; want %s, %q", reply, err, code, text)
	}
}

// The original program blocked for good when a client's id was empty.
func TestEmptyIDBlocksNobody(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	r := dialRaw(t, h.dialBare)
	refusedWith(t, r.subscribe(""), codes.InvalidArgument, "the id is empty")
	r.subscribe("next")
	h.online(t, "insecure/next")
	if n := h.Stats().Identity; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

// In the original program a second client of the same name left the first one
// hanging.
func TestSecondSubscriberReplacesFirst(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	one, two := dialRaw(t, h.dialBare), dialRaw(t, h.dialBare)
	first := one.subscribe("twin")
	h.online(t, "insecure/twin")
	second := two.subscribe("twin")
	refusedWith(t, first, codes.Aborted, "another connection of the same gateway took over")
	h.expect(t, "the end of the first", func() bool { return len(h.ended["insecure/twin"]) == 1 })
	// The late end of the first didn't take the second off.
	if s := h.online(t, "insecure/twin"); s.Epoch != 2 {
		t.Errorf("online is %+v", s)
	}
	id := h.run(t, "insecure/twin", "status")
	if reply, err := second.Recv(); err != nil || reply.GetId() != id {
		t.Errorf("the second got %v, %v", reply, err)
	}
	two.must(reverse.Accepted, "", "", "fine")
	if r := h.answer(t, id); string(r.text) != "fine" {
		t.Errorf("got %q", r.text)
	}
	if n := h.Stats().Replaced; n != 1 {
		t.Errorf("%d replacements counted", n)
	}
}

// The original program had one outstanding command for the whole hub.
func TestGatewaysDoNotWaitForEachOther(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	one, two := dialRaw(t, h.dialBare), dialRaw(t, h.dialBare)
	streams := []grpc.ServerStreamingClient[reversepb.CommandReply]{one.subscribe("one"), two.subscribe("two")}
	h.online(t, "insecure/one")
	h.online(t, "insecure/two")
	first, second := h.run(t, "insecure/one", "a"), h.run(t, "insecure/two", "b")
	for _, s := range streams {
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	two.must(reverse.Accepted, "", "", "from two")
	one.must(reverse.Accepted, "", "", "from one")
	if r := h.answer(t, first); string(r.text) != "from one" {
		t.Errorf("got %q", r.text)
	}
	if r := h.answer(t, second); string(r.text) != "from two" {
		t.Errorf("got %q", r.text)
	}
}

// An answer that says nothing of what it answers is the one outstanding
// command's, and the next command waits for it.
func TestForeignAnswerIsTheOutstandingCommands(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	r, other := dialRaw(t, h.dialBare), dialRaw(t, h.dialBare)
	s := r.subscribe("slow")
	h.online(t, "insecure/slow")
	r.must(reverse.Refused, "", "", "to nothing")
	first := h.run(t, "insecure/slow", "first")
	second, _ := h.command(t, "insecure/slow")
	sent := make(chan error)
	go func() {
		sent <- h.Send(t.Context(), "insecure/slow", reverse.Command{ID: second, Line: "second"})
	}()
	if reply, err := s.Recv(); err != nil || reply.GetId() != first {
		t.Fatalf("got %v, %v", reply, err)
	}
	select {
	case err := <-sent:
		t.Fatalf("the second command was sent before the first one's answer: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	other.must(reverse.Refused, "", "", "from a stranger")
	other.must(reverse.Refused, "somebody", "", "from a stranger with a name")
	other.must(reverse.Accepted, "slow", `{"id":"mine"}`, "one") // by its name
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if reply, err := s.Recv(); err != nil || reply.GetId() != second {
		t.Fatalf("got %v, %v", reply, err)
	}
	r.must(reverse.Accepted, "", "two", "two") // by its connection
	if r := h.answer(t, first); string(r.text) != "one" {
		t.Errorf("got %q", r.text)
	}
	if r := h.answer(t, second); string(r.text) != "two" {
		t.Errorf("got %q", r.text)
	}
	if n := h.Stats().Unexpected; n != 3 {
		t.Errorf("%d answers to nothing counted", n)
	}
}

// A late answer never becomes the next command's: not on its connection, which
// ends, nor by the client's name on one from before.
func TestLateForeignAnswerIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t).serve(t, newPKI(t))
		r, side := dialRaw(t, h.dialBare), dialRaw(t, h.dialBare)
		side.must(reverse.Refused, "late", "", "connected before") // so that it is older
		s := r.subscribe("late")
		h.online(t, "insecure/late")
		first, _ := h.command(t, "insecure/late")
		if err := h.Send(t.Context(), "insecure/late", reverse.Command{ID: first, Line: "first", Timeout: 300 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		refusedWith(t, s, codes.DeadlineExceeded, "no answer in time")
		r.must(reverse.Refused, "", "", "late")
		refusedWith(t, r.subscribe("late"), codes.Unavailable, "connect anew")
		h.offline(t, "insecure/late")
		// It comes again, as grpc does by itself, on a new connection.
		anew := dialRaw(t, h.dialBare)
		s = anew.subscribe("late")
		h.online(t, "insecure/late")
		second := h.run(t, "insecure/late", "second")
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		side.must(reverse.Refused, "late", "", "late")
		anew.must(reverse.Accepted, "", "", "the second's")
		if r := h.answer(t, second); string(r.text) != "the second's" {
			t.Errorf("got %q", r.text)
		}
		if r := h.results[first]; len(r.text) > 0 || r.done {
			t.Errorf("the first command got %q", r.text)
		}
		if stats := h.Stats(); stats.Overdue != 1 {
			t.Errorf("counted %+v", stats)
		}
		h.secure.Stop()
		h.bare.Stop()
	})
}

func TestNamesOfStrangers(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	r := dialRaw(t, h.dialBare)
	for _, name := range []string{"../g1", "insecure/x", "a b", ".a", strings.Repeat("x", 65), "é", "a\x00"} {
		refusedWith(t, r.subscribe(name), codes.InvalidArgument, "the id ")
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), reverse.ClientID, "one")
	s, err := r.SubscribeCommand(ctx, &reversepb.CommandRequest{Id: "two"})
	if err != nil {
		t.Fatal(err)
	}
	refusedWith(t, s, codes.InvalidArgument, `two ids, "one" and "two"`)
	if _, err := r.SubscribeCommand(ctx, &reversepb.CommandRequest{}); err != nil {
		t.Fatal(err)
	}
	h.online(t, "insecure/one") // the metadata alone will do
	if all := h.Online(); len(all) != 1 {
		t.Errorf("online: %+v", all)
	}
}

// What a stranger calls itself never takes an enrolled gateway's place.
func TestStrangerNeverShadowsGateway(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	start(t, &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo})
	h.online(t, "g1")
	r := dialRaw(t, h.dialBare)
	r.subscribe("g1")
	h.online(t, "insecure/g1")
	id := h.run(t, "g1", "status")
	r.must(reverse.Refused, "g1", "", "I am it")
	r.must(reverse.Refused, "g1", `{"id":"`+id+`","seq":1}`, "I am it")
	if got := h.answer(t, id); string(got.text) != "you said status" {
		t.Errorf("got %q", got.text)
	}
}
