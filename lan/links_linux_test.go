package lan_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

func TestLinksAgreeWithTheNetPackage(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newPair(t)
		// What the kernel adds to a veth link may come at any moment.
		var links []packet.Link
		var err error
		waitFor(t, "the link-local address", func() bool {
			links, err = lan.Links()
			return err == nil && len(find(links, "eth0").Prefixes) == 4
		})
		ifaces, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		if len(links) != 2 || len(ifaces) != 2 {
			t.Fatalf("%d links, %d interfaces", len(links), len(ifaces))
		}
		for i, l := range links {
			want := ifaces[i]
			if l.Index != want.Index || l.Name != want.Name || l.MTU != want.MTU || l.Flags != want.Flags || l.MAC.String() != want.HardwareAddr.String() {
				t.Errorf("got %+v, want %+v", l, want)
			}
			addrs, _ := want.Addrs()
			if got, want := fmt.Sprint(l.Prefixes), fmt.Sprint(addrs); got != want {
				t.Errorf("%s has %s, want %s", l.Name, got, want)
			}
		}
	})
}

// watchLinks returns what waits for the set to become as wanted, and fails if two
// messages in a row are the same.
func watchLinks(t *testing.T, ctx context.Context) (<-chan []packet.Link, func(what string, ok func([]packet.Link) bool)) {
	t.Helper()
	links, err := lan.WatchLinks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var last []packet.Link
	return links, func(what string, ok func([]packet.Link) bool) {
		t.Helper()
		end := time.After(patience)
		for {
			select {
			case now := <-links:
				if last != nil && slices.EqualFunc(last, now, packet.Link.Equal) {
					t.Error("told the same set twice")
				}
				last = now
				if ok(now) {
					return
				}
			case <-end:
				t.Fatalf("waited %v for %s; the last was %+v", patience, what, last)
			}
		}
	}
}

func find(links []packet.Link, name string) packet.Link {
	for _, l := range links {
		if l.Name == name {
			return l
		}
	}
	return packet.Link{}
}

func TestWatchLinksTellsChanges(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		links, wait := watchLinks(t, ctx)
		wait("the first set", func(ls []packet.Link) bool { return len(ls) == 1 && ls[0].Name == "lo" && ls[0].Up() })
		p := newPair(t)
		wait("eth0", func(ls []packet.Link) bool {
			l := find(ls, "eth0")
			return l.Up() && len(l.Prefixes) >= 3 && len(l.MAC) == 6 && lan.Usable(l)
		})
		p.a.AddAddress(t, "eth0", "10.0.7.1/24")
		wait("an address", func(ls []packet.Link) bool { return find(ls, "eth0").Has(prefixes("10.0.7.1/24")[0].Addr()) })
		p.b.SetDown(t, "eth0")
		wait("a lost carrier", func(ls []packet.Link) bool { l := find(ls, "eth0"); return l.Flags&net.FlagUp != 0 && !l.Up() })
		p.a.Remove(t, "eth0")
		wait("a removed link", func(ls []packet.Link) bool { return len(ls) == 1 })
		cancel()
		if _, open := <-links; open {
			t.Error("the channel is open after the context's end")
		}
		waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= 4 })
	})
}

func TestWatchLinksGathersABurst(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		_, wait := watchLinks(t, t.Context())
		wait("the first set", func([]packet.Link) bool { return true })
		p := newPair(t)
		messages := 0
		const last = 1000 // more than the subscription's buffer holds while nobody reads
		done := make(chan bool)
		start := time.Now()
		go func() {
			defer close(done)
			wait("the last address", func(ls []packet.Link) bool {
				messages++
				return len(find(ls, "eth0").Prefixes) >= last
			})
		}()
		for i := range last {
			p.a.AddAddress(t, "eth0", fmt.Sprintf("10.%d.%d.1/24", 1+i/250, i%250))
		}
		<-done
		// Changes are gathered for 50 ms.
		if took := time.Since(start); messages > 100+int(took/(50*time.Millisecond)) {
			t.Errorf("%d messages for %d changes in %v", messages, last, took)
		}
	})
}

func TestTentativeAddressesAreLeftOut(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for name, value := range map[string]string{"conf/eth0/accept_dad": "1", "neigh/eth0/retrans_time_ms": "300"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/"+name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		_, wait := watchLinks(t, t.Context())
		eth0, err := p.a.Handle().LinkByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr("2001:db8::77/64")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.a.Handle().AddrAdd(eth0, addr); err != nil {
			t.Fatal(err)
		}
		ip := prefixes("2001:db8::77/64")[0].Addr()
		listed := findLink(t, p.a, "eth0").Has(ip)
		now, err := p.a.Handle().AddrList(eth0, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		checked := slices.ContainsFunc(now, func(a netlink.Addr) bool { return a.IP.Equal(addr.IP) && a.Flags&unix.IFA_F_TENTATIVE != 0 })
		if listed && checked {
			t.Error("an address is listed while it is being checked")
		}
		wait("the address", func(ls []packet.Link) bool { return find(ls, "eth0").Has(ip) })
	})
}

func TestWatchLinksBelongsToTheCallersNamespace(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		var links <-chan []packet.Link
		var err error
		p.b.Do(t, func() { links, err = lan.WatchLinks(t.Context()) })
		if err != nil {
			t.Fatal(err)
		}
		want := prefixes("10.0.0.2/24")[0].Addr()
		if first := <-links; !find(first, "eth0").Has(want) {
			t.Errorf("the first set is another host's: %+v", first)
		}
		p.b.AddAddress(t, "eth0", "10.0.8.2/24")
		for found := false; !found; { // what the kernel adds may come first
			next := <-links
			if !find(next, "eth0").Has(want) {
				t.Fatalf("a later set is another host's: %+v", next)
			}
			found = find(next, "eth0").Has(prefixes("10.0.8.2/24")[0].Addr())
		}
	})
}

func TestDefaultRoutes(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		if got, err := lan.DefaultRoutes(); err != nil || len(got) != 0 {
			t.Fatalf("got %v, %v", got, err)
		}
		index := findLink(t, p.a, "eth0").Index
		for _, r := range []struct {
			via    string
			metric int
		}{{"10.0.0.9", 200}, {"10.0.0.2", 100}, {"fe80::2", 300}} {
			p.a.AddDefaultRoute(t, "eth0", r.via, r.metric)
		}
		got, err := lan.DefaultRoutes()
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("[{%d 10.0.0.2 false 100} {%d 10.0.0.9 false 200} {%d fe80::2 true 300}]", index, index, index)
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}
