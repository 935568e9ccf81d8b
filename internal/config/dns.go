package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// DNS is the section [dns]: service discovery by unicast DNS. It is off as long
// as Browse and Search are empty.
type DNS struct {
	// Servers are asked, none means those in resolv.conf.
	Servers []DNSServer `toml:"servers"`
	// Browse are domains whose services are kept in the inventory.
	Browse []Domain `toml:"browse"`
	// Search are domains that recommend others to browse (RFC 6763 §11).
	Search []Domain `toml:"search"`
}

func defaultDNS() DNS { return DNS{Servers: []DNSServer{}, Browse: []Domain{}, Search: []Domain{}} }

// On says whether anything is to be asked.
func (d DNS) On() bool { return len(d.Browse)+len(d.Search) > 0 }

const maxDomains = 64

func (d DNS) check(bad func(key string, err error)) {
	for _, l := range []struct {
		key     string
		domains []Domain
	}{{"browse", d.Browse}, {"search", d.Search}} {
		if len(l.domains) > maxDomains {
			bad(l.key, fmt.Errorf("want at most %d domains", maxDomains))
		}
		for i, n := range l.domains {
			if slices.ContainsFunc(l.domains[:i], func(o Domain) bool { return strings.EqualFold(o.name, n.name) }) {
				bad(fmt.Sprintf("%s[%d]", l.key, i), fmt.Errorf("%q is there twice", n.name))
			}
		}
	}
	for i, s := range d.Servers {
		if slices.Contains(d.Servers[:i], s) {
			bad(fmt.Sprintf("servers[%d]", i), fmt.Errorf("%s is there twice", s))
		}
	}
}

// DNSServer is the address and port of a DNS server.
type DNSServer struct{ netip.AddrPort }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *DNSServer) UnmarshalText(b []byte) error {
	a, err := parseServer(string(b))
	if err != nil {
		return fmt.Errorf("want a DNS server's address like 192.0.2.53 or [2001:db8::53]:5300, not %q", b)
	}
	s.AddrPort = a
	return nil
}

// Domain is a domain of unicast DNS, such as example.com.
type Domain struct{ name string }

// String returns the domain without a dot at its end.
func (d Domain) String() string { return d.name }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Domain) UnmarshalText(b []byte) error {
	name := strings.TrimSuffix(string(b), ".")
	labels := strings.Split(name, ".")
	if strings.EqualFold(labels[len(labels)-1], "local") {
		return fmt.Errorf("%q belongs to multicast DNS, which [mdns] is about (RFC 6762 §3)", b)
	}
	if len(name) > 253 || !utf8.ValidString(name) || !printable(name) || slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || len(l) > 63 || strings.ContainsAny(l, ` \/:"`)
	}) {
		return fmt.Errorf("want a domain like example.com, not %q", b)
	}
	d.name = name
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.name), nil }
