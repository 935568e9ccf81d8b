package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/reflector"
)

// Reflect is the section [reflect]: passing multicast DNS on between links.
type Reflect struct {
	Enabled bool `toml:"enabled"`
	// Interfaces are the only ones to reflect between, none means all that are used.
	Interfaces []string    `toml:"interfaces"`
	Mode       ReflectMode `toml:"mode"`
	// Allow and Deny are service types that cross and that don't.
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
	// Guests are interfaces whose hosts see services of GuestTypes elsewhere, and
	// nothing more, and are seen by nobody.
	Guests     []string `toml:"guests"`
	GuestTypes []string `toml:"guest_types"`
	// CrossFamilies passes from IPv4 to IPv6 and back, too.
	CrossFamilies bool `toml:"cross_families"`
	// ForwardMalformed passes packets on that can't be read.
	ForwardMalformed bool `toml:"forward_malformed"`
	// DryRun counts, and sends nothing.
	DryRun bool `toml:"dry_run"`
	// SourceRate and SourceBurst limit the packets of one host, LinkRate and
	// LinkBurst those to one interface: packets a second, and at once.
	SourceRate  int `toml:"source_rate"`
	SourceBurst int `toml:"source_burst"`
	LinkRate    int `toml:"link_rate"`
	LinkBurst   int `toml:"link_burst"`
	// MaxPending is how many askers may wait for answers that come to them alone.
	MaxPending int `toml:"max_pending"`

	Rules []ReflectRule `toml:"rule"`
}

// ReflectRule is one section [[reflect.rule]]; see reflector.Rule.
type ReflectRule struct {
	Name      string        `toml:"name"`
	Action    ReflectAction `toml:"action"`
	From      []string      `toml:"from"`
	To        []string      `toml:"to"`
	Both      bool          `toml:"both"`
	Types     []string      `toml:"types"`
	Subtypes  []string      `toml:"subtypes"`
	Instances []string      `toml:"instances"`
	Hosts     []string      `toml:"hosts"`
	MACs      []string      `toml:"macs"`
}

func defaultReflect() Reflect {
	return Reflect{
		Interfaces: []string{}, Mode: ReflectPlain, Allow: []string{}, Deny: []string{}, Guests: []string{},
		GuestTypes: reflector.GuestTypes(),
		SourceRate: reflector.DefaultSourceRate, SourceBurst: reflector.DefaultSourceBurst,
		LinkRate: reflector.DefaultLinkRate, LinkBurst: reflector.DefaultLinkBurst,
		MaxPending: reflector.DefaultMaxPending,
	}
}

// setDefaults implements defaulter.
func (r *ReflectRule) setDefaults() {
	*r = ReflectRule{
		Action: ReflectDeny, From: []string{}, To: []string{}, Types: []string{}, Subtypes: []string{},
		Instances: []string{}, Hosts: []string{}, MACs: []string{},
	}
}

// ReflectMode is how packets are passed on.
type ReflectMode string

// The modes. ReflectProxy answers from what is known instead of asking everywhere.
const (
	ReflectPlain ReflectMode = "plain"
	ReflectProxy ReflectMode = "proxy"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *ReflectMode) UnmarshalText(b []byte) error {
	return oneOf(m, string(b), ReflectPlain, ReflectProxy)
}

// ReflectAction is what becomes of what a rule is about.
type ReflectAction string

// The actions.
const (
	ReflectAllow ReflectAction = "allow"
	ReflectDeny  ReflectAction = "deny"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *ReflectAction) UnmarshalText(b []byte) error {
	return oneOf(a, string(b), ReflectAllow, ReflectDeny)
}

const maxReflectRules = 1000

func (r Reflect) check(bad func(key string, err error)) {
	for i, n := range r.Interfaces {
		key := fmt.Sprintf("interfaces[%d]", i)
		bad(key, interfaceName(n))
		if slices.Contains(r.Interfaces[:i], n) {
			bad(key, fmt.Errorf("%q is there twice", n))
		}
	}
	if len(r.Interfaces) == 1 {
		bad("interfaces", errors.New("want two or more, or none for all that are used"))
	}
	if r.DryRun && r.Mode == ReflectProxy {
		bad("dry_run", errors.New(`says what becomes of packets, and mode "proxy" passes on none`))
	}
	serviceTypes("allow", r.Allow, bad)
	serviceTypes("deny", r.Deny, bad)
	serviceTypes("guest_types", r.GuestTypes, bad)
	texts("guests", r.Guests, bad)
	for _, l := range []struct {
		key   string
		value int
	}{
		{"source_rate", r.SourceRate}, {"source_burst", r.SourceBurst},
		{"link_rate", r.LinkRate}, {"link_burst", r.LinkBurst}, {"max_pending", r.MaxPending},
	} {
		const least, most = 10, 1_000_000
		if l.value < least || l.value > most {
			bad(l.key, fmt.Errorf("want %d to %d, not %d", least, most, l.value))
		}
	}
	if len(r.Rules) > maxReflectRules {
		bad(fmt.Sprintf("rule[%d]", maxReflectRules), fmt.Errorf("want at most %d rules", maxReflectRules))
	}
	for i, x := range r.Rules {
		if x.Name != "" && slices.ContainsFunc(r.Rules[:i], func(b ReflectRule) bool { return b.Name == x.Name }) {
			bad(fmt.Sprintf("rule[%d].name", i), fmt.Errorf("%q is there twice", x.Name))
		}
	}
}

func (r ReflectRule) check(bad func(key string, err error)) {
	if len(r.Name) > maxName || !printable(r.Name) {
		bad("name", fmt.Errorf("want at most %d bytes of printable characters", maxName))
	}
	serviceTypes("types", r.Types, bad)
	texts("from", r.From, bad)
	texts("to", r.To, bad)
	texts("subtypes", r.Subtypes, bad)
	if len(r.Subtypes) > 0 && slices.ContainsFunc(r.Types, func(t string) bool { return strings.Contains(strings.ToLower(t), "._sub.") }) {
		bad("subtypes", errors.New("one of types names a subtype already"))
	}
	texts("instances", r.Instances, bad)
	texts("hosts", r.Hosts, bad)
	for i, m := range r.MACs {
		if a, err := net.ParseMAC(m); err != nil || len(a) != 6 {
			bad(fmt.Sprintf("macs[%d]", i), fmt.Errorf("want a MAC like \"02:00:00:00:00:01\", not %q", m))
		}
	}
	if r.Both && len(r.From) == 0 && len(r.To) == 0 {
		bad("both", errors.New("a rule without from and to is about every direction"))
	}
}

func serviceTypes(key string, list []string, bad func(key string, err error)) {
	for i, t := range list {
		bad(fmt.Sprintf("%s[%d]", key, i), reflector.CheckType(t))
	}
}

func texts(key string, list []string, bad func(key string, err error)) {
	const most = 255 // bytes, as a name has
	for i, t := range list {
		if t == "" || len(t) > most || !printable(t) {
			bad(fmt.Sprintf("%s[%d]", key, i), fmt.Errorf("want 1 to %d bytes of printable characters", most))
		}
	}
}

// Options returns what the section says to a reflector's rules.
func (r Reflect) Options() reflector.RulesOptions {
	o := reflector.RulesOptions{Deny: r.Deny, Allow: r.Allow, Guests: r.Guests, GuestTypes: r.GuestTypes}
	for _, x := range r.Rules {
		rule := reflector.Rule{
			Name: x.Name, From: x.From, To: x.To, Both: x.Both,
			Types: x.Types, Subtypes: x.Subtypes, Instances: x.Instances, Hosts: x.Hosts,
		}
		if x.Action == ReflectAllow {
			rule.Action = reflector.Allow
		}
		for _, m := range x.MACs {
			if a, err := net.ParseMAC(m); err == nil { // check has said so
				rule.MACs = append(rule.MACs, a)
			}
		}
		o.Rules = append(o.Rules, rule)
	}
	return o
}
