package classify_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/classify"
)

// builtIn returns a classifier by the built-in rules, and a person's.
func builtIn(t testing.TB, own ...string) *classify.Classifier {
	t.Helper()
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	var mine []classify.Rule
	for _, o := range own {
		r, err := classify.ParseRules("own.toml", []byte(o))
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, r...)
	}
	return classify.NewClassifier(mine, rules, nil)
}

// signals makes signals of "kind=value".
func signals(all ...string) []lanfolk.Signal {
	var out []lanfolk.Signal
	for _, a := range all {
		kind, value, _ := strings.Cut(a, "=")
		s, ok := classify.New(kind, value)
		if !ok {
			panic(a)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b lanfolk.Signal) int {
		return strings.Compare(a.Kind+"\x00"+a.Value, b.Kind+"\x00"+b.Value)
	})
	return slices.Compact(out)
}

func TestBuiltInRulesNameCommonDevices(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	for _, x := range []struct {
		what, vendor, model, os, class string
		signals                        []string
	}{
		{"a PC", "Dell Inc.", "", "Windows", "computer", []string{"dhcp.vendor_class=MSFT 5.0", "host.name=DESKTOP-AB12CD3", "dns.name=www.msftconnecttest.com"}},
		{"a laptop that runs lldpd", "Intel Corporate", "", "Ubuntu", "computer", []string{"lldp.system_description=Ubuntu 24.04 LTS Linux 6.8.0-45-generic #45-Ubuntu SMP x86_64", "lldp.capability=access-point", "lldp.capability=station"}},
		{"an Android phone with a random MAC", "", "", "Android 14", "phone", []string{"dhcp.vendor_class=android-dhcp-14", "dns.name=connectivitycheck.gstatic.com"}},
		{"an iPhone with a random MAC", "", "iPhone", "iOS", "phone", []string{"host.name=Annas-iPhone.local", "dhcp.parameters=1,121,3,6,15,108,114,119,252"}},
		{"an iPad", "Apple, Inc.", "iPad", "iPadOS", "tablet", []string{"host.name=Annas-iPad"}},
		{"a Mac", "Apple, Inc.", "MacBookPro18,3", "macOS", "computer", []string{"mdns.txt.model=MacBookPro18,3", "mdns.txt.osxvers=22", "host.name=annas-macbook-pro"}},
		{"an Apple TV", "Apple, Inc.", "Apple TV", "tvOS", "media-player", []string{"mdns.txt.model=AppleTV11,1", "mdns.service=_airplay._tcp", "mdns.service=_raop._tcp"}},
		{"a Chromecast", "Google, Inc.", "Chromecast Ultra", "", "media-player", []string{"mdns.service=_googlecast._tcp", "mdns.txt.md=Chromecast Ultra"}},
		{"a Sonos", "Sonos, Inc.", "Sonos", "", "speaker", []string{"ssdp.type=urn:schemas-upnp-org:device:ZonePlayer:1", "ssdp.server=Linux UPnP/1.0 Sonos/63.2-88230 (ZPS1)", "mdns.service=_spotify-connect._tcp"}},
		{"a Hue bridge", "Philips Lighting BV", "Philips Hue bridge BSB002", "", "hub", []string{"ssdp.server=Linux/3.14.0 UPnP/1.0 IpBridge/1.56.0", "mdns.service=_hue._tcp", "mdns.service=_hap._tcp", "mdns.txt.md=BSB002", "mdns.txt.ci=2"}},
		{"a printer", "Hewlett Packard", "HP LaserJet 4250", "", "printer", []string{"mdns.service=_pdl-datastream._tcp", "mdns.service=_ipp._tcp", "mdns.txt.ty=HP LaserJet 4250", "host.name=NPI1A2B3C"}},
		{"a Synology", "Synology Incorporated", "Synology DS918+", "DSM", "nas", []string{"mdns.service=_http._tcp", "mdns.txt.vendor=Synology", "mdns.txt.model=DS918+", "mdns.service=_adisk._tcp"}},
		{"an ONVIF camera", "Hangzhou Hikvision Digital Technology Co.,Ltd.", "DS-2CD2143G0", "", "camera", []string{"wsd.type=NetworkVideoTransmitter", "wsd.scope=onvif://www.onvif.org/hardware/DS-2CD2143G0"}},
		{"a router", "AVM GmbH", "FRITZ!Box", "", "router", []string{"ssdp.type=urn:schemas-upnp-org:device:InternetGatewayDevice:1", "host.name=fritz.box"}},
		{"a switch", "Arista Networks", "", "Arista EOS", "switch", []string{"lldp.system_description=Arista Networks EOS version 4.28.0F", "lldp.capability=bridge"}},
		{"an access point", "Ubiquiti Inc", "UAP-AC-Pro", "", "access-point", []string{"lldp.system_description=UAP-AC-Pro, 4.3.20", "lldp.capability=access-point", "lldp.capability=bridge", "lldp.model=UAP-AC-Pro"}},
		{"a telephone", "YEALINK(XIAMEN) NETWORK TECHNOLOGY CO.,LTD.", "Yealink phone", "", "voip-phone", []string{"dhcp.vendor_class=yealink", "lldp.capability=telephone"}},
		{"an NMOS node", "", "", "", "media-node", []string{"mdns.service=_nmos-node._tcp"}},
		{"a plug", "TP-LINK TECHNOLOGIES CO.,LTD.", "TP-Link HS110", "Linux", "plug", []string{"host.name=HS110(EU)", "dhcp.vendor_class=udhcp 0.9.9-pre"}},
		{"a Hemtjänst light", "", "Acme L7", "", "light", []string{"hemtjanst.type=light", "hemtjanst.manufacturer=Acme", "hemtjanst.model=L7"}},
		{"nobody in particular", "Intel Corporate", "", "", "", []string{"dns.name=example.com"}},
	} {
		k := c.Classify(signals(x.signals...), x.vendor)
		if k.Model.Value != x.model || k.OS.Value != x.os || k.Class.Value != x.class {
			t.Errorf("%s: %q %q %q, want %q %q %q\n%+v", x.what, k.Model.Value, k.OS.Value, k.Class.Value, x.model, x.os, x.class, k.Reasons)
		}
		for _, a := range []lanfolk.Answer{k.Model, k.OS, k.Class} {
			if (a.Value == "") != (a.Confidence == 0) || a.Confidence < 0 || a.Confidence > 0.99 {
				t.Errorf("%s: %+v", x.what, a)
			}
		}
	}
}

// The classes that the built-in rules conclude, as the documentation lists them.
func TestClassesOfTheBuiltInRulesAreDocumented(t *testing.T) {
	t.Parallel()
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range rules {
		if r.Class != "" && !slices.Contains(classify.Classes(), r.Class) {
			t.Errorf("%s: the class %q is none of Classes", r.Name, r.Class)
		}
		if names[r.Name] {
			t.Errorf("two rules are called %s", r.Name)
		}
		names[r.Name] = true
	}
	used := func(class string) bool {
		return slices.ContainsFunc(rules, func(r classify.Rule) bool { return r.Class == class })
	}
	for _, class := range classify.Classes() {
		if !used(class) {
			t.Errorf("no rule concludes the class %q", class)
		}
	}
}

func TestAgreementStrengthensAndContradictionWeakens(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	class := func(all ...string) lanfolk.Answer { return c.Classify(signals(all...), "").Class }
	one := class("mdns.service=_ipp._tcp")
	two := class("mdns.service=_ipp._tcp", "mdns.service=_printer._tcp")
	other := class("mdns.service=_ipp._tcp", "host.name=epson123456")
	against := class("mdns.service=_ipp._tcp", "dhcp.vendor_class=MSFT 5.0")
	if one.Value != "printer" || two.Value != "printer" || other.Value != "printer" || against.Value != "computer" {
		t.Fatalf("%v %v %v %v", one, two, other, against)
	}
	if two.Confidence != one.Confidence {
		t.Errorf("two signals of one kind: %v, want %v as for one", two, one)
	}
	if other.Confidence <= one.Confidence {
		t.Errorf("a signal of another kind agrees: %v, not more than %v", other, one)
	}
	if alone := class("dhcp.vendor_class=MSFT 5.0"); against.Confidence >= alone.Confidence {
		t.Errorf("contradicted: %v, not less than %v", against, alone)
	}
	reasons := c.Classify(signals("mdns.service=_ipp._tcp", "dhcp.vendor_class=MSFT 5.0"), "").Reasons
	verdicts := map[string]string{}
	for _, r := range reasons {
		verdicts[r.Rule+" "+r.Answer] = r.Verdict
		if r.Source == "" || len(r.Signals) == 0 {
			t.Errorf("no source or no signal: %+v", r)
		}
	}
	if verdicts["windows-dhcp class"] != "agrees" || verdicts["printer-ipp class"] != "contradicts" {
		t.Errorf("%v", verdicts)
	}
}

// A more precise answer is no contradiction of the less precise one.
func TestPreciseAnswersAgreeWithCoarseOnes(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	alone := c.Classify(signals("mdns.txt.md=BSB002"), "").Model
	both := c.Classify(signals("mdns.txt.md=BSB002", "ssdp.server=Linux/3.14.0 UPnP/1.0 IpBridge/1.56.0"), "").Model
	if both.Value != alone.Value || both.Confidence < alone.Confidence {
		t.Errorf("%v, then with Philips Hue bridge: %v", alone, both)
	}
}

func TestOwnRulesGoBeforeTheBuiltInOnes(t *testing.T) {
	t.Parallel()
	c := builtIn(t, `
[[rule]]
name = "the printer in the hall"
source = "ours"
when = { "host.name" = "epson123456" }
class = "plotter"
confidence = 0.3
`)
	k := c.Classify(signals("host.name=epson123456"), "")
	if k.Class != (lanfolk.Answer{Value: "plotter", Confidence: 0.3}) || k.Model.Value != "Epson printer" {
		t.Errorf("%+v", k)
	}
	for _, r := range k.Reasons {
		if r.Rule == "epson-host" && r.Answer == "class" && r.Verdict != "overruled" {
			t.Errorf("%+v", r)
		}
	}
}

// All conditions of a rule must hold, whatever sightings they come from.
func TestAllConditionsMustHold(t *testing.T) {
	t.Parallel()
	c := builtIn(t)
	if k := c.Classify(signals("mdns.txt.ci=17"), ""); k.Class.Value != "" {
		t.Errorf("a category without HomeKit: %+v", k.Class)
	}
	if k := c.Classify(signals("mdns.txt.ci=17", "mdns.service=_hap._tcp"), ""); k.Class.Value != "camera" {
		t.Errorf("%+v", k.Class)
	}
}

// The order in which evidence comes makes no difference.
func TestOrderOfEvidenceMakesNoDifference(t *testing.T) {
	t.Parallel()
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	var pool []lanfolk.Signal
	for _, r := range rules {
		for _, w := range r.When {
			for _, p := range w.Patterns {
				if s, ok := classify.New(w.Kind, strings.NewReplacer("*", "x", "?", "y").Replace(strings.TrimPrefix(p, "."))); ok {
					pool = append(pool, s)
				}
			}
		}
	}
	c := classify.NewClassifier(nil, rules, nil)
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.SampledFrom(pool), 1, 24).Draw(t, "signals")
		other := rapid.Permutation(rules).Draw(t, "rules")
		perm := rapid.Permutation(some).Draw(t, "order")
		sorted := func(all []lanfolk.Signal) []lanfolk.Signal {
			var texts []string
			for _, s := range all {
				texts = append(texts, s.Kind+"="+s.Value)
			}
			return signals(texts...)
		}
		a := c.Classify(sorted(some), "AVM GmbH")
		b := classify.NewClassifier(nil, other, nil).Classify(sorted(perm), "AVM GmbH")
		if a.Model != b.Model || a.OS != b.OS || a.Class != b.Class || len(a.Reasons) != len(b.Reasons) {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}

// A mistake is told with its place.
func TestMistakesInRulesAreTold(t *testing.T) {
	t.Parallel()
	rule := func(lines string) string { return "[[rule]]\n" + lines + "\n" }
	const good = "name = \"a\"\nsource = \"b\"\nconfidence = 0.5\nclass = \"printer\"\n"
	for file, want := range map[string]string{
		rule(good + `when = { "dhcp.vendorclass" = "x" }`):                                                        `r.toml:6:10: when: there is no kind of signal "dhcp.vendorclass"; did you mean dhcp.vendor_class?`,
		rule(good + `when = {}`):                                                                                  `r.toml:6:8: when: want a table such as { "dhcp.vendor_class" = "MSFT 5.0" }`,
		rule(good + `when = { "host.name" = [] }`):                                                                `r.toml:6:10: host.name: want a pattern, or an array of patterns`,
		rule(good + `when = { "host.name" = 5 }`):                                                                 `r.toml:6:24: host.name: want a pattern, or an array of patterns`,
		rule(good + `when = { "host.name" = "." }`):                                                               `r.toml:6:24: host.name: a dot begins a domain, and none follows`,
		rule(good + "when = { \"host.name\" = \"x\" }\ncolour=1"):                                                 `r.toml:7:1: colour: unknown key; want name, source, when, model, os, class or confidence`,
		rule(good + "when = { \"host.name\" = \"x\" }\nmodel=\"{host.nam}\""):                                     `r.toml:7:7: model: {host.nam} names no signal that the rule goes by`,
		rule(good + "when = { \"host.name\" = \"x\" }\nmodel=\"{host.name*}\""):                                   `r.toml:7:7: model: {host.name*}: not all patterns for host.name have a star`,
		rule(good + "when = { \"host.name\" = \"x\" }\nmodel=\"a}\""):                                             `r.toml:7:7: model: a brace has no other in "a}"`,
		rule("name = \"a\"\nconfidence = 0.5\nclass = \"x\"\nwhen = { \"host.name\" = \"x\" }"):                   `r.toml:1:3: the rule has no source: say where you know it from`,
		rule("source = \"a\"\nconfidence = 0.5\nclass = \"x\"\nwhen = { \"host.name\" = \"x\" }"):                 `r.toml:1:3: the rule has no name`,
		rule("name = \"a\"\nsource = \"a\"\nconfidence = 0.5\nclass = \"x\""):                                     `r.toml:1:3: the rule has no when: say which signals it goes by`,
		rule("name = \"a\"\nsource = \"a\"\nconfidence = 0.5\nwhen = { \"host.name\" = \"x\" }"):                  `r.toml:1:3: the rule concludes nothing: want model, os or class`,
		rule("name = \"a\"\nsource = \"a\"\nclass = \"x\"\nwhen = { \"host.name\" = \"x\" }"):                     `r.toml:1:3: the rule has no confidence: say how far it is to be trusted`,
		rule("name = \"a\"\nsource = \"a\"\nclass = \"A b\"\nconfidence = 0.5\nwhen = { \"host.name\" = \"x\" }"): `r.toml:4:9: class: want up to 32 small letters, digits and -, not "A b"`,
		rule("name = \"a\"\nsource = \"a\"\nclass = \"x\"\nconfidence = 1.0\nwhen = { \"host.name\" = \"x\" }"):   `r.toml:5:14: confidence: want more than 0.0 and at most 0.99`,
		rule("name = \"a\"\nsource = \" a\"\nclass = \"x\"\nconfidence = 0.5\nwhen = { \"host.name\" = \"x\" }"):  `r.toml:3:10: source: want a line of printable characters, without spaces at its ends`,
		"name = \"a\"":            `r.toml:1:1: want [[rule]] before any key`,
		"[rule]\n":                `r.toml:1:2: want [[rule]]`,
		"[[rule]]\nname = \n":     "r.toml:2:8: ",
		"[[rule]]\n\xff":          `r.toml:2:1: want UTF-8`,
		rule(good + "when.a = 1"): "r.toml:1:3: the rule has no when: say which signals it goes by\n" + `r.toml:6:1: want a key without a dot; quote a kind of signal`,
		rule(good+`when = { "host.name" = "x" }`) + rule(good+`when = { "host.name" = "x" }`): `r.toml:8:8: name: another rule is called "a"`,
	} {
		_, err := classify.ParseRules("r.toml", []byte(file))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", file, err, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ pattern, value, model string }{
		{"a*c", "aBc", "B"}, {"a*c", "ac", ""}, {"a*b*c", "axxbyybzc", "xx"}, {"*", "Any Thing", "Any Thing"},
		{"*b", "ab", "a"}, {"a*", "ab", "b"}, {"a?c*", "abcd", "d"}, {"??*", "abc", "c"}, {"a**b", "axb", ""}, {"*a*", "xay", "x"},
	} {
		c := builtIn(t, `[[rule]]
name = "p"
source = "s"
when = { "ptp.class" = "`+x.pattern+`" }
model = "<{ptp.class*}>"
class = "fits"
confidence = 0.5`)
		k := c.Classify([]lanfolk.Signal{{Kind: "ptp.class", Value: x.value}}, "")
		if k.Class.Value != "fits" || k.Model.Value != "<"+x.model+">" {
			t.Errorf("%s of %s: %+v %+v", x.pattern, x.value, k.Class, k.Model)
		}
	}
	for _, x := range [][2]string{{"a*c", "abcd"}, {"a?c", "ac"}, {"?", ""}, {"ab*ba", "aba"}, {"a", "ab"}, {".b.c", "xb.c"}} {
		c := builtIn(t, `[[rule]]
name = "p"
source = "s"
when = { "tcp.syn" = "`+x[0]+`" }
class = "fits"
confidence = 0.5`)
		if k := c.Classify([]lanfolk.Signal{{Kind: "tcp.syn", Value: x[1]}}, ""); k.Class.Value != "" {
			t.Errorf("%s fits %s", x[0], x[1])
		}
	}
}

// seeds are the built-in files and the mistakes above.
func FuzzRules(f *testing.F) {
	files, err := filepath.Glob("rules/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 2000)])
	}
	f.Add([]byte("[[rule]]\nname=\"a\"\nsource=\"b\"\nwhen={\"host.name\"=[\"*a*b*\",\".c\"]}\nmodel=\"{host.name}\"\nconfidence=0.5\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := classify.ParseRules("f.toml", data)
		if err != nil {
			if rules != nil || !strings.HasPrefix(err.Error(), "f.toml:") {
				t.Errorf("%v", err)
			}
			return
		}
		c := classify.NewClassifier(rules, nil, nil)
		for _, r := range rules {
			for _, w := range r.When {
				for _, p := range w.Patterns {
					if s, ok := classify.New(w.Kind, strings.ReplaceAll(p, "*", "aa")); ok {
						c.Tells(s)
						for _, x := range c.Classify([]lanfolk.Signal{s}, "").Reasons {
							if x.Value == "" || len(x.Value) > 96+256 {
								t.Errorf("%q", x.Value)
							}
						}
					}
				}
			}
		}
	})
}

func BenchmarkTells(b *testing.B) {
	c := builtIn(b)
	all := signals("dns.name=a-host.somewhere.example.com", "host.name=kitchen-display-7", "dhcp.parameters=1,3,6,12,15,28,42", "mdns.service=_ipp._tcp")
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range all {
			c.Tells(s)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	c := builtIn(b)
	all := signals("ssdp.server=Linux/3.14.0 UPnP/1.0 IpBridge/1.56.0", "mdns.service=_hue._tcp", "mdns.service=_hap._tcp", "mdns.txt.md=BSB002", "mdns.txt.ci=2",
		"dhcp.vendor_class=udhcp 1.19.4", "host.name=philips-hue")
	b.ReportAllocs()
	for b.Loop() {
		c.Classify(all, "Philips Lighting BV")
	}
}

// TestSystemBuiltOnAnother: what tells only that a host runs Linux doesn't contradict what
// tells which one.
func TestSystemBuiltOnAnother(t *testing.T) {
	t.Parallel()
	c := builtIn(t, `
[[rule]]
name = "kernel"
source = "a test"
when = { "dhcp.vendor_class" = "udhcp*" }
os = "Linux"
confidence = 0.5

[[rule]]
name = "host"
source = "a test"
when = { "host.name" = "*" }
os = "{host.name}"
confidence = 0.5
`)
	for name, want := range map[string]lanfolk.Answer{
		"OpenWrt":   {Value: "OpenWrt", Confidence: 0.75},
		"Debian 12": {Value: "Debian 12", Confidence: 0.75},
		"Fire OS":   {Value: "Fire OS", Confidence: 0.75},
		"iOS":       {Value: "Linux", Confidence: 0.33},
	} {
		k := c.Classify(signals("dhcp.vendor_class=udhcp 1.36", "host.name="+name), "")
		if k.OS != want {
			t.Errorf("%s: %v, want %v", name, k.OS, want)
		}
		if name != "iOS" && slices.ContainsFunc(k.Reasons, func(r lanfolk.Conclusion) bool { return r.Answer == "os" && r.Verdict == "contradicts" }) {
			t.Errorf("%s: %v", name, k.Reasons)
		}
	}
}
