package source_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

func mqttMeta(t testing.TB, text string) hemtjanst.Metadata {
	t.Helper()
	m, err := hemtjanst.ParseMetadata([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func lampEvent(t testing.TB, kind hemtjanst.EventKind, state hemtjanst.State) hemtjanst.Event {
	return hemtjanst.Event{Kind: kind, Device: hemtjanst.Device{
		ID: "lamp-7", Root: "home/7", Provider: "P", State: state, Said: hemtjanst.Reachable,
		Metadata: mqttMeta(t, `{"name":"Kitchen","type":"light","root":"home/7","providerID":"P","features":{"on":{},"color":{}},"manufacturer":"Acme","port":80,"addresses":["192.0.2.7","fe80::1%eth0","0.0.0.0","x"],"deep":{"a":1},"n":1.5,"on":true}`),
	}}
}

// mqttTold writes what is told in a line each.
func mqttTold(all []lanfolk.Sighting) (out []string) {
	for _, s := range all {
		line := fmt.Sprintf("%s %s %q %s %s", s.Kind, strings.TrimPrefix(s.Key, "b:1883/"), s.Name, s.Type, s.State)
		if s.Gone {
			line += " gone"
		}
		out = append(out, line)
	}
	return out
}

func wantTold(t *testing.T, got []lanfolk.Sighting, want ...string) {
	t.Helper()
	if lines := mqttTold(got); !slices.Equal(lines, want) {
		t.Errorf("told\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestMQTTDevicesAreSighted(t *testing.T) {
	x := &source.Hemtjanst{Broker: "b:1883", Gateway: "g", Own: func(id, _ string) bool { return id == "own" }, Ours: func(p string) bool { return p == "us" }}
	now := time.Unix(1_000_000, 0)
	take := func() []lanfolk.Sighting { return x.Take(now, 100) }
	x.Event(now, lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Reachable))
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.DeviceAdded, Device: hemtjanst.Device{ID: "own"}})
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.ProviderAdded, Provider: hemtjanst.Provider{ID: "us", Present: true}})
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.ProviderAdded, Provider: hemtjanst.Provider{ID: "P", Present: true, Payload: `{"name":"Bridge"}`}})
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Complete})
	all := take()
	wantTold(t, all, `device device/lamp-7 "Kitchen"  reachable`, `service device/lamp-7 "Kitchen" light reachable`, `provider provider/P "Bridge"  reachable`)
	s := all[1]
	if fmt.Sprint(s.Addresses) != "[192.0.2.7 fe80::1]" || s.Port != 80 || fmt.Sprint(s.Attributes) != "map[broker:b:1883 device_id:lamp-7 features:color on manufacturer:Acme n:1.5 on:true provider:P root:home/7 topic:device/lamp-7]" {
		t.Errorf("%+v", s)
	}
	if id := all[0].Identifiers; len(id) != 1 || id[0] != (lanfolk.Identifier{Kind: lanfolk.IDProtocol, Value: "mqtt:b:1883/device/lamp-7", Gateway: "g"}) || s.Time != now || s.Expires().Sub(now) != 3*time.Hour {
		t.Errorf("%+v", all[0])
	}
	wantTold(t, take())

	// The broker is lost: nothing is known of them, and nothing gone. It comes back, and they are as they were.
	now = now.Add(time.Minute)
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Lost})
	now = now.Add(time.Minute)
	lost := take()
	slices.SortFunc(lost, func(a, b lanfolk.Sighting) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	wantTold(t, lost, `device device/lamp-7 "Kitchen"  lost`, `provider provider/P "Bridge"  lost`, `service device/lamp-7 "Kitchen" light lost`)
	if s := lost[0]; !s.Time.Equal(now.Add(-time.Minute)) || s.Expires().Sub(now) != 3*time.Hour {
		t.Errorf("%v, until %v", s.Time, s.Expires())
	}
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Complete, Unconfirmed: true})
	if all := take(); len(all) != 3 || all[0].State != lanfolk.Reachable {
		t.Errorf("%q", mqttTold(all))
	}
	if p, _ := x.Picture(); p != (source.MQTTPicture{Devices: 1, Providers: 1, Heard: true}) {
		t.Errorf("%+v", p)
	}

	// Its provider goes: it can't be reached whatever it said. Then it is gone itself, and comes back at once.
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.ProviderRemoved, Provider: hemtjanst.Provider{ID: "P"}})
	x.Event(now, lampEvent(t, hemtjanst.DeviceChanged, hemtjanst.Unreachable))
	all = take()
	wantTold(t, all, `provider provider/P "Bridge"  reachable gone`, `device device/lamp-7 "Kitchen"  unreachable`, `service device/lamp-7 "Kitchen" light unreachable`)
	if want := "on b:1883: lamp-7 is unreachable, by provider P, which is gone (it said reachable)"; all[1].What != want {
		t.Errorf("%q", all[1].What)
	}
	x.Event(now, lampEvent(t, hemtjanst.DeviceRemoved, hemtjanst.Unreachable))
	x.Event(now, lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Reachable))
	wantTold(t, take(), `device device/lamp-7 "Kitchen"  reachable`, `service device/lamp-7 "Kitchen" light reachable`)
	x.Event(now, lampEvent(t, hemtjanst.DeviceRemoved, hemtjanst.Unreachable))
	wantTold(t, take(), `device device/lamp-7 "Kitchen"  reachable gone`, `service device/lamp-7 "Kitchen" light reachable gone`)
	x.Refresh()
	wantTold(t, take())
	if p, _ := x.Picture(); p.Devices != 0 || p.Providers != 0 {
		t.Errorf("%+v", p)
	}
}

// What was saved of a device that isn't on the broker any more is taken back once all is known.
func TestMQTTDevicesOfAnEarlierRun(t *testing.T) {
	at := func(broker, topic string) *lanfolk.Service {
		return &lanfolk.Service{Protocol: "mqtt", Attributes: map[string]string{"broker": broker, "topic": topic}}
	}
	now := time.Unix(1_000_000, 0)
	x := &source.Hemtjanst{Broker: "b:1883", Tenant: "t", Restored: func() []*lanfolk.Service {
		return []*lanfolk.Service{at("b:1883", "t/device/old"), at("b:1883", "t/device/lamp-7"), at("c:1883", "t/device/x"), at("b:1883", "device/x"), at("b:1883", "t/provider/x")}
	}}
	x.Event(now, lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Reachable))
	x.Take(now, 10)
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Complete, Unconfirmed: true})
	wantTold(t, x.Take(now, 10))
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Complete})
	wantTold(t, x.Take(now, 10), `device t/device/old "old"  lost gone`, `service t/device/old "old" device lost gone`)
	x.Event(now, hemtjanst.Event{Kind: hemtjanst.Complete})
	wantTold(t, x.Take(now, 10))
}

// What strangers say neither reaches a terminal nor makes two devices one.
func TestMQTTHostileDevices(t *testing.T) {
	x := &source.Hemtjanst{Broker: "b:1883"}
	now := time.Unix(1_000_000, 0)
	long := strings.Repeat("x", 60_000)
	for _, end := range []string{"1", "2"} {
		x.Event(now, hemtjanst.Event{Kind: hemtjanst.DeviceAdded, Device: hemtjanst.Device{
			ID: long + end, Root: long, Provider: long, Problem: hemtjanst.DuplicateRoot,
			Metadata: mqttMeta(t, `{"name":"\u001b[2J\u202eevil","type":"`+long[:50_000]+`","port":-1,"host":7,"addresses":"no","features":["a",1],"topic":"device/other","\u0007":"bell","`+long[:100]+`":"x"}`),
		}})
	}
	all := x.Take(now, 10)
	keys := map[string]bool{}
	for _, s := range all {
		keys[s.Key] = true
		if s.Name != "[2Jevil" || len(s.Key) > 512 || len(s.What) > 1000 || len(s.Identifiers[0].Value) > 256 || s.Port != 0 || s.Host != "" {
			t.Errorf("%+v", s)
		}
		for key, value := range s.Attributes {
			if strings.ContainsAny(key+value, "\a\x1b\u202e") || len(key)+len(value) > 700 {
				t.Errorf("attribute %q: %q", key, value)
			}
		}
	}
	if len(all) != 4 || len(keys) != 2 || !strings.HasPrefix(all[1].Attributes["topic"], "device/xxx") {
		t.Errorf("%q", mqttTold(all))
	}
}

// Many devices at once are told some at a time.
func TestMQTTDevicesAreToldInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, most atomic.Int64
		x := &source.Hemtjanst{Broker: "b:1883", Observe: func(s ...lanfolk.Sighting) {
			told.Add(int64(len(s)))
			most.Store(max(most.Load(), int64(len(s))))
		}}
		err := x.Run(t.Context(), func(_ context.Context, event func(hemtjanst.Event)) error {
			for i := range 10_000 {
				event(hemtjanst.Event{Kind: hemtjanst.DeviceAdded, Device: hemtjanst.Device{ID: fmt.Sprint(i), State: hemtjanst.Reachable}})
			}
			time.Sleep(time.Second)
			if told.Load() != 20_000 || most.Load() > 1000 {
				t.Errorf("%d, at most %d at a time", told.Load(), most.Load())
			}
			time.Sleep(time.Hour)
			if told.Load() != 40_000 {
				t.Errorf("%d after an hour", told.Load())
			}
			return nil
		})
		if err != nil || told.Load() != 60_000 { // now they are unknown
			t.Errorf("%d, %v", told.Load(), err)
		}
	})
}

// A second watcher tells everything anew: what it doesn't tell of is gone, once it is sure.
func TestMQTTSecondWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []lanfolk.Sighting
		x := &source.Hemtjanst{Broker: "b:1883", Observe: func(s ...lanfolk.Sighting) { told = append(told, s...) }}
		run := func(events ...hemtjanst.Event) []lanfolk.Sighting {
			told = nil
			var at []lanfolk.Sighting
			if err := x.Run(t.Context(), func(_ context.Context, event func(hemtjanst.Event)) error {
				for _, e := range events {
					event(e)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				at, told = told, nil
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return at
		}
		other := hemtjanst.Event{Kind: hemtjanst.DeviceAdded, Device: hemtjanst.Device{ID: "other", State: hemtjanst.Reachable}}
		lamp := lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Reachable)
		if all := run(lamp, other, hemtjanst.Event{Kind: hemtjanst.Complete}); len(all) != 4 {
			t.Errorf("%q", mqttTold(all))
		}
		wantTold(t, run(other, hemtjanst.Event{Kind: hemtjanst.Complete, Unconfirmed: true}), `device device/other "other"  reachable`, `service device/other "other" device reachable`)
		all := run(other, hemtjanst.Event{Kind: hemtjanst.Complete})
		slices.SortFunc(all, func(a, b lanfolk.Sighting) int { return strings.Compare(a.Key+string(a.Kind), b.Key+string(b.Kind)) })
		wantTold(t, all, `device device/lamp-7 "Kitchen"  lost gone`, `service device/lamp-7 "Kitchen" light lost gone`, `device device/other "other"  reachable`, `service device/other "other" device reachable`)
	})
}

func TestAskMQTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := func(a source.AskMQTT, text string) ([]string, error) {
			q, err := find.ParseQuery(text)
			if err != nil {
				t.Fatal(err)
			}
			var all []lanfolk.Sighting
			err = a.Ask(t.Context(), q, func(s lanfolk.Sighting) { all = append(all, s) })
			return mqttTold(all), err
		}
		x := &source.Hemtjanst{Broker: "b:1883"}
		go func() {
			time.Sleep(time.Second) // it waits until all is known
			x.Event(time.Now(), lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Reachable))
			x.Event(time.Now(), hemtjanst.Event{Kind: hemtjanst.Complete})
		}()
		node := source.AskMQTT{Hemtjanst: x}
		want := []string{`service device/lamp-7 "Kitchen" light reachable`, `device device/lamp-7 "Kitchen"  reachable`}
		for _, text := range []string{"lamp-7", "Light"} {
			if got, err := ask(node, text); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %q, %v", text, got, err)
			}
		}
		for _, text := range []string{"lamp", "_ipp._tcp", "192.0.2.7"} {
			if got, err := ask(node, text); err != nil || got != nil {
				t.Errorf("%s: %q, %v", text, got, err)
			}
		}
		x.Event(time.Now(), hemtjanst.Event{Kind: hemtjanst.Lost, Err: fmt.Errorf("EOF")})
		if got, err := ask(node, "lamp-7"); err == nil || got != nil || err.Error() != "the broker can't be heard: EOF" {
			t.Errorf("without the broker: %q, %v", got, err)
		}
		alone := source.AskMQTT{Hemtjanst: &source.Hemtjanst{Broker: "b:1883"}, Watch: func(ctx context.Context, event func(hemtjanst.Event)) error {
			event(lampEvent(t, hemtjanst.DeviceAdded, hemtjanst.Unreachable))
			event(hemtjanst.Event{Kind: hemtjanst.Complete})
			<-ctx.Done()
			return nil
		}}
		if got, err := ask(alone, "lamp-7"); err != nil || !slices.Equal(got, []string{`service device/lamp-7 "Kitchen" light unreachable`}) {
			t.Errorf("alone: %q, %v", got, err)
		}
		alone.Hemtjanst = &source.Hemtjanst{Broker: "b:1883"}
		alone.Watch = func(context.Context, func(hemtjanst.Event)) error { return hemtjanst.ErrDenied }
		if got, err := ask(alone, "lamp-7"); err == nil || got != nil {
			t.Errorf("refused: %q, %v", got, err)
		}
	})
}
