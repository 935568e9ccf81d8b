package sockets_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

func machine() []packet.Link {
	up := net.FlagUp | net.FlagRunning | net.FlagMulticast
	address := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}
	return []packet.Link{
		{Index: 1, Name: "lo", Flags: net.FlagUp | net.FlagRunning | net.FlagLoopback, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Index: 2, Name: "eth0", Flags: up, Prefixes: address},
		{Index: 3, Name: "wlan0", Flags: up, Prefixes: address},
		{Index: 4, Name: "down0", Flags: net.FlagMulticast, Prefixes: address},
	}
}

func names(links []packet.Link) []string {
	out := []string{}
	for _, l := range links {
		out = append(out, l.Name)
	}
	return out
}

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		s    sockets.Selection
		want []string
	}{
		{sockets.Selection{}, []string{"eth0", "wlan0"}},
		{sockets.Selection{Exclude: []string{"wlan0"}}, []string{"eth0"}},
		{sockets.Selection{Names: []string{"lo"}}, []string{"lo"}},
		{sockets.Selection{Names: []string{"eth0"}, Loopback: true}, []string{"eth0"}},
		{sockets.Selection{Exclude: []string{"eth0", "wlan0"}, Loopback: true}, []string{"lo"}},
		{sockets.Selection{Names: []string{"eth0", "down0"}}, []string{"eth0", "down0"}},
	} {
		chosen, err := c.s.Choose(machine())
		if err != nil || !slices.Equal(names(chosen), c.want) {
			t.Errorf("%+v chooses %q, error %v; want %q", c.s, names(chosen), err, c.want)
		}
		if got := names(c.s.Filter(machine())); !slices.Equal(got, c.want) {
			t.Errorf("%+v filters %q; want %q", c.s, got, c.want)
		}
	}
}

// A name that no link has is a mistake at the start, and later a link that is
// away.
func TestSelectionOfALinkThatIsNotThere(t *testing.T) {
	s := sockets.Selection{Names: []string{"eth0", "usb0"}}
	var unknown *lan.UnknownLinkError
	if _, err := s.Choose(machine()); !errors.As(err, &unknown) {
		t.Errorf("Choose: error %v; want that usb0 is unknown", err)
	}
	if got := names(s.Filter(machine())); !slices.Equal(got, []string{"eth0"}) {
		t.Errorf("Filter: %q; want eth0", got)
	}
}

func TestFilterLeavesItsInputAlone(t *testing.T) {
	in := machine()
	sockets.Selection{Names: []string{"wlan0"}}.Filter(in)
	if !slices.Equal(names(in), names(machine())) {
		t.Errorf("the links became %q", names(in))
	}
}
