package lan_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

func TestMulticastTellsSourceDestinationLinkAndTTL(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		link := findLink(t, p.b, "eth0")
		for _, c := range []struct{ group, src, unicast string }{
			{"224.0.0.251:5353", "10.0.0.1:5353", "10.0.0.2:5353"},
			{"[ff02::fb]:5353", "[fe80::1]:5353", "[fe80::2]:5353"},
			{"[ff02::fb]:5353", "[2001:db8::1]:5353", "[2001:db8::2]:5353"},
		} {
			group, src, unicast := netip.MustParseAddrPort(c.group), netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.unicast)
			from, to := listen(t, p.a, "eth0", group), listen(t, p.b, "eth0", group)
			if !from.Bound() || !to.Bound() {
				t.Error("not bound to the device")
			}
			start := time.Now()
			send(t, from, packet.Datagram{Data: []byte("group"), Src: src}, packet.Datagram{Data: []byte("one"), Src: src, Dst: unicast})
			got := read(t, to, 2)
			for i, want := range []packet.Datagram{{Data: []byte("group"), Dst: group}, {Data: []byte("one"), Dst: unicast}} {
				d := got[i]
				if !bytes.Equal(d.Data, want.Data) || d.Src != src || d.Dst != want.Dst || d.Link != link.Index || d.TTL != 255 {
					t.Errorf("%s: got %+v", c.group, d)
				}
				during(t, c.group, d.Time, start, time.Now())
				if !strings.Contains(d.Time.String(), "m=") {
					t.Errorf("%s: the time has no monotonic reading", c.group)
				}
			}
			if got := read(t, from, 1); string(got[0].Data) != "group" {
				t.Errorf("the sender's host heard %q", got[0].Data)
			}
			from.Close()
			to.Close()
		}
	})
}

func TestEveryListenerHearsAMulticast(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, group := range []netip.AddrPort{group4, group6} {
			var conns []*lan.Conn
			for range 8 {
				conns = append(conns, listen(t, p.b, "eth0", group))
			}
			// What another program does that only sets SO_REUSEADDR, as
			// systemd-resolved, and one that doesn't bind to the device.
			other := foreign(t, p.b, group)
			send(t, listen(t, p.a, "eth0", group), packet.Datagram{Data: []byte("x")})
			for _, c := range conns {
				read(t, c, 1)
				c.Close()
			}
			other.SetReadDeadline(time.Now().Add(patience))
			if n, err := other.Read(make([]byte, 9)); err != nil || n != 1 {
				t.Errorf("a foreign socket read %d bytes: %v", n, err)
			}
		}
	})
}

// foreign listens as other programs do: any link, SO_REUSEADDR only.
func foreign(t *testing.T, h *nstest.Host, group netip.AddrPort) *net.UDPConn {
	t.Helper()
	index := findLink(t, h, "eth0").Index
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if group.Addr().Is4() {
				mreq := &unix.IPMreqn{Multiaddr: group.Addr().As4(), Ifindex: int32(index)}
				err = errors.Join(err, unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
			} else {
				mreq := &unix.IPv6Mreq{Multiaddr: group.Addr().As16(), Interface: uint32(index)}
				err = errors.Join(err, unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq))
			}
		})
		return err
	}}
	network := "udp4"
	if group.Addr().Is6() {
		network = "udp6"
	}
	var pc net.PacketConn
	var err error
	h.Do(t, func() { pc, err = lc.ListenPacket(t.Context(), network, fmt.Sprintf(":%d", group.Port())) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

func TestHearsOwnLinkOnly(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		nstest.Connect(t, p.a, "eth1", p.b, "eth1")
		p.a.SetUp(t, "eth1", "10.1.0.1/24", "fe80::1/64")
		p.b.SetUp(t, "eth1", "10.1.0.2/24", "fe80::2/64")
		p.a.WaitUp(t, "eth1")
		p.b.WaitUp(t, "eth1")
		for _, group := range []netip.AddrPort{group4, group6} {
			zero, one := listen(t, p.b, "eth0", group), listen(t, p.b, "eth1", group)
			from0, from1 := listen(t, p.a, "eth0", group), listen(t, p.a, "eth1", group)
			send(t, from0, packet.Datagram{Data: []byte("on eth0")})
			send(t, from1, packet.Datagram{Data: []byte("on eth1")})
			if group.Addr().Is4() {
				send(t, from1, packet.Datagram{Data: []byte("on eth1"), Dst: netip.MustParseAddrPort("10.1.0.2:5353")})
				// An address of the other link, but by this one (the weak host model).
				if err := from1.WriteTo([]byte("on eth1"), netip.MustParseAddrPort("10.1.0.2:5353")); err != nil {
					t.Fatal(err)
				}
			} else {
				send(t, from1, packet.Datagram{Data: []byte("on eth1"), Dst: netip.MustParseAddrPort("[fe80::2]:5353")},
					packet.Datagram{Data: []byte("on eth1"), Dst: netip.MustParseAddrPort("[fe80::2]:5353")})
			}
			for _, d := range append(read(t, one, 3), read(t, zero, 1)...) {
				if want := findLink(t, p.b, strings.TrimPrefix(string(d.Data), "on ")).Index; d.Link != want {
					t.Errorf("%q came on link %d, want %d", d.Data, d.Link, want)
				}
			}
			read(t, zero, 0)
			for _, c := range []*lan.Conn{zero, one, from0, from1} {
				c.Close()
			}
		}
	})
}

func TestProgramsOfOneHostAnswerEachOtherByUnicast(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, c := range []struct {
			group netip.AddrPort
			own   string
		}{{group4, "10.0.0.1"}, {group6, "fe80::1"}, {group6, "2001:db8::1"}} {
			to := listen(t, p.a, "eth0", c.group)
			from := listen(t, p.a, "eth0", netip.AddrPortFrom(c.group.Addr(), 5454))
			send(t, from, packet.Datagram{Data: []byte("x"), Dst: netip.AddrPortFrom(netip.MustParseAddr(c.own), 5353)})
			if d := read(t, to, 1)[0]; d.Src.Addr().String() != c.own || d.Src.Port() != 5454 || d.Dst.Addr().String() != c.own {
				t.Errorf("got %+v", d)
			}
			to.Close()
			from.Close()
		}
	})
}

func TestJoinsMoreLinksThanOneSocketMay(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		const links = 24 // net.ipv4.igmp_max_memberships is 20
		a, b := nstest.Here(t), nstest.NewHost(t)
		for i := range links {
			name := fmt.Sprintf("eth%d", i)
			nstest.Connect(t, a, name, b, name)
			a.SetUp(t, name, fmt.Sprintf("10.0.%d.1/24", i), "fe80::1/64")
			b.SetUp(t, name, fmt.Sprintf("10.0.%d.2/24", i), "fe80::2/64")
		}
		for i := range links {
			a.WaitUp(t, fmt.Sprintf("eth%d", i))
			b.WaitUp(t, fmt.Sprintf("eth%d", i))
		}
		for _, group := range []netip.AddrPort{group4, group6} {
			var from, to []*lan.Conn
			for i := range links {
				name := fmt.Sprintf("eth%d", i)
				from, to = append(from, listen(t, a, name, group)), append(to, listen(t, b, name, group))
			}
			for i, c := range from {
				send(t, c, packet.Datagram{Data: fmt.Append(nil, i)})
			}
			for i, c := range to {
				if got := read(t, c, 1)[0]; string(got.Data) != fmt.Sprint(i) {
					t.Errorf("link %d heard %q", i, got.Data)
				}
			}
		}
	})
}

func TestBigDatagramsAreFragmented(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, group := range []netip.AddrPort{group4, group6} {
			from, to := listen(t, p.a, "eth0", group), listen(t, p.b, "eth0", group)
			data := bytes.Repeat([]byte("0123456789abcdef"), 560) // 8960 bytes
			send(t, from, packet.Datagram{Data: data})
			if got := read(t, to, 1)[0]; !bytes.Equal(got.Data, data) {
				t.Errorf("%v: %d bytes came of %d", group, len(got.Data), len(data))
			}
			send(t, from, packet.Datagram{Data: make([]byte, lan.MaxDatagram+1)}, packet.Datagram{Data: make([]byte, lan.MaxDatagram)})
			if got := read(t, to, 1)[0]; len(got.Data) != lan.MaxDatagram {
				t.Errorf("%v: got %d bytes", group, len(got.Data))
			}
			if s := to.Stats(); s.Truncated != 1 {
				t.Errorf("%v: %+v", group, s)
			}
			n, err := from.WriteBatch([]packet.Datagram{{Data: []byte("x")}, {Data: make([]byte, 70000)}, {Data: []byte("y")}})
			if n != 1 || !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("%v: wrote %d with a datagram too long for UDP: %v", group, n, err)
			}
		}
	})
}

func TestBatchesLargerThanOneSystemCall(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		from, to := listen(t, p.a, "eth0", group4), listen(t, p.b, "eth0", group4)
		var d []packet.Datagram
		for i := range 100 {
			d = append(d, packet.Datagram{Data: fmt.Append(nil, i)})
		}
		send(t, from, d...)
		for i, got := range read(t, to, 100) {
			if string(got.Data) != fmt.Sprint(i) {
				t.Fatalf("datagram %d is %q", i, got.Data)
			}
		}
	})
}

func TestCloseEndsARead(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := listen(t, p.a, "eth0", group4)
		ended := make(chan error)
		for range 2 {
			go func() {
				_, err := c.ReadBatch(make([]packet.Datagram, 1))
				ended <- err
			}()
		}
		time.Sleep(20 * time.Millisecond)
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; err != net.ErrClosed {
				t.Errorf("read: %v", err)
			}
		}
		if d := time.Since(start); d > patience {
			t.Errorf("took %v", d)
		}
		if _, err := c.WriteBatch(make([]packet.Datagram, 1)); err != net.ErrClosed {
			t.Errorf("write: %v", err)
		}
	})
}

func TestBroadcastWithoutARoute(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		from := open(t, p.a, func() (*lan.Conn, error) { return lan.ListenBroadcast(findLink(t, p.a, "eth0"), 0) })
		to := open(t, p.b, func() (*lan.Conn, error) { return lan.ListenBroadcast(findLink(t, p.b, "eth0"), 4745) })
		second := open(t, p.b, func() (*lan.Conn, error) { return lan.ListenBroadcast(findLink(t, p.b, "eth0"), 4745) })
		if from.LocalAddr().Port() == 0 {
			t.Error("no port was chosen")
		}
		dst := []netip.AddrPort{netip.MustParseAddrPort("255.255.255.255:4745")}
		for _, a := range lan.DirectedBroadcasts(findLink(t, p.a, "eth0")) {
			dst = append(dst, netip.AddrPortFrom(a, 4745))
		}
		for _, a := range dst {
			send(t, from, packet.Datagram{Data: []byte("x"), Dst: a})
		}
		want := "[255.255.255.255:4745 10.0.0.255:4745]"
		for _, c := range []*lan.Conn{to, second} {
			var got []netip.AddrPort
			for _, d := range read(t, c, 2) {
				got = append(got, d.Dst)
			}
			if fmt.Sprint(got) != want {
				t.Errorf("got broadcasts to %v, want %v", got, want)
			}
		}
		if _, err := from.WriteBatch(make([]packet.Datagram, 1)); err == nil {
			t.Error("a write without destination worked")
		}
		send(t, to, packet.Datagram{Data: []byte("default"), Dst: netip.AddrPort{}})
		read(t, second, 1)
	})
}

func TestWriteErrorsAreNotFatal(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, group := range []netip.AddrPort{group4, group6} {
			c := listen(t, p.a, "eth0", group)
			p.a.SetDown(t, "eth0")
			if _, err := c.WriteBatch(make([]packet.Datagram, 1)); err == nil || errors.Is(err, lan.ErrLinkGone) {
				t.Errorf("%v: write on a link that is down: %v", group, err)
			} else {
				t.Log(err)
			}
			p.a.SetUp(t, "eth0")
			waitFor(t, "the link", func() bool { _, err := c.WriteBatch(make([]packet.Datagram, 1)); return err == nil })
			src := netip.MustParseAddrPort("10.9.9.9:0")
			if group.Addr().Is6() {
				src = netip.MustParseAddrPort("[2001:db8:9::9]:0")
			}
			n, err := c.WriteBatch([]packet.Datagram{{}, {Src: src}, {}})
			if n != 1 || err == nil || errors.Is(err, lan.ErrLinkGone) {
				t.Errorf("%v: wrote %d from an address that isn't ours: %v", group, n, err)
			} else {
				t.Log(err)
			}
			for _, bad := range []netip.AddrPort{netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("224.0.0.1:0")} {
				if bad.Addr().Is4() == group.Addr().Is4() && bad.Port() != 0 {
					continue
				}
				if err := c.WriteTo(nil, bad); err == nil || !strings.Contains(err.Error(), "is no destination for this socket") {
					t.Errorf("%v: write to %v: %v", group, bad, err)
				}
			}
		}
	})
}

func TestWriteToASlowLinkWaitsShortly(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		// Datagrams for a host that doesn't answer ARP wait in the kernel, and take up the socket's room.
		if err := os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/unres_qlen_bytes", []byte("100000000"), 0); err != nil {
			t.Fatal(err)
		}
		c := listen(t, p.a, "eth0", group4)
		d := slices.Repeat([]packet.Datagram{{Data: make([]byte, 1400), Dst: netip.MustParseAddrPort("10.0.0.77:5353")}}, 1000)
		start := time.Now()
		n, err := c.WriteBatch(d)
		took := time.Since(start)
		if n == 0 || n == len(d) || !errors.Is(err, unix.EAGAIN) || took < 50*time.Millisecond || took > patience {
			t.Errorf("wrote %d of %d in %v: %v", n, len(d), took, err)
		}
	})
}

func TestOverflowIsCounted(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		from, to := listen(t, p.a, "eth0", group4), listen(t, p.b, "eth0", group4)
		d := slices.Repeat([]packet.Datagram{{Data: make([]byte, 1400)}}, 12000) // 17 MB
		send(t, from, d...)
		waitFor(t, "the overflow to be counted", func() bool { return to.Stats().Overflow >= 100 })
		if s := to.Stats(); s.Overflow >= 12000 {
			t.Errorf("%+v", s)
		}
		before := to.Stats() // some may be on their way
		if to.Close(); to.Stats().Overflow < before.Overflow || to.Stats().Overflow >= 12000 {
			t.Errorf("closed: %+v, before %+v", to.Stats(), before)
		}
	})
}

func TestRemovedLink(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		old := findLink(t, p.a, "eth0")
		// Another link of the same index isn't the one that was meant.
		other := old
		other.Index = findLink(t, p.a, "lo").Index
		if _, err := lan.ListenMulticast(other, group4); !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("listen on a link whose index is another's: %v", err)
		}
		four, six := listen(t, p.a, "eth0", group4), listen(t, p.a, "eth0", group6)
		p.a.Remove(t, "eth0")
		for _, c := range []*lan.Conn{four, six} {
			if _, err := c.WriteBatch(make([]packet.Datagram, 1)); !errors.Is(err, lan.ErrLinkGone) {
				t.Errorf("write: %v", err)
			}
		}
		for _, group := range []netip.AddrPort{group4, group6} {
			_, err := lan.ListenMulticast(old, group)
			if !errors.Is(err, lan.ErrLinkGone) {
				t.Errorf("listen: %v", err)
			}
		}
	})
}

func TestLinkThatFlaps(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		kept := map[netip.AddrPort]*lan.Conn{group4: listen(t, p.b, "eth0", group4), group6: listen(t, p.b, "eth0", group6)}
		for i := range 50 {
			p.b.SetDown(t, "eth0")
			for group, c := range kept {
				_, err := c.WriteBatch(make([]packet.Datagram, 1))
				if err == nil || errors.Is(err, lan.ErrLinkGone) || errors.Is(err, net.ErrClosed) {
					t.Fatalf("flap %d: write while down: %v", i, err)
				}
				listen(t, p.b, "eth0", group).Close() // a link that is down can be joined
			}
			p.b.SetUp(t, "eth0", fmt.Sprintf("10.0.1.%d/24", i+1), "fe80::2/64")
			p.b.RemoveAddress(t, "eth0", "fe80::2/64")
			for group := range kept {
				listen(t, p.b, "eth0", group).Close()
			}
		}
		p.a.WaitUp(t, "eth0")
		p.b.WaitUp(t, "eth0")
		for group, c := range kept {
			again, from := listen(t, p.b, "eth0", group), listen(t, p.a, "eth0", group)
			send(t, from, packet.Datagram{Data: []byte("after")})
			read(t, c, 1)
			read(t, again, 1)
		}
	})
}

func TestOrdinaryUserMayListenAndSend(t *testing.T) {
	nstest.RunAsUser(t, func(t *testing.T) {
		nstest.Connect(t, nstest.Here(t), "eth0", nstest.Here(t), "eth1")
		nstest.Here(t).SetUp(t, "eth0", "10.0.0.1/24", "fe80::1/64")
		nstest.Here(t).SetUp(t, "eth1", "fe80::2/64")
		nstest.Here(t).WaitUp(t, "eth0", "eth1")
	}, func(t *testing.T) {
		here := nstest.Here(t)
		for _, group := range []netip.AddrPort{group4, group6} {
			a, b := listen(t, here, "eth0", group), listen(t, here, "eth0", group)
			if !a.Bound() {
				t.Log("this kernel doesn't let an ordinary user bind to a device")
			}
			send(t, a, packet.Datagram{Data: []byte("x")})
			if d := read(t, b, 1)[0]; d.TTL != 255 || d.Dst != group {
				t.Errorf("got %+v", d)
			}
		}
		six := listen(t, here, "eth1", group6)
		send(t, listen(t, here, "eth0", group6), packet.Datagram{Data: []byte("over the wire")})
		read(t, six, 1)
	})
}

func TestListenRefusesWhatIsNoGroup(t *testing.T) {
	for _, group := range []string{"10.0.0.1:5353", "224.0.0.251:0", "[2001:db8::1]:5353"} {
		_, err := lan.ListenMulticast(packet.Link{Index: 1, Name: "lo"}, netip.MustParseAddrPort(group))
		if want := fmt.Sprintf("lan: listen: %s is not a multicast group and port", group); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, group := range []netip.AddrPort{group4, group6} {
			from, to := listen(t, p.a, "eth0", group), listen(t, p.b, "eth0", group)
			out, in := make([]packet.Datagram, 16), make([]packet.Datagram, 16)
			for i := range out {
				out[i].Data = make([]byte, 430)
			}
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := from.WriteBatch(out); err != nil {
					t.Fatal(err)
				}
				for n := 0; n < len(out); {
					k, err := to.ReadBatch(in)
					if err != nil {
						t.Fatal(err)
					}
					n += k
				}
			})
			if allocs != 0 {
				t.Errorf("%v: %v allocations to write and read 16 datagrams", group, allocs)
			}
		}
	})
}
