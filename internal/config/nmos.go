package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/nmos"
)

// NMOS is the section [nmos]: the APIs of a studio.
type NMOS struct {
	// Select are the APIs that the node looks for and keeps one of each.
	Select []NMOSSelect `toml:"select"`
	// Advertise are the APIs that the node advertises.
	Advertise []NMOSAdvertise `toml:"advertise"`
}

// OnLinks says whether an API is to be announced by mDNS.
func (n NMOS) OnLinks() bool {
	return slices.ContainsFunc(n.Advertise, func(a NMOSAdvertise) bool { return a.MDNS })
}

// NMOSSelect is one section [[nmos.select]]: an API that is looked for; see
// nmos.Client.
type NMOSSelect struct {
	// Name is what the status calls it, "" for the kind's name; see Title.
	Name string   `toml:"name"`
	Kind NMOSKind `toml:"kind"`
	// Versions are those that the client speaks, none means any.
	Versions []NMOSVersion `toml:"versions"`
	Proto    string        `toml:"proto"` // "" means any
	Auth     NMOSAuth      `toml:"auth"`
	Mode     NMOSMode      `toml:"mode"`
	// Domains are where to look by unicast DNS, none means those of resolv.conf,
	// and Servers whom to ask, none means those of [dns] or of resolv.conf.
	Domains []Domain    `toml:"domains"`
	Servers []DNSServer `toml:"servers"`
	// URL is where the API is: then nothing is looked for.
	URL         string   `toml:"url"`
	Development bool     `toml:"development"`
	FallBack    bool     `toml:"fall_back"`
	Merge       bool     `toml:"merge"`
	Return      bool     `toml:"return"`
	CheckEvery  Duration `toml:"check_every"`
	Timeout     Duration `toml:"timeout"`
	CAFile      string   `toml:"ca_file"`
}

func defaultNMOS() NMOS { return NMOS{Select: []NMOSSelect{}, Advertise: []NMOSAdvertise{}} }

// setDefaults implements defaulter.
func (s *NMOSSelect) setDefaults() {
	*s = NMOSSelect{
		Versions: []NMOSVersion{}, Domains: []Domain{}, Servers: []DNSServer{}, Mode: NMOSBoth,
		CheckEvery: Duration{5 * time.Second}, Timeout: Duration{5 * time.Second},
	}
}

// Title returns what people call the selection.
func (s NMOSSelect) Title() string { return cmp.Or(s.Name, s.Kind.Name) }

// NMOSMode says by what an API is looked for.
type NMOSMode string

// The modes. NMOSBoth asks by mDNS where no server knows an API.
const (
	NMOSBoth    NMOSMode = "both"
	NMOSUnicast NMOSMode = "unicast"
	NMOSMDNS    NMOSMode = "mdns"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *NMOSMode) UnmarshalText(b []byte) error {
	return oneOf(m, string(b), NMOSBoth, NMOSUnicast, NMOSMDNS)
}

// NMOSKind is a kind of API, by its name: "netctrl".
type NMOSKind struct{ nmos.Kind }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *NMOSKind) UnmarshalText(b []byte) error {
	kind, ok := nmos.KindOf(string(b))
	if !ok {
		var names []string
		for _, x := range nmos.Kinds() {
			names = append(names, x.Name)
		}
		return fmt.Errorf("want one of %s, not %q", strings.Join(names, ", "), b)
	}
	k.Kind = kind
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (k NMOSKind) MarshalText() ([]byte, error) { return []byte(k.Name), nil }

// NMOSVersion is the version of an API: "v1.3".
type NMOSVersion struct{ nmos.Version }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *NMOSVersion) UnmarshalText(b []byte) (err error) {
	if v.Version, err = nmos.ParseVersion(string(b)); err != nil {
		return fmt.Errorf("want a version like v1.3, not %q", b)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (v NMOSVersion) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// NMOSAuth is whether an API must insist on authorization: it must, it must not,
// or it may do either. In a file that is true, false and "any".
type NMOSAuth struct{ Must *bool }

func (a *NMOSAuth) setBool(on bool) { a.Must = &on }

func (a NMOSAuth) bool() (on, ok bool) { return a.Must != nil && *a.Must, a.Must != nil }

// wanted implements wisher.
func (*NMOSAuth) wanted() string { return `"any", true or false` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *NMOSAuth) UnmarshalText(b []byte) error {
	if string(b) != "any" {
		return fmt.Errorf(`want "any", true or false, not %q`, b)
	}
	a.Must = nil
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a NMOSAuth) MarshalText() ([]byte, error) { return []byte("any"), nil }

const maxNMOSSelects = 64

func (n NMOS) check(bad func(key string, err error)) {
	nmosAdvertises(n.Advertise, bad)
	if len(n.Select) > maxNMOSSelects {
		bad(fmt.Sprintf("select[%d]", maxNMOSSelects), fmt.Errorf("want at most %d", maxNMOSSelects))
	}
	for i, s := range n.Select {
		if slices.ContainsFunc(n.Select[:i], func(o NMOSSelect) bool { return o.Title() == s.Title() }) {
			bad(fmt.Sprintf("select[%d].name", i), fmt.Errorf("%q is there twice: give each a name", s.Title()))
		}
	}
}

func (s NMOSSelect) check(bad func(key string, err error)) {
	switch {
	case len(s.Name) > maxName:
		bad("name", fmt.Errorf("has %d bytes, more than %d", len(s.Name), maxName))
	case !printable(s.Name):
		bad("name", errors.New("want printable characters"))
	}
	if s.Kind.Name == "" {
		bad("kind", errors.New("which API? netctrl, register, query, …"))
		return
	}
	if len(s.Versions) > 0 && !s.Kind.HasVersion {
		bad("versions", fmt.Errorf("the kind %s has none", s.Kind.Name))
	}
	if s.Proto != "" && !slices.Contains(s.Kind.Protos, s.Proto) {
		bad("proto", fmt.Errorf("want %s, not %q", strings.Join(s.Kind.Protos, " or "), s.Proto))
	}
	if s.Auth.Must != nil && !s.Kind.HasAuth {
		bad("auth", fmt.Errorf("the kind %s doesn't say whether it needs authorization", s.Kind.Name))
	}
	for i, d := range s.Domains {
		if slices.ContainsFunc(s.Domains[:i], func(o Domain) bool { return strings.EqualFold(o.name, d.name) }) {
			bad(fmt.Sprintf("domains[%d]", i), fmt.Errorf("%q is there twice", d.name))
		}
	}
	if len(s.Domains) > maxDomains {
		bad("domains", fmt.Errorf("want at most %d domains", maxDomains))
	}
	if s.Mode == NMOSMDNS {
		for key, n := range map[string]int{"domains": len(s.Domains), "servers": len(s.Servers)} {
			if n > 0 {
				bad(key, errors.New(`mode "mdns" asks no DNS server`))
			}
		}
	}
	if s.URL != "" {
		bad("url", apiURL(s.URL, s.Kind))
	}
	bad("ca_file", absolute(s.CAFile))
}

// apiURL checks the address of an API that needn't be looked for.
func apiURL(text string, k NMOSKind) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || !slices.Contains(k.Protos, u.Scheme) {
		return fmt.Errorf("want an address like %s://api.example.com:8080, not %q", k.Protos[0], text)
	}
	return nil
}
