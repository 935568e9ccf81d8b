package lan

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighboursSettle gathers changes: an address that is in use changes its state every few
// seconds.
const neighboursSettle = 250 * time.Millisecond

// NeighbourState says how sure the kernel is of a neighbour's MAC.
type NeighbourState string

// The states of RFC 4861 §7.3.2, which Linux uses for ARP, too.
const (
	NeighbourReachable  NeighbourState = "reachable"  // confirmed a moment ago
	NeighbourStale      NeighbourState = "stale"      // was right once
	NeighbourDelay      NeighbourState = "delay"      // stale, in use, soon to be asked for
	NeighbourProbe      NeighbourState = "probe"      // being asked for
	NeighbourIncomplete NeighbourState = "incomplete" // asked for, never answered: no MAC
	NeighbourFailed     NeighbourState = "failed"     // doesn't answer: no MAC
	NeighbourPermanent  NeighbourState = "permanent"  // set by hand
	NeighbourGone       NeighbourState = "gone"       // WatchNeighbours: not in the table any more
)

// Neighbour is what the kernel knows of a host on a link.
type Neighbour struct {
	IP    netip.Addr       // without a zone
	MAC   net.HardwareAddr // nil if it isn't known
	Link  int              // index
	State NeighbourState
}

// Neighbours returns the kernel's table of neighbours, IPv4 and IPv6, without
// what needs no neighbour discovery (multicast groups, the loopback).
func Neighbours() ([]Neighbour, error) {
	h, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("lan: list neighbours: %w", err)
	}
	defer h.Close()
	ns, err := listNeighbours(h)
	if err != nil {
		return nil, fmt.Errorf("lan: list neighbours: %w", err)
	}
	return ns, nil
}

// WatchNeighbours sends the whole table at once and then what changed: new entries, those with another MAC or
// state, and those that are gone, with what was last known of them. Changes within a
// quarter of a second, and while nobody receives, are told as one. The channel is
// closed when ctx ends.
func WatchNeighbours(ctx context.Context) (<-chan []Neighbour, error) {
	h, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("lan: watch neighbours: %w", err)
	}
	w := &watch[Neighbour]{
		list:      func() ([]Neighbour, error) { return listNeighbours(h) },
		subscribe: subscribeNetlink(unix.RTNLGRP_NEIGH),
		changes:   changedNeighbours,
		settle:    neighboursSettle,
	}
	out, err := w.start(ctx, h.Close)
	if err != nil {
		return nil, fmt.Errorf("lan: watch neighbours: %w", err)
	}
	return out, nil
}

// changedNeighbours compares two tables, both in the order of compareNeighbours.
func changedNeighbours(old, now []Neighbour) []Neighbour {
	var changed []Neighbour
	for len(old) > 0 || len(now) > 0 {
		switch order := compareHeads(old, now); {
		case order < 0:
			gone := old[0]
			gone.State = NeighbourGone
			changed = append(changed, gone)
			old = old[1:]
		case order > 0:
			changed = append(changed, now[0])
			now = now[1:]
		default:
			if old[0].State != now[0].State || !bytes.Equal(old[0].MAC, now[0].MAC) {
				changed = append(changed, now[0])
			}
			old, now = old[1:], now[1:]
		}
	}
	return changed
}

// compareHeads compares the first of each; what is at its end comes last.
func compareHeads(old, now []Neighbour) int {
	switch {
	case len(now) == 0:
		return -1
	case len(old) == 0:
		return 1
	}
	return compareNeighbours(old[0], now[0])
}

func compareNeighbours(a, b Neighbour) int {
	if a.Link != b.Link {
		return a.Link - b.Link
	}
	return a.IP.Compare(b.IP)
}

func listNeighbours(h *netlink.Handle) ([]Neighbour, error) {
	var ns []Neighbour
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		entries, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(0, family) })
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			ip, ok := netip.AddrFromSlice(e.IP)
			state, known := neighbourState(e.State)
			if !ok || !known || ip.IsMulticast() {
				continue
			}
			n := Neighbour{IP: ip.Unmap(), Link: e.LinkIndex, State: state}
			if len(e.HardwareAddr) > 0 && state != NeighbourIncomplete && state != NeighbourFailed {
				n.MAC = e.HardwareAddr
			}
			ns = append(ns, n)
		}
	}
	slices.SortFunc(ns, compareNeighbours)
	return ns, nil
}

func neighbourState(s int) (NeighbourState, bool) {
	switch s {
	case netlink.NUD_REACHABLE:
		return NeighbourReachable, true
	case netlink.NUD_STALE:
		return NeighbourStale, true
	case netlink.NUD_DELAY:
		return NeighbourDelay, true
	case netlink.NUD_PROBE:
		return NeighbourProbe, true
	case netlink.NUD_INCOMPLETE:
		return NeighbourIncomplete, true
	case netlink.NUD_FAILED:
		return NeighbourFailed, true
	case netlink.NUD_PERMANENT:
		return NeighbourPermanent, true
	}
	return "", false // NUD_NOARP and what is to come
}
