package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Zone is one section [[zone]]: a DNS-SD zone that this node publishes services in.
type Zone struct {
	Domain Domain `toml:"domain"`
	// Listen is where the zone is served, none for nowhere: then there is its file.
	Listen []ZoneListen `toml:"listen"`
	// Types are those of the services known by mDNS to publish, AllTypes for every one.
	Types []string `toml:"types"`
	// Interfaces are the only ones whose services are published, none means all.
	Interfaces []string `toml:"interfaces"`
	// Announced publishes what this node announces itself, by mDNS or not.
	Announced bool `toml:"announced"`
	// TTL is the longest that others remember a service, NegativeTTL that there is none,
	// FixedTTL what only the configuration changes.
	TTL         Duration `toml:"ttl"`
	NegativeTTL Duration `toml:"negative_ttl"`
	FixedTTL    Duration `toml:"fixed_ttl"`
	// Contact is an e-mail address, "" for hostmaster in the domain.
	Contact string `toml:"contact"`
	// Refresh, Retry and Expire are for secondaries.
	Refresh Duration `toml:"refresh"`
	Retry   Duration `toml:"retry"`
	Expire  Duration `toml:"expire"`
	// RateLimit is how many answers a second a network gets by UDP, 0 for no limit.
	RateLimit int `toml:"rate_limit"`

	Nameservers []ZoneNameserver `toml:"nameserver"`
	Secondaries []ZoneSecondary  `toml:"secondary"`
}

// ZoneNameserver is one section [[zone.nameserver]].
type ZoneNameserver struct {
	Name      string    `toml:"name"`
	Addresses []Address `toml:"addresses"`
}

// ZoneSecondary is one section [[zone.secondary]]: who may have the whole zone.
type ZoneSecondary struct {
	Address ZoneAddress `toml:"address"`
	KeyFile string      `toml:"key_file"`
}

// AllTypes in Zone.Types stands for every type.
const AllTypes = "*"

// setDefaults implements defaulter.
func (z *Zone) setDefaults() {
	*z = Zone{
		Listen: []ZoneListen{{Port: dnsPort}}, Types: []string{}, Interfaces: []string{},
		TTL: Duration{10 * time.Second}, NegativeTTL: Duration{10 * time.Second}, FixedTTL: Duration{time.Hour},
		Refresh: Duration{time.Hour}, Retry: Duration{5 * time.Minute}, Expire: Duration{24 * time.Hour},
		RateLimit: 1000,
	}
}

// setDefaults implements defaulter.
func (n *ZoneNameserver) setDefaults() { n.Addresses = []Address{} }

// dnsPort is where DNS servers listen.
const dnsPort = 53

const maxZones = 64

// zones checks what the sections have in common.
func zones(all []Zone, mdns MDNS, bad func(key string, err error)) {
	if len(all) > maxZones {
		bad(fmt.Sprintf("zone[%d]", maxZones), fmt.Errorf("want at most %d zones", maxZones))
	}
	for i, z := range all {
		if z.Domain.name != "" && slices.ContainsFunc(all[:i], func(o Zone) bool { return strings.EqualFold(o.Domain.name, z.Domain.name) }) {
			bad(fmt.Sprintf("zone[%d].domain", i), fmt.Errorf("%q is there twice", z.Domain.name))
		}
		if len(z.Types) > 0 && !mdns.Enabled {
			bad(fmt.Sprintf("zone[%d].types", i), errors.New("are of services known by mDNS, and mdns.enabled is false"))
		}
	}
}

func (z Zone) check(bad func(key string, err error)) {
	if z.Domain.name == "" {
		bad("domain", errors.New("a zone has a domain"))
	}
	for i, l := range z.Listen {
		if slices.Contains(z.Listen[:i], l) {
			bad(fmt.Sprintf("listen[%d]", i), fmt.Errorf("%s is there twice", l))
		}
	}
	for i, t := range z.Types {
		key := fmt.Sprintf("types[%d]", i)
		if slices.ContainsFunc(z.Types[:i], func(o string) bool { return strings.EqualFold(o, t) }) {
			bad(key, fmt.Errorf("%q is there twice", t))
		}
		if t != AllTypes {
			serviceTypes("types", z.Types[i:i+1], func(_ string, err error) { bad(key, err) })
		}
	}
	for i, n := range z.Interfaces {
		key := fmt.Sprintf("interfaces[%d]", i)
		bad(key, interfaceName(n))
		if slices.Contains(z.Interfaces[:i], n) {
			bad(key, fmt.Errorf("%q is there twice", n))
		}
	}
	const week = 7 * 24 * time.Hour
	for _, l := range []struct {
		key   string
		value Duration
		most  time.Duration
	}{
		{"ttl", z.TTL, 24 * time.Hour}, {"negative_ttl", z.NegativeTTL, 24 * time.Hour}, {"fixed_ttl", z.FixedTTL, week},
		{"refresh", z.Refresh, week}, {"retry", z.Retry, week}, {"expire", z.Expire, 52 * week},
	} {
		if l.value.d < time.Second || l.value.d > l.most || l.value.d%time.Second != 0 {
			bad(l.key, fmt.Errorf("want whole seconds, 1s to %s, not %s", Duration{l.most}, l.value))
		}
	}
	if z.Retry.d >= z.Refresh.d {
		bad("retry", fmt.Errorf("want less than refresh, %s", z.Refresh))
	}
	if z.Expire.d <= z.Refresh.d+z.Retry.d {
		bad("expire", fmt.Errorf("want more than refresh and retry together, %s", Duration{z.Refresh.d + z.Retry.d}))
	}
	if user, domain, ok := strings.Cut(z.Contact, "@"); z.Contact != "" && (!ok || user == "" || len(user) > 63 || !printable(user) || hostName(domain) != nil) {
		bad("contact", fmt.Errorf("want an e-mail address like hostmaster@example.com, not %q", z.Contact))
	}
	if z.RateLimit < 0 || z.RateLimit > 1_000_000 {
		bad("rate_limit", fmt.Errorf("want 0 to 1000000, not %d", z.RateLimit))
	}
	for i, n := range z.Nameservers {
		key := fmt.Sprintf("nameserver[%d]", i)
		inside := !strings.Contains(n.Name, ".") || strings.HasSuffix(strings.ToLower("."+strings.TrimSuffix(n.Name, ".")), "."+strings.ToLower(z.Domain.name))
		switch {
		case n.Name == "" || z.Domain.name == "":
		case inside && len(n.Addresses) == 0:
			bad(key+".addresses", errors.New("a name server in the zone needs its addresses there"))
		case !inside && len(n.Addresses) > 0:
			bad(key+".addresses", fmt.Errorf("%s isn't in the zone, so its addresses can't be there", n.Name))
		}
		if slices.ContainsFunc(z.Nameservers[:i], func(o ZoneNameserver) bool { return strings.EqualFold(o.Name, n.Name) }) {
			bad(key+".name", fmt.Errorf("%q is there twice", n.Name))
		}
	}
	for i, s := range z.Secondaries {
		if slices.Contains(z.Secondaries[:i], s) {
			bad(fmt.Sprintf("secondary[%d]", i), errors.New("is there twice"))
		}
	}
}

func (n ZoneNameserver) check(bad func(key string, err error)) { bad("name", hostName(n.Name)) }

func (s ZoneSecondary) check(bad func(key string, err error)) {
	bad("key_file", absolute(s.KeyFile))
	if !s.Address.IsValid() && s.KeyFile == "" {
		bad("address", errors.New("a secondary is known by its address, by a key, or by both"))
	}
}

// ZoneListen is where a zone is served: an address and a port, or a port alone for
// all addresses of the interfaces that are used.
type ZoneListen struct {
	Addr netip.Addr // the zero Addr for all of them
	Port uint16
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *ZoneListen) UnmarshalText(b []byte) error {
	s := string(b)
	if port, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			*l = ZoneListen{Port: uint16(n)}
			return nil
		}
	} else if a, err := parseServer(s); err == nil && a.Addr().Zone() == "" && !a.Addr().IsLinkLocalUnicast() {
		*l = ZoneListen{a.Addr(), a.Port()}
		return nil
	}
	return fmt.Errorf(`want an address like 192.0.2.1 or [2001:db8::1]:5353, or ":53" for those of all interfaces, not %q`, s)
}

// String returns what UnmarshalText reads.
func (l ZoneListen) String() string {
	if !l.Addr.IsValid() {
		return ":" + strconv.Itoa(int(l.Port))
	}
	return netip.AddrPortFrom(l.Addr, l.Port).String()
}

// MarshalText implements encoding.TextMarshaler.
func (l ZoneListen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// ZoneAddress is the address of a secondary, "" for any.
type ZoneAddress struct{ netip.AddrPort }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *ZoneAddress) UnmarshalText(b []byte) (err error) {
	*a = ZoneAddress{}
	if len(b) == 0 {
		return nil
	}
	if a.AddrPort, err = parseServer(string(b)); err != nil || a.Addr().Zone() != "" {
		return fmt.Errorf("want an address like 192.0.2.53 or [2001:db8::53]:5300, not %q", b)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a ZoneAddress) MarshalText() ([]byte, error) {
	if !a.IsValid() {
		return nil, nil
	}
	return a.AddrPort.MarshalText()
}

// parseServer reads an address of one host with a port, or without for that of DNS.
func parseServer(s string) (netip.AddrPort, error) {
	var out netip.AddrPort
	if a, err := netip.ParseAddr(s); err == nil {
		out = netip.AddrPortFrom(a.Unmap(), dnsPort)
	} else if at, err := netip.ParseAddrPort(s); err == nil {
		out = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	if !out.IsValid() || out.Port() == 0 || out.Addr().IsUnspecified() || out.Addr().IsMulticast() {
		return netip.AddrPort{}, errors.New("no address of a server")
	}
	return out, nil
}
