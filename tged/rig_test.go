package tged_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// rig is a wire with a server at 10.0.0.1 and a client at 10.0.0.2, in a
// bubble of synctest.
type rig struct {
	t              *testing.T
	network        *lantest.Network
	office         *lantest.Wire
	server, asking *lantest.Host
	serverNIC      *lantest.NIC
	clientNIC      *lantest.NIC
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, network: lantest.New(1)}
	r.office = r.network.Wire("office")
	r.server, r.asking = r.network.Host("server"), r.network.Host("client")
	r.serverNIC = r.server.Attach(r.office, "eth0", "10.0.0.1/24")
	r.clientNIC = r.asking.Attach(r.office, "eth0", "10.0.0.2/24")
	return r
}

// serve runs a server on the server's host until the test ends.
func (r *rig) serve(s *tged.Server) {
	r.t.Helper()
	s.Links = r.server.WatchLinks
	s.Listen = listenOn(r.server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the server ended with %v", err)
		}
	})
	synctest.Wait()
}

func listenOn(h *lantest.Host) func(packet.Link, uint16) (tged.Conn, error) {
	return func(l packet.Link, port uint16) (tged.Conn, error) { return h.ListenBroadcast(l, port) }
}

// client asks from the client's host.
func (r *rig) client(to netip.AddrPort) *tged.Client {
	return &tged.Client{Links: r.asking.Links, Listen: listenOn(r.asking), Server: to}
}

// ask sends a datagram from a fresh socket and returns what comes back within 300 ms.
func (r *rig) ask(data, to string) []packet.Datagram {
	r.t.Helper()
	c, err := r.asking.ListenBroadcast(r.clientNIC.Link(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return exchange(r.t, c, data, to)
}

func exchange(t *testing.T, c *lantest.Conn, data, to string) []packet.Datagram {
	t.Helper()
	var mu sync.Mutex
	var got []packet.Datagram
	go func() {
		in := make([]packet.Datagram, 4)
		for {
			n, err := c.ReadBatch(in)
			if err != nil {
				return
			}
			mu.Lock()
			got = append(got, grams(in[:n])...)
			mu.Unlock()
		}
	}()
	if err := c.WriteTo([]byte(data), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	c.Close()
	synctest.Wait()
	mu.Lock()
	defer mu.Unlock()
	return got
}

// answerWith has the server's host answer each question with the datagrams.
func (r *rig) answerWith(all []text) {
	r.t.Helper()
	c, err := r.server.ListenBroadcast(r.serverNIC.Link(), tged.Port)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	go func() {
		in := make([]packet.Datagram, 4)
		for {
			n, err := c.ReadBatch(in)
			if err != nil {
				return
			}
			for _, d := range in[:n] {
				for _, b := range all {
					if err := c.WriteTo(b, d.Src); err != nil {
						r.t.Error(err)
					}
				}
			}
		}
	}()
}
