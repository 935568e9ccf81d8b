package nmos

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/dnssd"
)

// Priorities of adverts (the key "pri"). 0 is the highest.
const (
	// MaxLive is the lowest priority of a live system. What comes after it is
	// for development.
	MaxLive = 99
	// maxPriority is what larger numbers are cut to: all of them are the same to
	// a client, and none may wrap around to a high priority.
	maxPriority = 1 << 30
)

// Target is one place where an API is: what one SRV record of its instance
// says. A client tries an instance's targets by priority and weight (RFC 6763 §5).
type Target struct {
	Host             string // without the last dot
	Port             uint16
	Priority, Weight uint16
	Addresses        []netip.Addr
}

// Found is a service instance as DNS-SD tells it, before it is known to be
// any good.
type Found struct {
	dnssd.Instance
	Via     string   // "mdns" or "unicast"
	Targets []Target // the one to try first, first
	// TXT holds the instance's TXT records, one of them where a publisher keeps to
	// RFC 6763 §6.8.
	TXT []dnssd.TXT
	// Broken says why the instance's records couldn't be read.
	Broken error
}

// Advert is an advertisement that says all that its kind has to.
type Advert struct {
	Found
	Kind     Kind
	Proto    string    // api_proto
	Versions []Version // api_ver, ascending; nil where the kind has none
	Auth     bool      // api_auth
	Priority int       // pri, 0 where the kind has none
	Selector string    // api_selector
}

// String returns the instance's name.
func (a *Advert) String() string { return a.Name }

// URL returns the address of the API at a target, without its path:
// "http://ctl-1.example.com:8080".
func (a *Advert) URL(t Target) string {
	return fmt.Sprintf("%s://%s:%d", a.Proto, t.Host, t.Port)
}

// Parse reads an advertisement of a kind. The error says why it can't be used:
// a required value is missing or not what its specification allows. Nothing is guessed:
// a broken advertisement never wins over a good one.
//
// An instance with several TXT records is a publisher's mistake, since no NMOS
// specification has a use for them (RFC 6763 §6.8). Their order in an answer
// changes; so the one with the least attractive priority counts.
func Parse(k Kind, f Found) (*Advert, error) {
	if f.Broken != nil {
		return nil, f.Broken
	}
	if len(f.Targets) == 0 {
		return nil, reason("no SRV record")
	}
	if len(f.TXT) == 0 {
		f.TXT = []dnssd.TXT{nil}
	}
	var worst *Advert
	for _, txt := range f.TXT {
		a := &Advert{Found: f, Kind: k}
		if err := a.read(txt); err != nil {
			return nil, err
		}
		if worst == nil || a.Priority > worst.Priority {
			worst = a
		}
	}
	return worst, nil
}

// reason is why an advertisement was discarded, for people.
type reason string

func (r reason) Error() string { return string(r) }

func (a *Advert) read(txt dnssd.TXT) error {
	var err error
	if a.Proto, err = a.value(txt, "api_proto", "http"); err != nil {
		return err
	}
	if !slices.Contains(a.Kind.Protos, a.Proto) {
		return reason(fmt.Sprintf("api_proto is %q: want %s", a.Proto, strings.Join(a.Kind.Protos, " or ")))
	}
	if a.Kind.HasVersion {
		list, err := a.value(txt, "api_ver", "v1.0")
		if err != nil {
			return err
		}
		if a.Versions = ParseVersions(list); len(a.Versions) == 0 {
			return reason(fmt.Sprintf("api_ver %q has no version in it", list))
		}
	}
	if a.Kind.HasAuth {
		auth, err := a.value(txt, "api_auth", "false")
		if err != nil {
			return err
		}
		if auth != "true" && auth != "false" {
			return reason(fmt.Sprintf("api_auth is %q: want true or false", auth))
		}
		a.Auth = auth == "true"
	}
	if a.Kind.HasPriority {
		pri, err := a.value(txt, "pri", "")
		if err != nil {
			return err
		}
		if a.Priority, err = priority(pri); err != nil {
			return err
		}
	}
	if a.Kind.HasSelector {
		if v, ok := txt.Get("api_selector"); ok {
			a.Selector = v.Data
		}
	}
	return nil
}

// value returns a key's value. old is what a missing one meant before the key
// was invented; "" means that it was always there.
func (a *Advert) value(txt dnssd.TXT, key, old string) (string, error) {
	v, ok := txt.Get(key)
	switch {
	case ok && v.Set:
		return v.Data, nil
	case ok:
		return "", reason(key + " has no value")
	case a.Kind.Legacy && old != "":
		return old, nil
	}
	return "", reason(key + " is missing")
}

// priority reads the value of "pri": decimal ASCII digits and nothing else.
func priority(s string) (int, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, reason(fmt.Sprintf("pri is %q: want a number from 0", s))
	}
	n := 0
	for _, c := range []byte(s) {
		n = min(n*10+int(c-'0'), maxPriority)
	}
	return n, nil
}
