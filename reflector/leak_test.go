package reflector

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/dnswire"
)

// offered is a service of a random household. Its labels are like no others, so
// that a byte-wise search finds them in whatever form they leak.
type offered struct{ label, typ, host, subtype string }

func (o offered) instance() string { return o.label + "." + o.typ + ".local" }

func (o offered) records() []dnswire.RR {
	return []dnswire.RR{
		ptrRR(o.typ+".local", o.instance()),
		ptrRR(o.subtype+"._sub."+o.typ+".local", o.instance()),
		srvRR(o.instance(), o.host+".local"),
		txtRR(o.instance(), "x=1"),
		nsecRR(o.instance(), dnswire.TypeTXT, dnswire.TypeSRV),
		addrRR(o.host+".local", "10.0.1.7"),
		addrRR(o.host+".local", "fd00:1::7"),
		nsecRR(o.host+".local", dnswire.TypeA),
		ptrRR("7.1.0.10.in-addr.arpa", o.host+".local"),
		ptrRR("_services._dns-sd._udp.local", o.typ+".local"),
	}
}

// says is what a rule means for a service that everything is known of, written
// down a second time.
func says(r Rule, o offered) bool {
	in := func(list []string, s string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
	}
	return in(r.Types, o.typ) && in(r.Subtypes, o.subtype) && in(r.Instances, o.label) && in(r.Hosts, o.host)
}

// secrets returns the labels that must not cross.
func secrets(rules []Rule, all []offered) (hidden []string) {
	hosts := map[string]bool{}
	for _, o := range all {
		ok := true
		if i := slices.IndexFunc(rules, func(r Rule) bool { return says(r, o) }); i >= 0 {
			ok = rules[i].Action == Allow
		}
		if !ok {
			hidden = append(hidden, o.label)
		}
		hosts[o.host] = hosts[o.host] || ok
	}
	for h, ok := range hosts {
		if !ok {
			hidden = append(hidden, h)
		}
	}
	// A type is a secret if the first rule about it, whatever more it asks for, denies
	// all of it.
	for _, o := range all {
		for _, r := range rules {
			if len(r.Types) > 0 && !slices.Contains(r.Types, o.typ) {
				continue
			}
			if r.Action == Allow {
				break
			}
			if len(r.Subtypes)+len(r.Instances)+len(r.Hosts) == 0 {
				hidden = append(hidden, o.typ)
				break
			}
		}
	}
	return hidden
}

// Whatever rules deny never appears on the other side: in no section, no rdata,
// no known answer and no probe (F11).
func TestNothingDeniedLeaks(t *testing.T) {
	crossed := 0
	rapid.Check(t, func(rt *rapid.T) {
		var all []offered
		for i := range rapid.IntRange(1, 6).Draw(rt, "services") {
			all = append(all, offered{
				label:   fmt.Sprintf("inst%dqq", i),
				typ:     fmt.Sprintf("_t%dqq._tcp", rapid.IntRange(0, 2).Draw(rt, "type")),
				host:    fmt.Sprintf("host%dqq", rapid.IntRange(0, 2).Draw(rt, "host")),
				subtype: fmt.Sprintf("_s%dqq", rapid.IntRange(0, 1).Draw(rt, "subtype")),
			})
		}
		one := func(name string, of func(offered) string) []string {
			if rapid.IntRange(0, 2).Draw(rt, name+"?") > 0 {
				return nil
			}
			return []string{of(rapid.SampledFrom(all).Draw(rt, name))}
		}
		var rules []Rule
		for range rapid.IntRange(0, 4).Draw(rt, "rules") {
			rules = append(rules, Rule{
				Action:    Action(rapid.IntRange(0, 1).Draw(rt, "action")),
				Types:     one("types", func(o offered) string { return o.typ }),
				Subtypes:  one("subtypes", func(o offered) string { return o.subtype }),
				Instances: one("instances", func(o offered) string { return o.label }),
				Hosts:     one("hosts", func(o offered) string { return o.host }),
			})
		}
		closed := rapid.Bool().Draw(rt, "closed")
		if closed {
			rules = append(rules, Rule{Action: Deny})
		}
		p := newPassing(t, RulesOptions{Rules: rules})
		hidden := secrets(rules, all)
		look := func(out [][]byte) {
			for _, b := range out {
				crossed++
				if _, err := dnswire.Parse(b); err != nil {
					rt.Fatalf("%x: %v", b, err)
				}
				low := fold(nil, b)
				for _, s := range hidden {
					for label := range strings.SplitSeq(strings.TrimSuffix(s, "._tcp"), ".") {
						if bytes.Contains(low, []byte(label)) {
							rt.Fatalf("%s leaks by rules %+v in %s", s, rules, texts(t, out))
						}
					}
				}
			}
		}
		// What a rule about services means for a host is known when its services are, unless
		// nothing but services is allowed. A service's subtypes are known when they are heard.
		strict := closed && !slices.ContainsFunc(rules, func(r Rule) bool {
			return r.Action == Allow && len(r.Types)+len(r.Subtypes)+len(r.Instances) == 0 ||
				r.Action == Deny && len(r.Subtypes) > 0
		})
		var first []dnswire.RR
		for _, o := range all {
			first = append(first, o.records()...)
		}
		if !strict || rapid.Bool().Draw(rt, "announce") {
			look(p.pass(p.main, p.guest, "10.0.1.7:5353", answers(first...)))
		}
		for range rapid.IntRange(1, 8).Draw(rt, "messages") {
			var sections [3][]dnswire.RR
			for range rapid.IntRange(1, 8).Draw(rt, "records") {
				rr := rapid.SampledFrom(rapid.SampledFrom(all).Draw(rt, "of").records()).Draw(rt, "record")
				if rapid.IntRange(0, 9).Draw(rt, "goodbye") == 0 {
					rr.TTL = 0
				}
				if rapid.Bool().Draw(rt, "shout") {
					rr.Name = dnswire.Name(strings.ToUpper(string(rr.Name)))
				}
				s := rapid.IntRange(0, 2).Draw(rt, "section")
				sections[s] = append(sections[s], rr)
			}
			if rapid.Bool().Draw(rt, "response") {
				look(p.pass(p.main, p.guest, "10.0.1.7:5353", build(true, nil, sections[:]...)))
				continue
			}
			// A query tells of its sender's side by its records alone.
			look(p.pass(p.main, p.guest, "10.0.1.7:5353", build(false, []string{"_other._tcp.local PTR"}, sections[:]...)))
		}
	})
	if crossed == 0 {
		t.Error("nothing crossed")
	}
}
