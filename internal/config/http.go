package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// HTTP is the section [http]: the page and the API for other machines. The unix
// socket is there in any case.
type HTTP struct {
	Enabled bool   `toml:"enabled"`
	Listen  Listen `toml:"listen"`
	// AllowedHosts are names by which browsers may call this host, beside its
	// addresses and localhost.
	AllowedHosts []string `toml:"allowed_hosts"`
	// TokenFile holds the tokens for the API, "" for none.
	TokenFile string `toml:"token_file"`
}

func defaultHTTP() HTTP {
	return HTTP{
		Enabled:      true,
		Listen:       Listen{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 4747)},
		AllowedHosts: []string{},
	}
}

func (h HTTP) check(bad func(key string, err error)) {
	for i, host := range h.AllowedHosts {
		bad(fmt.Sprintf("allowed_hosts[%d]", i), hostName(host))
	}
	bad("token_file", absolute(h.TokenFile))
}

func hostName(s string) error {
	err := fmt.Errorf("want a host's name like nas.example.com, without scheme and port, not %q", s)
	if s == "" || len(s) > 253 {
		return err
	}
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return err
		}
	}
	return nil
}

// Listen is an address and a port to listen on.
type Listen struct{ netip.AddrPort }

// ParseListen reads "127.0.0.1:4747", "[::1]:4747" or, for all addresses, ":4747".
// Port 0 is any that is free.
func ParseListen(s string) (Listen, error) {
	text := s
	if strings.HasPrefix(s, ":") {
		text = "[::]" + s
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return Listen{}, fmt.Errorf("want an address and a port like 127.0.0.1:4747, not %q", s)
	}
	return Listen{a}, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Listen) UnmarshalText(b []byte) (err error) {
	*l, err = ParseListen(string(b))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (l Listen) MarshalText() ([]byte, error) {
	if !l.IsValid() {
		return nil, errors.New("config: no address to listen on")
	}
	return l.AddrPort.MarshalText()
}
