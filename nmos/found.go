package nmos

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

// maxFound bounds the instances of one look. What exceeds it is counted, not kept.
const maxFound = 4096

// look is one search: of one type, in one domain, by one source. What it finds
// is kept as DNS-SD tells it.
type look struct {
	via, domain, service string

	begun    bool
	settled  bool      // the first look is complete
	at       time.Time // when that was
	answered bool      // the last answer had a PTR record in it
	failure  error     // why there was none
	services map[linked]dnssd.Service
	over     int     // how often an instance found no room
	list     []Found // what found returns, nil after a change
}

// linked is an instance on a link, its name folded.
type linked struct {
	name string
	link int
}

// responds says whether there is a response: an answer with a PTR record that
// still holds.
func (l *look) responds() bool { return l.answered || len(l.services) > 0 }

// forget drops what was found.
func (l *look) forget() { l.services, l.answered, l.list = nil, false, nil }

// hear takes in what a browser tells.
func (l *look) hear(now time.Time, ev dnssd.Event) {
	if ev.Op == dnssd.Settled {
		if !l.settled {
			l.settled, l.at = true, now
		}
		return
	}
	l.list = nil
	k := linked{fold(ev.Name), ev.Link}
	_, known := l.services[k]
	switch {
	case ev.Op == dnssd.Remove:
		delete(l.services, k)
	case !known && len(l.services) >= maxFound:
		l.over++
	default:
		if l.services == nil {
			l.services = map[linked]dnssd.Service{}
		}
		l.services[k] = ev.Service
	}
}

// found returns what was found, by name. An instance that is the same on
// several links is there once, with the addresses that it has on all of them.
func (l *look) found() []Found {
	if l.list != nil {
		return l.list
	}
	keys := slices.SortedFunc(maps.Keys(l.services), func(a, b linked) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.link, b.link))
	})
	out := make([]Found, 0, len(keys))
	first := 0 // of those with the same name
	for i, k := range keys {
		if i > 0 && k.name != keys[i-1].name {
			first = len(out)
		}
		f := foundOf(l.services[k], l.via)
		if same := slices.IndexFunc(out[first:], func(o Found) bool { return o.sameBut(&f) }); same >= 0 {
			out[first+same].join(&f)
			continue
		}
		out = append(out, f)
	}
	l.list = out
	return out
}

// foundOf returns what DNS-SD says of an instance on a link.
func foundOf(s dnssd.Service, via string) Found {
	f := Found{Instance: s.Instance, Via: via}
	targets := s.Targets
	if len(targets) == 0 && s.Host != "" {
		targets = []dnssd.Target{{Host: s.Host, Port: s.Port, Priority: s.Priority, Weight: s.Weight, Addresses: s.Addresses}}
	}
	reachable := false
	for _, t := range targets {
		if t.Host == "." { // decidedly not there (RFC 2782)
			continue
		}
		t.Host = strings.TrimSuffix(t.Host, ".")
		t.Addresses = zoned(t.Addresses, s.Interface)
		reachable = reachable || len(t.Addresses) > 0
		f.Targets = append(f.Targets, Target(t))
	}
	switch {
	case len(s.TXTs) > 0:
		f.TXT = s.TXTs
	case s.TXT != nil:
		f.TXT = []dnssd.TXT{s.TXT}
	}
	switch {
	case s.Broken != nil:
		f.Broken = s.Broken
	case len(targets) > 0 && len(f.Targets) == 0:
		f.Broken = reason(`its SRV record says that it isn't there (target ".")`)
	case len(f.Targets) > 0 && !reachable:
		f.Broken = reason(fmt.Sprintf("its host %s has no address", f.Targets[0].Host))
	}
	return f
}

// zoned returns the addresses that a host can have, those that hold on a link
// alone with its name.
func zoned(addresses []netip.Addr, link string) []netip.Addr {
	var out []netip.Addr
	for _, a := range addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			continue // 0.0.0.0 would lead to ourselves
		}
		if link != "" && a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(link)
		}
		out = append(out, a)
	}
	return out
}

// sameBut says whether two links tell the same of an instance, addresses aside.
func (f *Found) sameBut(o *Found) bool {
	return (f.Broken == nil) == (o.Broken == nil) && slices.EqualFunc(f.TXT, o.TXT, func(a, b dnssd.TXT) bool { return slices.Equal(a, b) }) &&
		slices.EqualFunc(f.Targets, o.Targets, func(a, b Target) bool {
			return fold(a.Host) == fold(b.Host) && a.Port == b.Port && a.Priority == b.Priority && a.Weight == b.Weight
		})
}

// join adds the addresses that an instance has on another link.
func (f *Found) join(o *Found) {
	for i := range f.Targets {
		for _, a := range o.Targets[i].Addresses {
			if !slices.Contains(f.Targets[i].Addresses, a) {
				f.Targets[i].Addresses = append(f.Targets[i].Addresses, a)
			}
		}
	}
}

// fold returns a name of DNS in lower case: only ASCII letters have one (RFC 4343).
func fold(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := range b {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// same says whether two advertisements are of the same instance, found the same way.
func (f *Found) same(o *Found) bool {
	return f.Via == o.Via && equalFold(f.Name, o.Name) && equalFold(f.Service, o.Service) && equalFold(f.Domain, o.Domain)
}

// equalFold says whether two names of DNS are the same.
func equalFold(a, b string) bool { return len(a) == len(b) && (a == b || fold(a) == fold(b)) }

// place is where an API is: what is at the same place is the same API.
type place struct {
	proto, host string // the host folded
	port        uint16
}

func placeOf(proto string, t Target) place {
	return place{proto, fold(strings.TrimSuffix(t.Host, ".")), t.Port}
}

// String returns the place as the URL of an API there begins.
func (p place) String() string { return fmt.Sprintf("%s://%s:%d", p.proto, p.host, p.port) }

// has says whether an advertisement has a target at the place, and which.
func (a *Advert) has(at place) (Target, bool) {
	i := slices.IndexFunc(a.Targets, func(t Target) bool { return placeOf(a.Proto, t) == at })
	if i < 0 {
		return Target{}, false
	}
	return a.Targets[i], true
}
