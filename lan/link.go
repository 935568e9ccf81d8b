package lan

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/packet"
)

// limitedBroadcast is the IPv4 address of everyone on the link (RFC 919).
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Usable says whether discovery by multicast makes sense on a link: it is up
// with a carrier, has an address, can do multicast and is not the loopback.
// Tunnels without multicast and the ports of a bridge, which have no address, are left out.
func Usable(l packet.Link) bool {
	return l.Up() && l.Flags&net.FlagMulticast != 0 && l.Flags&net.FlagLoopback == 0 && len(l.Prefixes) > 0
}

// UnknownLinkError says that a link which was asked for by name doesn't exist.
type UnknownLinkError struct {
	Name  string
	Known []string // the names that exist
}

func (e *UnknownLinkError) Error() string {
	return fmt.Sprintf("lan: no interface %q (there are: %s)", e.Name, strings.Join(e.Known, ", "))
}

// Select chooses links to work on. With no names these are the usable ones, and
// that may be none. With names it is those links, whatever their kind: the
// loopback, too, if it is named, and links that are down, since they may come up. A name that
// doesn't exist is an *UnknownLinkError.
func Select(links []packet.Link, names []string) ([]packet.Link, error) {
	var chosen []packet.Link
	if len(names) == 0 {
		for _, l := range links {
			if Usable(l) {
				chosen = append(chosen, l)
			}
		}
		return chosen, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == name })
		if i < 0 {
			known := make([]string, len(links))
			for k, l := range links {
				known[k] = l.Name
			}
			return nil, &UnknownLinkError{name, known}
		}
		if !slices.ContainsFunc(chosen, func(l packet.Link) bool { return l.Index == links[i].Index }) {
			chosen = append(chosen, links[i])
		}
	}
	return chosen, nil
}

// DirectedBroadcasts returns the broadcast address of each IPv4 subnet of a
// link, for hosts that don't hear 255.255.255.255. A /31 and a /32 have none.
func DirectedBroadcasts(l packet.Link) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range l.Prefixes {
		if !p.Addr().Is4() || p.Bits() > 30 {
			continue
		}
		a := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			a[bit/8] |= 0x80 >> (bit % 8)
		}
		if b := netip.AddrFrom4(a); !slices.Contains(addrs, b) {
			addrs = append(addrs, b)
		}
	}
	return addrs
}
