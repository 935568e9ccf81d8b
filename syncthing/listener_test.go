package syncthing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// ears is a host that listens on one wire, in a bubble of synctest.
type ears struct {
	t        *testing.T
	host     *lantest.Host
	nic      *lantest.NIC
	wire     *lantest.Wire
	listener *syncthing.Listener
	mu       sync.Mutex
	events   []syncthing.Event
}

func listen(t *testing.T, l *syncthing.Listener) *ears {
	t.Helper()
	n := lantest.New(1)
	e := &ears{t: t, host: n.Host("us"), wire: n.Wire("office"), listener: l}
	e.nic = e.host.Attach(e.wire, "eth0", "10.77.0.9/24", "fe80::9/64")
	l.Links = func(ctx context.Context) (<-chan []packet.Link, error) { return e.host.WatchLinks(ctx) }
	if l.Broadcast == nil {
		l.Broadcast = func(l packet.Link, port uint16) (syncthing.Conn, error) { return e.host.ListenBroadcast(l, port) }
	}
	l.Multicast = func(l packet.Link, group netip.AddrPort) (syncthing.Conn, error) {
		return e.host.ListenMulticast(l, group)
	}
	l.Event = func(v syncthing.Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.events = append(e.events, v)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the listener ended with %v", err)
		}
	})
	synctest.Wait()
	return e
}

// hear puts a packet on the wire and returns what happens then.
func (e *ears) hear(b []byte, src, dst string) []string {
	e.t.Helper()
	e.wire.Inject(packet.Datagram{Data: b, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)})
	return e.take()
}

// wait lets time pass and returns what happens meanwhile.
func (e *ears) wait(d time.Duration) []string {
	time.Sleep(d)
	return e.take()
}

func (e *ears) take() (out []string) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.events {
		h := v.Heard
		extra := ""
		if h.Extra {
			extra = " extra"
		}
		out = append(out, fmt.Sprintf("%s%s %s %v by %s on %s", v.Kind, extra, name(h.ID), h.Addresses, h.Source.Addr(), h.Link.Name))
	}
	e.events = nil
	return out
}

// name is the vectors' name of a device.
func name(id syncthing.DeviceID) string {
	for _, n := range []string{"alpha", "beta", "gamma", "kappa", "lambda"} {
		if syncthing.CertificateID([]byte(n)) == id {
			return n
		}
	}
	return id.Hex()[:8]
}

func (e *ears) want(what string, got []string, want ...string) {
	e.t.Helper()
	if !slices.Equal(got, want) {
		e.t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

const toAll4 = "10.77.0.255:21025"

// What real old clients sent, from the ports and to the addresses that they sent it.
func TestListenerHearsTheCapturedAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := listen(t, &syncthing.Listener{})
		got := map[string][]string{}
		for _, c := range readVectors(t).Captured {
			if c.Mode != "local" {
				continue
			}
			src, dst := endpoint(c.Src), endpoint(c.Dst)
			got[c.ID] = e.hear(c.Hex, src, dst)
			if again := e.hear(c.Hex, src, dst); again != nil {
				t.Errorf("%s, heard again: %v", c.ID, again)
			}
		}
		for id, want := range map[string][]string{
			"l01": {"appeared alpha [[fe80::70d7:95ff:fe78:3ebf%eth0]:22000 10.77.0.1:22001] by fe80::70d7:95ff:fe78:3ebf on eth0"},
			"l02": {"appeared alpha [10.77.0.1:22000 10.77.0.1:22001] by 10.77.0.1 on eth0"},
			"l03": {"appeared beta [10.77.0.2:22000 [fd77::2]:22002] by 10.77.0.2 on eth0"},
			"l05": {
				"appeared gamma [10.77.0.3:22000] by 10.77.0.3 on eth0",
				"appeared extra kappa [192.0.2.9:22009] by 10.77.0.3 on eth0",
				"appeared extra lambda [198.51.100.3:22011] by 10.77.0.3 on eth0",
			},
			"l06": {"appeared extra beta [10.77.0.2:22000] by 10.77.0.3 on eth0"},
			"l07": {"appeared extra alpha [10.77.0.1:22000 10.77.0.1:22001] by 10.77.0.3 on eth0"},
		} {
			e.want(id, got[id], want...)
		}
	})
}

// endpoint reads "10.77.0.2 port 43052 (ephemeral!)".
func endpoint(s string) string {
	f := strings.Fields(s)
	return netip.AddrPortFrom(netip.MustParseAddr(f[0]), netip.MustParseAddrPort("0.0.0.0:"+f[2]).Port()).String()
}

// What old clients made of made-up packets; the rules are stricter about some.
func TestListenerAsTheVectorsShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := listen(t, &syncthing.Listener{})
		for _, c := range readVectors(t).Local {
			var got []string
			for _, line := range e.hear(c.Hex, "10.77.0.5:40000", toAll4) {
				_, addresses, _ := strings.Cut(line, "[")
				addresses, _, _ = strings.Cut(addresses, "]")
				got = append(got, addresses)
			}
			var want []string
			switch c.Name {
			case "ok", "trailing":
				want = []string{"10.77.0.5:22000"}
			case "ip0000":
				want = []string{"0.0.0.0:1"}
			case "ip224":
				want = []string{"224.0.0.1:1"}
			case "noaddr", "port0":
				want = []string{""}
			case "16addr":
				for i := range 16 {
					want = append(want, fmt.Sprintf("192.0.2.%d:5", i))
				}
				want = []string{strings.Join(want, " ")}
			case "extras":
				want = []string{"10.77.0.5:22000", "192.0.2.7:9"}
			case "magic-0", "id-len-31": // strict
			default:
				t.Errorf("%s: what is that?", c.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s (%s):\n got %q\nwant %q", c.Name, c.Outcome, got, want)
			}
		}
		if st := e.listener.Stats(); st.Received != 10 || st.Announcements != 8 || st.Foreign != 1 || st.Invalid != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func alpha(all ...string) []byte {
	return announcement(syncthing.CertificateID([]byte("alpha")), all...)
}

func TestListenerTellsOfChangesAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := listen(t, &syncthing.Listener{})
		e.want("first", e.hear(alpha("sender:1"), "10.77.0.1:21025", toAll4), "appeared alpha [10.77.0.1:1] by 10.77.0.1 on eth0")
		e.want("60 s later", e.wait(time.Minute))
		e.want("from another port", e.hear(alpha("sender:1"), "10.77.0.1:5555", toAll4))
		e.want("another address", e.hear(alpha("sender:2"), "10.77.0.1:5555", toAll4), "changed alpha [10.77.0.1:2] by 10.77.0.1 on eth0")
		e.want("nearly gone", e.wait(3*time.Minute-time.Second))
		e.want("gone", e.wait(2*time.Second), "gone alpha [10.77.0.1:2] by 10.77.0.1 on eth0")
		e.want("back", e.hear(alpha("sender:2"), "10.77.0.1:1", toAll4), "appeared alpha [10.77.0.1:2] by 10.77.0.1 on eth0")
		e.nic.Remove()
		e.want("the link is gone", e.take(), "gone alpha [10.77.0.1:2] by 10.77.0.1 on eth0")
		e.nic = e.host.Attach(e.wire, "eth1", "10.77.0.9/24")
		synctest.Wait()
		e.want("on a new link", e.hear(alpha("sender:2"), "10.77.0.1:1", toAll4), "appeared alpha [10.77.0.1:2] by 10.77.0.1 on eth1")
	})
}

// Who keeps what was heard must know that it was heard again, but not of each packet.
func TestListenerTellsOfRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := listen(t, &syncthing.Listener{Refreshes: true})
		e.want("first", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4), "appeared alpha [10.77.0.1:1] by 10.77.0.1 on eth0")
		e.wait(9 * time.Second)
		e.want("9 s later", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4))
		e.wait(time.Second)
		e.want("10 s later", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4), "refreshed alpha [10.77.0.1:1] by 10.77.0.1 on eth0")
		e.want("right after that", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4))
		e.want("gone by its last packet", e.wait(3*time.Minute+time.Second), "gone alpha [10.77.0.1:1] by 10.77.0.1 on eth0")
	})
}

// Nobody gets in from afar, and a source has room for so many devices only.
func TestListenerAmongStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := listen(t, &syncthing.Listener{})
		e.want("from afar", e.hear(alpha("sender:1"), "203.0.113.9:1", "10.77.0.9:21025"))
		e.want("another subnet on the wire", e.hear(alpha("sender:1"), "192.168.7.7:1", "255.255.255.255:21025"), "appeared alpha [192.168.7.7:1] by 192.168.7.7 on eth0")
		e.want("no host", e.hear(alpha("sender:1"), "0.0.0.0:1", toAll4))
		n := 0
		for i := range uint32(100) {
			n += len(e.hear(announcement(numbered(i), "sender:1"), "10.77.0.66:1", toAll4))
		}
		if n != 64 {
			t.Errorf("%d devices of one source", n)
		}
		for i := range uint32(6000) {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}), 9).String()
			n += len(e.hear(announcement(numbered(i), "sender:1"), src, "255.255.255.255:21025"))
		}
		if n != 4095 {
			t.Errorf("%d devices of one link", n)
		}
		if st := e.listener.Stats(); st.OffLink != 2 || st.Full == 0 {
			t.Errorf("%+v", st)
		}
		if n := len(e.wait(4 * time.Minute)); n != 4096 {
			t.Errorf("%d gone", n)
		}
		e.want("once there is room", e.hear(alpha("sender:1"), "10.77.0.66:1", toAll4), "appeared alpha [10.77.0.66:1] by 10.77.0.66 on eth0")
	})
}

// An old program has the port of IPv4 to itself: that is said once, IPv6 is heard, and IPv4 once it is free.
func TestListenerBesideAnOldProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var e *ears
		var free atomic.Bool
		l := &syncthing.Listener{Log: slog.New(slog.NewTextHandler(&log, nil))}
		l.Broadcast = func(l packet.Link, port uint16) (syncthing.Conn, error) {
			if !free.Load() {
				return nil, errors.New("address already in use")
			}
			return e.host.ListenBroadcast(l, port)
		}
		e = listen(t, l)
		e.want("IPv4", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4))
		e.want("IPv6", e.hear(alpha("sender:1"), "[fe80::1]:1", "[ff32::5222]:21026"), "appeared alpha [[fe80::1%eth0]:1] by fe80::1 on eth0")
		e.wait(time.Minute)
		// (lo has an address of each family, too.)
		if n := strings.Count(log.String(), "address already in use"); n != 2 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		if u := e.listener.Unheard(); !slices.Contains(u, "eth0 IPv4: address already in use") {
			t.Errorf("unheard: %q", u)
		}
		free.Store(true)
		time.Sleep(11 * time.Second)
		if u := e.listener.Unheard(); len(u) > 0 {
			t.Errorf("unheard: %q", u)
		}
		e.want("IPv4 once it is free", e.hear(alpha("sender:1"), "10.77.0.1:1", toAll4), "appeared alpha [10.77.0.1:1] by 10.77.0.1 on eth0")
	})
}

func TestListenerWithoutAnyLinkFails(t *testing.T) {
	why := errors.New("no")
	l := &syncthing.Listener{
		Links: func(context.Context) (<-chan []packet.Link, error) { return nil, why },
	}
	if err := l.Run(t.Context()); !errors.Is(err, why) || err.Error() != "syncthing: list links: no" {
		t.Error(err)
	}
	l.Links = func(context.Context) (<-chan []packet.Link, error) {
		c := make(chan []packet.Link, 1)
		c <- []packet.Link{{Index: 1, Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}}}
		return c, nil
	}
	l.Broadcast = func(packet.Link, uint16) (syncthing.Conn, error) { return nil, why }
	if err := l.Run(t.Context()); !errors.Is(err, why) || err.Error() != "syncthing: no link could be opened: no" {
		t.Error(err)
	}
}
