package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

const (
	// linksSettle gathers the changes that belong together: a link that comes up
	// makes five to ten messages.
	linksSettle = 50 * time.Millisecond
	// dumpTries bounds how often a list is read again because it changed meanwhile.
	dumpTries = 5
	// netlinkTimeout bounds the wait for the kernel's answer.
	netlinkTimeout = 5 * time.Second
)

// Links returns the machine's network interfaces by index, with their addresses. IPv6
// addresses that can't be used yet, since duplicate address detection runs
// or has failed, are left out.
func Links() ([]packet.Link, error) {
	h, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("lan: list links: %w", err)
	}
	defer h.Close()
	links, err := listLinks(h)
	if err != nil {
		return nil, fmt.Errorf("lan: list links: %w", err)
	}
	return links, nil
}

// WatchLinks sends the whole set of links at once, and again after each change.
// Changes within some 50 ms, and those that come while nobody receives, are told as
// one. What is received is the receiver's to keep but not to change. The channel
// is closed when ctx ends.
func WatchLinks(ctx context.Context) (<-chan []packet.Link, error) {
	h, err := openNetlink()
	if err != nil {
		return nil, fmt.Errorf("lan: watch links: %w", err)
	}
	w := &watch[packet.Link]{
		list:      func() ([]packet.Link, error) { return listLinks(h) },
		subscribe: subscribeNetlink(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR),
		changes: func(old, now []packet.Link) []packet.Link {
			if slices.EqualFunc(old, now, packet.Link.Equal) {
				return nil
			}
			return now
		},
		settle: linksSettle,
	}
	out, err := w.start(ctx, h.Close)
	if err != nil {
		return nil, fmt.Errorf("lan: watch links: %w", err)
	}
	return out, nil
}

func listLinks(h *netlink.Handle) ([]packet.Link, error) {
	ifaces, err := dump(h.LinkList)
	if err != nil {
		return nil, err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	prefixes := make(map[int][]netip.Prefix, len(ifaces))
	for _, a := range addrs {
		if p, ok := usablePrefix(a); ok {
			prefixes[a.LinkIndex] = append(prefixes[a.LinkIndex], p)
		}
	}
	links := make([]packet.Link, 0, len(ifaces)) // never nil: no links are news, too
	for _, iface := range ifaces {
		at := iface.Attrs()
		l := packet.Link{
			Index: at.Index, Name: at.Name, MTU: at.MTU, Flags: at.Flags, Prefixes: prefixes[at.Index], Master: at.MasterIndex,
		}
		if len(at.HardwareAddr) > 0 && at.Flags&net.FlagLoopback == 0 {
			l.MAC = at.HardwareAddr
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b packet.Link) int { return a.Index - b.Index })
	return links, nil
}

func usablePrefix(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil || a.Flags&unix.IFA_F_DADFAILED != 0 ||
		a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := a.Mask.Size()
	p := netip.PrefixFrom(ip.Unmap(), bits)
	return p, p.IsValid()
}

// openNetlink opens a netlink socket in the calling thread's network namespace.
func openNetlink() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := h.SetSocketTimeout(netlinkTimeout); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// dump repeats a list that the kernel says may be inconsistent because it changed while
// it was read. After a few times it takes the list as it is: the
// change has been announced, so that it will be read again.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		got, err := list()
		if err == nil || errors.Is(err, netlink.ErrDumpInterrupted) && try == dumpTries {
			return got, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
	}
}

// subscribeNetlink returns what a watch needs to hear from netlink groups, in the
// network namespace of the thread that subscribes.
func subscribeNetlink(groups ...uint) func(hint, lost func()) (func(), error) {
	return func(hint, lost func()) (func(), error) {
		s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				_, _, err := s.Receive()
				switch {
				case err == nil, errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
					hint()
				default:
					lost()
					return
				}
			}
		}()
		return s.Close, nil
	}
}
