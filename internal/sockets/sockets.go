// Package sockets hands the protocols what package lan opens: the links that a
// person chose, and an mDNS engine on them. The node and the commands that ask
// alone share it.
package sockets

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// Selection says which links are used. Its zero value takes every usable one.
type Selection struct {
	Names   []string // only these
	Exclude []string // never these
	// Loopback takes the loopback link, too, where Names doesn't say which: a
	// protocol that is spoken by unicast is asked on the machine itself there.
	Loopback bool
}

// Choose returns the links of the machine that are chosen. A name in Names
// that doesn't exist is an error: at the start that is a mistake.
func (s Selection) Choose(links []packet.Link) ([]packet.Link, error) {
	chosen, err := lan.Select(links, s.Names)
	if err != nil {
		return nil, err
	}
	if s.Loopback && len(s.Names) == 0 {
		for _, l := range links {
			if loopback(l) {
				chosen = append(chosen, l)
			}
		}
	}
	return slices.DeleteFunc(chosen, s.excluded), nil
}

// Filter is Choose for links that come and go: one that isn't there now may
// come later.
func (s Selection) Filter(links []packet.Link) []packet.Link {
	chosen := slices.Clone(links)
	return slices.DeleteFunc(chosen, func(l packet.Link) bool {
		if len(s.Names) > 0 {
			return !slices.Contains(s.Names, l.Name) || s.excluded(l)
		}
		return !lan.Usable(l) && !(s.Loopback && loopback(l)) || s.excluded(l)
	})
}

func loopback(l packet.Link) bool { return l.Flags&net.FlagLoopback != 0 && l.Up() }

func (s Selection) excluded(l packet.Link) bool { return slices.Contains(s.Exclude, l.Name) }

// Watch sends the chosen links at once and again after each change. The
// channel is closed when ctx ends.
func (s Selection) Watch(ctx context.Context) (<-chan []packet.Link, error) {
	all, err := lan.WatchLinks(ctx)
	if err != nil {
		return nil, err
	}
	chosen := make(chan []packet.Link)
	go func() {
		defer close(chosen)
		for links := range all {
			select {
			case chosen <- s.Filter(links):
			case <-ctx.Done():
				return
			}
		}
	}()
	return chosen, nil
}

// Addresses are those by which this machine can be reached beyond its links.
func Addresses(links []packet.Link) []netip.Addr {
	var out []netip.Addr
	for _, l := range links {
		for _, p := range l.Prefixes {
			if a := p.Addr().Unmap(); a.IsGlobalUnicast() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// WatchAddresses sends the chosen links' Addresses at once and again after each
// change. The channel is closed when ctx ends.
func (s Selection) WatchAddresses(ctx context.Context) (<-chan []netip.Addr, error) {
	links, err := s.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan []netip.Addr)
	go func() {
		defer close(out)
		var last []netip.Addr
		for l := range links {
			now := Addresses(l)
			if last != nil && slices.Equal(now, last) {
				continue
			}
			last = now
			select {
			case out <- now:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Family is the one address family that is left where not both are wanted, 0 for both.
func Family(ipv4, ipv6 bool) mdns.Family {
	switch {
	case !ipv4:
		return mdns.IPv6
	case !ipv6:
		return mdns.IPv4
	}
	return 0
}

// Engine returns an mDNS engine on the chosen links, for one address family or,
// if family is 0, for both. It runs when its Run is called.
func Engine(s Selection, family mdns.Family, log *slog.Logger, observers ...mdns.Observer) *mdns.Engine {
	return &mdns.Engine{
		Links: s.Watch,
		Listen: func(link packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return lan.ListenMulticast(link, group)
		},
		AskUnicast: aloneOnPort,
		Family:     family,
		Observers:  observers,
		Log:        log,
	}
}

// aloneOnPort says whether no other program holds port 5353: only then does
// every unicast answer reach us (RFC 6762 §15.1). What can't be read counts as
// held.
func aloneOnPort(packet.Link) bool {
	holders, err := lan.PortHolders(mdns.Port)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(holders, func(h lan.Holder) bool { return !h.Self })
}
