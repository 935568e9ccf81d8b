package lan_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

func listenUDP(t testing.TB, h *nstest.Host, at string, o lan.UDPOptions) *lan.UDPConn {
	t.Helper()
	return open(t, h, func() (*lan.UDPConn, error) { return lan.ListenUDP(netip.MustParseAddrPort(at), o) })
}

// An answer leaves from the address that was asked, by the link on which the question came:
// neither is what the kernel would choose.
func TestUDPAnswersFromTheAddressThatWasAsked(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		p.b.AddAddress(t, "eth0", "10.0.0.9/24")
		p.b.AddAddress(t, "eth0", "2001:db8::9/64")
		p.b.AddAddress(t, "eth0", "fe80::9/64")
		// A link that the server would take for link-local addresses.
		nstest.Connect(t, p.b, "ant0", p.a, "ant0")
		p.b.SetUp(t, "ant0", "fe80::2/64")
		p.a.SetUp(t, "ant0")
		p.b.WaitUp(t, "ant0")
		four, six := listenUDP(t, p.b, "0.0.0.0:22026", lan.UDPOptions{}), listenUDP(t, p.b, "[::]:22026", lan.UDPOptions{})
		eth0, lo := findLink(t, p.b, "eth0").Index, findLink(t, p.b, "lo").Index
		for _, c := range []struct {
			host      *nstest.Host
			at, asked string
			server    *lan.UDPConn
			link      int
		}{
			{p.a, "0.0.0.0:0", "10.0.0.9:22026", four, eth0},
			{p.a, "10.0.0.1:0", "10.0.0.2:22026", four, eth0},
			{p.b, "127.0.0.1:0", "127.0.0.5:22026", four, lo},
			{p.b, "0.0.0.0:0", "10.0.0.9:22026", four, eth0}, // whose address it is
			{p.a, "[::]:0", "[2001:db8::9]:22026", six, eth0},
			{p.a, "[::]:0", "[fe80::9%eth0]:22026", six, eth0},
			{p.b, "[::]:0", "[fe80::9%eth0]:22026", six, eth0},
			{p.b, "[::1]:0", "[::1]:22026", six, lo},
		} {
			client := listenUDP(t, c.host, c.at, lan.UDPOptions{})
			asked := netip.MustParseAddrPort(c.asked)
			plain := netip.AddrPortFrom(asked.Addr().WithZone(""), asked.Port())
			start := time.Now()
			send(t, client, packet.Datagram{Data: []byte("who?"), Dst: asked})
			q := read(t, c.server, 1)[0]
			if string(q.Data) != "who?" || q.Dst != plain || q.Link != c.link {
				t.Errorf("%s heard %+v", c.asked, q)
			}
			during(t, c.asked, q.Time, start, time.Now())
			send(t, c.server, packet.Datagram{Data: []byte("me"), Src: q.Dst, Dst: q.Src, Link: q.Link})
			if a := read(t, client, 1)[0]; a.Src != plain || a.Dst != q.Src || string(a.Data) != "me" {
				t.Errorf("%s: answer %+v", c.asked, a)
			}
			client.Close()
		}
	})
}

func TestUDPSendsByTheLinkThatIsNamed(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		from, to := listenUDP(t, p.a, "[::]:0", lan.UDPOptions{}), listenUDP(t, p.b, "[fe80::2%eth0]:22026", lan.UDPOptions{})
		link := findLink(t, p.a, "eth0").Index
		dst := netip.MustParseAddrPort("[fe80::2]:22026")
		zoned := func(zone string) netip.AddrPort { return netip.AddrPortFrom(dst.Addr().WithZone(zone), dst.Port()) }
		send(t, from,
			packet.Datagram{Data: []byte("by link"), Dst: dst, Link: link},
			packet.Datagram{Data: []byte("by name"), Dst: zoned("eth0")},
			packet.Datagram{Data: []byte("by number"), Dst: zoned(string(rune('0' + link)))},
		)
		var got []string
		for _, d := range read(t, to, 3) {
			got = append(got, string(d.Data))
		}
		if want := []string{"by link", "by name", "by number"}; !slices.Equal(got, want) {
			t.Errorf("heard %q", got)
		}
		if n, err := from.WriteBatch([]packet.Datagram{{Dst: zoned("eth9")}}); n != 0 || !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("by a link that isn't there: %d, %v", n, err)
		}
	})
}

func TestUDPSocketsOfOnePortShareTheLoad(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		for _, wildcard := range []string{"0.0.0.0:0", "[::]:0"} {
			conns, err := lan.ListenUDPs(netip.MustParseAddrPort(wildcard), 4, lan.UDPOptions{})
			if err != nil {
				t.Fatal(err)
			}
			at := conns[0].LocalAddr()
			for _, c := range conns {
				if c.LocalAddr() != at {
					t.Errorf("%v beside %v", c.LocalAddr(), at)
				}
			}
			// Whoever is started twice by mistake finds the port held.
			if _, err := lan.ListenUDPs(at, 4, lan.UDPOptions{}); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("four more: %v", err)
			}
			if _, err := lan.ListenUDP(at, lan.UDPOptions{}); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("one more: %v", err)
			}
			loopback := netip.MustParseAddr("127.0.0.1")
			if at.Addr().Is6() {
				loopback = netip.IPv6Loopback()
			}
			const clients = 64
			heard := make(chan int, clients)
			for i, c := range conns {
				go func() {
					d := make([]packet.Datagram, 8)
					for {
						n, err := c.ReadBatch(d)
						if err != nil {
							return
						}
						for range n {
							heard <- i
						}
					}
				}()
			}
			for range clients {
				c, err := lan.ListenUDP(netip.AddrPortFrom(at.Addr(), 0), lan.UDPOptions{})
				if err != nil {
					t.Fatal(err)
				}
				send(t, c, packet.Datagram{Data: []byte("x"), Dst: netip.AddrPortFrom(loopback, at.Port())})
				c.Close()
			}
			by := make([]int, len(conns))
			for range clients {
				select {
				case i := <-heard:
					by[i]++
				case <-time.After(patience):
					t.Fatalf("of %d datagrams these came: %v", clients, by)
				}
			}
			if slices.Contains(by, 0) {
				t.Errorf("the sockets heard %v of %d", by, clients)
			}
			for _, c := range conns {
				c.Close()
			}
		}
	})
}

func TestUDPCountsWhatIsLost(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		c := listenUDP(t, nstest.Here(t), "127.0.0.1:0", lan.UDPOptions{ReceiveBuffer: 64 << 10})
		if n, err := c.ReceiveBuffer(); err != nil || n != 64<<10 {
			t.Errorf("a receive buffer of %d, %v", n, err)
		}
		from := listenUDP(t, nstest.Here(t), "127.0.0.1:0", lan.UDPOptions{})
		const sent = 1000
		for range sent {
			send(t, from, packet.Datagram{Data: make([]byte, 40), Dst: c.LocalAddr()})
		}
		waitFor(t, "the count of what is lost", func() bool { return c.Stats().Overflow >= sent/10 })
		if lost := c.Stats().Overflow; lost > sent {
			t.Errorf("%d of %d are said to be lost", lost, sent)
		}
		long := listenUDP(t, nstest.Here(t), "127.0.0.1:0", lan.UDPOptions{})
		send(t, from, packet.Datagram{Data: make([]byte, lan.MaxDatagram+1), Dst: long.LocalAddr()},
			packet.Datagram{Data: make([]byte, lan.MaxDatagram), Dst: long.LocalAddr()})
		if d := read(t, long, 1)[0]; len(d.Data) != lan.MaxDatagram || long.Stats().Truncated != 1 {
			t.Errorf("%d bytes, %+v", len(d.Data), long.Stats())
		}
	})
}

// A port where nobody listens is said by ICMP, and is no reason to stop reading or writing.
func TestUDPRefusedIsNotTheEnd(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
			a, b := listenUDP(t, nstest.Here(t), loopback, lan.UDPOptions{}), listenUDP(t, nstest.Here(t), loopback, lan.UDPOptions{})
			nobody := netip.AddrPortFrom(a.LocalAddr().Addr(), 9)
			for range 3 {
				send(t, a, packet.Datagram{Dst: nobody}, packet.Datagram{Data: []byte("x"), Dst: b.LocalAddr()})
			}
			read(t, b, 3)
			send(t, b, packet.Datagram{Data: []byte("y"), Dst: a.LocalAddr()})
			read(t, a, 1)
		}
	})
}

// An answer to a false question in the name of all must not reach all.
func TestUDPIsNotBroadcast(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := listenUDP(t, p.a, "0.0.0.0:0", lan.UDPOptions{})
		for _, to := range []string{"10.0.0.255:9", "255.255.255.255:9"} {
			_, err := c.WriteBatch([]packet.Datagram{{Data: []byte("me"), Dst: netip.MustParseAddrPort(to), Link: findLink(t, p.a, "eth0").Index}})
			if !errors.Is(err, unix.EACCES) {
				t.Errorf("%s: %v", to, err)
			}
		}
	})
}

func TestListenUDPRefuses(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		for _, at := range []netip.AddrPort{
			{}, netip.MustParseAddrPort("224.0.0.251:5353"), netip.MustParseAddrPort("[ff32::5222]:21026"),
			netip.MustParseAddrPort("192.0.2.1:22026"), netip.MustParseAddrPort("[fe80::1%eth9]:22026"),
		} {
			if c, err := lan.ListenUDP(at, lan.UDPOptions{}); err == nil {
				t.Errorf("listens at %v", at)
				c.Close()
			}
		}
	})
}

func TestUDPAllocatesNothing(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		c := listenUDP(t, nstest.Here(t), "[::1]:0", lan.UDPOptions{})
		out := []packet.Datagram{{Data: []byte("x"), Src: c.LocalAddr(), Dst: c.LocalAddr()}}
		in := make([]packet.Datagram, 4)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := c.WriteBatch(out); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ReadBatch(in); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
