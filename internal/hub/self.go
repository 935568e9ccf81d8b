package hub

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

var anyIPv6 = netip.IPv6Unspecified()

// self is how the hub is reached.
type self struct {
	host      string   // the machine's name, "" if it has none
	addresses []string // HOST:PORT, for join strings, the best first
	names     []string // host names and addresses, for certificates
	hosts     []string // for which browsers may take it
	page      string   // the page's address
}

// newSelf looks at the machine and the config. grpc and page are where the hub
// listens.
func newSelf(c *config.Config, grpc, page net.Addr) (self, error) {
	links, err := lan.Links()
	if err != nil {
		return self{}, err
	}
	host, _ := os.Hostname() // one without a name is known by its addresses
	return selfOf(c.Hub, host, sockets.Selection{Names: c.Interfaces, Exclude: c.ExcludeInterfaces}.Filter(links), addrPort(grpc), addrPort(page)), nil
}

func selfOf(c config.Hub, host string, links []packet.Link, grpc, page netip.AddrPort) self {
	s := self{host: host}
	own := reachable(sockets.Addresses(links), grpc.Addr(), host)
	for _, a := range c.Addresses {
		s.addresses = append(s.addresses, a.String())
	}
	if len(s.addresses) == 0 {
		for _, h := range own[:min(len(own), invitation.MaxAddresses)] {
			s.addresses = append(s.addresses, net.JoinHostPort(h, strconv.Itoa(int(grpc.Port()))))
		}
	}
	add := func(names ...string) {
		for _, n := range names {
			n = strings.ToLower(strings.TrimSuffix(n, "."))
			if n != "" && !slices.Contains(s.names, n) {
				s.names = append(s.names, n)
			}
		}
	}
	for _, a := range s.addresses {
		h, _, _ := net.SplitHostPort(a) // the config and we have checked it
		add(h)
	}
	add(c.AllowedHosts...)
	add(own...)
	add(reachable(sockets.Addresses(links), page.Addr(), host)...)
	add("localhost", "127.0.0.1", "::1")
	s.hosts = s.names
	s.page = "https://" + net.JoinHostPort(s.pageHost(c, page, host, links), strconv.Itoa(int(page.Port())))
	return s
}

// pageHost is the host by which people are told to open the page.
func (s *self) pageHost(c config.Hub, page netip.AddrPort, host string, links []packet.Link) string {
	if !page.Addr().IsUnspecified() {
		return page.Addr().String()
	}
	if len(c.AllowedHosts) > 0 {
		return strings.TrimSuffix(c.AllowedHosts[0], ".")
	}
	if own := reachable(sockets.Addresses(links), page.Addr(), host); len(own) > 0 {
		return own[0]
	}
	return "localhost"
}

// reachable are the hosts by which others come to a listener: its address, or, if it
// is all of the machine's, those and the machine's name. A machine with no address but
// its own loopback is reached from itself.
func reachable(addresses []netip.Addr, listens netip.Addr, host string) []string {
	if !listens.IsUnspecified() {
		return []string{listens.WithZone("").String()}
	}
	var out []string
	for _, a := range addresses {
		if listens.Is4() == a.Is4() || listens == anyIPv6 {
			out = append(out, a.WithZone("").String())
		}
	}
	if len(out) == 0 {
		out = append(out, "127.0.0.1")
	}
	if invitation.CheckAddress(net.JoinHostPort(host, "1")) == nil {
		out = append(out, host)
	}
	return out
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := t.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
