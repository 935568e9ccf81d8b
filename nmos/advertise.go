package nmos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Advertisement is what an API says of itself: the other side of an Advert.
// Kind, Name and Port are needed, and Versions where the kind has them.
type Advertisement struct {
	Kind     Kind
	Name     string // of the instance, any text (RFC 6763 §4.1.1)
	Subtypes []string
	// Host is where the API is. The zero Host is this machine.
	Host dnssd.Host
	Port uint16
	// Proto is the value of api_proto, "" for the kind's first.
	Proto    string
	Versions []Version // in any order
	// Auth says that clients need authorization.
	Auth     bool
	Priority int    // 0 is the highest, 0 to MaxLive is live
	Selector string // of an authorization server that has several issuers
	// Development allows a priority above MaxLive, with which live clients pass the
	// API over.
	Development bool
	// Links are the names of the only interfaces to announce it on by mDNS.
	Links []string
}

// Announcement returns what DNS-SD publishes in a domain, checked. It refuses
// what the kind's specification forbids or has no key for: a client would
// discard it or, worse, take it for something else.
//
// Priority and weight of the SRV record are left at 0: "pri" is what clients go by.
func (a Advertisement) Announcement(domain string) (dnssd.Announcement, error) {
	txt, err := a.TXT()
	if err != nil {
		return dnssd.Announcement{}, fmt.Errorf("nmos: advertise %q: %w", a.Name, err)
	}
	out, err := dnssd.Announcement{
		Name: a.Name, Type: a.Kind.Service, Subtypes: a.Subtypes, Port: a.Port, TXT: txt, Host: a.Host, Links: a.Links,
		LongType: a.Kind.Legacy, // _nmos-registration._tcp has two bytes too many
	}.Checked(domain, dnssd.DefaultMaxTXT)
	if err != nil {
		return dnssd.Announcement{}, fmt.Errorf("nmos: advertise: %w", err)
	}
	return out, nil
}

// OnLinks is Announcement for mDNS. The addresses of a host that isn't in .local
// are left to its domain.
func (a Advertisement) OnLinks() (dnssd.Announcement, error) {
	if n, err := dnswire.ParseName(a.Host.Name); err == nil && n.NumLabels() > 1 && !strings.EqualFold(n.Label(n.NumLabels()-1), dnssd.DefaultDomain) {
		a.Host.Addresses = nil
	}
	return a.Announcement(dnssd.DefaultDomain)
}

// Legacy returns the advertisement of the same API under the name that the type
// had before, for clients that know only that one (IS-04 v1.3.1, Upgrade Path),
// and whether there is such a name.
func (a Advertisement) Legacy() (Advertisement, bool) {
	old, ok := KindOf(a.Kind.With)
	a.Kind = old
	return a, ok
}

// KeyError says which value of an Advertisement is wrong.
type KeyError struct {
	Key    string // of the TXT record, "api_ver"; "" for none of it
	Reason string
}

func (e *KeyError) Error() string { return e.Reason }

func wrong(key, format string, args ...any) error {
	return &KeyError{key, fmt.Sprintf(format, args...)}
}

// TXT returns the TXT record, with all the keys that the kind has. The error is a
// *KeyError.
func (a Advertisement) TXT() (dnssd.TXT, error) {
	k := a.Kind
	if len(k.Protos) == 0 || k.Service == "" {
		return nil, wrong("", "no kind of API")
	}
	if a.Port == 0 {
		return nil, wrong("", "an API has a port")
	}
	proto := a.Proto
	if proto == "" {
		proto = k.Protos[0]
	}
	if !slices.Contains(k.Protos, proto) {
		return nil, wrong("api_proto", "api_proto is %q: %s wants %s", proto, k.Service, strings.Join(k.Protos, " or "))
	}
	txt := dnssd.TXT{"api_proto=" + proto}
	switch {
	case k.HasVersion && len(a.Versions) == 0:
		return nil, wrong("api_ver", "api_ver is missing: an API has at least one version")
	case k.HasVersion:
		txt = append(txt, "api_ver="+FormatVersions(a.Versions))
	case len(a.Versions) > 0:
		return nil, lacks(k, "api_ver")
	}
	switch {
	case a.Auth && !k.HasAuth:
		return nil, lacks(k, "api_auth")
	case a.Auth && proto == "http": // tokens would go over the wire for all to read (IS-10 v1.0, Overview)
		return nil, wrong("api_auth", "api_auth is true: authorization needs https")
	case k.HasAuth:
		txt = append(txt, "api_auth="+strconv.FormatBool(a.Auth))
	}
	switch {
	case !k.HasPriority && a.Priority != 0:
		return nil, lacks(k, "pri")
	case a.Priority < 0 || a.Priority > maxPriority:
		return nil, wrong("pri", "pri is %d: want a number from 0", a.Priority)
	case a.Priority > MaxLive && !a.Development:
		return nil, wrong("pri", "pri %d is for development, 0 to %d is live", a.Priority, MaxLive)
	case k.HasPriority:
		txt = append(txt, "pri="+strconv.Itoa(a.Priority))
	}
	switch {
	case a.Selector == "":
	case !k.HasSelector:
		return nil, lacks(k, "api_selector")
	case !isPath(a.Selector):
		return nil, wrong("api_selector", "api_selector is %q: want a path without a slash at its ends", a.Selector)
	default:
		txt = append(txt, "api_selector="+a.Selector)
	}
	return txt, nil
}

// lacks says that a kind has no such key.
func lacks(k Kind, key string) error {
	return wrong(key, "%s has no %s (%s)", k.Service, key, k.Spec)
}

// isPath says whether s can stand in a URL as one or several segments of its path
// (RFC 3986 §3.3), as a client puts it there.
func isPath(s string) bool {
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~!$&'()*+,;=:@/%", r)
	})
}
