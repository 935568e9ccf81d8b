package syncthing_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// realListener is a Listener with a host's sockets.
func realListener(t *testing.T, h *nstest.Host, event func(syncthing.Event)) *syncthing.Listener {
	return &syncthing.Listener{
		Links: func(ctx context.Context) (<-chan []packet.Link, error) {
			var all <-chan []packet.Link
			var err error
			h.Do(t, func() { all, err = lan.WatchLinks(ctx) })
			if err != nil {
				return nil, err
			}
			out := make(chan []packet.Link)
			go func() {
				defer close(out)
				for links := range all {
					select {
					case out <- slices.DeleteFunc(slices.Clone(links), func(l packet.Link) bool { return !lan.Usable(l) }):
					case <-ctx.Done():
						return
					}
				}
			}()
			return out, nil
		},
		Broadcast: func(l packet.Link, port uint16) (c syncthing.Conn, err error) {
			h.Do(t, func() { c, err = lan.ListenBroadcast(l, port) })
			return c, err
		},
		Multicast: func(l packet.Link, group netip.AddrPort) (c syncthing.Conn, err error) {
			h.Do(t, func() { c, err = lan.ListenMulticast(l, group) })
			return c, err
		},
		Event: event,
	}
}

// realSocket opens a socket of a host's to a server.
func realSocket(t *testing.T, h *nstest.Host) func(netip.AddrPort) (syncthing.Conn, error) {
	return func(server netip.AddrPort) (c syncthing.Conn, err error) {
		at := netip.IPv4Unspecified()
		if server.Addr().Is6() {
			at = netip.IPv6Unspecified()
		}
		h.Do(t, func() { c, err = lan.ListenUDP(netip.AddrPortFrom(at, 0), lan.UDPOptions{}) })
		return c, err
	}
}

// hearings are what a host heard, as "beta 10.0.0.2:22000 on eth0".
type hearings struct {
	t      *testing.T
	events chan syncthing.Event
	heard  map[string]syncthing.Heard
}

func hear(t *testing.T) *hearings {
	return &hearings{t, make(chan syncthing.Event, 64), map[string]syncthing.Heard{}}
}

// want waits until all of that was heard.
func (h *hearings) want(what string, want ...string) {
	h.t.Helper()
	end := time.After(patience)
	for {
		if !slices.ContainsFunc(want, func(w string) bool { _, ok := h.heard[w]; return !ok }) {
			return
		}
		select {
		case e := <-h.events:
			for _, a := range e.Heard.Addresses {
				h.heard[fmt.Sprintf("%s %v on %s", name(e.Heard.ID), a, e.Heard.Link.Name)] = e.Heard
			}
		case <-end:
			h.t.Fatalf("%s: heard %v, want %v", what, h.heard, want)
		}
	}
}

// TestAnnouncersOnRealSockets lets two devices hear each other, by both families, on a link that comes
// later, on one with IPv6 alone, and while another program keeps the port of IPv4 to itself.
func TestAnnouncersOnRealSockets(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		us, they := twoHosts(t)
		var old net.PacketConn
		var err error
		they.Do(t, func() { old, err = net.ListenPacket("udp4", ":21025") })
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()

		our, their := hear(t), hear(t)
		alpha := &syncthing.Announcer{
			ID: named("alpha"), Addresses: addresses("sender:22000"), Local: realListener(t, us, func(e syncthing.Event) { our.events <- e }),
		}
		beta := &syncthing.Announcer{
			ID: named("beta"), Addresses: addresses("sender:22001"), Local: realListener(t, they, func(e syncthing.Event) { their.events <- e }),
		}
		// Another program of ours on the same machine shares the ports.
		beside := hear(t)
		run(t, realListener(t, us, func(e syncthing.Event) { beside.events <- e }).Run)
		run(t, alpha.Run)
		run(t, beta.Run)
		linkLocal := func(h *nstest.Host, link string) (found string) {
			h.Do(t, func() {
				links, err := lan.Links()
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range links {
					for _, p := range l.Prefixes {
						if l.Name == link && p.Addr().IsLinkLocalUnicast() {
							found = p.Addr().String()
						}
					}
				}
			})
			return found
		}
		our.want("by both families", "beta 10.0.0.2:22001 on eth0", fmt.Sprintf("beta [%s%%eth0]:22001 on eth0", linkLocal(they, "eth0")))
		beside.want("by a program beside it", "beta 10.0.0.2:22001 on eth0", "alpha 10.0.0.1:22000 on eth0",
			fmt.Sprintf("beta [%s%%eth0]:22001 on eth0", linkLocal(they, "eth0")), fmt.Sprintf("alpha [%s%%eth0]:22000 on eth0", linkLocal(us, "eth0")))
		if h := our.heard["beta 10.0.0.2:22001 on eth0"]; h.Source.Port() == syncthing.LocalPort {
			t.Error("it left from a port that somebody else keeps")
		}
		their.want("by IPv6", fmt.Sprintf("alpha [%s%%eth0]:22000 on eth0", linkLocal(us, "eth0")))
		for end := time.Now().Add(patience); beta.Local.Stats().Own == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it didn't hear itself: %+v", beta.Local.Stats())
			}
		}
		for _, st := range beta.Status() {
			if st.Err != nil || st.Sent == 0 {
				t.Errorf("%+v", st)
			}
		}

		// The old program ends. The port is tried again every ten seconds, and at each change of the links.
		old.Close()
		nstest.Connect(t, us, "eth1", they, "eth1")
		us.SetUp(t, "eth1", "10.1.0.1/24")
		they.SetUp(t, "eth1", "10.1.0.2/24")
		their.want("by IPv4, and on a link that came later", "alpha 10.1.0.1:22000 on eth1")
		our.want("on a link that came later", "beta 10.1.0.2:22001 on eth1")

		nstest.Connect(t, us, "eth2", they, "eth2")
		us.SetUp(t, "eth2")
		they.SetUp(t, "eth2")
		us.WaitUp(t, "eth2")
		they.WaitUp(t, "eth2")
		their.want("where there is no IPv4", fmt.Sprintf("alpha [%s%%eth2]:22000 on eth2", linkLocal(us, "eth2")))
	})
}

// TestServersAreToldOnRealSockets announces by both families of a name, and asks where the device is.
func TestServersAreToldOnRealSockets(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		us, they := twoHosts(t)
		var conns []syncthing.Conn
		they.Do(t, func() {
			for _, a := range []string{"0.0.0.0:22026", "[::]:22026"} {
				c, err := lan.ListenUDP(netip.MustParseAddrPort(a), lan.UDPOptions{})
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
		})
		s := &syncthing.Server{Conns: conns}
		run(t, s.Run)
		a := &syncthing.Announcer{
			ID: named("alpha"), Addresses: addresses("sender:22000"), Servers: []string{"disco.example.com"}, Once: true,
			Resolve: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}, nil
			},
			Listen: realSocket(t, us),
		}
		if err := a.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, st := range a.Status() {
			if st.Err != nil {
				t.Errorf("%+v", st)
			}
		}
		l := &syncthing.Lookup{
			Servers: addresses("10.0.0.2:22026", "[fd00::2]:22026"), Listen: realSocket(t, us), Timeout: patience,
		}
		var got []netip.AddrPort
		var err error
		for end := time.Now().Add(patience); len(got) < 2 && err == nil && time.Now().Before(end); { // who answers half a second after the first is left out
			got, err = l.Ask(t.Context(), named("alpha"))
		}
		slices.SortFunc(got, netip.AddrPort.Compare)
		if ours := s.Stats(); err != nil || len(got) != 2 || !got[0].Addr().Is4() || got[1].String() != "[fd00::1]:22000" || ours.Stored != 2 {
			t.Errorf("%v, %v; %+v", got, err, ours)
		}
	})
}
