package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Hub is the section [hub]: what `lanfolk hub` serves, to gateways and to people.
type Hub struct {
	// GRPC is where gateways dial, Listen the page and the API; both by TLS.
	GRPC   Listen `toml:"grpc"`
	Listen Listen `toml:"listen"`
	// Addresses are those that go into join strings, and with their hosts into the
	// hub's certificates; none means what is known of this machine.
	Addresses []HubAddress `toml:"addresses"`
	// CertFile and KeyFile are the certificate of the page and the API, "" for one of
	// the hub's own authority.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// AllowedHosts are names by which browsers may call the hub, beside its addresses.
	AllowedHosts []string `toml:"allowed_hosts"`

	Insecure  HubInsecure  `toml:"insecure"`
	Results   HubResults   `toml:"results"`
	Commands  HubCommands  `toml:"commands"`
	Inventory HubInventory `toml:"inventory"`
	Audit     HubAudit     `toml:"audit"`
	Seals     HubSeals     `toml:"seals"`
	Announce  HubAnnounce  `toml:"announce"`
}

// HubInsecure is the section [hub.insecure]: clients that know reverse_access
// only, and no TLS.
type HubInsecure struct {
	GRPC HubListen `toml:"grpc"`
	// Anywhere allows an address that others can reach.
	Anywhere bool `toml:"anywhere"`
}

// HubResults is the section [hub.results]: what commands' results may take on the
// disk, in MiB.
type HubResults struct {
	MaxAll     int      `toml:"max_all"`
	MaxGateway int      `toml:"max_gateway"` // those of one gateway
	MaxOne     int      `toml:"max_one"`
	Retention  Duration `toml:"retention"`
}

// HubCommands is the section [hub.commands].
type HubCommands struct {
	// Retention is how long a command is listed after its end.
	Retention Duration `toml:"retention"`
	// MaxOutstanding are those that haven't ended.
	MaxOutstanding int `toml:"max_outstanding"`
}

// HubInventory is the section [hub.inventory]: how much gateways may tell. A
// service is one item, a device two.
type HubInventory struct {
	MaxItems            int `toml:"max_items"` // of all, 0 for as many as fit the machine
	MaxGatewayItems     int `toml:"max_gateway_items"`
	MaxGatewayMegabytes int `toml:"max_gateway_megabytes"` // MiB
}

// HubAudit is the section [hub.audit].
type HubAudit struct {
	// Retention is how long an entry is kept.
	Retention Duration `toml:"retention"`
}

// HubSeals is the section [hub.seals]: where the audit's head, signed, goes.
type HubSeals struct {
	// Path is a folder or a file, "" for none.
	Path     string   `toml:"path"`
	Interval Duration `toml:"interval"`
}

// HubAnnounce is the section [hub.announce]: how gateways find the hub by DNS-SD.
type HubAnnounce struct {
	// Name is the instance's; in it {host} stands for the host's name.
	Name string `toml:"name"`
	// MDNS announces it by multicast DNS, on Interfaces, none meaning all that are used.
	MDNS       bool     `toml:"mdns"`
	Interfaces []string `toml:"interfaces"`
	// Domains are where it is registered by DNS updates.
	Domains []NMOSDomain `toml:"domain"`
}

// Ports of the hub.
const (
	hubGRPCPort = 8513
	hubPagePort = 8443
)

func defaultHub() Hub {
	return Hub{
		GRPC:      Listen{netip.AddrPortFrom(netip.IPv6Unspecified(), hubGRPCPort)},
		Listen:    Listen{netip.AddrPortFrom(netip.IPv6Unspecified(), hubPagePort)},
		Addresses: []HubAddress{}, AllowedHosts: []string{},
		Results:   HubResults{MaxAll: 20 << 10, MaxGateway: 8 << 10, MaxOne: 4 << 10, Retention: Duration{30 * 24 * time.Hour}},
		Commands:  HubCommands{Retention: Duration{365 * 24 * time.Hour}, MaxOutstanding: 100_000},
		Inventory: HubInventory{MaxGatewayItems: 200_000, MaxGatewayMegabytes: 256},
		Audit:     HubAudit{Retention: Duration{maxAuditRetention / 10}},
		Seals:     HubSeals{Interval: Duration{time.Hour}},
		Announce:  HubAnnounce{Name: HostTemplate, Interfaces: []string{}, Domains: []NMOSDomain{}},
	}
}

const (
	maxHubAddresses   = 8 // of a join string
	maxHubMiB         = 1 << 30
	maxHubOutstanding = 10_000_000
	maxHubItems       = 1_000_000_000
	minAuditRetention = 31 * 24 * time.Hour // a command may be under way for 30 days
	maxAuditRetention = 36_500 * 24 * time.Hour
	minSealInterval   = time.Second
	maxSealInterval   = 30 * 24 * time.Hour
)

func (h Hub) check(bad func(key string, err error)) {
	if len(h.Addresses) > maxHubAddresses {
		bad(fmt.Sprintf("addresses[%d]", maxHubAddresses), fmt.Errorf("want at most %d addresses", maxHubAddresses))
	}
	for i, a := range h.Addresses {
		key := fmt.Sprintf("addresses[%d]", i)
		switch {
		case a == (HubAddress{}):
			bad(key, errors.New("an address isn't empty"))
		case slices.Contains(h.Addresses[:i], a):
			bad(key, fmt.Errorf("%q is there twice", a))
		}
	}
	bad("cert_file", absolute(h.CertFile))
	bad("key_file", absolute(h.KeyFile))
	switch {
	case h.CertFile != "" && h.KeyFile == "":
		bad("key_file", errors.New("is missing: the certificate's private key"))
	case h.CertFile == "" && h.KeyFile != "":
		bad("cert_file", errors.New("is missing: the key's certificate"))
	}
	for i, host := range h.AllowedHosts {
		bad(fmt.Sprintf("allowed_hosts[%d]", i), hostName(host))
	}
	if h.Listen.Port() != 0 && h.Listen.Port() == h.GRPC.Port() && overlap(h.Listen.Addr(), h.GRPC.Addr()) {
		bad("listen", fmt.Errorf("%s is where gateways dial (grpc)", h.Listen))
	}
}

// overlap says whether who listens on one address takes connections to the other.
func overlap(a, b netip.Addr) bool { return a == b || a.IsUnspecified() || b.IsUnspecified() }

func (i HubInsecure) check(bad func(key string, err error)) {
	bad("grpc", i.GRPC.insecure(i.Anywhere))
}

func (r HubResults) check(bad func(key string, err error)) {
	bad("max_all", between(r.MaxAll, 1, maxHubMiB))
	bad("max_gateway", between(r.MaxGateway, 1, maxHubMiB))
	bad("max_one", between(r.MaxOne, 1, maxHubMiB))
}

func (c HubCommands) check(bad func(key string, err error)) {
	bad("max_outstanding", between(c.MaxOutstanding, 1, maxHubOutstanding))
}

func (i HubInventory) check(bad func(key string, err error)) {
	if i.MaxItems < 0 || i.MaxItems > maxHubItems {
		bad("max_items", fmt.Errorf("want 1 to %d, or 0 for as many as fit, not %d", maxHubItems, i.MaxItems))
	}
	bad("max_gateway_items", between(i.MaxGatewayItems, 1, maxHubItems))
	bad("max_gateway_megabytes", between(i.MaxGatewayMegabytes, 1, maxHubMiB))
}

func between(n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("want %d to %d, not %d", least, most, n)
	}
	return nil
}

func (a HubAudit) check(bad func(key string, err error)) {
	span(bad, "retention", a.Retention, minAuditRetention, maxAuditRetention)
}

func (s HubSeals) check(bad func(key string, err error)) {
	bad("path", absolute(s.Path))
	span(bad, "interval", s.Interval, minSealInterval, maxSealInterval)
}

func (a HubAnnounce) check(bad func(key string, err error)) {
	switch {
	case a.Name == "":
		bad("name", errors.New("a service has a name"))
	case !printable(a.Name):
		bad("name", errors.New("want printable characters"))
	case len(a.Name) > 63 && !strings.Contains(a.Name, HostTemplate):
		bad("name", fmt.Errorf("has %d bytes, more than 63", len(a.Name)))
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
}

// HubListen is an address and a port to listen on, or nowhere.
type HubListen struct{ Listen }

// On says whether it is somewhere.
func (l HubListen) On() bool { return l.IsValid() }

// insecure returns an error unless nobody but this machine can reach it, or anywhere is
// true.
func (l HubListen) insecure(anywhere bool) error {
	if !l.On() || anywhere || l.Addr().Unmap().IsLoopback() {
		return nil
	}
	return errors.New("nothing is encrypted there, and anybody who can reach it may say that he is any client: want an address of this machine, or anywhere = true")
}

// ParseHubInsecure reads where clients without TLS dial.
func ParseHubInsecure(s string, anywhere bool) (HubInsecure, error) {
	l, err := ParseListen(s)
	if err != nil {
		return HubInsecure{}, err
	}
	i := HubInsecure{HubListen{l}, anywhere}
	return i, i.GRPC.insecure(anywhere)
}

// UnmarshalText implements encoding.TextUnmarshaler. No text is nowhere.
func (l *HubListen) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		l.Listen = Listen{}
		return nil
	}
	return l.Listen.UnmarshalText(b)
}

// MarshalText implements encoding.TextMarshaler.
func (l HubListen) MarshalText() ([]byte, error) {
	if !l.On() {
		return nil, nil
	}
	return l.Listen.MarshalText()
}
