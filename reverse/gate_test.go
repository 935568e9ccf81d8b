package reverse_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/lanfolk/lanfolk/reverse"
)

// A street is a listener in memory whose connections come from addresses.
type street struct {
	*bufconn.Listener
	from chan string // of the connection that is accepted next
}

// Accept implements net.Listener.
func (s street) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return houseConn{conn, &net.TCPAddr{IP: net.ParseIP(<-s.from), Port: 4711}}, nil
}

// dial connects from an address.
func (s street) dial(ctx context.Context, from string) (net.Conn, error) {
	conn, err := s.DialContext(ctx)
	if err == nil {
		s.from <- from
	}
	return conn, err
}

type houseConn struct {
	net.Conn
	from net.Addr
}

func (c houseConn) RemoteAddr() net.Addr { return c.from }

// live runs a hub in a bubble, at a street.
func live(t *testing.T, test func(t *testing.T, h *hub, at street, pki *pki)) {
	synctest.Test(t, func(t *testing.T) {
		pki := newPKI(t)
		h := newHub(t)
		g := h.GRPC(pki.server())
		at := street{bufconn.Listen(64 << 10), make(chan string)}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = g.Serve(at) }()
		test(t, h, at, pki)
		g.Stop()
		<-ended
	})
}

// comes has a gateway connect from an address, and returns how long it takes until it
// listens.
func (h *hub) comes(t *testing.T, at street, pki *pki, id, from string) (took time.Duration, stop func()) {
	t.Helper()
	g := &gateway{Client: reverse.Client{TLS: pki.gateway(id), Chance: never}, serve: echo}
	g.Dial = func(ctx context.Context) (net.Conn, error) { return at.dial(ctx, from) }
	began := time.Now()
	stop = start(t, g)
	for range 1000 {
		synctest.Wait()
		if _, ok := h.Session(id); ok {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began), stop
}

// Who connects and says nothing, or stops in the middle of his first word, keeps nobody
// out who comes from elsewhere; who says nothing at all not even his neighbours.
func TestSilentPeersKeepNobodyOut(t *testing.T) {
	live(t, func(t *testing.T, h *hub, at street, pki *pki) {
		crowd := func(n int, says string) (gone *atomic.Int64) {
			gone = new(atomic.Int64)
			for range n {
				conn, err := at.dial(t.Context(), "192.0.2.1")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write([]byte(says)); err != nil {
					t.Fatal(err)
				}
				go func() {
					_, _ = io.Copy(io.Discard, conn)
					gone.Add(1)
				}()
			}
			synctest.Wait()
			return gone
		}
		silent := crowd(1000, "")
		took, stop := h.comes(t, at, pki, "g1", "192.0.2.1")
		defer stop()
		if took > 0 {
			t.Errorf("beside a thousand that say nothing a neighbour gets in after %v", took)
		}
		stammering := crowd(1000, "\x16\x03\x01\x02\x00\x01")
		took, stop = h.comes(t, at, pki, "g2", "192.0.2.2")
		defer stop()
		if took > 0 {
			t.Errorf("beside a thousand that stop in their first word somebody else gets in after %v", took)
		}
		took, stop = h.comes(t, at, pki, "g3", "192.0.2.1")
		defer stop()
		if took == 0 || took > 15*time.Second {
			t.Errorf("a neighbour of theirs gets in after %v; want it to wait for its turn, and less than a handshake's time", took)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if silent.Load() != 1000 || stammering.Load() != 1000 {
			t.Errorf("%d and %d have been sent away, want all", silent.Load(), stammering.Load())
		}
		if n := h.Stats().Handshake; n != 2000 {
			t.Errorf("%d counted", n)
		}
		if n := len(h.Online()); n != 3 {
			t.Errorf("%d gateways listen", n)
		}
	})
}

func TestWhatIsOneSource(t *testing.T) {
	for _, c := range []struct{ ip, want string }{
		{"192.0.2.7", "192.0.2.7"},
		{"::ffff:192.0.2.7", "192.0.2.7"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::9", "2001:db8:1:2::/64"},
		{"::1", "::/64"},
	} {
		if got := reverse.Source(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 5}); got != c.want {
			t.Errorf("%s: %s; want %s", c.ip, got, c.want)
		}
	}
	if got := reverse.Source(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 5}); got != "fe80::/64" {
		t.Errorf("a zone: %s", got)
	}
	if got := reverse.Source(nil); got != "unknown" {
		t.Errorf("nobody: %s", got)
	}
}
