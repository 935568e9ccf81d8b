package lan_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

func prefixes(s ...string) (ps []netip.Prefix) {
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

const ethernet = net.FlagUp | net.FlagRunning | net.FlagBroadcast | net.FlagMulticast

func someLinks() []packet.Link {
	v4 := prefixes("10.0.0.1/24")
	return []packet.Link{
		{Index: 1, Name: "lo", Flags: net.FlagUp | net.FlagRunning | net.FlagLoopback | net.FlagMulticast, Prefixes: prefixes("127.0.0.1/8")},
		{Index: 2, Name: "eth0", Flags: ethernet, Prefixes: v4},
		{Index: 3, Name: "down", Flags: ethernet &^ (net.FlagUp | net.FlagRunning), Prefixes: v4},
		{Index: 4, Name: "unplugged", Flags: ethernet &^ net.FlagRunning, Prefixes: v4},
		{Index: 5, Name: "wg0", Flags: net.FlagUp | net.FlagRunning | net.FlagPointToPoint, Prefixes: v4},
		{Index: 6, Name: "tap0", Flags: net.FlagUp | net.FlagRunning | net.FlagPointToPoint | net.FlagMulticast, Prefixes: v4},
		{Index: 7, Name: "port", Flags: ethernet},
	}
}

func names(links []packet.Link) (s []string) {
	for _, l := range links {
		s = append(s, l.Name)
	}
	return s
}

func TestSelectLinks(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, "[eth0 tap0]"},
		{[]string{"down", "lo", "down"}, "[down lo]"},
	} {
		got, err := lan.Select(someLinks(), c.names)
		if err != nil || fmt.Sprint(names(got)) != c.want {
			t.Errorf("Select(%v) = %v, %v, want %s", c.names, names(got), err, c.want)
		}
	}
	_, err := lan.Select(someLinks()[:2], []string{"eth0", "eth9"})
	var unknown *lan.UnknownLinkError
	if want := `lan: no interface "eth9" (there are: lo, eth0)`; !errors.As(err, &unknown) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDirectedBroadcasts(t *testing.T) {
	l := packet.Link{Prefixes: prefixes("10.1.2.3/24", "10.1.2.4/24", "172.16.5.6/20", "192.0.2.1/30", "192.0.2.9/31", "192.0.2.10/32", "fe80::1/64", "10.0.0.1/0")}
	if got, want := fmt.Sprint(lan.DirectedBroadcasts(l)), "[10.1.2.255 172.16.15.255 192.0.2.3 255.255.255.255]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
