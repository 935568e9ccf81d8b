package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Gateway is the section [gateway]: what this node does for its hub.
type Gateway struct {
	// Enabled keeps in touch with the hub, once `lanfolk join` has made the node one's gateway.
	Enabled bool `toml:"enabled"`
	// Hub are its addresses, the best first; none means those of the join string, or those that are
	// found by DNS-SD.
	Hub []HubAddress `toml:"hub"`
	// Files is the folder that `get` fetches from, "" for none.
	Files string `toml:"files"`
	// MaxOutput bounds one command's result that isn't a file of Files, MaxSpool all that wait on the
	// disk for the hub, both in MiB.
	MaxOutput int `toml:"max_output"`
	MaxSpool  int `toml:"max_spool"`
	// Inventory and Fingerprints go up to the hub as they change. MaxFeeds bounds what of them waits
	// on the disk, in MiB.
	Inventory    bool           `toml:"inventory"`
	Fingerprints bool           `toml:"fingerprints"`
	MaxFeeds     int            `toml:"max_feeds"`
	Capture      GatewayCapture `toml:"capture"`
	// Programs are what `exec` may run.
	Programs []GatewayProgram `toml:"program"`
	Insecure GatewayInsecure  `toml:"insecure"`
}

// GatewayCapture is the section [gateway.capture].
type GatewayCapture struct {
	Allowed   bool `toml:"allowed"`
	Seconds   int  `toml:"seconds"`   // at most
	Megabytes int  `toml:"megabytes"` // MiB at most
}

// GatewayProgram is one section [[gateway.program]]: a program that the hub may
// have run, by its name.
type GatewayProgram struct {
	Name string `toml:"name"`
	Path string `toml:"path"`
	// Args say what each argument may be: there are as many as patterns.
	Args []Pattern `toml:"args"`
	// User is who it runs as, a name or a number.
	User      string `toml:"user"`
	AllowRoot bool   `toml:"allow_root"`
	// Dir is where it runs, "" for /.
	Dir string `toml:"dir"`
	// Env is its environment, KEY=value, beside PATH and LANG.
	Env     []string `toml:"env"`
	Timeout Duration `toml:"timeout"`
}

// GatewayInsecure is the section [gateway.insecure]: a server that knows
// reverse_access only, without TLS. It takes the hub's place.
type GatewayInsecure struct {
	Hub HubAddress `toml:"hub"`
	ID  string     `toml:"id"` // what the gateway calls itself there
	// Anywhere allows a server that isn't on this machine.
	Anywhere bool `toml:"anywhere"`
}

// On says whether there is such a server.
func (g GatewayInsecure) On() bool { return g.Hub != (HubAddress{}) }

func defaultGateway() Gateway {
	return Gateway{
		Enabled: true, Hub: []HubAddress{}, MaxOutput: 64, MaxSpool: 1024, Inventory: true, Fingerprints: true, MaxFeeds: 64,
		Capture: GatewayCapture{Seconds: 60, Megabytes: 16}, Programs: []GatewayProgram{},
	}
}

func (p *GatewayProgram) setDefaults() {
	p.Args, p.Env, p.Timeout = []Pattern{}, []string{}, Duration{time.Minute}
}

const (
	maxHubs            = 16
	maxPrograms        = 256
	maxProgramArgs     = 64
	maxProgramEnv      = 64
	maxProgramText     = 4096 // bytes of a variable or a pattern
	maxGatewayMiB      = 1 << 20
	maxCaptureSeconds  = 24 * 60 * 60
	maxCaptureMiB      = 16 << 10
	maxProgramTime     = 7 * 24 * time.Hour
	maxProgramNameSize = 64
)

func (g Gateway) check(bad func(key string, err error)) {
	if len(g.Hub) > maxHubs {
		bad("hub", fmt.Errorf("want at most %d addresses", maxHubs))
	}
	for i, a := range g.Hub {
		key := fmt.Sprintf("hub[%d]", i)
		switch {
		case a == (HubAddress{}):
			bad(key, errors.New("an address isn't empty"))
		case slices.Contains(g.Hub[:i], a):
			bad(key, fmt.Errorf("%q is there twice", a))
		}
	}
	bad("files", absolute(g.Files))
	for _, n := range []struct {
		key   string
		value int
	}{{"max_output", g.MaxOutput}, {"max_spool", g.MaxSpool}, {"max_feeds", g.MaxFeeds}} {
		if n.value < 1 || n.value > maxGatewayMiB {
			bad(n.key, fmt.Errorf("want 1 to %d MiB, not %d", maxGatewayMiB, n.value))
		}
	}
	if len(g.Programs) > maxPrograms {
		bad("program", fmt.Errorf("want at most %d programs", maxPrograms))
	}
	for i, p := range g.Programs {
		if p.Name != "" && slices.ContainsFunc(g.Programs[:i], func(o GatewayProgram) bool { return o.Name == p.Name }) {
			bad(fmt.Sprintf("program[%d].name", i), fmt.Errorf("%q is there twice", p.Name))
		}
	}
	if g.Insecure.On() && len(g.Hub) > 0 {
		bad("insecure.hub", errors.New("it takes the place of gateway.hub: leave one out"))
	}
}

func (c GatewayCapture) check(bad func(key string, err error)) {
	if c.Seconds < 1 || c.Seconds > maxCaptureSeconds {
		bad("seconds", fmt.Errorf("want 1 to %d, not %d", maxCaptureSeconds, c.Seconds))
	}
	if c.Megabytes < 1 || c.Megabytes > maxCaptureMiB {
		bad("megabytes", fmt.Errorf("want 1 to %d MiB, not %d", maxCaptureMiB, c.Megabytes))
	}
}

func (p GatewayProgram) check(bad func(key string, err error)) {
	switch {
	case p.Name == "":
		bad("name", errors.New("say what the hub calls it"))
	case len(p.Name) > maxProgramNameSize || !word(p.Name):
		bad("name", fmt.Errorf("want at most %d of A-Z, a-z, 0-9, '.', '_' and '-', not %q", maxProgramNameSize, p.Name))
	}
	switch {
	case p.Path == "":
		bad("path", errors.New("say which program it is"))
	case filepath.IsAbs(p.Path) && filepath.Clean(p.Path) != p.Path:
		bad("path", fmt.Errorf("want it without detours: %q", filepath.Clean(p.Path)))
	}
	bad("path", absolute(p.Path))
	bad("dir", absolute(p.Dir))
	if len(p.Args) > maxProgramArgs {
		bad("args", fmt.Errorf("want at most %d", maxProgramArgs))
	}
	for i, a := range p.Args {
		if a == (Pattern{}) {
			bad(fmt.Sprintf("args[%d]", i), errors.New("say what the argument may be"))
		}
	}
	switch root := rootUser(p.User); {
	case p.User == "":
		bad("user", errors.New("say as whom it runs"))
	case strings.ContainsAny(p.User, ": \t\n\x00"):
		bad("user", fmt.Errorf("%q is no user", p.User))
	case root && !p.AllowRoot:
		bad("user", errors.New("as root it may do everything: name another user, or say allow_root = true"))
	}
	if len(p.Env) > maxProgramEnv {
		bad("env", fmt.Errorf("want at most %d", maxProgramEnv))
	}
	for i, v := range p.Env {
		key := fmt.Sprintf("env[%d]", i)
		name, _, ok := strings.Cut(v, "=")
		switch {
		case !ok || name == "" || strings.ContainsRune(v, 0):
			bad(key, fmt.Errorf("want KEY=value, not %q", v))
		case len(v) > maxProgramText:
			bad(key, fmt.Errorf("has %d bytes, more than %d", len(v), maxProgramText))
		case slices.ContainsFunc(p.Env[:i], func(o string) bool { return strings.HasPrefix(o, name+"=") }):
			bad(key, fmt.Errorf("%q is there twice", name))
		}
	}
	span(bad, "timeout", p.Timeout, time.Second, maxProgramTime)
}

// rootUser says whether a user is root whatever the machine's list of users says.
func rootUser(name string) bool {
	n, err := strconv.ParseUint(name, 10, 32)
	return name == "root" || err == nil && n == 0
}

func (s GatewayInsecure) check(bad func(key string, err error)) {
	switch {
	case !s.On():
		if s.ID != "" {
			bad("id", errors.New("there is no gateway.insecure.hub"))
		}
		return
	case s.ID == "":
		bad("id", errors.New("say what the gateway calls itself there"))
	case len(s.ID) > maxProgramNameSize || !word(s.ID):
		bad("id", fmt.Errorf("want at most %d of A-Z, a-z, 0-9, '.', '_' and '-', not %q", maxProgramNameSize, s.ID))
	}
	if !s.Anywhere && !s.Hub.loopback() {
		bad("hub", errors.New("nothing is encrypted there, and whoever is in between may run commands here: want an address of this machine, or anywhere = true"))
	}
}

// word says whether s is of letters, digits and what joins them.
func word(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}

// HubAddress is where a hub is: HOST:PORT.
type HubAddress struct{ address string }

// String returns HOST:PORT, "" for none.
func (a HubAddress) String() string { return a.address }

// UnmarshalText implements encoding.TextUnmarshaler. No text is none.
func (a *HubAddress) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		a.address = ""
		return nil
	}
	host, port, err := net.SplitHostPort(string(b))
	number, perr := strconv.ParseUint(port, 10, 16)
	_, ierr := netip.ParseAddr(host)
	if err != nil || perr != nil || number == 0 || ierr != nil && hostName(host) != nil {
		return fmt.Errorf("want a host and a port, like hub.example.com:8513 or [2001:db8::7]:8513, not %q", b)
	}
	a.address = net.JoinHostPort(host, strconv.FormatUint(number, 10))
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a HubAddress) MarshalText() ([]byte, error) { return []byte(a.address), nil }

func (a HubAddress) loopback() bool {
	host, _, _ := net.SplitHostPort(a.address)
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// Pattern is a regular expression that an argument has to fit, all of it.
type Pattern struct{ expression string }

// String returns the expression.
func (p Pattern) String() string { return p.expression }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pattern) UnmarshalText(b []byte) error {
	if len(b) > maxProgramText {
		return fmt.Errorf("has %d bytes, more than %d", len(b), maxProgramText)
	}
	if _, err := regexp.Compile(string(b)); err != nil {
		return fmt.Errorf("%w; the syntax is that of https://golang.org/s/re2syntax", err)
	}
	p.expression = string(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.expression), nil }
