package syncthing_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// twoHosts are joined by a link; neither has a default route.
func twoHosts(t *testing.T) (a, b *nstest.Host) {
	a, b = nstest.Here(t), nstest.NewHost(t)
	nstest.Connect(t, a, "eth0", b, "eth0")
	a.SetUp(t, "eth0", "10.0.0.1/24", "10.0.0.3/24", "fd00::1/64")
	b.SetUp(t, "eth0", "10.0.0.2/24", "fd00::2/64")
	a.WaitUp(t, "eth0")
	b.WaitUp(t, "eth0")
	return a, b
}

// TestListenerOnRealSockets hears what another host sends as the old programs do: from
// an ordinary socket with a port of its own, to the subnet's broadcast address and to the group.
func TestListenerOnRealSockets(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		us, they := twoHosts(t)
		events := make(chan syncthing.Event, 16)
		l := &syncthing.Listener{
			Links: func(ctx context.Context) (c <-chan []packet.Link, err error) {
				us.Do(t, func() { c, err = lan.WatchLinks(ctx) })
				return c, err
			},
			Broadcast: func(l packet.Link, port uint16) (c syncthing.Conn, err error) {
				us.Do(t, func() { c, err = lan.ListenBroadcast(l, port) })
				return c, err
			},
			Multicast: func(l packet.Link, group netip.AddrPort) (c syncthing.Conn, err error) {
				us.Do(t, func() { c, err = lan.ListenMulticast(l, group) })
				return c, err
			},
			Event: func(e syncthing.Event) { events <- e },
		}
		run(t, l.Run)
		for _, c := range []struct{ network, to string }{
			{"udp4", "10.0.0.255:21025"},
			{"udp6", "[ff32::5222%eth0]:21026"},
		} {
			var conn net.Conn
			var err error
			they.Do(t, func() { conn, err = net.Dial(c.network, c.to) })
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			heard := hearOne(t, events, conn)
			ip, _ := netip.ParseAddrPort(conn.LocalAddr().String())
			want := fmt.Sprint([]netip.AddrPort{netip.AddrPortFrom(ip.Addr(), 22000)})
			if heard.ID != id(anID) || heard.Link.Name != "eth0" || fmt.Sprint(heard.Addresses) != want {
				t.Errorf("%s: %+v, want %s", c.to, heard, want)
			}
		}
	})
}

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// hearOne says the same until it is heard: the listener may not listen yet.
func hearOne(t *testing.T, events <-chan syncthing.Event, conn net.Conn) syncthing.Heard {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := conn.Write(announcement(id(anID), "sender:22000")); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-events:
			return e.Heard
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("nothing heard from %v", conn.LocalAddr())
	return syncthing.Heard{}
}

// run runs a role until the test ends.
func run(t *testing.T, role func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- role(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestServerOnRealSockets answers from the address that was asked, which isn't the one that
// the kernel would choose.
func TestServerOnRealSockets(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		us, they := twoHosts(t)
		open := func(h *nstest.Host, port uint16) (c syncthing.Conn) {
			h.Do(t, func() {
				links, err := lan.Links()
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == "eth0" })
				if c, err = lan.ListenBroadcast(links[i], port); err != nil {
					t.Fatal(err)
				}
			})
			return c
		}
		s := &syncthing.Server{Conns: []syncthing.Conn{open(us, syncthing.GlobalPort)}}
		run(t, s.Run)
		server := netip.MustParseAddrPort("10.0.0.3:22026")
		c := open(they, 0)
		defer c.Close()
		if _, err := c.WriteBatch([]packet.Datagram{{Data: announcement(id(anID), "sender:22000"), Dst: server}}); err != nil {
			t.Fatal(err)
		}
		l := &syncthing.Lookup{
			Servers: []netip.AddrPort{server},
			Listen:  func(netip.AddrPort) (syncthing.Conn, error) { return open(they, 0), nil },
			Timeout: patience,
		}
		if got, err := l.Ask(t.Context(), id(anID)); err != nil || !slices.Equal(got, addresses("10.0.0.2:22000")) {
			t.Error(got, err)
		}
	})
}

// TestServerTellsWhatTheKernelLost has a socket with little room, that nobody reads yet.
func TestServerTellsWhatTheKernelLost(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		c, err := lan.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), lan.UDPOptions{ReceiveBuffer: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		s := &syncthing.Server{Conns: []syncthing.Conn{c}}
		const sent = 100
		for range sent {
			if _, err := c.WriteBatch([]packet.Datagram{{Data: []byte("?"), Dst: c.LocalAddr()}}); err != nil {
				t.Fatal(err)
			}
		}
		run(t, s.Run)
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if st := s.Stats(); st.Received > 0 && st.Overflow > 0 && st.Received+st.Overflow == sent {
				break
			} else if time.Now().After(end) {
				t.Fatalf("of %d: %+v", sent, st)
			}
		}
	})
}

// TestServerLosesNothing has as many requests under way as its sockets must hold, 1,024, from clients that don't wait
// for each other: announcements first, and then queries for all of them.
func TestServerLosesNothing(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		conns, err := lan.ListenUDPs(netip.MustParseAddrPort("127.0.0.1:0"), 3, lan.UDPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := conns[0].ReceiveBuffer(); err != nil || n < lan.DefaultReceiveBuffer/4 {
			nstest.Missing(t, fmt.Sprintf("a large receive buffer: the kernel grants %d bytes, %v", n, err))
		}
		server := conns[0].LocalAddr()
		s := &syncthing.Server{PerPrefix: -1}
		for _, c := range conns {
			s.Conns = append(s.Conns, c)
		}
		run(t, s.Run)
		const clients, each = 8, 128
		var tasks sync.WaitGroup
		for client := range clients {
			tasks.Go(func() {
				c, err := lan.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), lan.UDPOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				stop := time.AfterFunc(patience, func() { c.Close() })
				defer stop.Stop()
				defer c.Close()
				var said, asked []packet.Datagram
				missing := map[syncthing.DeviceID]bool{}
				for i := range each {
					id := numbered(uint32(client*each + i))
					missing[id] = true
					said = append(said, packet.Datagram{Data: announcement(id, "sender:22000"), Dst: server})
					asked = append(asked, packet.Datagram{Data: syncthing.Query{ID: id}.Append(nil), Dst: server})
				}
				// A client's datagrams all come to one socket, in order.
				for _, d := range [][]packet.Datagram{said, asked} {
					if _, err := c.WriteBatch(d); err != nil {
						t.Error(err)
						return
					}
				}
				in := make([]packet.Datagram, 32)
				for len(missing) > 0 {
					n, err := c.ReadBatch(in)
					if err != nil {
						t.Errorf("%d answers are missing: %v", len(missing), err)
						return
					}
					for _, d := range in[:n] {
						var a syncthing.Announcement
						if err := a.Parse(d.Data); err != nil || !missing[a.ID] {
							t.Errorf("answer %x: %v", d.Data, err)
							return
						}
						delete(missing, a.ID)
					}
				}
			})
		}
		tasks.Wait()
		if st := s.Stats(); st.Overflow != 0 {
			t.Errorf("%+v", st)
		}
	})
}
