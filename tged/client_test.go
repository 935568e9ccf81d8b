package tged_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// otherServer is a server of its own on a wire, with the one service SQL.
func (r *rig) otherServer(name, address string) {
	r.t.Helper()
	h := r.network.Host(name)
	h.Attach(r.office, "eth0", address+"/24")
	s := &rig{t: r.t, server: h}
	s.serve(&tged.Server{Services: set(r.t, service(r.t, "SQL", name))})
}

func TestAllYieldsEveryServerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.serve(&tged.Server{Services: set(t, service(t, "OTHER", "x"))}) // says INVALID
		r.otherServer("one", "10.0.0.11")
		r.otherServer("two", "10.0.0.12")
		start := time.Now()
		var got []string
		for a, err := range r.client(netip.AddrPort{}).All(t.Context(), "SQL") {
			if err != nil {
				t.Fatal(err)
			}
			host, _ := a.Get("HOST")
			got = append(got, host+" "+a.Server.String())
		}
		slices.Sort(got)
		if want := []string{"one 10.0.0.11:4745", "two 10.0.0.12:4745"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if d := time.Since(start); d != tged.DefaultTimeout {
			t.Errorf("took %v", d)
		}
		if a, err := r.client(netip.MustParseAddrPort("10.0.0.12:4745")).Ask(t.Context(), "sql"); err != nil || a.Server.Addr().String() != "10.0.0.12" {
			t.Errorf("asked alone: %v, %v", a, err)
		}
	})
}

// TestEveryInterface: the server is behind the second of two interfaces, and
// there is no default route.
func TestEveryInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		lab := r.network.Wire("lab")
		r.asking.Attach(lab, "eth1", "10.9.0.2/24")
		down := r.asking.Attach(lab, "eth2", "10.9.1.2/24")
		down.SetUp(false)
		r.asking.Attach(lab, "eth3") // no address
		far := r.network.Host("far")
		far.Attach(lab, "eth0", "10.9.0.1/24")
		s := &rig{t: t, server: far}
		s.serve(&tged.Server{Services: services(t)})
		office, there := r.office.Capture(), lab.Capture()
		a, err := r.client(netip.AddrPort{}).Ask(t.Context(), "SQL")
		if err != nil || a.Link.Name != "eth1" || a.Server.String() != "10.9.0.1:4745" {
			t.Errorf("%+v, %v", a, err)
		}
		if len(office.Packets()) != 1 || len(there.Packets()) != 2 {
			t.Errorf("%v and %v", office.Packets(), there.Packets())
		}
		p := office.Packets()[0]
		if string(p.Data) != canonical || p.Dst.String() != "255.255.255.255:4745" {
			t.Errorf("asked %q at %s", p.Data, p.Dst)
		}
	})
}

func TestResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.office.Capture()
		start := time.Now()
		client := r.client(netip.AddrPort{})
		client.Timeout = 10 * time.Second
		if _, err := client.Ask(t.Context(), "SQL"); err != tged.ErrNoAnswer {
			t.Error(err)
		}
		var at []string
		for _, p := range c.Packets() {
			at = append(at, p.Time.Sub(start).String())
		}
		if got := strings.Join(at, " "); got != "0s 250ms 750ms 1.75s 3.75s 7.75s" {
			t.Errorf("sent after %s", got)
		}
	})
}

// TestLossyWire: half of all packets are lost.
func TestLossyWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.office.SetConditions(lantest.Conditions{Loss: 0.5})
		r.serve(&tged.Server{Services: services(t)})
		client := r.client(netip.AddrPort{})
		client.Timeout = time.Minute
		for range 20 {
			if _, err := client.Ask(t.Context(), "SQL"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestStrangers: whatever comes in, the client ends in time and holds little.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		listening, err := r.server.ListenBroadcast(r.serverNIC.Link(), tged.Port)
		if err != nil {
			t.Fatal(err)
		}
		defer listening.Close()
		flood.Go(func() { // floods whoever asks, from ever new addresses
			in := make([]packet.Datagram, 1)
			if _, err := listening.ReadBatch(in); err != nil {
				return
			}
			to := in[0].Src.String()
			for n := 0; ctx.Err() == nil; n++ {
				from := fmt.Sprintf("10.0.%d.%d:4745", n>>8&0xff, n&0xff)
				r.spoof(from, to, "TGED REPLY 1.0\r\nHOST: stranger\x1b]0;\xff\r\n\r\n")
				r.spoof(from, to, "TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n")
				r.spoof(from, to, "TGED REPLY 2.0\r\n\r\n")
				r.spoof(from, to, "TGED "+strings.Repeat("x", 9000))
				time.Sleep(time.Millisecond)
			}
		})
		start := time.Now()
		n := 0
		for a, err := range r.client(netip.AddrPort{}).All(t.Context(), "SQL") {
			if err != nil {
				t.Fatal(err)
			}
			if v, _ := a.Get("HOST"); v != "stranger\ufffd]0;\ufffd" {
				t.Errorf("%q", v)
			}
			n++
		}
		if d := time.Since(start); n != 256 || d != tged.DefaultTimeout {
			t.Errorf("%d answers in %v", n, d)
		}
		// One that was asked alone can't be spoken for by others.
		go func() {
			time.Sleep(10 * time.Millisecond)
			r.spoof("10.0.0.66:4745", "10.0.0.2:40000", "TGED REPLY 1.0\r\n\r\n")
		}()
		if a, err := r.client(netip.MustParseAddrPort("10.0.0.77:4745")).Ask(t.Context(), "SQL"); err != tged.ErrNoAnswer {
			t.Error(a, err)
		}
	})
}

func TestClientErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for name, want := range map[string]string{
			"":           "tged: ask: the name is empty",
			"A\r\nRQ: B": `tged: ask: name "A\r\nRQ: B" holds control characters or isn't UTF-8`,
		} {
			if _, err := r.client(netip.AddrPort{}).Ask(t.Context(), name); err == nil || err.Error() != want {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := r.client(netip.AddrPort{}).Ask(ctx, "SQL"); !errors.Is(err, context.DeadlineExceeded) || err.Error() != "tged: ask for SQL: context deadline exceeded" {
			t.Error(err)
		}
		none := &tged.Client{Links: func() ([]packet.Link, error) { return nil, nil }, Listen: listenOn(r.asking)}
		if _, err := none.Ask(t.Context(), "SQL"); err == nil || err.Error() != "tged: no link to ask on: none is up and has an IPv4 address" {
			t.Error(err)
		}
		none.Links = func() ([]packet.Link, error) { return nil, errors.New("no netlink") }
		if _, err := none.Ask(t.Context(), "SQL"); err == nil || err.Error() != "tged: list links: no netlink" {
			t.Error(err)
		}
		none.Links = r.asking.Links
		none.Listen = func(packet.Link, uint16) (tged.Conn, error) { return nil, errors.New("no sockets") }
		if _, err := none.Ask(t.Context(), "SQL"); err == nil || err.Error() != "tged: no link could be opened: no sockets" {
			t.Error(err)
		}
		c := r.client(netip.AddrPort{})
		links, _ := r.asking.Links()
		c.Links = func() ([]packet.Link, error) { return links, nil }
		r.clientNIC.SetUp(false)
		if _, err := c.Ask(t.Context(), "SQL"); err == nil || !strings.HasPrefix(err.Error(), "tged: ask: lan: write on eth0") {
			t.Error(err)
		}
	})
}

// TestAloneOnTheMachine: without any network a machine still finds its own server.
func TestAloneOnTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.serverNIC.Remove()
		r.serve(&tged.Server{Services: services(t)})
		r.asking = r.server
		a, err := r.client(netip.AddrPort{}).Ask(t.Context(), "SQL")
		if err != nil || a.Server.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%+v, %v", a, err)
		}
		a, err = r.client(netip.MustParseAddrPort("127.0.0.1:4745")).Ask(t.Context(), "SQL")
		if err != nil {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
