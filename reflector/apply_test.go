package reflector

import (
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// passing is two links and what passes from one to the other by some rules.
type passing struct {
	t     *testing.T
	rules *Rules
	main  *side
	guest *side
	now   time.Time
}

func newPassing(t *testing.T, o RulesOptions) *passing {
	t.Helper()
	r, err := NewRules(o)
	if err != nil {
		t.Fatal(err)
	}
	return &passing{
		t: t, rules: r, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		main:  testSide(1, "main", 1500, "10.0.1.1/24"),
		guest: testSide(2, "guest", 1500, "10.0.2.1/24"),
	}
}

// testSeed is the reflector's, which all its sides have.
var testSeed = maphash.MakeSeed()

func testSide(index int, name string, mtu int, prefixes ...string) *side {
	l := packet.Link{Index: index, Name: name, MTU: mtu, Flags: net.FlagUp | net.FlagRunning}
	for _, p := range prefixes {
		l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
	}
	s := &side{zone: mdns.Zone{Link: index, Interface: name, Family: mdns.IPv4}, link: l, book: newBook(testSeed)}
	s.editor.scratch.seed = testSeed
	return s
}

// pass returns the messages that come out on the other side.
func (p *passing) pass(from, to *side, src string, msg []byte) [][]byte {
	p.t.Helper()
	m, err := dnswire.Parse(msg)
	if err != nil {
		p.t.Fatal(err)
	}
	before := slices.Clone(msg)
	to.editor.reset()
	data, why := p.rules.apply(&to.editor, from, to, &mdns.Packet{
		Zone: from.zone, Src: netip.MustParseAddrPort(src), Dst: mdns.IPv4.Group(), Time: p.now, Message: m, Data: msg,
	})
	if !slices.Equal(before, msg) {
		p.t.Error("apply changed the packet")
	}
	if (data == nil) != (why != passed && why != edited && why != split) {
		p.t.Errorf("verdict %v with %d bytes", why, len(data))
	}
	if data == nil {
		return nil
	}
	var out [][]byte
	for _, d := range append([][]byte{data}, to.editor.more...) {
		if len(d) > 8972 {
			p.t.Errorf("a message of %d bytes", len(d))
		}
		out = append(out, slices.Clone(d))
	}
	return out
}

// fromMain and fromGuest pass a message on and return what came out as text.
func (p *passing) fromMain(msg []byte) string {
	p.t.Helper()
	return texts(p.t, p.pass(p.main, p.guest, "10.0.1.5:5353", msg))
}

func (p *passing) fromGuest(msg []byte) string {
	p.t.Helper()
	return texts(p.t, p.pass(p.guest, p.main, "10.0.2.5:5353", msg))
}

// texts writes messages as "Q _ipp._tcp.local PTR; AN …; AR …", with " | " between.
func texts(t *testing.T, msgs [][]byte) string {
	var all []string
	for _, b := range msgs {
		m, err := dnswire.Parse(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		var s []string
		if m.Truncated {
			s = append(s, "TC")
		}
		for q := range m.Questions() {
			s = append(s, "Q "+q.Name.String()+" "+q.Type.String())
		}
		for r := range m.Records() {
			rr := r.RR()
			s = append(s, []string{"", "AN ", "NS ", "AR "}[r.Section]+rr.Name.String()+" "+rr.Type.String()+" "+rr.DataString())
		}
		all = append(all, strings.Join(s, "; "))
	}
	return strings.Join(all, " | ")
}

func mustName(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func ptrRR(owner, target string) dnswire.RR {
	return dnswire.NewPTR(mustName(owner), mustName(target), 4500)
}

func srvRR(owner, host string) dnswire.RR {
	rr := dnswire.NewSRV(mustName(owner), dnswire.SRV{Port: 631, Target: mustName(host)}, 120)
	rr.Flush = true
	return rr
}

func txtRR(owner string, s ...string) dnswire.RR {
	rr, err := dnswire.NewTXT(mustName(owner), 4500, s...)
	if err != nil {
		panic(err)
	}
	rr.Flush = true
	return rr
}

func addrRR(host, a string) dnswire.RR {
	rr := dnswire.NewAddr(mustName(host), netip.MustParseAddr(a), 120)
	rr.Flush = true
	return rr
}

func nsecRR(owner string, types ...dnswire.Type) dnswire.RR {
	rr := dnswire.NewNSEC(mustName(owner), mustName(owner), 120, types...)
	rr.Flush = true
	return rr
}

func goodbye(rr dnswire.RR) dnswire.RR {
	rr.TTL = 0
	return rr
}

// build writes a message: questions, then the sections.
func build(response bool, questions []string, sections ...[]dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: response, Authoritative: response}, 9000)
	for _, q := range questions {
		n, t, _ := strings.Cut(q, " ")
		typ := map[string]dnswire.Type{"PTR": dnswire.TypePTR, "SRV": dnswire.TypeSRV, "A": dnswire.TypeA, "ANY": dnswire.TypeANY, "TXT": dnswire.TypeTXT}[t]
		if !b.Question(mustName(n), typ, dnswire.ClassIN, false) {
			panic("bad question " + q)
		}
	}
	for i, add := range []func(dnswire.RR) bool{b.Answer, b.Authority, b.Additional} {
		if i >= len(sections) {
			break
		}
		for _, rr := range sections[i] {
			if !add(rr) {
				panic("record doesn't fit: " + rr.String())
			}
		}
	}
	return slices.Clone(b.Bytes())
}

func answers(rrs ...dnswire.RR) []byte { return build(true, nil, rrs) }

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

// printer and files are two services on one host.
func printer() []dnswire.RR {
	return []dnswire.RR{
		ptrRR("_ipp._tcp.local", "Laser._ipp._tcp.local"), srvRR("Laser._ipp._tcp.local", "nas.local"),
		txtRR("Laser._ipp._tcp.local", "txtvers=1"), nsecRR("Laser._ipp._tcp.local", dnswire.TypeTXT, dnswire.TypeSRV),
	}
}

func files() []dnswire.RR {
	return []dnswire.RR{
		ptrRR("_smb._tcp.local", "Files._smb._tcp.local"), srvRR("Files._smb._tcp.local", "nas.local"),
		txtRR("Files._smb._tcp.local", ""), nsecRR("Files._smb._tcp.local", dnswire.TypeTXT, dnswire.TypeSRV),
	}
}

func TestDeniedTypeIsTakenOutOfAMessage(t *testing.T) {
	p := newPassing(t, RulesOptions{Deny: []string{"_smb._tcp"}})
	msg := answers(append(append(printer(), files()...),
		ptrRR("_services._dns-sd._udp.local", "_ipp._tcp.local"), ptrRR("_services._dns-sd._udp.local", "_smb._tcp.local"), addrRR("nas.local", "10.0.1.5"))...)
	wantText(t, "both", p.fromMain(msg), "AN _ipp._tcp.local PTR Laser._ipp._tcp.local; AN Laser._ipp._tcp.local SRV 0 0 631 nas.local; "+
		`AN Laser._ipp._tcp.local TXT "txtvers=1"; AN Laser._ipp._tcp.local NSEC Laser._ipp._tcp.local TXT SRV; `+
		"AN _services._dns-sd._udp.local PTR _ipp._tcp.local; AN nas.local A 10.0.1.5")
	wantText(t, "questions", p.fromGuest(build(false, []string{"_smb._tcp.local PTR", "_ipp._tcp.local PTR", "Files._smb._tcp.local SRV", "nas.local A"})),
		"Q _ipp._tcp.local PTR; Q nas.local A")
	wantText(t, "nothing left", p.fromMain(answers(files()...)), "")
}

func TestAddressesOfAHostCrossWithOneAllowedService(t *testing.T) {
	p := newPassing(t, RulesOptions{Allow: []string{"_ipp._tcp"}})
	wantText(t, "host of nothing known", p.fromMain(answers(addrRR("nas.local", "10.0.1.5"))), "")
	wantText(t, "host of a denied service", p.fromMain(build(true, nil, files(), nil, []dnswire.RR{addrRR("nas.local", "10.0.1.5"), nsecRR("nas.local", dnswire.TypeA)})), "")
	p.fromMain(answers(printer()...))
	wantText(t, "host of both", p.fromMain(answers(addrRR("nas.local", "10.0.1.5"), nsecRR("nas.local", dnswire.TypeA))),
		"AN nas.local A 10.0.1.5; AN nas.local NSEC nas.local A")
}

func TestGuestsSeePrintersAndCastersAndNotTheOtherWay(t *testing.T) {
	p := newPassing(t, RulesOptions{Guests: []string{"guest"}})
	if got := p.fromMain(answers(printer()...)); !strings.Contains(got, "SRV") {
		t.Errorf("a printer: %q", got)
	}
	wantText(t, "files", p.fromMain(answers(files()...)), "")
	wantText(t, "a guest's printer", p.fromGuest(answers(printer()...)), "")
	wantText(t, "a guest asks", p.fromGuest(build(false, []string{"_ipp._tcp.local PTR", "_smb._tcp.local PTR"})), "Q _ipp._tcp.local PTR")
	wantText(t, "guests are asked", p.fromMain(build(false, []string{"_ipp._tcp.local PTR"})), "")
	wantText(t, "a guest's own printer among the known answers",
		p.fromGuest(build(false, []string{"_ipp._tcp.local PTR"}, []dnswire.RR{
			ptrRR("_ipp._tcp.local", "Laser._ipp._tcp.local"), ptrRR("_ipp._tcp.local", "Guest's own._ipp._tcp.local")})),
		"Q _ipp._tcp.local PTR; AN _ipp._tcp.local PTR Laser._ipp._tcp.local")
}

// Known answers cross if they are the other side's own, whatever may not cross
// the other way.
func TestKnownAnswersOfTheOtherSideCross(t *testing.T) {
	p := newPassing(t, RulesOptions{Rules: []Rule{{Action: Deny, From: []string{"guest"}}}})
	p.fromMain(answers(printer()...))
	wantText(t, "from guests", p.fromGuest(build(false, []string{"_ipp._tcp.local PTR"}, []dnswire.RR{
		ptrRR("_ipp._tcp.local", "Laser._ipp._tcp.local"), ptrRR("_ipp._tcp.local", "Guest's own._ipp._tcp.local")})),
		"Q _ipp._tcp.local PTR; AN _ipp._tcp.local PTR Laser._ipp._tcp.local")
}

func TestRuleByDevice(t *testing.T) {
	known := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	p := newPassing(t, RulesOptions{
		Rules: []Rule{{Action: Allow, MACs: []net.HardwareAddr{known}}, {Action: Deny}},
		MAC: func(link int, a netip.Addr) (net.HardwareAddr, bool) {
			return known, link == 1 && a == netip.MustParseAddr("10.0.1.5")
		},
	})
	if got := p.fromMain(answers(printer()...)); got == "" {
		t.Error("the device that is allowed doesn't cross")
	}
	wantText(t, "another device", texts(t, p.pass(p.main, p.guest, "10.0.1.6:5353", answers(printer()...))), "")
	wantText(t, "another link", p.fromGuest(answers(printer()...)), "")
}

func TestFirstRuleThatFitsDecides(t *testing.T) {
	for name, c := range map[string]struct {
		o      RulesOptions
		passes bool
	}{
		"nothing said":             {RulesOptions{}, true},
		"allowed before denied":    {RulesOptions{Rules: []Rule{{Action: Allow, Instances: []string{"las*"}}}, Deny: []string{"_ipp._tcp"}}, true},
		"denied before allowed":    {RulesOptions{Deny: []string{"_ipp._tcp"}, Allow: []string{"_ipp._tcp"}}, false},
		"in no allow list":         {RulesOptions{Allow: []string{"_http._tcp"}}, false},
		"another direction":        {RulesOptions{Rules: []Rule{{From: []string{"guest"}, To: []string{"main"}}}}, true},
		"both directions":          {RulesOptions{Rules: []Rule{{From: []string{"guest"}, To: []string{"main"}, Both: true}}}, false},
		"a pattern for links":      {RulesOptions{Rules: []Rule{{To: []string{"gu*t"}}}}, false},
		"another pair":             {RulesOptions{Rules: []Rule{{From: []string{"main"}, To: []string{"lab"}}}}, true},
		"a host":                   {RulesOptions{Rules: []Rule{{Hosts: []string{"NAS.local."}}}}, false},
		"another host":             {RulesOptions{Rules: []Rule{{Hosts: []string{"nas?"}}}}, true},
		"a guest's deny list":      {RulesOptions{Guests: []string{"guest"}, Deny: []string{"_ipp._tcp"}}, false},
		"guests with other types":  {RulesOptions{Guests: []string{"guest"}, GuestTypes: []string{"_http._tcp"}}, false},
		"a subtype that it hasn't": {RulesOptions{Deny: []string{"_color._sub._ipp._tcp"}}, true},
	} {
		p := newPassing(t, c.o)
		if got := p.fromMain(answers(printer()...)) != ""; got != c.passes {
			t.Errorf("%s: passes %v", name, got)
		}
	}
}

func TestBadRules(t *testing.T) {
	for want, o := range map[string]RulesOptions{
		`reflector: deny: want a service type like "_ipp._tcp" or "_universal._sub._ipp._tcp", not "ipp"`:     {Deny: []string{"ipp"}},
		`reflector: rule 1: want a service type like "_ipp._tcp" or "_universal._sub._ipp._tcp", not "_a._b"`: {Rules: []Rule{{Types: []string{"_a._b"}}}},
		`reflector: files: an empty host name`:                                                {Rules: []Rule{{Name: "files", Hosts: []string{""}}}},
		`reflector: rule 1: "02:00" is no MAC of 6 bytes`:                                     {Rules: []Rule{{MACs: []net.HardwareAddr{{2, 0}}}}},
		`reflector: rule 1: type "_a._sub._b._tcp" has a subtype; there are subtypes already`: {Rules: []Rule{{Types: []string{"_a._sub._b._tcp"}, Subtypes: []string{"_c"}}}},
	} {
		if _, err := NewRules(o); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What rules did is told by rule, direction and name, and there is an end to it.
func TestStatsSayWhatWasStoppedAndWhy(t *testing.T) {
	p := newPassing(t, RulesOptions{Rules: []Rule{{Name: "no files", Action: Deny, Types: []string{"_smb._tcp"}}}})
	p.fromMain(answers(append(printer(), files()...)...))
	s := p.rules.Stats()
	if len(s.Hits) != 2 || s.Hits[0] != (RuleHits{"main", "guest", "no files", 0, 4}) || s.Hits[1] != (RuleHits{"main", "guest", "no rule", 4, 0}) {
		t.Errorf("hits %+v", s.Hits)
	}
	if len(s.Stops) != 4 || s.Stops[0] != (Stop{"main", "guest", "no files", "Files._smb._tcp.local", "NSEC", 1, p.now}) {
		t.Errorf("stops %+v", s.Stops)
	}
	for i := range 2000 {
		p.fromMain(answers(txtRR(fmt.Sprintf("Files %d._smb._tcp.local", i))))
	}
	if s := p.rules.Stats(); len(s.Stops) != maxStops || s.Others != 2004-maxStops {
		t.Errorf("%d names, %d others", len(s.Stops), s.Others)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"laser", "laser", true}, {"LASER", "laser", true}, {"laser", "laser 2", false},
		{"*", "", true}, {"*", "x", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "acb", false}, {"?", "", false}, {"??", "ab", true},
		{`\*x`, "*x", true}, {`\*x`, "yx", false}, {"*a*a*a*a*b", "aaaaaaaaaaaaaaaa", false}, {"Küche", "küche", true}, {"*.lab", "nas.lab", true},
	} {
		p := newPattern(c.pattern)
		if got := match(&p, c.text); got != c.want {
			t.Errorf("%q fits %q: %v", c.pattern, c.text, got)
		}
	}
}

func TestTopics(t *testing.T) {
	for name, want := range map[string]struct {
		kind kind
		typ  string
		part string
	}{
		"nas.local":                       {kindHost, "", ""},
		"_ipp._tcp.local":                 {kindType, "_ipp._tcp", ""},
		"_universal._sub._ipp._tcp.local": {kindSubtype, "_ipp._tcp", "_universal"},
		"laser\\., 2nd._ipp._tcp.local":   {kindInstance, "_ipp._tcp", "laser., 2nd"},
		"_services._dns-sd._udp.local":    {kindMeta, "_dns-sd._udp", ""},
		"b._dns-sd._udp.local":            {kindInstance, "_dns-sd._udp", "b"},
		"_http._tcp._ipp._tcp.local":      {kindInstance, "_ipp._tcp", "_http\x04_tcp"},
		"_tcp.local":                      {kindHost, "", ""},
		"_x._tcp":                         {kindType, "_x._tcp", ""},
		"5.0.0.10.in-addr.arpa":           {kindReverse, "", ""},
		"x.ip6.arpa":                      {kindReverse, "", ""},
		".":                               {kindHost, "", ""},
	} {
		got := readTopic([]byte(mustName(name)))
		var typ string
		if got.typ != nil {
			typ = strings.TrimSuffix(dnswire.Name(string(got.typ)+"\x00").String(), ".")
		}
		if got.kind != want.kind || typ != want.typ || string(got.part) != want.part {
			t.Errorf("%s: kind %d, type %q, part %q; want %+v", name, got.kind, typ, got.part, want)
		}
	}
}
