package source_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/internal/oui"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/test/captures"
)

// setup is one capture of a device being set up.
type setup struct {
	file, device string // the device as the data set calls it
	mac          lanfolk.MAC
	signals      []lanfolk.Signal
}

// readSetups reads the captures of the IoT SENTINEL data set that LANFOLK_PCAPS holds, nil where there are
// none.
func readSetups(t *testing.T) []setup {
	t.Helper()
	dir := captures.Folder(t, "LANFOLK_PCAPS")
	if dir == "" {
		return nil
	}
	table, err := os.ReadFile(filepath.Join(dir, "iotsentinel-macs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	macs := map[string]lanfolk.MAC{}
	for line := range strings.Lines(string(table)) {
		if name, text, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(name, "#") {
			if macs[name], err = lanfolk.ParseMAC(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "iotsentinel__*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures: ", err)
	}
	var all []setup
	for _, f := range files {
		parts := strings.Split(filepath.Base(f), "__")
		s := setup{file: parts[len(parts)-1], device: parts[1], mac: macs[parts[1]]}
		if s.mac == (lanfolk.MAC{}) {
			t.Fatalf("%s: iotsentinel-macs.tsv has no %s", f, s.device)
		}
		s.signals = signalsIn(t, f, s.mac)
		all = append(all, s)
	}
	return all
}

// signalsIn returns what a capture holds of a device that may be learnt.
func signalsIn(t *testing.T, file string, mac lanfolk.MAC) []lanfolk.Signal {
	t.Helper()
	var all []lanfolk.Signal
	var p source.Passive
	_, err := capture.File{Path: file}.Read(t.Context(), func(f *passive.Fact) error {
		p.Signals(f, func(m lanfolk.MAC, s lanfolk.Signal) {
			if m == mac {
				all = append(all, s)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return classify.Learn(all, mac)
}

// only keeps signals of some kinds; none means all.
func only(kinds ...string) func(string) bool {
	if len(kinds) == 0 {
		return nil
	}
	return func(kind string) bool { return slices.Contains(kinds, kind) }
}

func some(all []lanfolk.Signal, keep func(string) bool) []lanfolk.Signal {
	if keep == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s lanfolk.Signal) bool { return !keep(s.Kind) })
}

// With what was learnt from one capture of a device its other capture is recognised,
// among all the devices of the folder. Some of them share a MAC: a sensor speaks through
// its hub, and so is that device. The key is none that a device of the same model
// elsewhere wouldn't have, too: no hardware address, no lease, no host name as it
// stands.
func TestOtherCaptureOfADeviceIsRecognised(t *testing.T) {
	t.Parallel()
	all := readSetups(t)
	if all == nil {
		return // the log says so
	}
	labels := map[lanfolk.MAC]string{}
	for _, s := range all {
		if labels[s.mac] == "" {
			labels[s.mac] = s.device
		}
		tail := hex.EncodeToString(s.mac[3:])
		for _, x := range s.signals {
			if v := strings.NewReplacer(":", "", "-", "").Replace(strings.ToLower(x.Value)); strings.Contains(v, tail) {
				t.Errorf("%s: %s %q holds the MAC's end", s.file, x.Kind, x.Value)
			}
		}
	}
	example := func(s setup) classify.Example {
		return classify.Example{Model: labels[s.mac], Source: s.file, Signals: s.signals}
	}
	// The other devices, each learnt from its first capture.
	others := func(mac lanfolk.MAC) []classify.Example {
		var out []classify.Example
		seen := map[lanfolk.MAC]bool{mac: true}
		for _, s := range all {
			if !seen[s.mac] {
				seen[s.mac] = true
				out = append(out, example(s))
			}
		}
		return out
	}

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "device\tlearnt from\tseen in\ttaken for\tconfidence\twhat told it")
	devices, recognised := map[lanfolk.MAC]int{}, map[lanfolk.MAC]int{}
	for _, a := range all {
		for _, b := range all {
			if a.mac != b.mac || a.file == b.file && a.device == b.device {
				continue
			}
			r := classify.NewRecogniser(append(others(a.mac), example(a)))
			m, ok := r.Recognise(b.signals, nil)
			devices[a.mac]++
			if ok && m.Model == labels[a.mac] {
				recognised[a.mac]++
			}
			fmt.Fprintf(w, "%s\t%s %s\t%s %s\t%s\t%.2f\t%s\n", labels[a.mac], a.device, a.file, b.device, b.file, taken(m, ok), m.Confidence, weights(m))
		}
	}
	right, tests, whole := 0, 0, 0
	for mac, n := range devices {
		tests += n
		right += recognised[mac]
		if recognised[mac] == n {
			whole++
		}
	}
	// A device that wasn't learnt must be unknown, or else be taken for a relative: the
	// folder has the same model twice (EdnetCam), and models that differ in nothing that they
	// say (a kettle and a coffee machine).
	fmt.Fprintln(w, "\t\t\t\t\t\nleft out\t\tseen in\ttaken for\tconfidence\twhat told it")
	strangers, mistaken := 0, 0
	vendors, err := oui.New()
	if err != nil {
		t.Fatal(err)
	}
	vendorOf := map[string]string{} // of each label
	for mac, label := range labels {
		vendorOf[label] = vendors.Vendor(mac)
	}
	for _, s := range all {
		m, ok := classify.NewRecogniser(others(s.mac)).Recognise(s.signals, nil)
		strangers++
		if ok {
			mistaken++
		}
		if ok && vendorOf[m.Model] != vendors.Vendor(s.mac) {
			t.Errorf("%s %s, which wasn't learnt, is taken for %s of another maker: %s", s.device, s.file, m.Model, weights(m))
		}
		fmt.Fprintf(w, "%s\t\t%s\t%s\t%.2f\t%s\n", s.device, s.file, taken(m, ok), m.Confidence, weights(m))
	}
	_ = w.Flush()
	t.Logf("recognised: %d of %d pairs of captures, %d of %d devices in every one; left out: %d of %d captures taken for another device\n%s",
		right, tests, whole, len(devices), mistaken, strangers, table.String())
	if 3*whole < 2*len(devices) || len(devices) < 4 {
		t.Errorf("want two thirds of %d devices", len(devices))
	}
	told := distinct(t, all, labels)
	t.Logf("which signals tell a device from all others:\n%s", told)
}

func taken(m classify.Match, ok bool) string {
	if !ok {
		return "unknown (" + m.Model + "?)"
	}
	return m.Model
}

func weights(m classify.Match) string {
	parts := []string{fmt.Sprintf("%.0f %%", 100*m.Coverage)}
	for _, k := range m.Evidence {
		if len(parts) < 6 && math.Abs(k.Weight) >= 0.1 {
			parts = append(parts, fmt.Sprintf("%s %+.1f", k.Kind, k.Weight))
		}
	}
	return strings.Join(parts, ", ")
}

// distinct tells for each kind of signal how many devices say anything of it, and how
// many of them what no other device says.
func distinct(t *testing.T, all []setup, labels map[lanfolk.MAC]string) string {
	t.Helper()
	count := func(keep func(string) bool) (say, alone int) {
		by := map[string]map[string]bool{} // what is said, by whom
		said := map[string]map[string]bool{}
		for _, s := range all {
			form := fmt.Sprint(some(s.signals, keep))
			if form == "[]" {
				continue
			}
			if by[form] == nil {
				by[form] = map[string]bool{}
			}
			name := labels[s.mac]
			by[form][name] = true
			if said[name] == nil {
				said[name] = map[string]bool{}
			}
			said[name][form] = true
		}
		for _, forms := range said {
			say++
			own := true
			for form := range forms {
				own = own && len(by[form]) == 1
			}
			if own {
				alone++
			}
		}
		return say, alone
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "signals\tdevices that say any\tnamed by it")
	row := func(name string, kinds ...string) (int, int) {
		say, alone := count(only(kinds...))
		fmt.Fprintf(w, "%s\t%d\t%d\n", name, say, alone)
		return say, alone
	}
	kinds := map[string]bool{}
	for _, s := range all {
		for _, x := range s.signals {
			kinds[x.Kind] = true
		}
	}
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		row(k, k)
	}
	_, first := row("DHCP option 55 alone", "dhcp.parameters")
	_, three := row("options 55 and 60 and the host name's form", "dhcp.parameters", "dhcp.vendor_class", classify.KindHostForm)
	_, every := row("all signals")
	_ = w.Flush()
	if !(first < three && three < every) {
		t.Errorf("named by option 55: %d, by 55, 60 and host name: %d, by all: %d; want more each time", first, three, every)
	}
	return b.String()
}

// What is learnt from the database is what is learnt from the packets, but for what no
// fingerprint keeps.
func TestRowsTellTheSameAsPackets(t *testing.T) {
	t.Parallel()
	dir := captures.Folder(t, "LANFOLK_PCAPS")
	if dir == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures: ", err)
	}
	// A fingerprint cuts long texts, keeps no user class and no scopes, and of TXT
	// records no version of Darwin and no colours.
	partial := only("dhcp.user_class", "wsd.scope", "lldp.system_description", "lldp.manufacturer", "lldp.capability", "cdp.software", "http.user_agent", "http.server",
		"ssdp.server", "ssdp.user_agent", "mdns.txt.osxvers", "mdns.txt.ca", "mdns.service", "mdns.query", "host.form", "mqtt.topic", "mqtt.will_topic", "sap.tool")
	same, kinds := 0, map[string]bool{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".tsv") || info.Size() > 100<<10 {
			continue // the large ones say the same many times
		}
		packets, rows := map[lanfolk.MAC][]lanfolk.Signal{}, map[lanfolk.MAC][]lanfolk.Signal{}
		var p source.Passive
		_, err = capture.File{Path: file}.Read(t.Context(), func(f *passive.Fact) error {
			p.Signals(f, func(m lanfolk.MAC, s lanfolk.Signal) {
				if m == lanfolk.MAC(f.SrcMAC) { // a row holds a relay's MAC alone
					packets[m] = append(packets[m], s)
				}
			})
			if o, ok := p.Observation(f); ok {
				source.ObservationSignals(&o, func(s lanfolk.Signal) { rows[o.SrcMAC] = append(rows[o.SrcMAC], s) })
			}
			return nil
		})
		if err != nil {
			continue // a broken file; others test those
		}
		for mac, all := range packets {
			have := classify.Learn(rows[mac], mac)
			for _, s := range classify.Learn(all, mac) {
				switch {
				case slices.Contains(have, s):
					same++
					kinds[s.Kind] = true
				case !partial(s.Kind):
					t.Errorf("%s: %v: no row says %s %q", filepath.Base(file), mac, s.Kind, s.Value)
				}
			}
		}
	}
	t.Logf("%d signals of %d kinds are the same", same, len(kinds))
	if same < 500 {
		t.Errorf("only %d signals", same)
	}
}

// By the built-in rules alone, from packets to the inventory: what the devices of the
// captures are taken to be, and that none is taken for something plainly else.
func TestBuiltInRulesNameTheDevicesOfTheCaptures(t *testing.T) {
	t.Parallel()
	vendors, err := oui.New()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := classify.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	setups := readSetups(t)
	if setups == nil {
		return // the log says so
	}
	c := classify.NewClassifier(nil, rules, nil)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	right := map[string]bool{}
	for _, s := range setups {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{Classifier: c, Vendor: func(m lanfolk.MAC) string { return vendors.Vendor(m) }})
		p := source.Passive{Tells: c.Tells}
		_, err := capture.File{Path: filepath.Join(os.Getenv("LANFOLK_PCAPS"), "iotsentinel__"+s.device+"__"+s.file)}.Read(t.Context(), func(f *passive.Fact) error {
			p.Sightings(f, func(x lanfolk.Sighting) {
				x.Time = time.Now()
				r.Observe(x)
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := r.Run(ctx); err != nil { // it takes what is queued
			t.Fatal(err)
		}
		d, err := r.Device(s.mac.String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s %.2f\t%s %.2f\t%s %.2f\n", s.device, d.Vendor, d.Model, d.ModelConfidence, d.OS, d.OSConfidence, d.Class, d.ClassConfidence)
		if want := classOf(s.device); d.Class == want {
			right[s.device] = true
		} else if d.Class != "" && d.Class != "iot" && d.ClassConfidence >= 0.8 {
			t.Errorf("%s: taken for a %s with %.2f; it is a %s", s.device, d.Class, d.ClassConfidence, want)
		}
	}
	_ = w.Flush()
	t.Logf("the class of %d devices is right\n%s", len(right), table.String())
	if len(right) < 12 {
		t.Errorf("the class of only %d devices is right", len(right))
	}
}

// classOf is what a device of the data set is.
func classOf(name string) string {
	switch {
	case strings.Contains(name, "Cam"):
		return "camera"
	case strings.Contains(name, "Plug"), name == "D-LinkSwitch", strings.HasPrefix(name, "WeMo") && name != "WeMoLink":
		return "plug"
	case strings.HasSuffix(name, "DoorSensor"), strings.HasPrefix(name, "Hue"), strings.HasSuffix(name, "Hub"), strings.HasSuffix(name, "Gateway"),
		name == "Lightify", name == "WeMoLink":
		return "hub" // a sensor behind one has the hub's MAC
	case strings.Contains(name, "Sensor"):
		return "sensor"
	}
	return "appliance"
}
