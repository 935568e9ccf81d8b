package lantest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
)

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

func listen(t *testing.T, h *lantest.Host, nic *lantest.NIC, group netip.AddrPort) *lantest.Conn {
	t.Helper()
	c, err := h.ListenMulticast(nic.Link(), group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c *lantest.Conn, text string, dst netip.AddrPort) {
	t.Helper()
	if err := c.WriteTo([]byte(text), dst); err != nil {
		t.Fatal(err)
	}
}

// collect reads until the conn is closed, and returns what was read so far.
func collect(c *lantest.Conn) func() []string {
	var mu sync.Mutex
	var got []string
	go func() {
		batch := make([]packet.Datagram, 4)
		for {
			n, err := c.ReadBatch(batch)
			if err != nil {
				return
			}
			mu.Lock()
			for _, d := range batch[:n] {
				got = append(got, string(d.Data))
			}
			mu.Unlock()
		}
	}()
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		now := slices.Clone(got)
		got = nil
		return now
	}
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s heard %q, want %q", what, got, want)
	}
}

func TestMulticastReachesTheWireAndTheSendersHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		office, lab := n.Wire("office"), n.Wire("lab")
		a, b, c := n.Host("a"), n.Host("b"), n.Host("c")
		aNIC := a.Attach(office, "eth0", "10.0.0.1/24", "fe80::1/64")
		bNIC := b.Attach(office, "eth0", "10.0.0.2/24", "fe80::2/64")
		bLab := b.Attach(lab, "eth1", "10.1.0.2/24")
		cNIC := c.Attach(lab, "eth0", "10.1.0.3/24")

		aConn, aOther := listen(t, a, aNIC, group4), listen(t, a, aNIC, group4)
		a6 := listen(t, a, aNIC, group6)
		bConn, bOther := listen(t, b, bNIC, group4), listen(t, b, bLab, group4)
		bGroup := listen(t, b, bNIC, netip.MustParseAddrPort("224.0.0.252:5353"))
		cConn := listen(t, c, cNIC, group4)
		hears := map[string]func() []string{}
		for name, conn := range map[string]*lantest.Conn{
			"sender": aConn, "same host": aOther, "other family": a6, "same wire": bConn, "other link": bOther,
			"other group": bGroup, "other wire": cConn,
		} {
			hears[name] = collect(conn)
		}
		send(t, aConn, "hello", netip.AddrPort{})
		for name, heard := range hears {
			switch name {
			case "sender", "same host", "same wire":
				want(t, name, heard(), "hello")
			default:
				want(t, name, heard())
			}
		}
	})
}

func TestUnicastReachesOneConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		w := n.Wire("w")
		a, b := n.Host("a"), n.Host("b")
		aNIC, bNIC := a.Attach(w, "eth0", "10.0.0.1/24"), b.Attach(w, "eth0", "10.0.0.2/24")
		from := listen(t, a, aNIC, group4)
		one, two := collect(listen(t, b, bNIC, group4)), collect(listen(t, b, bNIC, group4))
		own := collect(from)
		for range 5 {
			send(t, from, "x", netip.MustParseAddrPort("10.0.0.2:5353"))
		}
		if x, y := len(one()), len(two()); x+y != 5 || x*y != 0 {
			t.Errorf("the two conns heard %d and %d packets of one sender, want all 5 at one of them", x, y)
		}
		send(t, from, "to myself", netip.MustParseAddrPort("10.0.0.1:5353"))
		want(t, "sender", own(), "to myself")
		send(t, from, "nobody", netip.MustParseAddrPort("10.0.0.77:5353"))
	})
}

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		w := n.Wire("w")
		a, b := n.Host("a"), n.Host("b")
		aNIC, bNIC := a.Attach(w, "eth0", "10.0.0.1/24"), b.Attach(w, "eth0", "10.0.0.2/24")
		from, err := a.ListenBroadcast(aNIC.Link(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		to, err := b.ListenBroadcast(bNIC.Link(), 4745)
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		heard := collect(to)
		send(t, from, "limited", netip.MustParseAddrPort("255.255.255.255:4745"))
		send(t, from, "directed", netip.MustParseAddrPort("10.0.0.255:4745"))
		want(t, "b", heard(), "limited", "directed")
		if err := from.WriteTo(nil, netip.AddrPort{}); err == nil {
			t.Error("a write without destination worked though the conn has none")
		}
	})
}

func TestTwoInterfacesOnOneWireHearEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		w := n.Wire("w")
		h := n.Host("h")
		one, two := h.Attach(w, "eth0", "10.0.0.1/24"), h.Attach(w, "eth1", "10.0.0.2/24")
		c1, c2 := listen(t, h, one, group4), listen(t, h, two, group4)
		send(t, c1, "from eth0", netip.AddrPort{})
		batch := make([]packet.Datagram, 1)
		if k, err := c2.ReadBatch(batch); err != nil || k != 1 {
			t.Fatal(k, err)
		}
		if d := batch[0]; d.Src.String() != "10.0.0.1:5353" || d.Link != two.Link().Index || d.Dst != group4 || !d.Time.Equal(time.Now()) {
			t.Errorf("got %+v", d)
		}
	})
}

func TestLinksChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		h, peer := n.Host("h"), n.Host("peer")
		w := n.Wire("w")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		links, err := h.WatchLinks(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next := func() string {
			t.Helper()
			synctest.Wait()
			select {
			case ls := <-links:
				var s []string
				for _, l := range ls[1:] {
					s = append(s, fmt.Sprint(l.Name, " ", l.Up(), " ", l.Prefixes))
				}
				return strings.Join(s, ", ")
			default:
				return "nothing"
			}
		}
		expect := func(want string) {
			t.Helper()
			if got := next(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		expect("")
		expect("nothing")
		nic := h.Attach(w, "eth0", "10.0.0.1/24")
		from := peer.Attach(w, "eth0", "10.0.0.2/24")
		expect("eth0 true [10.0.0.1/24]")
		c := listen(t, h, nic, group4)
		heard := collect(c)
		sender := listen(t, peer, from, group4)

		nic.SetCarrier(false)
		expect("eth0 false [10.0.0.1/24]")
		send(t, sender, "unheard", netip.AddrPort{})
		send(t, c, "only myself", netip.AddrPort{})
		nic.SetCarrier(true)
		nic.SetUp(false)
		nic.SetUp(true)
		nic.SetUp(false)
		expect("eth0 false [10.0.0.1/24]")
		if err := c.WriteTo(nil, netip.AddrPort{}); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("write on a link that is down: %v", err)
		}
		nic.SetUp(true)
		nic.SetAddresses("10.0.0.7/24")
		expect("eth0 true [10.0.0.7/24]")
		send(t, sender, "again", netip.AddrPort{})
		want(t, "h", heard(), "only myself", "again")
		if _, err := c.WriteBatch([]packet.Datagram{{Src: netip.MustParseAddrPort("10.0.0.1:0")}}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("write from an address that was taken away: %v", err)
		}
		old := nic.Link()
		nic.Remove()
		expect("")
		if k, err := c.WriteBatch(make([]packet.Datagram, 2)); k != 0 || !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("write on a removed link: %d, %v", k, err)
		}
		if _, err := h.ListenMulticast(old, group4); !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("listen on a removed link: %v", err)
		}
		cancel()
		if _, open := <-links; open {
			t.Error("the channel is open after the context's end")
		}
	})
}

func TestClosedConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		h := n.Host("h")
		c := listen(t, h, h.Attach(n.Wire("w"), "eth0", "10.0.0.1/24"), group4)
		ended := make(chan error)
		go func() {
			_, err := c.ReadBatch(make([]packet.Datagram, 1))
			ended <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-ended; err != net.ErrClosed {
			t.Errorf("a read that waited: %v", err)
		}
		if _, err := c.WriteBatch(make([]packet.Datagram, 1)); err != net.ErrClosed {
			t.Errorf("a write: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second close: %v", err)
		}
	})
}

func TestReadDataIsOverwrittenByTheNextRead(t *testing.T) {
	n := lantest.New(1)
	h := n.Host("h")
	c := listen(t, h, h.Attach(n.Wire("w"), "eth0", "10.0.0.1/24"), group4)
	batch := make([]packet.Datagram, 1)
	send(t, c, "one", netip.AddrPort{})
	send(t, c, "two", netip.AddrPort{})
	c.ReadBatch(batch)
	kept := batch[0].Data
	c.ReadBatch(batch)
	if string(kept) == "one" {
		t.Error("what the first read handed out is still there")
	}
}

func TestConditions(t *testing.T) {
	run := func(t *testing.T, seed uint64, c lantest.Conditions) (got []string, took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := lantest.New(seed)
			w := n.Wire("w")
			a, b := n.Host("a"), n.Host("b")
			from := listen(t, a, a.Attach(w, "eth0", "10.0.0.1/24"), group4)
			heard := collect(listen(t, b, b.Attach(w, "eth0", "10.0.0.2/24"), group4))
			w.SetConditions(c)
			capture := w.Capture()
			for i := range 100 {
				send(t, from, fmt.Sprint(i), netip.AddrPort{})
			}
			if len(capture.Take()) != 100 || len(capture.Packets()) != 0 {
				t.Error("the capture doesn't hold the 100 packets that were sent")
			}
			start := time.Now()
			for len(got) == 0 {
				time.Sleep(time.Millisecond)
				got = heard()
				took = time.Since(start)
			}
			time.Sleep(time.Second)
			got = append(got, heard()...)
		})
		return got, took
	}
	perfect, _ := run(t, 1, lantest.Conditions{})
	if len(perfect) != 100 || !inOrder(perfect) {
		t.Errorf("a perfect wire brought %d packets, in order: %v", len(perfect), inOrder(perfect))
	}
	late, took := run(t, 1, lantest.Conditions{Latency: 30 * time.Millisecond})
	if len(late) != 100 || !inOrder(late) || took != 30*time.Millisecond {
		t.Errorf("a slow wire brought %d packets after %v, in order: %v", len(late), took, inOrder(late))
	}
	lossy, _ := run(t, 1, lantest.Conditions{Loss: 0.3})
	if n := len(lossy); n < 50 || n > 90 || !inOrder(lossy) {
		t.Errorf("with 30 %% loss %d of 100 packets came", n)
	}
	again, _ := run(t, 1, lantest.Conditions{Loss: 0.3})
	other, _ := run(t, 2, lantest.Conditions{Loss: 0.3})
	if !slices.Equal(lossy, again) || slices.Equal(lossy, other) {
		t.Error("the seed doesn't decide what is lost")
	}
	double, _ := run(t, 1, lantest.Conditions{Duplicate: 1})
	if len(double) != 200 {
		t.Errorf("with every packet doubled %d came of 100", len(double))
	}
	swapped, _ := run(t, 1, lantest.Conditions{Reorder: 0.2})
	if len(swapped) != 100 || inOrder(swapped) {
		t.Errorf("with reordering %d packets came, in order: %v", len(swapped), inOrder(swapped))
	}
	jitter, _ := run(t, 1, lantest.Conditions{Jitter: 5 * time.Millisecond})
	if len(jitter) != 100 || inOrder(jitter) {
		t.Errorf("with jitter %d packets came, in order: %v", len(jitter), inOrder(jitter))
	}
}

func inOrder(numbers []string) bool {
	return slices.IsSortedFunc(numbers, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
}

func TestInjectForgesAnything(t *testing.T) {
	n := lantest.New(1)
	w := n.Wire("w")
	h := n.Host("h")
	c := listen(t, h, h.Attach(w, "eth0", "10.0.0.1/24"), group4)
	w.Inject(packet.Datagram{Data: []byte("x"), Src: netip.MustParseAddrPort("203.0.113.9:9"), Dst: group4, TTL: 3})
	batch := make([]packet.Datagram, 1)
	if _, err := c.ReadBatch(batch); err != nil {
		t.Fatal(err)
	}
	if d := batch[0]; d.Src.String() != "203.0.113.9:9" || d.TTL != 3 {
		t.Errorf("got %+v", d)
	}
}

func TestQueueOfAConnIsBounded(t *testing.T) {
	n := lantest.New(1)
	h := n.Host("h")
	c := listen(t, h, h.Attach(n.Wire("w"), "eth0", "10.0.0.1/24"), group4)
	for range 3000 {
		send(t, c, "x", netip.AddrPort{})
	}
	send(t, c, strings.Repeat("x", lan.MaxDatagram+1), netip.AddrPort{})
	if s := c.Stats(); s.Overflow != 3000-1024 || s.Truncated != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSourceAddressFitsTheDestination(t *testing.T) {
	n := lantest.New(1)
	w := n.Wire("w")
	h := n.Host("h")
	nic := h.Attach(w, "eth0", "2001:db8::1/64", "fe80::1/64")
	c := listen(t, h, nic, group6)
	capture := w.Capture()
	send(t, c, "", netip.AddrPort{})
	send(t, c, "", netip.MustParseAddrPort("[2001:db8::9]:5353"))
	got := fmt.Sprint(capture.Packets())
	if want := "[h eth0 [fe80::1]:5353 > [ff02::fb]:5353, 0 bytes h eth0 [2001:db8::1]:5353 > [2001:db8::9]:5353, 0 bytes]"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	c4 := listen(t, h, nic, group4)
	if err := c4.WriteTo(nil, netip.AddrPort{}); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a write without an address of its family: %v", err)
	}
}
