package config

import "errors"

// MDNS is the section [mdns]: asking and hearing by multicast DNS.
type MDNS struct {
	Enabled bool `toml:"enabled"`
	IPv4    bool `toml:"ipv4"`
	IPv6    bool `toml:"ipv6"`
	Silent  bool `toml:"silent"`
}

func defaultMDNS() MDNS { return MDNS{Enabled: true, IPv4: true, IPv6: true} }

func (m MDNS) check(bad func(key string, err error)) {
	if m.Enabled && !m.IPv4 && !m.IPv6 {
		bad("ipv6", errors.New("ipv4 and ipv6 are both off; to use no mDNS set enabled = false"))
	}
}
