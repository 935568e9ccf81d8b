package lan_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// pair is two hosts on one wire: a has 10.0.0.1 and fe80::1, b 10.0.0.2 and
// fe80::2, both on eth0, besides what the kernel adds.
type pair struct{ a, b *nstest.Host }

func newPair(t testing.TB) pair {
	t.Helper()
	p := pair{nstest.Here(t), nstest.NewHost(t)}
	nstest.Connect(t, p.a, "eth0", p.b, "eth0")
	p.a.SetUp(t, "eth0", "10.0.0.1/24", "fe80::1/64", "2001:db8::1/64")
	p.b.SetUp(t, "eth0", "10.0.0.2/24", "fe80::2/64", "2001:db8::2/64")
	p.a.WaitUp(t, "eth0")
	p.b.WaitUp(t, "eth0")
	return p
}

// patience is how long is waited for what comes at once on an idle machine.
const patience = 30 * time.Second

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// during fails unless a datagram or frame has a time between two.
func during(t testing.TB, what string, got, from, to time.Time) {
	t.Helper()
	if got.Before(from.Add(-time.Millisecond)) || got.After(to.Add(time.Millisecond)) {
		t.Errorf("%s: received %v after it was sent, and read %v after", what, got.Sub(from), to.Sub(from))
	}
}

func findLink(t testing.TB, h *nstest.Host, name string) packet.Link {
	t.Helper()
	var links []packet.Link
	var err error
	h.Do(t, func() { links, err = lan.Links() })
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("no link %s among %v", name, links)
	}
	return links[i]
}

func listen(t testing.TB, h *nstest.Host, link string, group netip.AddrPort) *lan.Conn {
	t.Helper()
	return open(t, h, func() (*lan.Conn, error) { return lan.ListenMulticast(findLink(t, h, link), group) })
}

// conn is a Conn or a UDPConn.
type conn interface {
	ReadBatch([]packet.Datagram) (int, error)
	WriteBatch([]packet.Datagram) (int, error)
	Close() error
}

func open[C conn](t testing.TB, h *nstest.Host, f func() (C, error)) C {
	t.Helper()
	var c C
	var err error
	h.Do(t, func() { c, err = f() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// read reads until n datagrams have come or it loses its patience; with n 0
// it makes sure that nothing comes for 100 ms. The Conn is closed if too few came.
func read(t testing.TB, c conn, n int) []packet.Datagram {
	t.Helper()
	wait := patience
	if n == 0 {
		wait = 100 * time.Millisecond
	}
	stop := time.AfterFunc(wait, func() { c.Close() })
	defer stop.Stop()
	var got []packet.Datagram
	batch := make([]packet.Datagram, 8)
	for len(got) < n || n == 0 {
		k, err := c.ReadBatch(batch)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range batch[:k] {
			d.Data = slices.Clone(d.Data)
			got = append(got, d)
		}
	}
	if len(got) != n {
		t.Fatalf("read %d datagrams, want %d: %s", len(got), n, heads(got))
	}
	return got
}

func send(t testing.TB, c conn, d ...packet.Datagram) {
	t.Helper()
	if n, err := c.WriteBatch(d); err != nil || n != len(d) {
		t.Fatalf("wrote %d of %d: %v", n, len(d), err)
	}
}

func heads(ds []packet.Datagram) string {
	var s strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&s, "%v > %v %.20q; ", d.Src, d.Dst, d.Data)
	}
	return s.String()
}
