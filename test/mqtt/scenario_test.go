package mqtt

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// brokers are what every test of this package runs on.
func brokers() map[string]lab.MQTT {
	return map[string]lab.MQTT{
		"mosquitto": {Persistent: true},
		"lanfolk":   {Persistent: true, Lanfolk: true},
	}
}

// site is a host with a broker, on which the components run, too.
type site struct {
	t        *testing.T
	lab      *lab.Lab
	host     *lab.Host
	broker   *lab.MQTTBroker
	document json.RawMessage // of a device that says nothing else
	running  map[string]component
	made     map[string]bool // topics that the steps have made
	timed    bool            // how long a scenario takes is what it is about
}

func newSite(t *testing.T, m lab.MQTT) *site {
	t.Helper()
	lab.Require(t, "root", "ip", "mosquitto")
	l := lab.New(t)
	h := l.Host("broker")
	return &site{t: t, lab: l, host: h, broker: h.MQTT(m), running: make(map[string]component), made: make(map[string]bool)}
}

// shrink is how much smaller the largest scenario is made unless LANFOLK_SOAK
// is set.
const shrink = 10

func TestScenarios(t *testing.T) {
	t.Parallel()
	c := readCases(t)
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		for _, sc := range c.Scenarios {
			if slices.Contains(sc.Tags, "perf") && os.Getenv("LANFOLK_SOAK") == "" {
				sc = sc.smaller()
			}
			t.Run(sc.ID+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, brokers()[name])
				s.document, s.timed = c.DeviceDocument, slices.Contains(sc.Tags, "perf")
				s.play(sc)
			})
		}
	}
}

func (sc scenario) smaller() scenario {
	sc.Steps = slices.Clone(sc.Steps)
	largest := 0
	for i := range sc.Steps {
		largest = max(largest, sc.Steps[i].Count)
		sc.Steps[i].Count /= shrink
	}
	last := func(m map[string]json.RawMessage) map[string]json.RawMessage { // ".../99999/..." is the last one's topic
		r := make(map[string]json.RawMessage)
		for k, v := range m {
			r[strings.Replace(k, fmt.Sprintf("/%d/", largest-1), fmt.Sprintf("/%d/", largest/shrink-1), 1)] = v
		}
		return r
	}
	for i := range sc.Steps {
		sc.Steps[i].Retained = last(sc.Steps[i].Retained)
	}
	sc.Expect.Retained = last(sc.Expect.Retained)
	if sc.AllUnder != nil {
		a := *sc.AllUnder
		a.Count /= shrink
		sc.AllUnder = &a
	}
	return sc
}

// play plays a scenario.
func (s *site) play(sc scenario) {
	s.t.Helper()
	s.t.Log(sc.Title)
	seen := observe(s.t, s.host.DialContext)
	for i, x := range sc.Steps {
		s.step(fmt.Sprintf("step %d, %s %s", i+1, x.Do, x.As), x, seen)
	}
	lab.Eventually(s.t, s.longer(sc.Within), "in the end", func() error {
		if err := s.check(sc.Expect.Retained); err != nil {
			return err
		}
		return s.checkAll(sc.AllUnder)
	})
	s.checkOnly(sc.Expect)
	for _, n := range sc.Expect.Never {
		if seen.after(n.Topic, n.Payload) {
			s.t.Errorf("%s was seen on %s", n.Payload, n.Topic)
		}
	}
	s.checkDerived(sc.Derived)
}

func (s *site) step(what string, x step, seen *observer) {
	t := s.t
	t.Helper()
	within := s.longer(x.Within)
	prefix := ""
	if x.Tenant != "" {
		prefix = x.Tenant + "/"
	}
	switch x.Do {
	case "device.start":
		s.running[x.As] = s.startDevice(x)
		s.make(prefix, "device/"+x.ID, "current/"+x.Root+"/reachable")
	case "bridge.start", "bulk.bridge":
		devices := x.Devices
		for i := range x.Count {
			devices = append(devices, device{ID: fmt.Sprintf("bulk-%d", i), Root: fmt.Sprintf("%s/%d", x.Prefix, i), Reachable: true})
		}
		s.running[x.As] = s.startBridge(x, devices)
		s.make(prefix, "provider/"+x.Provider)
		for _, d := range devices {
			s.make(prefix, "device/"+d.ID, "current/"+d.Root+"/reachable")
		}
	case "janitor.start":
		s.running[x.As] = s.startJanitor(x)
	case "stop", "kill", "freeze":
		c := s.running[x.As]
		if c == nil {
			t.Fatalf("%s: nobody has that name", what)
		}
		map[string]func(){"stop": c.stop, "kill": c.kill, "freeze": c.freeze}[x.Do]()
	case "pub":
		s.publish(x)
		s.make("", x.Topic)
	case "device.purge":
		if r := s.host.Lanfolk("mqtt", "purge", x.ID, "--broker", s.broker.URL("mqtt")).Run(); r.Exit != 0 {
			t.Fatalf("%s: exit %d: %s", what, r.Exit, r.Stderr)
		}
	case "broker.stop":
		s.broker.Stop(map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[x.How])
	case "broker.start":
		s.broker.Start()
	case "wait":
		time.Sleep(time.Duration(x.Millis) * time.Millisecond)
	case "wait_count":
		lab.Eventually(t, within, what, func() error {
			if n := seen.count(x.Prefix, x.Payload); n < x.AtLeast {
				return fmt.Errorf("%d of %d messages %q under %s", n, x.AtLeast, x.Payload, x.Prefix)
			}
			return nil
		})
	case "expect":
		lab.Eventually(t, within, what, func() error { return s.check(x.Retained) })
	default:
		t.Fatalf("%s: no such verb", what)
	}
}

// longer is how long a step may take here that has so many milliseconds, 0 for five seconds, on a machine with nothing
// else to do. What is waited for comes as soon as ever.
func (s *site) longer(within int) time.Duration {
	if within == 0 {
		within = 5000
	}
	d := time.Duration(within) * time.Millisecond
	if s.timed {
		return d
	}
	return 5 * d
}

func (s *site) make(prefix string, topics ...string) {
	for _, topic := range topics {
		s.made[prefix+topic] = true
	}
}

func (s *site) publish(x step) {
	s.t.Helper()
	c, err := dialRaw(s.host.DialContext)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	if err := c.publish(x.Topic, x.Payload, x.Retain); err != nil {
		s.t.Fatal(err)
	}
}

// check compares retained messages with what is wanted.
func (s *site) check(want map[string]json.RawMessage) error {
	if len(want) == 0 {
		return nil
	}
	got, err := retained(s.host.DialContext, slices.Collect(maps.Keys(want))...)
	if err != nil {
		return err
	}
	for _, topic := range slices.Sorted(maps.Keys(want)) {
		payload, there := got[topic]
		if err := match(want[topic], payload, there); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
	}
	return nil
}

// match holds a payload against a string, null, or {"json_subset": …}.
func match(want json.RawMessage, payload string, there bool) error {
	var text *string
	if json.Unmarshal(want, &text) == nil {
		switch {
		case text == nil && there:
			return fmt.Errorf("it is %q, want nothing", payload)
		case text != nil && (!there || payload != *text):
			return fmt.Errorf("it is %q (there: %v), want %q", payload, there, *text)
		}
		return nil
	}
	var object struct {
		Subset map[string]any `json:"json_subset"`
	}
	dec := json.NewDecoder(bytes.NewReader(want))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&object); err != nil || object.Subset == nil {
		return fmt.Errorf("can't match %s", want)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(payload), &got); err != nil {
		return fmt.Errorf("%q (there: %v) is no JSON object", payload, there)
	}
	for k, v := range object.Subset {
		if diff := cmp.Diff(v, got[k]); diff != "" {
			return fmt.Errorf("member %s (-want +got):\n%s", k, diff)
		}
	}
	return nil
}

func (s *site) checkAll(a *allUnder) error {
	if a == nil {
		return nil
	}
	got, err := retained(s.host.DialContext, a.Prefix+"/+/reachable")
	if err != nil {
		return err
	}
	other := 0
	for _, payload := range got {
		if payload != a.Payload {
			other++
		}
	}
	if len(got) != a.Count || other > 0 {
		return fmt.Errorf("%d topics under %s, want %d; %d of them aren't %q", len(got), a.Prefix, a.Count, other, a.Payload)
	}
	return nil
}

func (s *site) checkOnly(e expectation) {
	s.t.Helper()
	if e.OnlyUnder == "" {
		return
	}
	got, err := retained(s.host.DialContext, e.OnlyUnder)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, topic := range slices.Sorted(maps.Keys(got)) {
		if _, listed := e.Retained[topic]; !listed && !s.made[topic] {
			s.t.Errorf("there is also %s: %q", topic, got[topic])
		}
	}
}

// checkDerived asks a watcher what it makes of the devices.
func (s *site) checkDerived(want map[string]string) {
	s.t.Helper()
	if len(want) == 0 {
		return
	}
	r := s.host.Lanfolk("mqtt", "watch", "--once", "-o", "jsonl", "--broker", s.broker.URL("mqtt")).Run()
	if r.Exit != 0 {
		s.t.Fatalf("watch: exit %d: %s", r.Exit, r.Stderr)
	}
	got := make(map[string]string)
	for line := range strings.Lines(r.Stdout) {
		var e struct {
			Kind, ID  string
			Reachable *bool
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		if e.Kind == "device" {
			switch {
			case e.Reachable == nil:
				got[e.ID] = "unknown"
			case *e.Reachable:
				got[e.ID] = "reachable"
			default:
				got[e.ID] = "unreachable"
			}
		}
	}
	for id, state := range want {
		if got[id] != state {
			s.t.Errorf("a watcher says %q of %s, want %q:\n%s", got[id], id, state, r.Stdout)
		}
	}
}
