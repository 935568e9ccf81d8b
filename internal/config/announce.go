package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Announce is one section [[announce]]: a service that is announced by mDNS.
type Announce struct {
	// Name is the instance's name; in it {host} stands for the node's name.
	Name string `toml:"name"`
	Type string `toml:"type"`
	Port int    `toml:"port"`
	// Subtypes are those by which it can be found, too.
	Subtypes []string `toml:"subtypes"`
	// Placeholders are types in which nobody else shall take the name.
	Placeholders []string `toml:"placeholders"`
	// Host is the machine where the service runs, "" for this one.
	Host string `toml:"host"`
	// Addresses are those of Host, if it doesn't announce them itself.
	Addresses []Address `toml:"addresses"`
	// Interfaces are the only ones to announce it on, none means all that are used.
	Interfaces []string       `toml:"interfaces"`
	TXT        TXT            `toml:"txt"`
	Health     AnnounceHealth `toml:"health"`
}

// AnnounceHealth is the section [announce.health]: what takes a dead service back.
type AnnounceHealth struct {
	Check HealthCheck `toml:"check"`
	// Status is what an HTTP server must answer, 0 for any from 200 to 399.
	Status   int      `toml:"status"`
	Interval Duration `toml:"interval"`
	Timeout  Duration `toml:"timeout"`
	// Rises and Falls are how many tries in a row must work, or fail, to change the verdict.
	Rises int `toml:"rises"`
	Falls int `toml:"falls"`
}

// setDefaults implements defaulter.
func (a *Announce) setDefaults() {
	a.Subtypes, a.Placeholders, a.Interfaces, a.Addresses, a.TXT = []string{}, []string{}, []string{}, []Address{}, TXT{}
	a.Health = DefaultAnnounceHealth()
}

// DefaultAnnounceHealth returns what holds where [announce.health] says nothing:
// no check, and its times if there is one.
func DefaultAnnounceHealth() AnnounceHealth {
	return AnnounceHealth{Interval: Duration{10 * time.Second}, Timeout: Duration{2 * time.Second}, Rises: 2, Falls: 3}
}

const maxAnnounces = 1000

// announces checks what the sections have in common.
func announces(all []Announce, bad func(key string, err error)) {
	if len(all) > maxAnnounces {
		bad(fmt.Sprintf("announce[%d]", maxAnnounces), fmt.Errorf("want at most %d services", maxAnnounces))
	}
	for i, a := range all {
		if slices.ContainsFunc(all[:i], func(b Announce) bool { return a.Name == b.Name && strings.EqualFold(a.Type, b.Type) }) {
			bad(fmt.Sprintf("announce[%d].name", i), fmt.Errorf("%q of type %s is there twice", a.Name, a.Type))
		}
	}
}

func (a Announce) check(bad func(key string, err error)) {
	switch {
	case a.Name == "":
		bad("name", errors.New("a service has a name"))
	case !printable(a.Name):
		bad("name", errors.New("want printable characters"))
	case len(a.Name) > 63 && !strings.Contains(a.Name, HostTemplate):
		bad("name", fmt.Errorf("has %d bytes, more than 63", len(a.Name)))
	}
	bad("type", serviceType(a.Type))
	if a.Port < 0 || a.Port > 65535 {
		bad("port", fmt.Errorf("want 0 to 65535, not %d", a.Port))
	}
	for i, s := range a.Subtypes {
		if s == "" || len(s) > 63 {
			bad(fmt.Sprintf("subtypes[%d]", i), errors.New("want 1 to 63 bytes"))
		}
	}
	for i, p := range a.Placeholders {
		key := fmt.Sprintf("placeholders[%d]", i)
		bad(key, serviceType(p))
		if strings.EqualFold(p, a.Type) || slices.ContainsFunc(a.Placeholders[:i], func(q string) bool { return strings.EqualFold(p, q) }) {
			bad(key, fmt.Errorf("%q is there twice", p))
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
	bad("txt", a.TXT.sound())
	if a.Health.Check.TCP == OwnPort {
		switch {
		case a.Port == 0:
			bad("health.check", errors.New("there is no port to connect to; name one, as tcp://ADDRESS:PORT"))
		case a.Host != "" && len(a.Addresses) == 0:
			bad("health.check", errors.New("the host's addresses aren't known here; name one, as tcp://ADDRESS:PORT"))
		}
	}
}

func (h AnnounceHealth) check(bad func(key string, err error)) {
	switch {
	case h.Status != 0 && (h.Status < 100 || h.Status > 599):
		bad("status", fmt.Errorf("want 100 to 599, or 0 for any that is good, not %d", h.Status))
	case h.Status != 0 && h.Check.URL == "":
		bad("status", errors.New("is for a check by HTTP"))
	}
	if h.Timeout.d > h.Interval.d {
		bad("timeout", fmt.Errorf("want at most the interval, %s", h.Interval))
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"rises", h.Rises}, {"falls", h.Falls}} {
		if n.value < 1 || n.value > 1000 {
			bad(n.key, fmt.Errorf("want 1 to 1000, not %d", n.value))
		}
	}
}

// HostTemplate stands for the node's name in the name of a service.
const HostTemplate = "{host}"

// serviceType checks the form of a service type, RFC 6763 §7.
func serviceType(s string) error {
	name, proto, _ := strings.Cut(s, ".")
	name, ok := strings.CutPrefix(name, "_")
	if !ok || len(name) < 1 || len(name) > 15 || !strings.EqualFold(proto, "_tcp") && !strings.EqualFold(proto, "_udp") ||
		strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--") ||
		!strings.ContainsFunc(name, letter) || strings.ContainsFunc(name, func(r rune) bool { return !letter(r) && r != '-' && (r < '0' || r > '9') }) {
		return fmt.Errorf("want a type like _http._tcp, its name 1 to 15 letters, digits and single hyphens, not %q", s)
	}
	return nil
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// Address is an IP address.
type Address struct{ netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) error {
	ip, err := netip.ParseAddr(string(b))
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
		return fmt.Errorf("want the address of a host like 192.0.2.7, not %q", b)
	}
	a.Addr = ip
	return nil
}

// HealthCheck says how a service is tried: "tcp" connects to its port,
// "tcp://ADDRESS:PORT" to another one, "http://…" and "https://…" get a page.
// None means that it isn't tried.
type HealthCheck struct {
	TCP string // an address and a port; ":" is the service's own
	URL string
}

// OwnPort is the TCP of a HealthCheck that tries the service's own port.
const OwnPort = ":"

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HealthCheck) UnmarshalText(b []byte) error {
	s := string(b)
	fail := fmt.Errorf(`want "tcp", "tcp://ADDRESS:PORT", "http://…" or "https://…", not %q`, s)
	switch {
	case s == "":
		*h = HealthCheck{}
		return nil
	case s == "tcp":
		*h = HealthCheck{TCP: OwnPort}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return fail
	}
	switch u.Scheme {
	case "http", "https":
		*h = HealthCheck{URL: s}
	case "tcp":
		if u.Port() == "" || u.Hostname() == "" || u.Scheme+"://"+u.Host != s {
			return fail
		}
		*h = HealthCheck{TCP: u.Host}
	default:
		return fail
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (h HealthCheck) MarshalText() ([]byte, error) {
	switch {
	case h.URL != "":
		return []byte(h.URL), nil
	case h.TCP == OwnPort:
		return []byte("tcp"), nil
	case h.TCP != "":
		return []byte("tcp://" + h.TCP), nil
	}
	return nil, nil
}

// On says whether the service is tried at all.
func (h HealthCheck) On() bool { return h.TCP != "" || h.URL != "" }
