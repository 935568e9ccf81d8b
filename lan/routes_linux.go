package lan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultRoute is a way out of the local network.
type DefaultRoute struct {
	Link   int        // index
	Via    netip.Addr // the router; invalid for a tunnel that needs none
	IPv6   bool
	Metric int // the lowest is used
}

// DefaultRoutes returns the default routes of the main table, IPv4 before
// IPv6, the preferred one of each first.
func DefaultRoutes() ([]DefaultRoute, error) {
	h, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("lan: list routes: %w", err)
	}
	defer h.Close()
	var found []DefaultRoute
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Dst: nil}
		routes, err := dump(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		})
		if err != nil {
			return nil, fmt.Errorf("lan: list routes: %w", err)
		}
		var ours []DefaultRoute
		for _, r := range routes {
			if r.Type != unix.RTN_UNICAST {
				continue // unreachable, blackhole
			}
			hops := r.MultiPath
			if len(hops) == 0 {
				hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			}
			for _, hop := range hops {
				via, _ := netip.AddrFromSlice(hop.Gw)
				ours = append(ours, DefaultRoute{hop.LinkIndex, via.Unmap(), family == netlink.FAMILY_V6, r.Priority})
			}
		}
		slices.SortStableFunc(ours, func(a, b DefaultRoute) int { return a.Metric - b.Metric })
		found = append(found, ours...)
	}
	return found, nil
}
