package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/nmos"
)

// NMOSAdvertise is one section [[nmos.advertise]]: an API that is advertised; see
// nmos.Advertisement.
type NMOSAdvertise struct {
	// Name is the instance's name; in it {host} stands for the node's name.
	Name        string        `toml:"name"`
	Kind        NMOSKind      `toml:"kind"`
	Port        int           `toml:"port"`
	Versions    []NMOSVersion `toml:"versions"`
	Proto       string        `toml:"proto"` // "" for the kind's first
	Auth        bool          `toml:"auth"`
	Priority    int           `toml:"pri"`
	Selector    string        `toml:"selector"`
	Development bool          `toml:"development"`
	// Legacy has it advertised by the type's former name, too.
	Legacy   bool     `toml:"legacy"`
	Subtypes []string `toml:"subtypes"`
	// Host is the machine where the API runs, "" for this one; Addresses are its
	// addresses.
	Host      string    `toml:"host"`
	Addresses []Address `toml:"addresses"`
	// MDNS has it announced by mDNS, on Interfaces, none meaning all that are used.
	MDNS       bool     `toml:"mdns"`
	Interfaces []string `toml:"interfaces"`
	// Domains are where it is registered by DNS updates.
	Domains []NMOSDomain   `toml:"domain"`
	Health  AnnounceHealth `toml:"health"`
}

// NMOSDomain is one section [[nmos.advertise.domain]]: a domain in which an API is
// registered by DNS updates (RFC 2136).
type NMOSDomain struct {
	Name Domain `toml:"name"`
	// Server is the domain's primary server.
	Server DNSServer `toml:"server"`
	// KeyFile holds the TSIG key that signs the updates, "" for none.
	KeyFile string `toml:"key_file"`
	// Lease is how long the API stays registered if the node dies, Grace by how much
	// clocks may differ.
	Lease Duration `toml:"lease"`
	Grace Duration `toml:"lease_grace"`
}

// setDefaults implements defaulter.
func (a *NMOSAdvertise) setDefaults() {
	*a = NMOSAdvertise{
		Versions: []NMOSVersion{}, Subtypes: []string{}, Addresses: []Address{}, Interfaces: []string{}, Domains: []NMOSDomain{},
		MDNS: true, Health: DefaultAnnounceHealth(),
	}
}

// setDefaults implements defaulter.
func (d *NMOSDomain) setDefaults() {
	*d = NMOSDomain{Lease: Duration{time.Hour}, Grace: Duration{10 * time.Minute}}
}

// Advertisements are what is to be advertised: one or, with the type's former name,
// two. host is what {host} in the name stands for.
func (a NMOSAdvertise) Advertisements(host string) []nmos.Advertisement {
	ad := nmos.Advertisement{
		Kind: a.Kind.Kind, Name: strings.ReplaceAll(a.Name, HostTemplate, host), Subtypes: a.Subtypes, Port: uint16(a.Port), Proto: a.Proto,
		Auth: a.Auth, Priority: a.Priority, Selector: a.Selector, Development: a.Development, Links: a.Interfaces,
	}
	for _, v := range a.Versions {
		ad.Versions = append(ad.Versions, v.Version)
	}
	ad.Host.Name = a.Host
	for _, ip := range a.Addresses {
		ad.Host.Addresses = append(ad.Host.Addresses, ip.Addr)
	}
	all := []nmos.Advertisement{ad}
	if old, ok := ad.Legacy(); ok && a.Legacy {
		all = append(all, old)
	}
	return all
}

const (
	maxNMOSAdvertises = 64
	maxNMOSDomains    = 8
	minNMOSLease      = 2 * time.Second
)

// nmosAdvertises checks what the sections have in common.
func nmosAdvertises(all []NMOSAdvertise, bad func(key string, err error)) {
	if len(all) > maxNMOSAdvertises {
		bad(fmt.Sprintf("advertise[%d]", maxNMOSAdvertises), fmt.Errorf("want at most %d", maxNMOSAdvertises))
	}
	for i, a := range all {
		if slices.ContainsFunc(all[:i], func(b NMOSAdvertise) bool { return a.Name == b.Name && a.Kind.Name == b.Kind.Name }) {
			bad(fmt.Sprintf("advertise[%d].name", i), fmt.Errorf("%q of kind %s is there twice", a.Name, a.Kind.Name))
		}
	}
}

func (a NMOSAdvertise) check(bad func(key string, err error)) {
	switch {
	case a.Name == "":
		bad("name", errors.New("an API has a name"))
	case !printable(a.Name):
		bad("name", errors.New("want printable characters"))
	case len(a.Name) > 63 && !strings.Contains(a.Name, HostTemplate):
		bad("name", fmt.Errorf("has %d bytes, more than 63", len(a.Name)))
	}
	if a.Port < 1 || a.Port > 65535 {
		bad("port", fmt.Errorf("want 1 to 65535, not %d", a.Port))
	}
	if a.Kind.Name == "" {
		bad("kind", errors.New("which API? netctrl, register, query, …"))
	} else if err := a.values(); err != nil {
		var wrong *nmos.KeyError
		key := "kind"
		if errors.As(err, &wrong) {
			key = map[string]string{"api_proto": "proto", "api_ver": "versions", "api_auth": "auth", "pri": "pri", "api_selector": "selector"}[wrong.Key]
		}
		bad(key, err)
	}
	if a.Legacy && a.Kind.Name != "" && len(a.Advertisements("")) < 2 {
		bad("legacy", fmt.Errorf("the kind %s has no former name: it is for register", a.Kind.Name))
	}
	for i, s := range a.Subtypes {
		if s == "" || len(s) > 63 {
			bad(fmt.Sprintf("subtypes[%d]", i), errors.New("want 1 to 63 bytes"))
		}
	}
	if a.Host != "" {
		bad("host", hostName(a.Host))
	} else if len(a.Addresses) > 0 {
		bad("addresses", errors.New("are those of another machine: name it with host"))
	}
	for i, n := range a.Interfaces {
		bad(fmt.Sprintf("interfaces[%d]", i), interfaceName(n))
	}
	if len(a.Domains) > maxNMOSDomains {
		bad(fmt.Sprintf("domain[%d]", maxNMOSDomains), fmt.Errorf("want at most %d", maxNMOSDomains))
	}
	for i, d := range a.Domains {
		if slices.ContainsFunc(a.Domains[:i], func(o NMOSDomain) bool { return strings.EqualFold(o.Name.name, d.Name.name) }) {
			bad(fmt.Sprintf("domain[%d].name", i), fmt.Errorf("%q is there twice", d.Name.name))
		}
	}
	if a.Health.Check.TCP == OwnPort && a.Host != "" && len(a.Addresses) == 0 {
		bad("health.check", errors.New("the host's addresses aren't known here; name one, as tcp://ADDRESS:PORT"))
	}
}

// values checks what the TXT record is made of.
func (a NMOSAdvertise) values() error {
	ad := a.Advertisements("")[0]
	ad.Port = 1 // that is checked already
	_, err := ad.TXT()
	return err
}

func (d NMOSDomain) check(bad func(key string, err error)) {
	if d.Name.name == "" {
		bad("name", errors.New("which domain?"))
	}
	if !d.Server.IsValid() {
		bad("server", errors.New("the domain's primary server takes the updates: name its address"))
	}
	bad("key_file", absolute(d.KeyFile))
	if d.Lease.d < minNMOSLease {
		bad("lease", fmt.Errorf("want at least %s, not %s", Duration{minNMOSLease}, d.Lease))
	}
}
