package nmos

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Selection is the API that a client uses, and where: one target of one
// advertisement.
type Selection struct {
	*Advert
	Target Target
	// Version is the latest that both sides speak; the zero Version where the
	// kind has none, or where the location was configured.
	Version Version
	// Location is the configured URL, "" for an API that was found.
	Location string
}

// URL returns the address of the API without its path, "http://ctl-1.example.com:8080",
// or the configured location as it is.
func (s Selection) URL() string {
	if s.Location != "" || s.Advert == nil {
		return s.Location
	}
	return s.Advert.URL(s.Target)
}

// Base returns the address of the API in the version to speak, with a slash at
// its end: "http://ctl-1.example.com:8080/x-nmos/netctrl/v1.0/". To a
// configured location only that slash is added: who configures it says it all.
func (s Selection) Base() string {
	if s.Location != "" {
		return strings.TrimSuffix(s.Location, "/") + "/"
	}
	base := s.URL() + s.path()
	if s.Kind.HasSelector || s.Version == (Version{}) {
		return base
	}
	return base + s.Version.String() + "/"
}

// path is the API's base path: what its kind says, for an authorization server
// with the selector at the end (IS-10, Discovery).
func (s Selection) path() string {
	if s.Kind.HasSelector && s.Selector != "" {
		return s.Kind.Path + "/" + url.PathEscape(strings.Trim(s.Selector, "/"))
	}
	return s.Kind.Path
}

// TLSName returns the host name that the API's certificate must be for: without
// the last dot, which names in DNS have and those in certificates don't (RFC 9525 §6.3).
func (s Selection) TLSName() string { return strings.TrimSuffix(s.Target.Host, ".") }

// is says whether two selections are the same API at the same place.
func (s *Selection) is(o *Selection) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Location == o.Location && s.id() == o.id() && place(s.Proto, s.Target) == place(o.Proto, o.Target) && s.Version == o.Version
}

// configured returns the selection that a configured location makes.
func configured(k Kind, location string) (*Selection, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("nmos: location: %w", err)
	}
	t := Target{Host: strings.TrimSuffix(u.Hostname(), ".")}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "mqtt": "1883", "secure-mqtt": "8883"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || t.Host == "" || u.User != nil {
		return nil, fmt.Errorf("nmos: location %q: want a form like http://host:port", u.Redacted())
	}
	t.Port = uint16(n)
	if a, err := netip.ParseAddr(t.Host); err == nil {
		t.Addresses = []netip.Addr{a}
	}
	if !slices.Contains(k.Protos, u.Scheme) {
		return nil, fmt.Errorf("nmos: location %q: want %s", u.Redacted(), strings.Join(k.Protos, " or "))
	}
	a := &Advert{Kind: k, Proto: u.Scheme}
	a.Service, a.Via, a.Targets = k.Service, "configured", []Target{t}
	return &Selection{Advert: a, Target: t, Location: location}, nil
}
