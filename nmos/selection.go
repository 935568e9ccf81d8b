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
// its end: "http://ctl-1.example.com:8080/x-nmos/netctrl/v1.0/". A configured
// location that has a path of its own stays as it is. That of an authorization
// server is the one of its metadata, without a slash (RFC 8414 §3).
func (s Selection) Base() string {
	base := s.URL()
	if s.Location != "" {
		if u, err := url.Parse(s.Location); err == nil && strings.Trim(u.Path, "/") != "" {
			return strings.TrimSuffix(base, "/") + "/"
		}
		base = strings.TrimSuffix(base, "/")
	}
	base += s.path()
	if s.Kind.HasSelector || s.Version == (Version{}) {
		return base
	}
	return base + s.Version.String() + "/"
}

// path is the API's base path: what its kind says, for an authorization server
// with the selector at the end (IS-10, Discovery).
func (s Selection) path() string {
	if s.Kind.HasSelector && s.Selector != "" {
		return s.Kind.Path + (&url.URL{Path: "/" + strings.Trim(s.Selector, "/")}).EscapedPath()
	}
	return s.Kind.Path
}

// TLSName returns the host name that the API's certificate must be for: without
// the last dot, which names in DNS have and those in certificates don't (RFC 9525 §6.3).
func (s Selection) TLSName() string { return strings.TrimSuffix(s.Target.Host, ".") }

func (s *Selection) place() place { return placeOf(s.Proto, s.Target) }

// is says whether two selections are the same API at the same place.
func (s *Selection) is(o *Selection) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Location == o.Location && s.Found.same(&o.Found) && s.place() == o.place() && s.Version == o.Version
}

// ParseLocation reads the URL of an API of a kind as a client may have it
// configured: "http://10.0.0.5:8080", with or without the API's path. Its
// Version is for the caller to fill in.
func ParseLocation(k Kind, location string) (Selection, error) {
	u, err := url.Parse(location)
	if err != nil {
		return Selection{}, fmt.Errorf("nmos: location: %w", err)
	}
	switch {
	case !slices.Contains(k.Protos, u.Scheme) || u.Opaque != "":
		return Selection{}, fmt.Errorf("nmos: location %q: want %s://HOST", u.Redacted(), strings.Join(k.Protos, "://HOST or "))
	case u.User != nil:
		return Selection{}, fmt.Errorf("nmos: location %q: no user or password may be in it", u.Redacted())
	case strings.ContainsAny(location, "?#"): // an empty one, too: what is put behind it would be part of it
		return Selection{}, fmt.Errorf("nmos: location %q: want no query and no fragment", u.Redacted())
	}
	t := Target{Host: strings.TrimSuffix(u.Hostname(), "."), Port: defaultPort(u.Scheme)}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Selection{}, fmt.Errorf("nmos: location %q: port %q: want 1 to 65535", u.Redacted(), port)
		}
		t.Port = uint16(n)
	}
	if t.Host == "" {
		return Selection{}, fmt.Errorf("nmos: location %q: want a host", location)
	}
	if a, err := netip.ParseAddr(t.Host); err == nil {
		t.Addresses = []netip.Addr{a}
	}
	a := &Advert{Kind: k, Proto: u.Scheme}
	a.Service, a.Via, a.Targets = k.Service, viaConfig, []Target{t}
	return Selection{Advert: a, Target: t, Location: location}, nil
}

func defaultPort(proto string) uint16 {
	switch proto {
	case "https":
		return 443
	case "mqtt": // IANA's numbers
		return 1883
	case "secure-mqtt":
		return 8883
	}
	return 80
}
