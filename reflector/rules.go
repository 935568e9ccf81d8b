package reflector

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Action is what becomes of what a rule is about.
type Action uint8

// The actions.
const (
	Deny  Action = iota // never crosses
	Allow               // crosses
)

// String returns "allow" or "deny".
func (a Action) String() string {
	if a == Allow {
		return "allow"
	}
	return "deny"
}

// Rule says of some services on some links who may see them. An empty field
// says nothing; a list holds if one of its entries does. Instances, Subtypes,
// Hosts, From and To are patterns, in which * stands for any text and ? for any
// byte. The case of ASCII letters makes no difference.
type Rule struct {
	Name   string // for counters; "" becomes "rule 1" and so on
	Action Action
	// From are the links on which the services are, To those from which they
	// are seen. A rule is about one direction unless Both is set.
	From, To []string
	Both     bool
	// Types are service types: "_ipp._tcp", or "_universal._sub._ipp._tcp" for
	// services with that subtype alone.
	Types []string
	// Subtypes are subtypes without _sub: "_universal".
	Subtypes []string
	// Instances are instance names: "Laser, 2nd floor".
	Instances []string
	// Hosts are host names without .local: "nas".
	Hosts []string
	// MACs are hardware addresses of the devices that have the services.
	MACs []net.HardwareAddr
}

// RulesOptions are what a person decided. The first that fits decides, in this
// order: Rules one by one, Deny, what follows from Guests, Allow. What nothing
// fits crosses, unless there is an Allow list: then it doesn't.
type RulesOptions struct {
	Rules []Rule
	// Deny and Allow are service types, as in Rule.Types, for every pair of links.
	Deny, Allow []string
	// Guests are patterns for links whose hosts may see services of GuestTypes
	// on other links and nothing else, and of which others see nothing.
	Guests []string
	// GuestTypes are what guests see; none means those of the function GuestTypes.
	GuestTypes []string
	// MAC returns the hardware address of a host on a link. Where it isn't
	// known a rule with MACs can't allow, and one that denies does so.
	MAC MACs
}

// GuestTypes returns the default for what guests see: printers, and what shows
// pictures or plays sound that others send. What controls a device or holds
// files isn't among them.
func GuestTypes() []string {
	return []string{
		"_ipp._tcp", "_ipps._tcp", "_printer._tcp", "_pdl-datastream._tcp",
		"_googlecast._tcp", "_airplay._tcp", "_raop._tcp", "_spotify-connect._tcp",
	}
}

// MACs returns the hardware address of a host on the link with that index. It is
// called for each packet that a rule with MACs is about, from several
// goroutines, and must return at once.
type MACs func(link int, host netip.Addr) (net.HardwareAddr, bool)

// Rules are compiled RulesOptions. They don't change; their counters do. A nil
// *Rules lets everything pass.
type Rules struct {
	rules []*rule
	mac   MACs

	mu     sync.RWMutex
	pairs  map[pairKey]*pair
	epoch  atomic.Uint32 // counts how often pairs was emptied
	ledger ledger
}

// rule is a compiled Rule.
type rule struct {
	name      string
	action    Action
	from, to  []pattern
	types     map[string]bool // as topic.typ
	subtypes  []pattern
	instances []pattern
	hosts     []pattern
	macs      map[mac]bool
}

// NewRules compiles rules. The error names the rule and what is wrong with it.
func NewRules(o RulesOptions) (*Rules, error) {
	r := &Rules{mac: o.MAC, pairs: map[pairKey]*pair{}, ledger: ledger{seed: maphash.MakeSeed(), stops: map[stopKey]*Stop{}}}
	for i, x := range o.Rules {
		if x.Name == "" {
			x.Name = fmt.Sprintf("rule %d", i+1)
		}
		if err := r.add(x); err != nil {
			return nil, err
		}
	}
	if err := r.addTypes("deny", Deny, o.Deny, nil); err != nil {
		return nil, err
	}
	if len(o.Guests) > 0 {
		types := o.GuestTypes
		if len(types) == 0 {
			types = GuestTypes()
		}
		if err := r.add(Rule{Name: "guests", Action: Deny, From: o.Guests}); err != nil {
			return nil, err
		}
		if err := r.addTypes("guests", Allow, types, o.Guests); err != nil {
			return nil, err
		}
		if err := r.add(Rule{Name: "guests", Action: Deny, To: o.Guests}); err != nil {
			return nil, err
		}
	}
	if len(o.Allow) > 0 {
		if err := r.addTypes("allow", Allow, o.Allow, nil); err != nil {
			return nil, err
		}
		if err := r.add(Rule{Name: "not allowed", Action: Deny}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// addTypes adds a rule for a list of types, and one for each that has a subtype.
func (r *Rules) addTypes(name string, a Action, types, to []string) error {
	if len(types) == 0 {
		return nil
	}
	return r.add(Rule{Name: name, Action: a, Types: types, To: to})
}

func (r *Rules) add(x Rule) error {
	plain := x
	plain.Types = nil
	for _, t := range x.Types {
		sub, typ, err := parseType(t)
		if err != nil {
			return fmt.Errorf("reflector: %s: %w", x.Name, err)
		}
		if sub == "" {
			plain.Types = append(plain.Types, typ)
			continue
		}
		if len(x.Subtypes) > 0 {
			return fmt.Errorf("reflector: %s: type %q has a subtype; there are subtypes already", x.Name, t)
		}
		one := x
		one.Types, one.Subtypes = []string{typ}, []string{escape(sub)}
		if err := r.addOne(one); err != nil {
			return err
		}
	}
	if len(x.Types) > 0 && len(plain.Types) == 0 {
		return nil // all of them had subtypes
	}
	return r.addOne(plain)
}

// addOne adds a rule whose types are plain.
func (r *Rules) addOne(x Rule) error {
	c := rule{
		name: x.Name, action: x.Action, from: patterns(x.From), to: patterns(x.To),
		subtypes: lowered(x.Subtypes), instances: lowered(x.Instances), hosts: lowered(x.Hosts),
	}
	for _, l := range []struct {
		what string
		all  []string
	}{{"link", x.From}, {"link", x.To}, {"subtype", x.Subtypes}, {"instance", x.Instances}, {"host", x.Hosts}} {
		if slices.Contains(l.all, "") {
			return fmt.Errorf("reflector: %s: an empty %s name", x.Name, l.what)
		}
	}
	for _, t := range x.Types {
		_, typ, err := parseType(t)
		if err != nil {
			return fmt.Errorf("reflector: %s: %w", x.Name, err)
		}
		if c.types == nil {
			c.types = map[string]bool{}
		}
		a, b, _ := strings.Cut(lower(typ), ".")
		c.types[string([]byte{byte(len(a))})+a+string([]byte{byte(len(b))})+b] = true
	}
	for _, a := range x.MACs {
		m, ok := macOf(a)
		if !ok {
			return fmt.Errorf("reflector: %s: %q is no MAC of 6 bytes", x.Name, a.String())
		}
		if c.macs == nil {
			c.macs = map[mac]bool{}
		}
		c.macs[m] = true
	}
	r.rules = append(r.rules, &c)
	if x.Both && (len(x.From) > 0 || len(x.To) > 0) {
		back := c
		back.from, back.to = c.to, c.from
		r.rules = append(r.rules, &back)
	}
	return nil
}

// aboutMACs says whether a rule asks for a hardware address.
func (r *Rules) aboutMACs() bool {
	return r != nil && slices.ContainsFunc(r.rules, func(x *rule) bool { return x.macs != nil })
}

func patterns(texts []string) (ps []pattern) {
	for _, t := range texts {
		ps = append(ps, newPattern(t))
	}
	return ps
}

// lowered is patterns for names, whose case doesn't matter; a host's .local may be there.
func lowered(texts []string) (ps []pattern) {
	for _, t := range texts {
		ps = append(ps, newPattern(strings.TrimSuffix(strings.TrimSuffix(lower(t), "."), ".local")))
	}
	return ps
}

// escape makes a pattern that means the text itself.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s)
}

var errType = errors.New(`want a service type like "_ipp._tcp" or "_universal._sub._ipp._tcp"`)

// CheckType says whether rules take a text for a service type.
func CheckType(s string) error {
	_, _, err := parseType(s)
	return err
}

// parseType parts a type from its subtype, if there is one.
func parseType(s string) (sub, typ string, err error) {
	fail := func() (string, string, error) { return "", "", fmt.Errorf("%w, not %q", errType, s) }
	typ = strings.TrimSuffix(strings.TrimSuffix(s, "."), ".local")
	if i := strings.LastIndex(lower(typ), "._sub."); i >= 0 {
		sub, typ = typ[:i], typ[i+len("._sub."):]
		if sub == "" || len(sub) > maxLabel {
			return fail()
		}
	}
	name, proto, ok := strings.Cut(typ, ".")
	if !ok || len(name) < 2 || len(name) > maxLabel || name[0] != '_' {
		return fail()
	}
	if p := lower(proto); p != "_tcp" && p != "_udp" {
		return fail()
	}
	return sub, typ, nil
}

const maxLabel = 63 // bytes, RFC 1035 §2.3.4
