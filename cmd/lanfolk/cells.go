package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
)

// What tables show of lists: the first or the most telling, and how many more.

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func joined[T fmt.Stringer](items []T) string { return joinedUpTo(items, len(items)) }

func joinedUpTo[T fmt.Stringer](items []T, n int) string {
	var s []string
	for _, v := range items[:min(n, len(items))] {
		s = append(s, v.String())
	}
	return more(strings.Join(s, " "), len(items)-n)
}

func more(s string, n int) string {
	if n <= 0 {
		return s
	}
	return fmt.Sprintf("%s +%d", s, n)
}

// shortest shows an IPv4 address rather than an IPv6 one, and a global one
// rather than one that holds on the link only.
func shortest(addresses []netip.Addr) string {
	if len(addresses) == 0 {
		return ""
	}
	rank := func(a netip.Addr) int {
		switch {
		case a.Is4() && !a.IsLinkLocalUnicast():
			return 0
		case a.Is6() && !a.IsLinkLocalUnicast():
			return 1
		}
		return 2
	}
	best := slices.MinFunc(addresses, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	return more(best.String(), len(addresses)-1)
}

// serviceTypes names the types of a device's services, at most three.
func serviceTypes(services []*lanfolk.Service) string {
	var types []string
	for _, s := range services {
		name := strings.TrimPrefix(s.Type, "_")
		name, _, _ = strings.Cut(name, ".")
		types = append(types, name)
	}
	slices.Sort(types)
	types = slices.Compact(types)
	return more(strings.Join(types[:min(3, len(types))], " "), len(types)-3)
}

func pairs(m map[string]string) string {
	var s []string
	for _, k := range sortedKeys(m) {
		s = append(s, k+"="+m[k])
	}
	return strings.Join(s, " ")
}
