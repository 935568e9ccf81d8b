package classify_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/classify"
)

// examples are three devices; two of them share a chip's DHCP client.
func examples() []classify.Example {
	return []classify.Example{
		{Model: "lamp", Class: "light", Source: "a", Signals: signals("dhcp.vendor_class=udhcp 1.19", "dhcp.parameters=1,3,6", "dns.name=lamps.example.com", "form.dhcp=x")},
		{Model: "plug", Class: "plug", Source: "b", Signals: signals("dhcp.vendor_class=udhcp 1.19", "dhcp.parameters=1,3,6", "dns.name=plugs.example.com", "form.dhcp=x")},
		{Model: "printer", Source: "c", Signals: signals("dhcp.vendor_class=JetDirect", "dhcp.parameters=1,3,44", "mdns.service=_ipp._tcp")},
	}
}

func TestRecogniserWeighsWhatIsRare(t *testing.T) {
	t.Parallel()
	r := classify.NewRecogniser(examples())
	m, ok := r.Recognise(signals("dhcp.vendor_class=udhcp 1.19", "dhcp.parameters=1,3,6", "dns.name=lamps.example.com", "form.dhcp=x"), nil)
	if !ok || m.Model != "lamp" || m.Class != "light" || m.Confidence < 0.5 || m.Confidence > 0.95 || !slices.Equal(m.Sources, []string{"a"}) {
		t.Fatalf("%+v, %v", m, ok)
	}
	if m.Evidence[0].Kind != "dns.name" {
		t.Errorf("the rarest signal isn't the weightiest: %+v", m.Evidence)
	}
	weight := map[string]float64{}
	for _, e := range m.Evidence {
		weight[e.Kind] = e.Weight
	}
	if weight["dns.name"] <= weight["dhcp.vendor_class"] {
		t.Errorf("%v", weight)
	}
}

func TestNoSingleSignalNamesADevice(t *testing.T) {
	t.Parallel()
	r := classify.NewRecogniser(examples())
	for _, x := range examples() {
		for _, s := range x.Signals {
			if m, ok := r.Recognise([]lanfolk.Signal{s}, nil); ok {
				t.Errorf("%v alone names %+v", s, m)
			}
		}
	}
	for _, all := range [][]lanfolk.Signal{
		nil, signals("dhcp.vendor_class=other", "dhcp.parameters=1,3,77"), signals("host.name=lamp", "mac.vendor=Lamps Inc."),
	} {
		if m, ok := r.Recognise(all, nil); ok {
			t.Errorf("%v: %+v", all, m)
		}
	}
	// Most of what it says is something else.
	if m, ok := r.Recognise(signals("dns.name=lamps.example.com", "form.dhcp=x", "dhcp.vendor_class=z", "dhcp.parameters=9"), nil); ok {
		t.Errorf("%+v", m)
	}
}

func TestWhatNamesTheSingleDeviceIsNotLearnt(t *testing.T) {
	t.Parallel()
	mac := [6]byte{0x00, 0x17, 0x88, 0x24, 0x76, 0xff}
	got := classify.Learn(signals(
		"host.name=Philips-hue-2476FF.local", "mac.vendor=Philips", "mqtt.client_id=x", "ssdp.type=uuid:2f402f80-da50-11e1-9b23-0017882476ff",
		"mdns.txt.model=bridge 00:17:88:24:76:ff", "http.user_agent=agent/001788-2476ff", "dns.name=76ff.example.com", "ssdp.server=at 10.0.0.6",
		"mqtt.topic=tele/#/LWT", "ssdp.search=fe80::1 x", "mdns.txt.md=76ffx", "dhcp.vendor_class=00-17-88-24-76-FF",
	), mac)
	want := signals("dhcp.vendor_class=<mac>", "dns.name=<mac>.example.com", "host.form=philips-hue-<mac>", "http.user_agent=agent/001788-<mac>", "mdns.txt.md=76ffx",
		"mdns.txt.model=bridge <mac>", "mqtt.topic=tele/#/LWT", "ssdp.search=<ip> x", "ssdp.server=at <ip>", "ssdp.type=uuid:<uuid>")
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if f := classify.Form("keq0817541-dch-s150"); f != "keq#-dch-s150" {
		t.Errorf("%s: a model's number is no serial number", f)
	}
}

func TestLearntDevicesGoBeforeTheBuiltInRules(t *testing.T) {
	t.Parallel()
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	all := append(examples(), classify.Example{Model: "Our printer", Class: "plotter", Source: "ours", Signals: signals(
		"dhcp.vendor_class=HP JetDirect 7", "dhcp.parameters=1,3,6,15", "mdns.service=_pdl-datastream._tcp", "form.mdns=y")})
	c := classify.NewClassifier(nil, rules, all)
	k := c.Classify(signals("dhcp.vendor_class=HP JetDirect 7", "dhcp.parameters=1,3,6,15", "form.mdns=y", "mdns.service=_pdl-datastream._tcp"), "")
	if k.Model.Value != "Our printer" || k.Class.Value != "plotter" {
		t.Errorf("%+v", k)
	}
	var verdicts []string
	for _, r := range k.Reasons {
		if r.Answer == "class" {
			verdicts = append(verdicts, r.Rule+" "+r.Verdict)
		}
	}
	if len(verdicts) < 2 || verdicts[0] != "learnt: Our printer agrees" || !slices.Contains(verdicts, "printer-raw overruled") {
		t.Errorf("%v", verdicts)
	}
	// A value that was learnt of none tells something, too: that it is none of them.
	if slot, ok := c.Tells(lanfolk.Signal{Kind: "dhcp.parameters", Value: "99"}); !ok || slot != "other" {
		t.Errorf("%q %v", slot, ok)
	}
	if _, ok := c.Tells(lanfolk.Signal{Kind: "dns.name", Value: "example.org"}); ok {
		t.Error("a name that nobody learnt tells something")
	}
}

func TestSightingsHoldSignals(t *testing.T) {
	t.Parallel()
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	c := classify.NewClassifier(nil, rules, nil)
	for _, x := range []struct {
		s    lanfolk.Sighting
		want string
	}{
		{lanfolk.Sighting{Kind: lanfolk.KindDevice, Host: "Annas-iPhone.local."}, "[{host.name Annas-iPhone}]"},
		{lanfolk.Sighting{Kind: lanfolk.KindDevice, Host: "nobody"}, "[]"},
		{lanfolk.Sighting{Kind: lanfolk.KindDevice, Type: classify.TypeSignal, Attributes: map[string]string{"dhcp.vendor_class": "MSFT 5.0"}}, "[{dhcp.vendor_class MSFT 5.0}]"},
		{lanfolk.Sighting{Kind: lanfolk.KindService, Type: "_hue._tcp", Origin: lanfolk.Origin{Protocol: "mdns"}}, "[{mdns.service _hue._tcp}]"},
		{lanfolk.Sighting{Kind: lanfolk.KindService, Type: "light", Origin: lanfolk.Origin{Protocol: "mqtt"}}, "[{hemtjanst.type light}]"},
		{lanfolk.Sighting{Kind: lanfolk.KindService, Type: "x", Origin: lanfolk.Origin{Protocol: "syncthing"}}, "[{syncthing.device announces}]"},
	} {
		if got := fmt.Sprint(c.Signals(&x.s)); got != x.want {
			t.Errorf("%+v: %s, want %s", x.s, got, x.want)
		}
	}
}

func TestExamplesAreKeptAsTheyAre(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~äöü"\\]{1,40}`)
		var all []classify.Example
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			x := classify.Example{Model: "m" + strings.TrimSpace(word.Draw(t, "model")), Source: "s" + strings.TrimSpace(word.Draw(t, "source")), Class: "light"}
			for _, v := range rapid.SliceOfN(word, 0, 4).Draw(t, "signals") {
				x.Signals = append(x.Signals, lanfolk.Signal{Kind: "ssdp.server", Value: "v" + strings.TrimSpace(v)})
			}
			all = append(all, x)
		}
		var b bytes.Buffer
		for _, x := range all {
			classify.AppendExample(&b, x)
		}
		got, err := classify.ParseExamples("l.toml", b.Bytes())
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Fatalf("%v\n%+v\n%+v\n%s", err, got, all, b.String())
		}
	})
}

func TestMistakesInExamplesAreTold(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"[[device]]\nsignals = []":                               `l.toml:1:3: the device has no model: say what it is`,
		"[[device]]\nmodel = \"x\"":                              `l.toml:1:3: the device has no signals`,
		"[[device]]\nmodel = \"x\"\nsignals = [\"host.name=a\"]": `l.toml:3:12: signals: want a kind of signal that can be learnt, = and a value, not "host.name=a"`,
		"[[device]]\nmodel = \"x\"\nsignals = [\"tcp.syn\"]":     `l.toml:3:12: signals: want a kind of signal that can be learnt, = and a value, not "tcp.syn"`,
		"[[device]]\nmodel = \"x\"\nsignals = 1":                 `l.toml:3:11: signals: want an array of strings such as "dhcp.vendor_class=MSFT 5.0"`,
		"[[device]]\nmodel = \"x\"\nsignals = []\nkind = 1":      `l.toml:4:1: kind: unknown key; want model, class, source or signals`,
		"[[device]]\nmodel = \"x\"\nsignals = []\nclass = \"A\"": `l.toml:4:9: class: want up to 32 small letters, digits and -, not "A"`,
		"[[rule]]\n": `l.toml:1:3: want [[device]]`,
	} {
		_, err := classify.ParseExamples("l.toml", []byte(file))
		if err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", file, err, want)
		}
	}
}

func FuzzExamples(f *testing.F) {
	var b bytes.Buffer
	for _, x := range examples() {
		classify.AppendExample(&b, x)
	}
	f.Add(b.Bytes())
	f.Add([]byte("[[device]]\nmodel=\"x\"\nsignals=[\"tcp.syn=a\",\"form.x=\\u0007\"]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := classify.ParseExamples("f.toml", data)
		if err != nil {
			if all != nil || !strings.HasPrefix(err.Error(), "f.toml:") {
				t.Errorf("%v", err)
			}
			return
		}
		r := classify.NewRecogniser(all)
		for _, x := range all {
			if m, _ := r.Recognise(x.Signals, nil); m.Confidence < 0 || m.Confidence > 0.95 {
				t.Errorf("%+v", m)
			}
		}
	})
}
