package lan_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

func TestNeighbours(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changes, err := lan.WatchNeighbours(ctx)
		if err != nil {
			t.Fatal(err)
		}
		a, b := findLink(t, p.a, "eth0"), findLink(t, p.b, "eth0")
		wait := func(ip string, ok func(lan.Neighbour) bool) {
			t.Helper()
			end := time.After(patience)
			for {
				select {
				case ns := <-changes:
					for _, n := range ns {
						if n.Link != a.Index {
							t.Errorf("on link %d: %+v", n.Link, n)
						}
						if n.IP.IsMulticast() || n.IP.Zone() != "" || n.IP.Is4In6() {
							t.Errorf("address %v", n.IP)
						}
					}
					if slices.ContainsFunc(ns, func(n lan.Neighbour) bool { return n.IP.String() == ip && ok(n) }) {
						return
					}
				case <-end:
					now, _ := lan.Neighbours()
					t.Fatalf("waited %v for %s; the table is %+v", patience, ip, now)
				}
			}
		}
		four, six := listen(t, p.a, "eth0", group4), listen(t, p.a, "eth0", group6)
		send(t, four, packet.Datagram{Dst: netip.MustParseAddrPort("10.0.0.2:9")})
		known := func(n lan.Neighbour) bool {
			return n.MAC.String() == b.MAC.String() && n.State == lan.NeighbourReachable
		}
		wait("10.0.0.2", known)
		send(t, six, packet.Datagram{Dst: netip.MustParseAddrPort("[fe80::2]:9")})
		wait("fe80::2", known)
		if err := os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms", []byte("20"), 0); err != nil {
			t.Fatal(err)
		}
		send(t, four, packet.Datagram{Dst: netip.MustParseAddrPort("10.0.0.77:9")})
		wait("10.0.0.77", func(n lan.Neighbour) bool { return n.MAC == nil && n.State == lan.NeighbourFailed })
		now, err := lan.Neighbours()
		if err != nil || !slices.ContainsFunc(now, func(n lan.Neighbour) bool { return n.IP.String() == "10.0.0.2" && known(n) }) {
			t.Errorf("the table is %+v, %v", now, err)
		}
		p.a.SetDown(t, "eth0")
		wait("10.0.0.2", func(n lan.Neighbour) bool { return n.State == lan.NeighbourGone && fmt.Sprint(n.MAC) == b.MAC.String() })
		cancel()
		for range changes { // until it is closed
		}
	})
}
