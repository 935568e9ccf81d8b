package dnssd

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Sizes of TXT records, in bytes of rdata (RFC 6763 §6.2).
const (
	// LargeTXT is where a TXT record stops to fit a packet beside the other
	// records of its service. A larger one is published with a warning.
	LargeTXT = 400
	// DefaultMaxTXT is where it stops to fit an Ethernet frame.
	DefaultMaxTXT = 1300
)

// maxLabel is the length of the longest label, in bytes (RFC 1035 §2.3.4).
const maxLabel = 63

// Announcement is what is published of one service instance.
type Announcement struct {
	// Name is the instance's name, any text without control characters
	// (RFC 6763 §4.1.1). What exceeds 63 bytes is cut off after a character.
	Name string
	Type string // "_http._tcp"
	// LongType lets the type's name have more than 15 bytes, as some have that
	// are older than that limit (RFC 6335 §5.1).
	LongType bool
	// Subtypes are those by which the instance can be found, too: labels of 1
	// to 63 bytes, whatever they are (RFC 6763 §7.1).
	Subtypes []string
	// Placeholders are further types in which nobody else shall take the name,
	// though the instance doesn't offer them: protocols for the same purpose,
	// such as _printer._tcp beside _ipp._tcp (RFC 6763 §8).
	Placeholders []string
	Port         uint16
	// TXT holds "key=value", "key=" and "key"; values are any bytes. The string
	// for txtvers is put first (RFC 6763 §6.7).
	TXT TXT
	// Host is where the service runs. The zero Host is this machine.
	Host Host
	// Links are the names of the only interfaces to announce it on; none means
	// all that the engine has.
	Links []string
}

// Host is a machine that offers services.
type Host struct {
	// Name is its name: "printer" and "printer.local" are the same.
	Name string
	// Addresses are published with the name. None: the machine does so itself.
	Addresses []netip.Addr
}

// Checked returns the announcement as it is published in a domain, its name cut
// and its TXT record in order, or says what is wrong with it. maxTXT bounds the
// TXT record, in bytes.
func (a Announcement) Checked(domain string, maxTXT int) (Announcement, error) {
	o, err := newOffer(a, domain, maxTXT)
	return o.Announcement, err
}

// offer is an announcement that was checked, and the names in it.
type offer struct {
	Announcement
	service  dnswire.Name   // _http._tcp.local
	types    dnswire.Name   // _services._dns-sd._udp.local, where the type is listed
	subtypes []dnswire.Name // _printer._sub._http._tcp.local
	reserved []dnswire.Name // the types of the placeholders
	host     dnswire.Name   // "" for this machine
	txt      dnswire.RR     // its owner is the service's name
}

// newOffer checks an announcement for a domain. maxTXT bounds the TXT record.
func newOffer(a Announcement, domain string, maxTXT int) (offer, error) {
	o := offer{Announcement: a}
	o.Subtypes, o.Placeholders = slices.Clone(a.Subtypes), slices.Clone(a.Placeholders)
	o.Links, o.Host.Addresses = slices.Clone(a.Links), slices.Clone(a.Host.Addresses)
	var err error
	if o.Name, err = instanceName(a.Name); err != nil {
		return o, err
	}
	check := CheckType
	if a.LongType {
		check = CheckLongType
	}
	if err := check(a.Type); err != nil {
		return o, err
	}
	if o.service, err = typeName(a.Type, domain); err != nil {
		return o, err
	}
	if o.types, err = dnswire.ParseName(metaName + "." + domain); err != nil {
		return o, fmt.Errorf("dnssd: domain: %w", err)
	}
	for _, s := range o.Subtypes {
		n, err := subtypeName(s, o.service)
		if err != nil {
			return o, err
		}
		if !slices.ContainsFunc(o.subtypes, n.Equal) {
			o.subtypes = append(o.subtypes, n)
		}
	}
	for _, p := range o.Placeholders {
		if err := CheckType(p); err != nil {
			return o, err
		}
		n, err := typeName(p, domain)
		if err != nil {
			return o, err
		}
		if n.Equal(o.service) || slices.ContainsFunc(o.reserved, n.Equal) {
			return o, fmt.Errorf("dnssd: placeholder %s: the type is there twice", p)
		}
		o.reserved = append(o.reserved, n)
	}
	if o.host, err = targetName(a.Host, domain); err != nil {
		return o, err
	}
	if o.TXT, err = publishedTXT(a.TXT, maxTXT); err != nil {
		return o, err
	}
	if o.txt, err = dnswire.NewTXT(o.service, 0, o.TXT...); err != nil {
		return o, fmt.Errorf("dnssd: TXT: %w", err)
	}
	for _, t := range append([]dnswire.Name{o.service}, o.reserved...) {
		// A conflict may make any name as long as a label can be.
		if _, err := t.Prepend(strings.Repeat("x", maxLabel)); err != nil {
			return o, fmt.Errorf("dnssd: instance %q in %s: %w", o.Name, t, err)
		}
	}
	return o, nil
}

// instanceName checks an instance's name and cuts it to a label.
func instanceName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("dnssd: an instance has a name")
	case !utf8.ValidString(name):
		return "", fmt.Errorf("dnssd: instance %q: want UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("dnssd: instance %q: has a control character", name)
	case strings.HasPrefix(name, "\ufeff"): // RFC 6762 §16
		return "", fmt.Errorf("dnssd: instance %q: begins with a byte order mark", name)
	}
	return cut(name), nil
}

// cut shortens a text to a label, after a character.
func cut(s string) string {
	if len(s) <= maxLabel {
		return s
	}
	end := maxLabel
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// targetName returns a host's full name, "" for this machine.
func targetName(h Host, domain string) (dnswire.Name, error) {
	for _, a := range h.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return "", fmt.Errorf("dnssd: host %s: %s is no address of a host", h.Name, a)
		}
	}
	if h.Name == "" {
		if len(h.Addresses) > 0 {
			return "", errors.New("dnssd: addresses of a host without a name")
		}
		return "", nil
	}
	n, err := dnswire.ParseName(h.Name)
	if err != nil {
		return "", fmt.Errorf("dnssd: host: %w", err)
	}
	d, err := dnswire.ParseName(domain)
	if err != nil {
		return "", fmt.Errorf("dnssd: domain: %w", err)
	}
	switch {
	case n == dnswire.Root || n.Equal(d):
		return "", fmt.Errorf("dnssd: %q is no host", h.Name)
	case n.NumLabels() == 1:
		if n, err = d.Prepend(n.Label(0)); err != nil {
			return "", fmt.Errorf("dnssd: host: %w", err)
		}
	case len(h.Addresses) > 0 && !n.HasSuffix(d):
		return "", fmt.Errorf("dnssd: host %s is not in %s: its addresses can't be published there", n, d)
	}
	return n, nil
}

// publishedTXT checks the strings of a TXT record and puts txtvers first. The
// result has at least one string, if an empty one (RFC 6763 §6.1).
func publishedTXT(t TXT, most int) (TXT, error) {
	out := make(TXT, 0, max(1, len(t)))
	keys := make(map[string]bool, len(t))
	size := 0
	for i, s := range t {
		key, _, _ := strings.Cut(s, "=")
		switch {
		case s == "":
			continue // says nothing
		case len(s) > 255:
			return nil, fmt.Errorf("dnssd: TXT string %d has %d bytes, more than 255", i+1, len(s))
		case key == "":
			return nil, fmt.Errorf("dnssd: TXT string %d has no key before its \"=\"", i+1)
		case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }):
			return nil, fmt.Errorf("dnssd: TXT key %q: want printable ASCII (RFC 6763 §6.4)", key)
		case keys[foldString(key)]:
			return nil, fmt.Errorf("dnssd: TXT key %q is there twice", key)
		}
		keys[foldString(key)] = true
		size += 1 + len(s)
		if foldString(key) == "txtvers" {
			out = slices.Insert(out, 0, s)
		} else {
			out = append(out, s)
		}
	}
	if size > most {
		return nil, fmt.Errorf("dnssd: the TXT record has %d bytes, more than %d", size, most)
	}
	if len(out) == 0 {
		out = TXT{""}
	}
	return out, nil
}

// size is the length of the TXT record's rdata, in bytes.
func (t TXT) size() int {
	n := 0
	for _, s := range t {
		n += 1 + len(s)
	}
	return n
}

// on says whether the service is announced on the link.
func (o *offer) on(link string) bool { return len(o.Links) == 0 || slices.Contains(o.Links, link) }

// instance returns the full name that the label makes.
func (o *offer) instance(label string) dnswire.Name {
	n, err := o.service.Prepend(label)
	if err != nil { // newOffer has tried a name as long as any
		return o.service
	}
	return n
}

// names yields the folded names that the label takes.
func (o *offer) names(label string) iter.Seq[dnswire.Name] {
	return func(yield func(dnswire.Name) bool) {
		for _, t := range append([]dnswire.Name{o.service}, o.reserved...) {
			if n, err := t.Prepend(label); err == nil && !yield(n.Fold()) {
				return
			}
		}
	}
}

// records returns what is published of the instance under the label, its host
// being target. Where it has the default TTL, none is set.
func (o *offer) records(label string, target dnswire.Name) []mdns.Record {
	name := o.instance(label)
	out := make([]mdns.Record, 0, 4+len(o.subtypes)+len(o.reserved))
	out = append(out,
		// The engine has it once, however many instances there are of the type
		// (RFC 6763 §9).
		mdns.Record{RR: dnswire.NewPTR(o.types, o.service, 0)},
		mdns.Record{RR: dnswire.NewPTR(o.service, name, 0)})
	for _, s := range o.subtypes {
		out = append(out, mdns.Record{RR: dnswire.NewPTR(s, name, 0)})
	}
	txt := o.txt
	txt.Name = name
	out = append(out,
		mdns.Record{RR: dnswire.NewSRV(name, dnswire.SRV{Port: o.Port, Target: target}, 0), Unique: true},
		mdns.Record{RR: txt, Unique: true})
	for _, t := range o.reserved {
		// Nobody finds it by browsing, and nobody else can have the name.
		if held, err := t.Prepend(label); err == nil {
			out = append(out, mdns.Record{RR: dnswire.NewSRV(held, dnswire.SRV{Target: target}, 0), Unique: true})
		}
	}
	return out
}
