package syncthing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is the port that a device listens on, unless it was told otherwise.
const DefaultPort = 22000

// Resolver returns the addresses of a host by its name. A host that is written as an IP isn't asked for.
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// maxPerName bounds how many addresses of one server are used.
const maxPerName = 16

// ParseAddress reads an address to announce: "192.0.2.7:22000", "[2001:db8::7]:22000", or
// ":22000" for the address that the packet comes from, which "0.0.0.0:22000" and
// "[::]:22000" stand for, too. It must be one that a host can have.
func ParseAddress(s string) (netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("syncthing: address %q: the port must be 1 to 65535", s)
		}
		return announced(netip.AddrPortFrom(netip.Addr{}, uint16(n)))
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("syncthing: address %q: want IP:PORT, [IPv6]:PORT or :PORT", s)
	}
	return announced(a)
}

// announced returns an address as it is announced: an unspecified IP becomes none.
func announced(a netip.AddrPort) (netip.AddrPort, error) {
	ip := a.Addr().Unmap().WithZone("")
	switch {
	case a.Port() == 0:
		text := a.String()
		if !a.Addr().IsValid() {
			text = ":0"
		}
		return netip.AddrPort{}, fmt.Errorf("syncthing: address %s: the port must be 1 to 65535", text)
	case toAll(ip):
		return netip.AddrPort{}, fmt.Errorf("syncthing: address %v: no host has it", a)
	case ip.IsUnspecified():
		ip = netip.Addr{}
	}
	return netip.AddrPortFrom(ip, a.Port()), nil
}

// announcedAll returns addresses as they are announced, without duplicates.
func announcedAll(all []netip.AddrPort) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, a := range all {
		a, err := announced(a)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("syncthing: no address to announce")
	case len(out) > MaxAddresses:
		return nil, fmt.Errorf("syncthing: %d addresses to announce, more than %d", len(out), MaxAddresses)
	}
	return out, nil
}

// SplitServer reads the name of a global server, HOST or HOST:PORT, where the host
// is a name or an IP. Without a port it is [GlobalPort].
func SplitServer(s string) (host string, port uint16, err error) {
	host, digits := s, ""
	switch colon := strings.LastIndexByte(s, ':'); {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, fmt.Errorf("syncthing: server %q: ] is missing", s)
		}
		host, digits = s[1:end], s[end+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", 0, fmt.Errorf("syncthing: server %q: only an IPv6 address is written in brackets", s)
		}
	case strings.Count(s, ":") == 1:
		host, digits = s[:colon], s[colon:]
	}
	port = GlobalPort
	if digits != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(digits, ":"), 10, 16)
		if err != nil || n == 0 || digits[0] != ':' {
			return "", 0, fmt.Errorf("syncthing: server %q: the port must be 1 to 65535", s)
		}
		port = uint16(n)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && (host == "" || strings.ContainsAny(host, ":/ \t[]@")):
		return "", 0, fmt.Errorf("syncthing: server %q: want HOST or HOST:PORT", s)
	case err == nil && strings.ContainsAny(ip.Zone(), ":/ \t[]@"):
		return "", 0, fmt.Errorf("syncthing: server %q: no link has that name", s)
	case err == nil && (ip.WithZone("").IsUnspecified() || toAll(ip.Unmap())):
		return "", 0, fmt.Errorf("syncthing: server %q: no host has that address", s)
	}
	return host, port, nil
}

// ResolveServer returns the addresses of a global server, HOST or HOST:PORT, those of
// both families, and at most 16.
func ResolveServer(ctx context.Context, server string, resolve Resolver) ([]netip.AddrPort, error) {
	host, port, err := SplitServer(server)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(host)
	found := []netip.Addr{ip}
	if err != nil {
		if resolve == nil {
			return nil, fmt.Errorf("syncthing: server %s: names can't be resolved here", server)
		}
		if found, err = resolve(ctx, host); err != nil {
			return nil, fmt.Errorf("syncthing: server %s: %w", server, err)
		}
	}
	var out []netip.AddrPort
	for _, a := range found {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || toAll(a) {
			continue // a resolver that blocks a name says 0.0.0.0
		}
		if at := netip.AddrPortFrom(a, port); !slices.Contains(out, at) && len(out) < maxPerName {
			out = append(out, at)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("syncthing: server %s: the name has no address", server)
	}
	return out, nil
}
