package source

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
)

// protocolMDNS is the name of mDNS in sightings.
const protocolMDNS = "mdns"

// MDNS turns what DNS-SD and mDNS tell into sightings.
type MDNS struct {
	Gateway string // this node's name, "" for a node alone
	// Own says whether this node itself publishes the instance or the host with
	// that Key on a link. What is heard of one has come back, by a reflector say.
	// nil: it publishes none.
	Own func(link, key string) bool
}

// origin says by which means a name was heard on a link.
func (m MDNS) origin(link, name string) lanfolk.Origin {
	return lanfolk.Origin{Protocol: protocolMDNS, Gateway: m.Gateway, Link: link, Self: m.Own != nil && m.Own(link, Key(name))}
}

// Service returns the sighting of a service, and whether ev is one: events of
// types alone are not.
func (m MDNS) Service(now time.Time, ev dnssd.Event) (lanfolk.Sighting, bool) {
	return serviceSighting(m.origin(ev.Interface, ev.Instance.String()), now, ev)
}

// serviceSighting returns the sighting of a service and whether ev is one.
func serviceSighting(o lanfolk.Origin, now time.Time, ev dnssd.Event) (lanfolk.Sighting, bool) {
	if ev.Name == "" || ev.Op == dnssd.Settled {
		return lanfolk.Sighting{}, false
	}
	if ev.Source.IsValid() {
		o.Source = ev.Source.String()
	}
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindService,
		Key:  fold(ev.Instance.String()),
		Name: text(ev.Name), Type: ev.Instance.Service,
		Host: text(ev.Host), Addresses: ev.Addresses, Port: ev.Port,
		Attributes:  txt(ev.TXT),
		Identifiers: identifiers(lanfolk.MAC{}, "", text(ev.Host), o),
		Time:        now, Lifetime: until(now, ev.Expires), Gone: ev.Op == dnssd.Remove,
	}
	for _, a := range ev.Addresses {
		s.Identifiers = append(s.Identifiers, lanfolk.AddressIdentifiers(a, o)...)
	}
	switch {
	case ev.Resolved:
		s.State = lanfolk.Reachable
	case ev.Host != "":
		s.State = lanfolk.Unreachable // its host stopped saying where it is
	default:
		s.State = lanfolk.Unknown
	}
	s.What = s.Name + " offers " + s.Type
	if s.Host != "" {
		s.What += " at " + s.Host
	}
	return s, true
}

// Host returns the sighting of a host's address.
func (m MDNS) Host(ev dnssd.HostEvent) lanfolk.Sighting {
	o := m.origin(ev.Interface, ev.Host)
	if ev.Source.IsValid() {
		o.Source = ev.Source.String()
	}
	return hostSighting(o, ev)
}

// hostSighting returns the sighting of a host's address.
func hostSighting(o lanfolk.Origin, ev dnssd.HostEvent) lanfolk.Sighting {
	host := text(ev.Host)
	return lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice,
		Key:  fold(host) + " " + ev.Addr.String(),
		Name: bareName(host), Host: host,
		Addresses:   oneAddr(ev.Addr),
		Identifiers: append(identifiers(lanfolk.MAC{}, "", host, o), lanfolk.AddressIdentifiers(ev.Addr, o)...),
		What:        host + " has address " + ev.Addr.String(),
		State:       lanfolk.Reachable,
		Time:        ev.Time, Lifetime: until(ev.Time, ev.Expires), Gone: ev.Op == dnssd.Remove,
	}
}

// bareName is what people call a host that mDNS names.
func bareName(host string) string {
	if n := len(host) - len(".local"); n > 0 && strings.EqualFold(host[n:], ".local") {
		return host[:n]
	}
	return host
}

// until is a lifetime that ends at t; at least a second, so that it isn't
// taken for one that names no end.
func until(now, t time.Time) time.Duration { return max(t.Sub(now), time.Second) }

// txt writes a TXT record for people: bytes that are no text are escaped, and
// a key without a value has an empty one.
func txt(t dnssd.TXT) map[string]string {
	m := make(map[string]string)
	for key, v := range t.All() {
		m[text(key)] = text(v.Data)
	}
	return m
}

// text makes valid UTF-8 of bytes from the network: what is none shows as \xNN.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteString(`\x`)
			b.WriteByte(digits[s[i]>>4])
			b.WriteByte(digits[s[i]&15])
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// fold lowers ASCII letters only (RFC 6762 §16).
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text(s))
}
