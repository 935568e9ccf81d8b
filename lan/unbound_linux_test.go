package lan

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

// TestWithoutDeviceBind is about a kernel that lets only root bind to a device.
func TestWithoutDeviceBind(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		a, b := nstest.Here(t), nstest.NewHost(t)
		for i, name := range []string{"eth0", "eth1"} {
			nstest.Connect(t, a, name, b, name)
			a.SetUp(t, name, fmt.Sprintf("10.%d.0.1/24", i), "fe80::1/64")
			b.SetUp(t, name, fmt.Sprintf("10.%d.0.2/24", i), "fe80::2/64")
		}
		a.WaitUp(t, "eth0", "eth1")
		b.WaitUp(t, "eth0", "eth1")
		listen := func(h *nstest.Host, name string, group netip.AddrPort, bind func(int, string) error) *Conn {
			var c *Conn
			h.Do(t, func() {
				links, err := Links()
				if err != nil {
					t.Fatal(err)
				}
				c = newConn(links[slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == name })], group)
				if err := c.open(true, bind, c.setMulticast); err != nil {
					t.Fatal(err)
				}
			})
			t.Cleanup(func() { c.Close() })
			return c
		}
		refused := func(int, string) error { return unix.EPERM }
		for _, s := range []struct {
			group, unicast0, unicast1 string
			otherLink                 uint64
		}{
			// Multicast of the other link doesn't reach the socket (IP_MULTICAST_ALL), unicast does.
			{"224.0.0.251:5353", "10.0.0.2:5353", "10.1.0.2:5353", 1},
			// IPV6_MULTICAST_ALL is about groups only: both do.
			{"[ff02::fb]:5353", "[fe80::2]:5353", "[fe80::2]:5353", 2},
		} {
			group := netip.MustParseAddrPort(s.group)
			c := listen(b, "eth1", group, refused)
			// Somebody else on the host has joined on the other link.
			other := listen(b, "eth0", netip.AddrPortFrom(group.Addr(), 5454), refused)
			if c.Bound() {
				t.Error("says that it is bound")
			}
			right, wrong := listen(a, "eth1", group, refused), listen(a, "eth0", group, refused)
			for _, w := range []struct {
				from *Conn
				text string
				dst  string
			}{{wrong, "wrong", s.group}, {wrong, "wrong", s.unicast0}, {right, "group", s.group}, {right, "unicast", s.unicast1}} {
				if err := w.from.WriteTo([]byte(w.text), netip.MustParseAddrPort(w.dst)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			d := make([]packet.Datagram, 4)
			for end := time.Now().Add(30 * time.Second); len(got) < 2 || c.Stats().OtherLink < s.otherLink; {
				n, err := c.TryReadBatch(d)
				if err != nil || time.Now().After(end) {
					t.Fatalf("after %q: %v", got, err)
				}
				for _, d := range d[:n] {
					got = append(got, string(d.Data))
				}
				if n == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			slices.Sort(got) // the processors of the kernel don't keep the order
			if want := []string{"group", "unicast"}; !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", s.group, got, want)
			}
			if st := c.Stats(); st.OtherLink != s.otherLink {
				t.Errorf("%s: %+v", s.group, st)
			}
			for _, c := range []*Conn{c, other, right, wrong} {
				c.Close()
			}
		}
	})
}

func TestSubscriptionSurvivesLostMessages(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		here := nstest.Here(t)
		var hints, lost atomic.Int32
		release := make(chan bool)
		stop, err := subscribeNetlink(unix.RTNLGRP_IPV4_IFADDR)(
			func() { hints.Add(1); <-release }, func() { lost.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		for i := range 2000 { // while nobody reads
			here.AddAddress(t, "lo", fmt.Sprintf("10.0.%d.%d/32", i/200, i%200+1))
		}
		if !messagesWereLost(t) {
			t.Error("no message was lost: the test tests nothing")
		}
		close(release)
		wait := func(what string, ok func() bool) {
			t.Helper()
			for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("no %s; %d hints, %d times lost", what, hints.Load(), lost.Load())
				}
			}
		}
		settled := int32(0)
		wait("end of the old messages", func() bool {
			now := hints.Load()
			defer func() { settled = now; time.Sleep(20 * time.Millisecond) }()
			return now == settled
		})
		here.AddAddress(t, "lo", "10.9.9.9/32")
		wait("hint after the loss", func() bool { return hints.Load() > settled })
		if lost.Load() != 0 {
			t.Error("the subscription is taken for lost")
		}
	})
}

// messagesWereLost reads the drops of all netlink sockets of the namespace.
func messagesWereLost(t *testing.T) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	column := slices.Index(strings.Fields(lines[0]), "Drops")
	return slices.ContainsFunc(lines[1:], func(l string) bool { return strings.Fields(l)[column] != "0" })
}
