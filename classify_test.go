package lanfolk_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk"
)

// byAttribute takes each attribute for a signal, and the values of "class" and "model" for
// what the device is: the last one in their order.
type byAttribute struct{ asked atomic.Int64 }

func (*byAttribute) Signals(s *lanfolk.Sighting) []lanfolk.Signal {
	var all []lanfolk.Signal
	for k, v := range s.Attributes {
		all = append(all, lanfolk.Signal{Kind: k, Value: v})
	}
	return all
}

func (c *byAttribute) Classify(signals []lanfolk.Signal, vendor string) lanfolk.Classification {
	c.asked.Add(1)
	k := lanfolk.Classification{Reasons: []lanfolk.Conclusion{}}
	for _, s := range signals {
		a := lanfolk.Answer{Value: s.Value, Confidence: 0.5}
		switch s.Kind {
		case "class":
			k.Class = a
		case "model":
			k.Model = a
		}
		k.Reasons = append(k.Reasons, lanfolk.Conclusion{Answer: s.Kind, Value: s.Value, Confidence: 0.5, Rule: vendor, Signals: []lanfolk.Signal{s}, Verdict: "agrees"})
	}
	return k
}

// telling is a sighting of a device that says something of what it is.
func telling(mac byte, key string, attributes ...string) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: "dhcp", Link: "eth0"}
	s := lanfolk.Sighting{
		Origin: o, Key: key, Kind: lanfolk.KindDevice, Lifetime: time.Minute, State: lanfolk.Reachable, Time: time.Now(),
		Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(lanfolk.MAC{0, 0, 0x5e, 0, 0x53, mac}, o)}, Attributes: map[string]string{},
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		s.Attributes[attributes[i]] = attributes[i+1]
	}
	return s
}

// running starts a registry and returns it.
func running(t *testing.T, o lanfolk.RegistryOptions, s lanfolk.Snapshot) *lanfolk.Registry {
	t.Helper()
	r := lanfolk.NewRegistry(o)
	if err := r.Restore(s); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return r
}

func one(t *testing.T, r *lanfolk.Registry) *lanfolk.Device {
	t.Helper()
	all := r.Devices(lanfolk.Filter{})
	if len(all) != 1 {
		t.Fatalf("%d devices", len(all))
	}
	return all[0]
}

// A device stays what it is when what told it has ended, and over a restart.
func TestClassOutlivesTheSightingsThatToldIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := lanfolk.RegistryOptions{Classifier: &byAttribute{}, Vendor: func(lanfolk.MAC) string { return "Example" }}
		r := running(t, o, lanfolk.Snapshot{})
		r.Observe(telling(1, "a", "class", "printer"))
		synctest.Wait()
		if d := one(t, r); d.Class != "printer" || d.ClassConfidence != 0.5 || d.Model != "" || d.ModelConfidence != 0 {
			t.Fatalf("%+v", d)
		}
		time.Sleep(time.Second)
		r.Observe(telling(1, "a", "class", "camera")) // it says something else now
		synctest.Wait()
		if d := one(t, r); d.Class != "camera" {
			t.Errorf("%+v", d)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if d := one(t, r); d.State != lanfolk.Unreachable || d.Class != "camera" {
			t.Errorf("silent: %s, %s", d.State, d.Class)
		}
		again := running(t, o, r.Snapshot())
		if d := one(t, again); d.Class != "camera" || d.Vendor != "Example" {
			t.Errorf("after a restart: %+v", d)
		}
		reasons, err := again.Reasons(one(t, again).ID)
		if err != nil || len(reasons) != 1 || reasons[0].Rule != "Example" {
			t.Errorf("%+v, %v", reasons, err)
		}
		if _, err := again.Reasons("nobody"); err == nil {
			t.Error("reasons for a device that isn't there")
		}
	})
}

// What a person says goes before all that is concluded.
func TestTagsSayWhatADeviceIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t, lanfolk.RegistryOptions{Classifier: &byAttribute{}}, lanfolk.Snapshot{})
		r.Observe(telling(1, "a", "class", "printer", "model", "Laser 5"))
		synctest.Wait()
		id := one(t, r).ID
		d, err := r.SetTags(t.Context(), id, "class=plotter", "os=", "hall")
		if err != nil || d.Class != "plotter" || d.ClassConfidence != 1 || d.Model != "Laser 5" || d.OS != "" {
			t.Errorf("%+v, %v", d, err)
		}
		reasons, err := r.Reasons(id)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range reasons {
			got = append(got, x.Answer+" "+x.Value+" "+x.Verdict)
		}
		if strings.Join(got, "; ") != "class plotter agrees; class printer overruled; model Laser 5 agrees" {
			t.Errorf("%v", got)
		}
		if d, err = r.SetTags(t.Context(), id); err != nil || d.Class != "printer" {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// A device that says ever new things costs no more than a bounded memory, and the classifier
// is asked only about what is new.
func TestSignalsOfADeviceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &byAttribute{}
		r := running(t, lanfolk.RegistryOptions{Classifier: c}, lanfolk.Snapshot{})
		for n := range 500 {
			r.Observe(telling(1, fmt.Sprint(n), fmt.Sprintf("kind%d", n%50), fmt.Sprint(n)))
		}
		synctest.Wait()
		reasons, err := r.Reasons(one(t, r).ID)
		if err != nil || len(reasons) != 128 {
			t.Errorf("%d signals, %v", len(reasons), err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if reasons, err = r.Reasons(one(t, r).ID); err != nil || len(reasons) != 128 {
			t.Errorf("remembered: %d signals, %v", len(reasons), err)
		}
		for _, d := range r.Snapshot().Devices {
			if len(d.Signals) > 128 {
				t.Errorf("%d are kept", len(d.Signals))
			}
		}
		r.Observe(telling(1, "x", "class", "camera"))
		synctest.Wait()
		one(t, r)
		before := c.asked.Load()
		for range 10 {
			r.Observe(telling(1, "x", "class", "camera"))
			synctest.Wait()
			one(t, r)
		}
		if after := c.asked.Load(); after != before {
			t.Errorf("asked %d times again about what it knows", after-before)
		}
	})
}

// The order in which a device says things makes no difference to what it is.
func TestClassIsTheSameInAnyOrder(t *testing.T) {
	var all []lanfolk.Sighting
	for n := range 8 {
		all = append(all, telling(byte(n%3), fmt.Sprint(n), "class", fmt.Sprintf("c%d", n%4), "model", fmt.Sprintf("m%d", n)))
	}
	classes := func(t *rapid.T, s []lanfolk.Sighting) []string {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{Classifier: &byAttribute{}})
		ctx, stop := context.WithCancel(context.Background())
		r.Observe(s...)
		stop()
		if err := r.Run(ctx); err != nil { // it takes what is queued
			t.Fatal(err)
		}
		var out []string
		for _, d := range r.Devices(lanfolk.Filter{}) {
			out = append(out, d.MACs[0].String()+" "+d.Class+" "+d.Model)
		}
		slices.Sort(out)
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := classes(t, all), classes(t, rapid.Permutation(all).Draw(t, "order"))
		if len(a) != 3 || !slices.Equal(a, b) {
			t.Fatalf("%v\n%v", a, b)
		}
	})
}
