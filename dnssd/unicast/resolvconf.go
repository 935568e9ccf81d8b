package unicast

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Bounds of a resolv.conf, in the manner of resolv.conf(5) but for the number of
// servers, of which more do no harm.
const (
	maxResolvConf = 64 << 10 // bytes
	maxServers    = 8
	maxSearch     = 16
	maxNdots      = 15
)

// ResolvConf is what a resolv.conf says.
type ResolvConf struct {
	Servers
	Search []string // domains, as dnswire.Name prints them
	Ndots  int
	// Warnings say which lines were left out, and why.
	Warnings []string
}

// ParseResolvConf reads a resolv.conf. What it can't read becomes a warning, as a
// resolver goes on with the rest.
func ParseResolvConf(data []byte) ResolvConf {
	c := ResolvConf{Ndots: 1}
	warn := func(line int, format string, args ...any) {
		const most = 32
		if len(c.Warnings) < most {
			c.Warnings = append(c.Warnings, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
		}
	}
	if len(data) > maxResolvConf {
		data = data[:maxResolvConf]
		warn(1, "the file has more than %d bytes; the rest is left out", maxResolvConf)
	}
	for i, raw := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(raw))
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		fields := strings.Fields(text)
		line, word, values := i+1, fields[0], fields[1:]
		if j := slices.IndexFunc(values, func(v string) bool { return v[0] == '#' || v[0] == ';' }); j >= 0 {
			values = values[:j]
		}
		switch word {
		case "nameserver":
			c.nameserver(values, func(format string, args ...any) { warn(line, format, args...) })
		case "domain", "search": // the last of them counts
			c.Search = nil
			if word == "domain" && len(values) > 1 {
				values = values[:1]
			}
			for _, v := range values {
				c.search(v, func(format string, args ...any) { warn(line, format, args...) })
			}
		case "options":
			for _, v := range values {
				c.option(v)
			}
		case "sortlist", "family", "lookup": // of no use to us
		default:
			warn(line, "%q is not known", shown(word))
		}
	}
	return c
}

// shown cuts text from a file short for a message.
func shown(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (c *ResolvConf) nameserver(values []string, warn func(string, ...any)) {
	if len(values) != 1 {
		warn("want one address behind nameserver")
		return
	}
	a, err := netip.ParseAddr(values[0])
	switch {
	case err != nil:
		warn("%q is no address", shown(values[0]))
		return
	case len(c.Addrs) >= maxServers:
		warn("more than %d servers", maxServers)
		return
	case a.IsUnspecified(): // this host, by an old custom
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if at := netip.AddrPortFrom(a.Unmap(), DefaultPort); !slices.Contains(c.Addrs, at) {
		c.Addrs = append(c.Addrs, at)
	}
}

func (c *ResolvConf) search(domain string, warn func(string, ...any)) {
	n, err := dnswire.ParseName(domain)
	switch {
	case err != nil:
		warn("%q is no domain", shown(domain))
	case n == dnswire.Root:
	case len(c.Search) >= maxSearch:
		warn("more than %d domains to search", maxSearch)
	case !slices.Contains(c.Search, n.String()):
		c.Search = append(c.Search, n.String())
	}
}

// option takes in one option; those that are about something else are left out.
func (c *ResolvConf) option(text string) {
	name, value, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 0
	switch {
	case name == "ndots" && number:
		c.Ndots = min(n, maxNdots)
	case name == "timeout" && number:
		c.Timeout = time.Duration(min(max(n, 1), int(maxTimeout/time.Second))) * time.Second
	case name == "attempts" && number:
		c.Attempts = min(max(n, 1), maxAttempts)
	case name == "rotate":
		c.Rotate = true
	case name == "use-vc":
		c.TCP = true
	}
}

// The files that ReadSystem reads.
const (
	resolvConfFile = "/etc/resolv.conf"
	// systemdFile lists the servers behind systemd-resolved's own.
	systemdFile = "/run/systemd/resolve/resolv.conf"
)

// ReadSystem returns the machine's resolv.conf; read is os.ReadFile. Where that
// only names systemd-resolved on this host, 127.0.0.53, the servers behind it are
// taken: the stub answers questions for DNS-SD with what it makes of them itself,
// from its own multicast DNS, too. No file is no server: not an error.
func ReadSystem(read func(string) ([]byte, error)) (ResolvConf, error) {
	data, err := read(resolvConfFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ResolvConf{Ndots: 1}, nil
	}
	if err != nil {
		return ResolvConf{}, fmt.Errorf("unicast: %w", err)
	}
	c := ParseResolvConf(data)
	stub := netip.AddrFrom4([4]byte{127, 0, 0, 53})
	if len(c.Addrs) == 0 || slices.ContainsFunc(c.Addrs, func(a netip.AddrPort) bool { return a.Addr() != stub }) {
		return c, nil
	}
	if data, err = read(systemdFile); err != nil {
		return c, nil //nolint:nilerr // the stub is better than nothing
	}
	if behind := ParseResolvConf(data); len(behind.Addrs) > 0 {
		return behind, nil
	}
	return c, nil
}

// ParseServer reads a server's address, "192.0.2.53", "2001:db8::53" or with a
// port "192.0.2.53:5300", "[2001:db8::53]:5300".
func ParseServer(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return netip.AddrPortFrom(a.Unmap(), DefaultPort), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("unicast: server %q: want an address like 192.0.2.53 or [2001:db8::53]:5300", shown(text))
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}
