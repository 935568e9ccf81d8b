package hemtjanst_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

func TestAnnouncerJoinsAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		a := &hemtjanst.Announcer{Broker: b, Tenant: "t1", ID: "d", Root: "r/d", ClientID: "me", Metadata: must(hemtjanst.ParseMetadata([]byte(`{"root":"else","type":"light"}`)))}
		leave := run(t, a.Run)
		synctest.Wait()
		for c := range b.conns {
			if diff := cmp.Diff(hemtjanst.Message{Topic: "t1/current/r/d/reachable", Payload: []byte("0"), Retain: true, QoS: 2}, *c.s.Will); diff != "" {
				t.Error("will", diff)
			}
		}
		if diff := cmp.Diff([]string{`t1/device/d {"type":"light","root":"r/d"}`, "t1/current/r/d/reachable 1"}, b.log); diff != "" {
			t.Error(diff)
		}
		if err := a.Update(must(hemtjanst.ParseMetadata([]byte(`{"type":"lamp"}`)))); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		b.cutOff("me")
		time.Sleep(time.Second)
		if diff := cmp.Diff(map[string]string{"t1/device/d": `{"type":"lamp","root":"r/d"}`, "t1/current/r/d/reachable": "1"}, b.state()); diff != "" {
			t.Error(diff)
		}
		if s := a.Status(); !s.Connected || s.Connects != 2 {
			t.Errorf("status %+v", s)
		}
		leave()
		if got := b.state()["t1/current/r/d/reachable"]; got != "0" || b.log[len(b.log)-1] != "t1/current/r/d/reachable 0" {
			t.Errorf("left with %q", got)
		}
	})
}

func TestADeviceOfItsOwnHasNoProvider(t *testing.T) {
	a := &hemtjanst.Announcer{Broker: newFake(), ID: "d", Root: "r", Metadata: must(hemtjanst.ParseMetadata([]byte(`{"providerID":"P"}`)))}
	if err := a.Run(t.Context()); !errors.Is(err, hemtjanst.ErrProvider) {
		t.Error(err)
	}
}

func TestBridgeRefusesWhatCannotBeTogether(t *testing.T) {
	b := &hemtjanst.Bridge{Broker: newFake(), Provider: "P"}
	d := func(id, root string) hemtjanst.BridgeDevice { return hemtjanst.BridgeDevice{ID: id, Root: root} }
	for _, c := range []struct {
		devices []hemtjanst.BridgeDevice
		want    error
	}{
		{[]hemtjanst.BridgeDevice{d("a", "r"), d("a", "s")}, hemtjanst.ErrDuplicate},
		{[]hemtjanst.BridgeDevice{d("a", "r"), d("b", "r")}, hemtjanst.ErrDuplicate},
		{[]hemtjanst.BridgeDevice{d("P", "r")}, hemtjanst.ErrDuplicate},
		{[]hemtjanst.BridgeDevice{d("a#", "r")}, hemtjanst.ErrName},
		{[]hemtjanst.BridgeDevice{d("a", "$r")}, hemtjanst.ErrName},
		{[]hemtjanst.BridgeDevice{d("a", "r"), d("b", "s")}, nil},
	} {
		if err := b.Set(c.devices); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c.devices, err)
		}
	}
	if err := b.Put(d("c", "r")); !errors.Is(err, hemtjanst.ErrDuplicate) {
		t.Error(err)
	}
	if err := b.Put(d("a", "t")); err != nil {
		t.Error(err)
	}
	if err := b.Put(d("c", "r")); err != nil {
		t.Error("a root that was given up is still taken:", err)
	}
}

// Only what changed is published.
func TestBridgePublishesOnlyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		b := &hemtjanst.Bridge{Broker: f, Provider: "P"}
		one, two := hemtjanst.BridgeDevice{ID: "1", Root: "r/1", Reachable: true}, hemtjanst.BridgeDevice{ID: "2", Root: "r/2"}
		set := func(all ...hemtjanst.BridgeDevice) []string {
			t.Helper()
			f.mu.Lock()
			f.log = nil
			f.mu.Unlock()
			if err := b.Set(all); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			return slices.Clone(f.log)
		}
		want := func(got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
		}
		want(set(one, two))
		leave := run(t, b.Run)
		synctest.Wait()
		want(f.log, "provider/P {}", `device/1 {"root":"r/1","providerID":"P"}`, "current/r/1/reachable 1", `device/2 {"root":"r/2","providerID":"P"}`, "current/r/2/reachable 0")
		want(set(one, two))
		two.Reachable = true
		want(set(one, two), "current/r/2/reachable 1")
		one.Metadata = must(hemtjanst.ParseMetadata([]byte(`{"a":1}`)))
		want(set(one, two), `device/1 {"a":1,"root":"r/1","providerID":"P"}`)
		one.Root = "r/x"
		want(set(one, two), "current/r/x/reachable 1", `device/1 {"a":1,"root":"r/x","providerID":"P"}`, "current/r/1/reachable ")
		want(set(one), "current/r/2/reachable 0", "current/r/2/reachable ", "device/2 ")
		one.ID = "3" // another device with the same root
		want(set(one), `device/1 `, `device/3 {"a":1,"root":"r/x","providerID":"P"}`, "current/r/x/reachable 1")
		f.log = nil
		leave()
		want(f.log, "current/r/x/reachable 0", "provider/P ")
	})
}

func TestBridgePutsRightWhatOthersSayOfItsOwn(t *testing.T) {
	for _, noLocal := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.noLocal = noLocal
			b := &hemtjanst.Bridge{Broker: f, Provider: "P"}
			if err := b.Set([]hemtjanst.BridgeDevice{{ID: "1", Root: "r/1", Reachable: true}, {ID: "2", Root: "r/2"}}); err != nil {
				t.Fatal(err)
			}
			run(t, b.Run)
			time.Sleep(time.Second)
			f.say("current/r/1/reachable", "0")
			f.say("current/r/2/reachable", "1") // not for a janitor to say, but it harms nobody
			f.say("provider/P", "")
			time.Sleep(time.Second)
			s := f.state()
			if s["current/r/1/reachable"] != "1" || s["provider/P"] != "{}" {
				t.Errorf("state %v", s)
			}
			// Against somebody who insists it doesn't fight.
			before := f.published("current/r/1/reachable 1")
			for range 600 {
				f.say("current/r/1/reachable", "0")
				time.Sleep(100 * time.Millisecond)
			}
			if n := f.published("current/r/1/reachable 1") - before; n < 3 || n > 8 {
				t.Errorf("said it %d times in a minute", n)
			}
		})
	}
}

func TestADeviceThatMovedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		b := &hemtjanst.Bridge{Broker: f, Provider: "P", ClientID: "b"}
		if err := b.Set([]hemtjanst.BridgeDevice{{ID: "1", Root: "r/1", Reachable: true}}); err != nil {
			t.Fatal(err)
		}
		leave := run(t, b.Run)
		synctest.Wait()
		f.say("device/1", `{"root":"r/1","providerID":"Q"}`)
		f.say("current/r/1/reachable", "0")
		synctest.Wait()
		f.cutOff("b")
		time.Sleep(time.Minute)
		f.say("current/r/1/reachable", "1")
		leave()
		if diff := cmp.Diff(map[string]string{"device/1": `{"root":"r/1","providerID":"Q"}`, "current/r/1/reachable": "1"}, f.state()); diff != "" {
			t.Error(diff)
		}
	})
}

// A broker that sends what nobody asked for, at any time, does no harm.
func TestBridgeBearsWhatItDidNotAskFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.greet = []hemtjanst.Message{{Topic: "provider/P"}, {Topic: "device/1", Payload: []byte(`{"providerID":"Q"}`)}, {Topic: "current/r/1/reachable", Payload: []byte("0")},
			{Topic: "x"}, {Topic: ""}, {Topic: "device/\x00"}, {Topic: "device/other"}, {Topic: "current//reachable"}}
		b := &hemtjanst.Bridge{Broker: f, Provider: "P"}
		if err := b.Set([]hemtjanst.BridgeDevice{{ID: "1", Root: "r/1", Reachable: true}}); err != nil {
			t.Fatal(err)
		}
		run(t, b.Run)
		time.Sleep(time.Second)
		if s := f.state(); s["provider/P"] != "{}" || s["current/r/1/reachable"] != "1" {
			t.Errorf("state %v", s)
		}
	})
}

// Whatever happens, what is retained in the end is what the bridge has.
func TestBridgeSettles(t *testing.T) {
	type step struct {
		what, id, root string
		reachable      bool
		pause          time.Duration
	}
	rapid.Check(t, func(rt *rapid.T) {
		noLocal := rapid.Bool().Draw(rt, "noLocal")
		many := rapid.SampledFrom([]int{0, 0, 300}).Draw(rt, "many")
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				rapid.SampledFrom([]string{"put", "put", "remove", "swap", "cut", "zero", "provider", "wait"}).Draw(t, "what"),
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"),
				rapid.SampledFrom([]string{"r/1", "r/2", "r/3"}).Draw(t, "root"),
				rapid.Bool().Draw(t, "reachable"),
				time.Duration(rapid.IntRange(0, 2000).Draw(t, "pause")) * time.Millisecond,
			}
		}), 1, 20).Draw(rt, "steps")
		var problems []string // rapid's T must not be used in the bubble
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.noLocal = noLocal
			b := &hemtjanst.Bridge{Broker: f, Provider: "P", ClientID: "b"}
			have := map[string]hemtjanst.BridgeDevice{}
			for i := range many {
				d := hemtjanst.BridgeDevice{ID: fmt.Sprintf("m%d", i), Root: fmt.Sprintf("m/%d", i), Reachable: true}
				have[d.ID] = d
			}
			set := func() {
				if err := b.Set(slices.Collect(maps.Values(have))); err != nil {
					problems = append(problems, err.Error())
				}
			}
			set()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- b.Run(ctx) }()
			for _, s := range steps {
				switch s.what {
				case "put":
					d := hemtjanst.BridgeDevice{ID: s.id, Root: s.root, Reachable: s.reachable}
					if b.Put(d) == nil {
						have[s.id] = d
					}
				case "remove":
					b.Remove(s.id)
					delete(have, s.id)
				case "swap": // two devices change their roots with each other
					a, c := have["a"], have["b"]
					if a.ID != "" && c.ID != "" {
						a.Root, c.Root = c.Root, a.Root
						have["a"], have["b"] = a, c
					}
					set()
				case "cut":
					f.cutOff("b")
				case "zero": // somebody says so of what is on the broker
					synctest.Wait()
					if d, ok := have[s.id]; ok && f.state()["current/"+d.Root+"/reachable"] == "1" {
						f.say("current/"+d.Root+"/reachable", "0")
					}
				case "provider":
					f.say("provider/P", "")
				case "wait":
					time.Sleep(s.pause)
				}
			}
			time.Sleep(2 * time.Minute)
			want := map[string]string{"provider/P": "{}"}
			for _, d := range have {
				want["device/"+d.ID] = fmt.Sprintf(`{"root":%q,"providerID":"P"}`, d.Root)
				want["current/"+d.Root+"/reachable"] = map[bool]string{true: "1", false: "0"}[d.Reachable]
			}
			if diff := cmp.Diff(want, f.state()); diff != "" {
				problems = append(problems, diff)
			}
			cancel()
			if err := <-done; err != nil {
				problems = append(problems, err.Error())
			}
			for topic, payload := range f.state() {
				if payload == "1" || topic == "provider/P" {
					problems = append(problems, fmt.Sprintf("left with %s %s", topic, payload))
				}
			}
		})
		if len(problems) > 0 {
			rt.Fatal(strings.Join(problems, "\n"))
		}
	})
}
