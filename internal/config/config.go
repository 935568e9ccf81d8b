package config

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Config is a whole configuration.
type Config struct {
	// Name is what this gateway calls itself, "" for the host's name.
	Name string `toml:"name"`
	// State is the folder that holds all that lanfolk keeps, "" for DefaultState.
	State string `toml:"state"`
	// Interfaces are the only ones to use; none means every usable one.
	Interfaces []string `toml:"interfaces"`
	// ExcludeInterfaces are never used.
	ExcludeInterfaces []string `toml:"exclude_interfaces"`

	HTTP      HTTP      `toml:"http"`
	MDNS      MDNS      `toml:"mdns"`
	DNS       DNS       `toml:"dns"`
	Reflect   Reflect   `toml:"reflect"`
	Passive   Passive   `toml:"passive"`
	Leases    Leases    `toml:"leases"`
	Hostapd   Hostapd   `toml:"hostapd"`
	Inventory Inventory `toml:"inventory"`
	Store     Store     `toml:"store"`
	Log       Log       `toml:"log"`
	Vendors   Vendors   `toml:"vendors"`
	Naming    Naming    `toml:"naming"`
	TGED      TGED      `toml:"tged"`
	Syncthing Syncthing `toml:"syncthing"`
	MQTT      MQTT      `toml:"mqtt"`
	Gateway   Gateway   `toml:"gateway"`
	Hub       Hub       `toml:"hub"`

	// Announce are the services that are announced by mDNS.
	Announce []Announce `toml:"announce"`
	// Zones are those that this node publishes services in.
	Zones []Zone `toml:"zone"`

	NMOS NMOS `toml:"nmos"`
}

// Default returns what holds where the file says nothing.
func Default() *Config {
	return &Config{
		Interfaces:        []string{},
		ExcludeInterfaces: []string{},
		HTTP:              defaultHTTP(),
		MDNS:              defaultMDNS(),
		DNS:               defaultDNS(),
		Reflect:           defaultReflect(),
		Passive:           defaultPassive(),
		Leases:            defaultLeases(),
		Hostapd:           defaultHostapd(),
		Inventory:         defaultInventory(),
		Store:             defaultStore(),
		Log:               defaultLog(),
		TGED:              defaultTGED(),
		Syncthing:         defaultSyncthing(),
		MQTT:              defaultMQTT(),
		Gateway:           defaultGateway(),
		Hub:               defaultHub(),
		NMOS:              defaultNMOS(),
	}
}

//go:embed reference.toml
var reference string

// Reference returns a commented file with every key and its default.
func Reference() []byte { return []byte(reference) }

// maxFile is the most that a configuration file may have, in bytes.
const maxFile = 1 << 20

// Load reads a file. The error is an Errors if the file could be read.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if info.Mode().IsRegular() && info.Size() > maxFile {
		return nil, fmt.Errorf("config: %s has more than %d bytes", path, maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; name is what its errors call the file. The error
// is an Errors.
func Parse(name string, data []byte) (*Config, error) {
	c := Default()
	if errs := read(name, data, reflect.ValueOf(c).Elem()); len(errs) > 0 {
		return nil, errs
	}
	return c, nil
}

// TOML returns the configuration as a file, defaults included.
func (c *Config) TOML() ([]byte, error) { return write(reflect.ValueOf(c).Elem()) }

const maxName = 63 // bytes: it goes into labels of host names

func (c *Config) check(bad func(key string, err error)) {
	switch {
	case len(c.Name) > maxName:
		bad("name", fmt.Errorf("has %d bytes, more than %d", len(c.Name), maxName))
	case !printable(c.Name) || strings.TrimSpace(c.Name) != c.Name:
		bad("name", errors.New("want printable characters, and no space at the ends"))
	}
	if c.Store.Kind == Postgres && c.Name == "" {
		bad("store.kind", errors.New("several nodes may share this database: set name, at the top of the file, to what tells this one apart"))
	}
	bad("state", absolute(c.State))
	announces(c.Announce, bad)
	zones(c.Zones, c.MDNS, bad)
	for i, a := range c.NMOS.Advertise {
		if !a.MDNS && len(a.Domains) == 0 && !slices.ContainsFunc(c.Zones, func(z Zone) bool { return z.Announced }) {
			bad(fmt.Sprintf("nmos.advertise[%d].mdns", i), errors.New("there is no other way: name a domain, in a section [[nmos.advertise.domain]], or a [[zone]] with announced = true"))
		}
	}
	if c.MDNS.Silent && (c.Reflect.Enabled || len(c.Announce) > 0) {
		bad("mdns.silent", errors.New("a silent node can neither announce nor reflect: leave out [[announce]], and [reflect]'s enabled"))
	}
	if c.MDNS.Silent && c.NMOS.OnLinks() {
		bad("mdns.silent", errors.New("a silent node announces nothing: [[nmos.advertise]] wants mdns = false"))
	}
	if c.MDNS.Silent && c.Hub.Announce.MDNS {
		bad("mdns.silent", errors.New("a silent program announces nothing: [hub.announce] wants mdns = false"))
	}
	for _, l := range []struct {
		key   string
		names []string
	}{{"interfaces", c.Interfaces}, {"exclude_interfaces", c.ExcludeInterfaces}} {
		for i, n := range l.names {
			key := fmt.Sprintf("%s[%d]", l.key, i)
			bad(key, interfaceName(n))
			if slices.Contains(l.names[:i], n) {
				bad(key, fmt.Errorf("%q is there twice", n))
			}
		}
	}
	for i, n := range c.ExcludeInterfaces {
		if slices.Contains(c.Interfaces, n) {
			bad(fmt.Sprintf("exclude_interfaces[%d]", i), fmt.Errorf("%q is in interfaces, too", n))
		}
	}
}

// printable says whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// absolute checks a path that may be left out.
func absolute(path string) error {
	switch {
	case path == "":
		return nil
	case !filepath.IsAbs(path):
		return fmt.Errorf("want a path that begins with /, not %q", path)
	case strings.ContainsRune(path, 0):
		return errors.New("a path holds no NUL")
	}
	return nil
}

// interfaceName checks a name as Linux does.
func interfaceName(n string) error {
	const most = 15 // bytes, IFNAMSIZ without the NUL
	switch {
	case n == "":
		return errors.New("an interface has a name")
	case len(n) > most:
		return fmt.Errorf("%q is no interface: more than %d bytes", n, most)
	case n == "." || n == ".." || !printable(n) || strings.ContainsFunc(n, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) }):
		return fmt.Errorf("%q is no interface", n)
	}
	return nil
}
