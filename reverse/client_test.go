package reverse_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// Attempts come after a random part of 1, 2, 4, … 60 s: with chance always at
// its most, after just these.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		g := &gateway{serve: echo}
		g.Chance = never
		g.Dial = func(context.Context) (net.Conn, error) {
			at = append(at, time.Since(began))
			return nil, errors.New("no hub today")
		}
		stop := start(t, g)
		time.Sleep(200 * time.Second)
		synctest.Wait()
		if state := g.State(); state.Connected || state.Attempts != len(at) || !strings.Contains(state.Err.Error(), "no hub today") {
			t.Errorf("the state is %+v", state)
		}
		stop()
		var want []time.Duration
		for s, wait := 0, 1; s <= 200; s, wait = s+wait, min(2*wait, 60) {
			want = append(want, time.Duration(s)*time.Second)
		}
		if !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
	})
}

// Reconnect doesn't wait, neither for the end of a connection nor for the time of
// the next attempt.
func TestReconnectIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pki := newPKI(t)
		h := newHub(t).serve(t, pki)
		var at []time.Duration
		began := time.Now()
		g := &gateway{Client: reverse.Client{TLS: pki.gateway("g1"), Chance: never}, serve: echo}
		g.Dial = func(ctx context.Context) (net.Conn, error) {
			if at = append(at, time.Since(began)); len(at) < 3 {
				return nil, errors.New("no hub today")
			}
			return h.dial(ctx)
		}
		stop := start(t, g)
		time.Sleep(2500 * time.Millisecond) // the second attempt was after 1 s, the third would be after 3 s
		g.Reconnect()
		time.Sleep(time.Second)
		g.Reconnect()
		time.Sleep(time.Second)
		synctest.Wait()
		want := []time.Duration{0, time.Second, 2500 * time.Millisecond, 3500 * time.Millisecond}
		if !slices.Equal(at, want) || !g.State().Connected {
			t.Errorf("attempts at %v, want %v; connected: %v", at, want, g.State().Connected)
		}
		stop()
		h.secure.Stop()
		h.bare.Stop()
	})
}

// Gateways that lost their hub at once, which is away for 30 s, are back within
// two minutes, and no more than a twentieth comes in one tenth of a second.
func TestHerdIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gateways = 400 // of 10,000: the rates scale
		began := time.Now()
		var mu sync.Mutex
		back := make([]time.Duration, 0, gateways)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range gateways {
			c := &reverse.Client{Handler: &gateway{}}
			c.Dial = func(ctx context.Context) (net.Conn, error) {
				if since := time.Since(began); since >= 30*time.Second {
					mu.Lock()
					back = append(back, since)
					mu.Unlock()
					<-ctx.Done()
				}
				return nil, errors.New("no hub")
			}
			all.Go(func() { _ = c.Run(ctx) })
		}
		time.Sleep(121 * time.Second)
		cancel()
		all.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(back)
		if len(back) < gateways {
			t.Fatalf("%d of %d are back", len(back), gateways)
		}
		most := 0
		for i, since := range back {
			for i+most < len(back) && back[i+most]-since < 100*time.Millisecond {
				most++
			}
		}
		t.Logf("the last is back after %v, at most %d of %d in 100 ms", back[gateways-1], most, gateways)
		if back[gateways-1] > 2*time.Minute || most > gateways/20 {
			t.Errorf("the last is back after %v, %d came in 100 ms", back[gateways-1], most)
		}
	})
}

// A gateway that vanishes without a word is offline within 30 s; so is, for it,
// a hub.
func TestVanishedGatewayIsOfflineIn30s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pki := newPKI(t)
		h := newHub(t).serve(t, pki)
		var cut *deaf
		g := &gateway{Client: reverse.Client{TLS: pki.gateway("g1"), Chance: never}, serve: echo}
		g.Dial = func(ctx context.Context) (net.Conn, error) {
			if cut != nil {
				return nil, errors.New("the cable is cut")
			}
			conn, err := h.dial(ctx)
			cut = &deaf{Conn: conn}
			return cut, err
		}
		stop := start(t, g)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, ok := h.Session("g1"); !ok || len(h.ended["g1"]) > 0 {
			t.Fatal("an idle gateway isn't online")
		}
		cut.cut()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if _, ok := h.Session("g1"); ok {
			t.Error("the vanished gateway is online")
		}
		if g.State().Connected {
			t.Error("the gateway thinks that it is connected")
		}
		stop()
		h.secure.Stop()
		h.bare.Stop()
	})
}

// A deaf connection swallows, once it is cut, what goes through it, both ways.
type deaf struct {
	net.Conn
	mu  sync.Mutex
	off bool
}

func (d *deaf) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

func (d *deaf) isOff() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

func (d *deaf) Write(b []byte) (int, error) {
	if d.isOff() {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

func (d *deaf) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		if err != nil || !d.isOff() {
			return n, err
		}
	}
}

// runner is a gateway whose command runs until its context ends, and says why.
func runner(begun chan<- struct{}) func(ctx context.Context, line string) *reverse.Outgoing {
	return func(ctx context.Context, _ string) *reverse.Outgoing {
		begun <- struct{}{}
		<-ctx.Done()
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, reverse.ErrTimeout):
			return reverse.Failure(reverse.StatusTimeout, "too long")
		case errors.Is(cause, reverse.ErrCancelled):
			return reverse.Failure(reverse.StatusCancelled, "called off")
		default:
			return reverse.Failure(reverse.StatusInterrupted, cause.Error())
		}
	}
}

func TestTermsEndCommand(t *testing.T) {
	pki := newPKI(t)
	for _, c := range []struct {
		name  string
		terms []*lanfolkpb.Terms
		want  reverse.Status
	}{
		{"its time is over", []*lanfolkpb.Terms{{Timeout: 20}}, reverse.StatusTimeout},
		{"less time is left", []*lanfolkpb.Terms{{Timeout: 60_000}, {Timeout: 20}}, reverse.StatusTimeout},
		{"called off", []*lanfolkpb.Terms{{}, {Cancelled: true}}, reverse.StatusCancelled},
		{"called off at once", []*lanfolkpb.Terms{{Cancelled: true}}, reverse.StatusCancelled},
		{"the hub wants no more", []*lanfolkpb.Terms{{}, nil}, reverse.StatusCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t).serve(t, pki)
			begun := make(chan struct{}, 1)
			start(t, &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: runner(begun)})
			h.online(t, "g1")
			id, terms := h.command(t, "g1")
			<-terms
			terms <- c.terms[0]
			if err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "x"}); err != nil {
				t.Fatal(err)
			}
			<-begun
			for _, next := range c.terms[1:] {
				if next == nil {
					close(terms)
					continue
				}
				terms <- next
			}
			if r := h.answer(t, id); r.meta.Status != c.want {
				t.Errorf("it ended with %+v, want %s", r.meta, c.want)
			}
		})
	}
}

// A command of which the hub knows nothing doesn't run.
func TestCommandNobodyWantsIsNotRun(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo}
	start(t, g)
	h.online(t, "g1")
	id, err := ids.Next(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "x"}); err != nil {
		t.Fatal(err)
	}
	h.expect(t, "Delivered", func() bool { err, ok := g.said(id); return ok && errors.Is(err, reverse.ErrRefused) })
	if len(g.ran) > 0 {
		t.Errorf("it ran %q", g.ran)
	}
}

// A command that is sent again runs once; its result goes on from where the
// connection broke, and whoever runs it doesn't notice.
func TestResultGoesOnAfterBreak(t *testing.T) {
	t.Run("break", func(t *testing.T) { resultGoesOn(t, func(_ *gateway, conn net.Conn) { _ = conn.Close() }) })
	t.Run("reconnect", func(t *testing.T) { resultGoesOn(t, func(g *gateway, _ net.Conn) { g.Reconnect() }) })
}

func resultGoesOn(t *testing.T, end func(*gateway, net.Conn)) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	all := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	var mu sync.Mutex
	var conns []net.Conn
	var read uint64
	g := &gateway{Client: reverse.Client{TLS: pki.gateway("g1"), Chance: func() float64 { return 0.01 }}}
	g.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := h.dial(ctx)
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn, err
	}
	g.serve = func(context.Context, string) *reverse.Outgoing {
		out := text(all)
		out.Content = readerAt(func(b []byte, at int64) (int, error) {
			n, err := strings.NewReader(all).ReadAt(b, at)
			mu.Lock()
			defer mu.Unlock()
			read += uint64(n)
			return n, err
		})
		return out
	}
	start(t, g)
	h.online(t, "g1")
	id, _ := h.command(t, "g1")
	gate := make(chan struct{})
	h.mu.Lock()
	h.slow[id] = gate
	h.mu.Unlock()
	if err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "get x"}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		gate <- struct{}{} // so many chunks get through, then the link breaks
	}
	mu.Lock()
	end(g, conns[0])
	mu.Unlock()
	h.expect(t, "the end of the session", func() bool { return len(h.ended["g1"]) == 1 })
	if s := h.online(t, "g1"); s.Epoch < 2 {
		t.Errorf("online is %+v", s)
	}
	close(gate)
	if err := h.Send(t.Context(), "g1", reverse.Command{ID: id, Line: "get x"}); err != nil {
		t.Fatal(err)
	}
	if r := h.answer(t, id); string(r.text) != all {
		t.Errorf("%d bytes came", len(r.text))
	}
	h.expect(t, "Delivered", func() bool { err, ok := g.said(id); return ok && err == nil })
	if len(g.ran) != 1 {
		t.Errorf("it ran %d times", len(g.ran))
	}
	mu.Lock()
	defer mu.Unlock()
	// What was on its way at the break goes again, no more.
	if again := read - uint64(len(all)); again > 8*reverse.MaxChunk {
		t.Errorf("%d bytes were read twice", again)
	}
}

type readerAt func(b []byte, at int64) (int, error)

func (r readerAt) ReadAt(b []byte, at int64) (int, error) { return r(b, at) }

// A gateway that died has less of what it said than the hub, or nothing: what the hub
// has stays, and the result is an interrupted one. One that claims to be whole is not.
func TestLessIsLeftThanTheHubHas(t *testing.T) {
	for _, status := range []reverse.Status{reverse.StatusInterrupted, reverse.StatusOK} {
		t.Run(string(status), func(t *testing.T) {
			pki := newPKI(t)
			h := newHub(t).serve(t, pki)
			g := &gateway{Client: reverse.Client{TLS: pki.gateway("g1"), Dial: h.dial}, serve: echo}
			start(t, g)
			h.online(t, "g1")
			id, _ := h.command(t, "g1")
			h.mu.Lock()
			h.results[id].text, h.results[id].next = []byte("what came before"), 2
			h.mu.Unlock()
			out := text("what")
			end := out.End()
			end.Status, out.Fresh = status, false
			out.End = func() reverse.End { return end }
			err := g.Deliver(t.Context(), id, out)
			h.mu.Lock()
			defer h.mu.Unlock()
			r := h.results[id]
			if status == reverse.StatusOK {
				if !errors.Is(err, reverse.ErrRefused) || r.done || !errors.Is(r.why, reverse.ErrMismatch) {
					t.Errorf("%v; done: %v, %v", err, r.done, r.why)
				}
				return
			}
			sum := sha256.Sum256([]byte("what came before"))
			if err != nil || !r.done || r.meta.Status != status || r.meta.Total != 16 || r.meta.SHA256 != hex.EncodeToString(sum[:]) || string(r.text) != "what came before" {
				t.Errorf("%v; %+v, %q", err, r.meta, r.text)
			}
		})
	}
}

// What the hub can't keep now it gets again later.
func TestHubThatIsFullForAWhile(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1"), Chance: func() float64 { return 0.01 }}, serve: echo}
	start(t, g)
	h.online(t, "g1")
	h.mu.Lock()
	h.broken = errors.New("no space left on device")
	h.mu.Unlock()
	id := h.run(t, "g1", "x")
	h.expect(t, "refusals", func() bool { return h.Stats().Storage >= 3 })
	h.mu.Lock()
	h.broken = nil
	h.mu.Unlock()
	if r := h.answer(t, id); string(r.text) != "you said x" {
		t.Errorf("got %q", r.text)
	}
}

// A result whose hash is wrong is refused for good, and its sender learns why.
func TestWrongHashIsFinal(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1"), Chance: func() float64 { return 0 }}}
	g.serve = func(context.Context, string) *reverse.Outgoing {
		out := text("this")
		out.Content = bytes.NewReader([]byte("that"))
		return out
	}
	start(t, g)
	h.online(t, "g1")
	id := h.run(t, "g1", "x")
	h.expect(t, "Delivered", func() bool { _, ok := g.said(id); return ok })
	err, _ := g.said(id)
	if !errors.Is(err, reverse.ErrRefused) || !strings.Contains(err.Error(), "doesn't match its hash") {
		t.Errorf("delivered: %v", err)
	}
	if r := h.results[id]; r.why == nil || len(r.text) > 0 {
		t.Errorf("the hub has %+v", r)
	}
}

// What a command says arrives while it runs.
func TestOutputArrivesWhileCommandRuns(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	more := make(chan struct{})
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}}
	g.serve = func(context.Context, string) *reverse.Outgoing {
		out := text("onetwo")
		out.Content = readerAt(func(b []byte, at int64) (int, error) {
			switch at {
			case 0:
				return copy(b, "one"), nil
			case 3:
				<-more
				return copy(b, "two"), nil
			}
			return 0, io.EOF
		})
		return out
	}
	start(t, g)
	h.online(t, "g1")
	id := h.run(t, "g1", "x")
	h.expect(t, "the first part", func() bool { return string(h.results[id].text) == "one" })
	close(more)
	if r := h.answer(t, id); string(r.text) != "onetwo" {
		t.Errorf("got %q", r.text)
	}
}

// A result from before a restart goes on from where the hub has got to.
func TestDeliverAfterRestart(t *testing.T) {
	pki := newPKI(t)
	h := newHub(t).serve(t, pki)
	g := &gateway{Client: reverse.Client{Dial: h.dial, TLS: pki.gateway("g1")}, serve: echo}
	start(t, g)
	h.online(t, "g1")
	id, _ := h.command(t, "g1")
	h.results[id].text, h.results[id].next = []byte("one "), 1
	out := text("one and two")
	out.Fresh = false
	out.Content = readerAt(func(b []byte, at int64) (int, error) {
		if at < 4 {
			t.Error("what the hub has is sent again")
		}
		return strings.NewReader("one and two").ReadAt(b, at)
	})
	for range 2 { // the second time there is nothing to do
		if err := g.Deliver(t.Context(), id, out); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.answer(t, id); string(r.text) != "one and two" {
		t.Errorf("got %q", r.text)
	}
	unknown, err := ids.Next(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	out.Content = strings.NewReader("one and two")
	if err := g.Deliver(t.Context(), unknown, out); !errors.Is(err, reverse.ErrRefused) || !strings.Contains(err.Error(), "no such command") {
		t.Errorf("a command that the hub doesn't know: %v", err)
	}
}

// A gateway of ours gets on with a hub that has reverse_access only: here our own
// bare listener.
func TestForeignHub(t *testing.T) {
	h := newHub(t).serve(t, newPKI(t))
	g := &gateway{Client: reverse.Client{Dial: h.dialBare, ID: "cellar", Foreign: true}, serve: echo}
	start(t, g)
	h.online(t, "insecure/cellar")
	for _, line := range []string{"list", "status"} {
		if r := h.answer(t, h.run(t, "insecure/cellar", line)); string(r.text) != "you said "+line {
			t.Errorf("got %q", r.text)
		}
	}
	if _, err := g.Feed(t.Context(), reverse.TypeInventory, reverse.Meta{}, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a feed: %v", err)
	}
}

var _ io.ReaderAt = readerAt(nil)

// watched is a connection of which it is seen whether it was closed.
type watched struct {
	net.Conn
	closed *atomic.Bool
}

func (w watched) Close() error {
	w.closed.Store(true)
	return w.Conn.Close()
}

// Who shows no certificate may enrol, and doesn't stay.
func TestAStrangerDoesNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pki := newPKI(t)
		h := newHub(t).serve(t, pki)
		stranger := pki.gateway("nobody")
		stranger.Certificates = nil
		var closed [2]atomic.Bool
		for i, config := range []*tls.Config{stranger, pki.gateway("g1")} {
			cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(credentials.NewTLS(config)),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					conn, err := h.dial(ctx)
					return watched{conn, &closed[i]}, err
				}))
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			cc.Connect()
		}
		time.Sleep(50 * time.Second)
		if closed[0].Load() || closed[1].Load() {
			t.Error("there was no time to enrol")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !closed[0].Load() || closed[1].Load() {
			t.Errorf("the stranger is gone: %t; the gateway: %t", closed[0].Load(), closed[1].Load())
		}
		h.secure.Stop()
		h.bare.Stop()
	})
}
