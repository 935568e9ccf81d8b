package hub

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/packet"
)

func TestHowTheHubIsReached(t *testing.T) {
	link := func(prefixes ...string) packet.Link {
		l := packet.Link{Name: "eth0", Flags: net.FlagUp | net.FlagRunning}
		for _, p := range prefixes {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
		}
		return l
	}
	two := []packet.Link{link("192.0.2.1/24", "fe80::1/64", "2001:db8::1/64")}
	const own = " localhost 127.0.0.1 ::1"
	for _, c := range []struct {
		name, config, host string
		links              []packet.Link
		grpc, page         string
		addresses, names   string
		open               string
	}{
		{
			"every address", "", "nas", two, "[::]:8513", "[::]:8443",
			"192.0.2.1:8513 [2001:db8::1]:8513 nas:8513", "192.0.2.1 2001:db8::1 nas" + own, "https://192.0.2.1:8443",
		},
		{
			"every address of IPv4", "", "nas", two, "0.0.0.0:1", "0.0.0.0:2",
			"192.0.2.1:1 nas:1", "192.0.2.1 nas" + own, "https://192.0.2.1:2",
		},
		{
			"one address", "", "nas", two, "192.0.2.1:8513", "[2001:db8::1]:443",
			"192.0.2.1:8513", "192.0.2.1 2001:db8::1" + own, "https://[2001:db8::1]:443",
		},
		{
			"named", "addresses = [\"Hub.example.com:9000\", \"198.51.100.7:8513\"]\nallowed_hosts = [\"www.example.com.\"]", "nas", two, "[::]:8513", "[::]:8443",
			"Hub.example.com:9000 198.51.100.7:8513", "hub.example.com 198.51.100.7 www.example.com 192.0.2.1 2001:db8::1 nas" + own, "https://www.example.com:8443",
		},
		{"no address", "", "", nil, "[::]:8513", "[::]:8443", "127.0.0.1:8513", "127.0.0.1 localhost ::1", "https://127.0.0.1:8443"},
		{"loopback", "", "nas", two, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1", "127.0.0.1 localhost ::1", "https://127.0.0.1:2"},
		{"a name that is none", "", "my nas", two[:1], "0.0.0.0:1", "0.0.0.0:2", "192.0.2.1:1", "192.0.2.1" + own, "https://192.0.2.1:2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := config.Parse("f", []byte("[hub]\n"+c.config))
			if err != nil {
				t.Fatal(err)
			}
			s := selfOf(parsed.Hub, c.host, c.links, netip.MustParseAddrPort(c.grpc), netip.MustParseAddrPort(c.page))
			if got := strings.Join(s.addresses, " "); got != c.addresses {
				t.Errorf("join strings name %s; want %s", got, c.addresses)
			}
			if got := strings.Join(s.names, " "); got != c.names {
				t.Errorf("certificates name %s; want %s", got, c.names)
			}
			if s.page != c.open {
				t.Errorf("the page is %s; want %s", s.page, c.open)
			}
		})
	}
}
