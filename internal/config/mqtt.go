package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// MQTT is the section [mqtt]: the Hemtjänst protocol on a broker.
type MQTT struct {
	// Broker is where the broker is, none for nowhere: then nothing below but Server does anything.
	Broker MQTTURL `toml:"broker"`
	User   string  `toml:"user"`
	// Password, or the first line of PasswordFile, goes with User.
	Password     Secret `toml:"password"`
	PasswordFile string `toml:"password_file"`
	// CAFile has the authorities that are trusted, "" for the machine's. CertFile and KeyFile are the
	// client's certificate.
	CAFile   string      `toml:"ca_file"`
	CertFile string      `toml:"cert_file"`
	KeyFile  string      `toml:"key_file"`
	Version  MQTTVersion `toml:"version"`
	// Tenant, and a slash, come before every topic.
	Tenant string `toml:"tenant"`
	// Watch takes the devices and providers on the broker into the inventory.
	Watch bool `toml:"watch"`
	// Announce are types of services that are announced on the broker.
	Announce []string `toml:"announce"`
	// Prefix is what the ids and roots of those devices begin with, and Provider the bridge's id,
	// "" for a fresh one each time.
	Prefix   string `toml:"prefix"`
	Provider string `toml:"provider"`
	// Forget is how long such a device stays on the broker, as one that can't be reached, after it has
	// left the inventory.
	Forget Duration `toml:"forget"`
	// Janitor marks the devices of bridges that died, Grace after that.
	Janitor bool       `toml:"janitor"`
	Grace   Duration   `toml:"grace"`
	Server  MQTTServer `toml:"server"`
}

// MQTTServer is the section [mqtt.server]: a broker in the node.
type MQTTServer struct {
	// Listen is where it can be reached, none for nowhere: then it doesn't run.
	Listen []MQTTListen `toml:"listen"`
	// PasswordsFile holds users and their hashed passwords, RulesFile who may read and write what.
	PasswordsFile string `toml:"passwords_file"`
	RulesFile     string `toml:"rules_file"`
	// Anonymous lets in who has no name, from anywhere.
	Anonymous bool `toml:"anonymous"`
	// CertFile and KeyFile are the certificate for mqtts and wss; with ClientCAFile clients there show one.
	CertFile     string `toml:"cert_file"`
	KeyFile      string `toml:"key_file"`
	ClientCAFile string `toml:"client_ca_file"`
	// Origins are web pages that may connect by WebSocket.
	Origins []string `toml:"origins"`
	// State is the folder for what it keeps, "" for one in the node's state folder.
	State string `toml:"state"`
	// WillGrace is how long clients have to come back after a restart before their wills are spoken.
	WillGrace   Duration `toml:"will_grace"`
	MaxClients  int      `toml:"max_clients"`
	MaxMessage  int      `toml:"max_message"` // bytes
	MaxRetained int      `toml:"max_retained"`
}

func defaultMQTT() MQTT {
	return MQTT{
		Version: MQTTAuto, Watch: true, Announce: []string{}, Prefix: "lanfolk", Forget: Duration{24 * time.Hour}, Grace: Duration{5 * time.Second},
		Server: MQTTServer{
			Listen: []MQTTListen{}, Origins: []string{}, WillGrace: Duration{5 * time.Second},
			MaxClients: 1000, MaxMessage: 256 << 10, MaxRetained: 500_000,
		},
	}
}

const (
	maxMQTTTypes   = 100
	maxMQTTPrefix  = 128 // bytes: ids get a node's and a service's name behind it
	maxMQTTMessage = 64 << 20
	maxMQTTClients = 100_000
	maxRetained    = 10_000_000
)

func (m MQTT) check(bad func(key string, err error)) {
	on := m.Broker != (MQTTURL{})
	for _, x := range []struct {
		key string
		set bool
	}{
		{"user", m.User != ""},
		{"password", m.Password != ""},
		{"password_file", m.PasswordFile != ""},
		{"announce", len(m.Announce) > 0},
		{"janitor", m.Janitor},
	} {
		if x.set && !on {
			bad(x.key, errors.New("there is no mqtt.broker"))
		}
	}
	bad("password_file", absolute(m.PasswordFile))
	switch {
	case m.Password != "" && m.PasswordFile != "":
		bad("password_file", errors.New("leave one of password and password_file out"))
	case m.User == "" && (m.Password != "" || m.PasswordFile != "") && on:
		bad("user", errors.New("whose password is it?"))
	case m.User != "" && m.Broker.hasUser():
		bad("user", errors.New("there is one in mqtt.broker, too"))
	}
	m.checkTLS(bad)
	if m.Tenant != "" {
		bad("tenant", mqttName(m.Tenant))
	}
	bad("prefix", mqttName(m.Prefix))
	if m.Provider != "" {
		bad("provider", mqttName(m.Provider))
	}
	for i, t := range m.Announce {
		key := fmt.Sprintf("announce[%d]", i)
		if strings.HasPrefix(t, "_") {
			bad(key, serviceType(t))
		}
		if slices.ContainsFunc(m.Announce[:i], func(o string) bool { return foldASCII(o) == foldASCII(t) }) {
			bad(key, fmt.Errorf("%q is there twice: case makes no difference", t))
		}
	}
	texts("announce", m.Announce, bad)
	if len(m.Announce) > maxMQTTTypes {
		bad("announce", fmt.Errorf("want at most %d types", maxMQTTTypes))
	}
	span(bad, "forget", m.Forget, time.Second, 90*24*time.Hour)
	span(bad, "grace", m.Grace, time.Millisecond, time.Hour)
}

func (m MQTT) checkTLS(bad func(key string, err error)) {
	for _, x := range []struct{ key, path string }{{"ca_file", m.CAFile}, {"cert_file", m.CertFile}, {"key_file", m.KeyFile}} {
		bad(x.key, absolute(x.path))
		if x.path != "" && !m.Broker.Secure() {
			bad(x.key, errors.New("that is for mqtts:// and wss:// in mqtt.broker"))
		}
	}
	if (m.CertFile == "") != (m.KeyFile == "") {
		bad("cert_file", errors.New("a certificate goes with its key: want both cert_file and key_file"))
	}
}

// span checks a duration.
func span(bad func(key string, err error), key string, d Duration, least, most time.Duration) {
	if d.d < least || d.d > most {
		bad(key, fmt.Errorf("want %s to %s, not %s", Duration{least}, Duration{most}, d))
	}
}

// mqttName checks what becomes part of topics.
func mqttName(s string) error {
	if len(s) > maxMQTTPrefix {
		return fmt.Errorf("has %d bytes, more than %d", len(s), maxMQTTPrefix)
	}
	if err := hemtjanst.CheckName(s); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "hemtjanst: "))
	}
	return nil
}

func (s MQTTServer) check(bad func(key string, err error)) {
	for _, x := range []struct{ key, path string }{
		{"passwords_file", s.PasswordsFile}, {"rules_file", s.RulesFile}, {"cert_file", s.CertFile}, {"key_file", s.KeyFile},
		{"client_ca_file", s.ClientCAFile}, {"state", s.State},
	} {
		bad(x.key, absolute(x.path))
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		bad("cert_file", errors.New("a certificate goes with its key: want both cert_file and key_file"))
	}
	if s.ClientCAFile != "" && s.CertFile == "" {
		bad("client_ca_file", errors.New("TLS needs cert_file and key_file, too"))
	}
	for i, l := range s.Listen {
		key := fmt.Sprintf("listen[%d]", i)
		if slices.ContainsFunc(s.Listen[:i], func(o MQTTListen) bool { return o.Addr == l.Addr }) {
			bad(key, fmt.Errorf("%s is there twice", l.Addr))
		}
		if l.Secure() && s.CertFile == "" {
			bad(key, fmt.Errorf("%s needs cert_file and key_file", l.Scheme))
		}
		if !l.Addr.Addr().Unmap().IsLoopback() && s.PasswordsFile == "" && !s.Anonymous && (!l.Secure() || s.ClientCAFile == "") {
			bad(key, errors.New("nobody could come in from elsewhere: want passwords_file, client_ca_file with mqtts, or anonymous"))
		}
	}
	for i, o := range s.Origins {
		if u, err := url.Parse(o); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != o {
			bad(fmt.Sprintf("origins[%d]", i), fmt.Errorf("want a page's origin like https://panel.example, not %q", o))
		}
	}
	span(bad, "will_grace", s.WillGrace, time.Millisecond, time.Hour)
	for _, x := range []struct {
		key         string
		value, most int
	}{{"max_clients", s.MaxClients, maxMQTTClients}, {"max_message", s.MaxMessage, maxMQTTMessage}, {"max_retained", s.MaxRetained, maxRetained}} {
		if x.value < 1 || x.value > x.most {
			bad(x.key, fmt.Errorf("want 1 to %d, not %d", x.most, x.value))
		}
	}
}

// Secret is text that isn't written: in what is, "xxxxx" stands for it.
type Secret string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns what MarshalText does, so that no log has more.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "xxxxx"
}

// GoString is for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MQTTVersion says by which version of MQTT a broker is spoken to.
type MQTTVersion string

// The versions.
const (
	MQTTAuto MQTTVersion = "auto" // 5, or 3.1.1 where the broker refuses that
	MQTT5    MQTTVersion = "5"
	MQTT311  MQTTVersion = "3.1.1"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *MQTTVersion) UnmarshalText(b []byte) error {
	return oneOf(v, string(b), MQTTAuto, MQTT5, MQTT311)
}

// MQTTURL is where a broker is, "" for nowhere; it may hold a password.
type MQTTURL struct{ text string }

// mqttPorts are the ports of schemes.
func mqttPort(scheme string) string {
	switch scheme {
	case "mqtt":
		return "1883"
	case "mqtts":
		return "8883"
	case "ws":
		return "80"
	case "wss":
		return "443"
	}
	return ""
}

// UnmarshalText implements encoding.TextUnmarshaler. Errors don't repeat what may hold a password.
func (u *MQTTURL) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*u = MQTTURL{}
		return nil
	}
	x, err := url.Parse(string(b))
	switch {
	case err != nil || x.Hostname() == "" || mqttPort(x.Scheme) == "" || x.RawQuery != "" || x.Fragment != "":
		return errors.New("want a broker like mqtt://192.168.0.1, mqtts://broker.example.com:8883, ws:// or wss://")
	case (x.Scheme == "mqtt" || x.Scheme == "mqtts") && x.Path != "" && x.Path != "/":
		return fmt.Errorf("%s:// has no path", x.Scheme)
	}
	if port := x.Port(); port != "" {
		if _, err := netip.ParseAddrPort("0.0.0.0:" + port); err != nil || port == "0" {
			return fmt.Errorf("%s is no port", port)
		}
	}
	u.text = string(b)
	return nil
}

func (u MQTTURL) parsed() *url.URL {
	x, err := url.Parse(u.text)
	if err != nil {
		return &url.URL{} // UnmarshalText let none in
	}
	return x
}

// Reveal returns the URL with the password in it.
func (u MQTTURL) Reveal() string { return u.text }

// Address returns the broker's host and port, and nothing secret.
func (u MQTTURL) Address() string {
	if u.text == "" {
		return ""
	}
	x := u.parsed()
	return net.JoinHostPort(strings.ToLower(x.Hostname()), cmp.Or(x.Port(), mqttPort(x.Scheme)))
}

// Secure says whether the connection is encrypted.
func (u MQTTURL) Secure() bool {
	s := u.parsed().Scheme
	return s == "mqtts" || s == "wss"
}

// Loopback says whether the broker is on this machine.
func (u MQTTURL) Loopback() bool {
	host := u.parsed().Hostname()
	a, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && a.IsLoopback()
}

func (u MQTTURL) hasUser() bool { return u.parsed().User != nil }

// HasPassword says whether there is a password in the URL.
func (u MQTTURL) HasPassword() bool {
	_, ok := u.parsed().User.Password()
	return ok
}

// String returns the URL without the password.
func (u MQTTURL) String() string {
	if !u.HasPassword() {
		return u.text
	}
	return u.parsed().Redacted()
}

// GoString is for %#v.
func (u MQTTURL) GoString() string { return fmt.Sprintf("%q", u.String()) }

// MarshalText implements encoding.TextMarshaler: "xxxxx" stands for a password.
func (u MQTTURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MQTTListen is where a broker can be reached.
type MQTTListen struct {
	Scheme string // "mqtt", "mqtts", "ws" or "wss"
	Addr   netip.AddrPort
}

// UnmarshalText implements encoding.TextUnmarshaler. The port may be left out.
func (l *MQTTListen) UnmarshalText(b []byte) error {
	fail := fmt.Errorf("want an address like 127.0.0.1, [::1]:1883, mqtts://0.0.0.0:8883, ws:// or wss://, not %q", b)
	scheme, at, ok := strings.Cut(string(b), "://")
	if !ok {
		scheme, at = "mqtt", string(b)
	}
	port := mqttPort(scheme)
	switch scheme {
	case "ws":
		port = "9001"
	case "wss":
		port = "9002"
	case "mqtt", "mqtts":
	default:
		return fail
	}
	if a, err := netip.ParseAddr(strings.Trim(at, "[]")); err == nil {
		at = net.JoinHostPort(a.String(), port)
	}
	ap, err := netip.ParseAddrPort(at)
	if err != nil || ap.Port() == 0 || !ownAddress(ap.Addr()) {
		return fail
	}
	*l = MQTTListen{scheme, ap}
	return nil
}

// Secure says whether TLS is spoken there.
func (l MQTTListen) Secure() bool { return l.Scheme == "mqtts" || l.Scheme == "wss" }

// String returns what UnmarshalText reads.
func (l MQTTListen) String() string { return l.Scheme + "://" + l.Addr.String() }

// MarshalText implements encoding.TextMarshaler.
func (l MQTTListen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
