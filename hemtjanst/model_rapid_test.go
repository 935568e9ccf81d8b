package hemtjanst_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// expected says from the retained messages alone what is so: "device id root provider state" for each device,
// and "provider id" for each provider.
func expected(retained map[string]string) map[string]string {
	type doc struct{ Root, ProviderID string }
	all := map[string]string{}
	for topic, payload := range retained {
		kind, id, _ := strings.Cut(topic, "/")
		switch kind {
		case "provider":
			all[topic] = payload
		case "device":
			var d doc
			if json.Unmarshal([]byte(payload), &d) != nil {
				d = doc{}
			}
			state := "unknown"
			if d.Root != "" {
				switch retained["current/"+d.Root+"/reachable"] {
				case "1":
					state = "reachable"
				case "0":
					state = "unreachable"
				}
			}
			if d.ProviderID != "" && retained["provider/"+d.ProviderID] == "" && retained["device/"+d.ProviderID] == "" {
				state = "unreachable"
			}
			all[topic] = fmt.Sprintf("%s %s %s %s", id, d.Root, d.ProviderID, state)
		}
	}
	return all
}

// Who follows the events knows the same as who looks at the broker, however the messages came.
func TestEventsLeadToWhatIsRetained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m hemtjanst.Model
		retained, known := map[string]string{}, map[string]string{}
		now := time.Unix(0, 0)
		complete := false
		follow := func(events []hemtjanst.Event) {
			for _, e := range events {
				switch e.Kind {
				case hemtjanst.DeviceAdded, hemtjanst.DeviceChanged:
					topic := "device/" + e.Device.ID
					if _, ok := known[topic]; ok != (e.Kind == hemtjanst.DeviceChanged) {
						t.Fatalf("%v %s, known: %v", e.Kind, e.Device.ID, ok)
					}
					known[topic] = fmt.Sprintf("%s %s %s %v", e.Device.ID, e.Device.Root, e.Device.Provider, e.Device.State)
				case hemtjanst.ProviderAdded, hemtjanst.ProviderChanged:
					known["provider/"+e.Provider.ID] = e.Provider.Payload
				case hemtjanst.DeviceRemoved:
					if _, ok := known["device/"+e.Device.ID]; !ok {
						t.Fatalf("%s removed, and wasn't known", e.Device.ID)
					}
					delete(known, "device/"+e.Device.ID)
				case hemtjanst.ProviderRemoved:
					delete(known, "provider/"+e.Provider.ID)
				}
			}
		}
		ids, roots := []string{"a", "b", "P"}, []string{"", "r", "s", "s/t"}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			topic, payload := "", ""
			switch rapid.SampledFrom([]string{"device", "device", "provider", "reachable", "reachable", "snapshot"}).Draw(t, "step") {
			case "device":
				topic = "device/" + rapid.SampledFrom(ids).Draw(t, "id")
				payload = rapid.SampledFrom([]string{"", "{", fmt.Sprintf(`{"root":%q,"providerID":%q}`, rapid.SampledFrom(roots).Draw(t, "root"), rapid.SampledFrom([]string{"", "P", "Q"}).Draw(t, "provider"))}).Draw(t, "payload")
			case "provider":
				topic, payload = "provider/"+rapid.SampledFrom([]string{"P", "Q"}).Draw(t, "id"), rapid.SampledFrom([]string{"", "{}", "x"}).Draw(t, "payload")
			case "reachable":
				topic, payload = "current/"+rapid.SampledFrom(roots[1:]).Draw(t, "root")+"/reachable", rapid.SampledFrom([]string{"", "0", "1", "x"}).Draw(t, "payload")
			case "snapshot":
				m.Lost()
				// What changed meanwhile isn't heard.
				for topic := range retained {
					if rapid.Bool().Draw(t, "cleared") {
						delete(retained, topic)
					}
				}
				m.Begin()
				for topic, payload := range retained {
					follow(m.Observe(now, hemtjanst.Message{Topic: topic, Payload: []byte(payload)}, nil))
				}
				follow(m.Complete(now, true, nil))
				complete = true
			}
			if topic != "" {
				if retained[topic] = payload; payload == "" {
					delete(retained, topic)
				}
				follow(m.Observe(now, hemtjanst.Message{Topic: topic, Payload: []byte(payload)}, nil))
			}
			if complete {
				if diff := cmp.Diff(expected(retained), known); diff != "" {
					t.Fatal(diff)
				}
			}
		}
		for topic := range retained {
			m.Observe(now, hemtjanst.Message{Topic: topic}, nil)
		}
		if s := m.Stats(); s.Bytes != 0 || s.Devices != 0 || s.Providers != 0 || s.Orphans != 0 {
			t.Fatalf("after all is cleared: %+v", s)
		}
	})
}

// Strangers' topics are left out when there is no room for them, and what was there stays.
func TestTheModelIsBounded(t *testing.T) {
	m := hemtjanst.Model{MaxDevices: 10, MaxProviders: 10, MaxOrphans: 10, MaxBytes: 2000}
	m.Begin()
	say(&m, "provider/P x", `device/mine {"root":"r","providerID":"P"}`, "current/r/reachable 1")
	for i := range 1000 {
		say(&m, fmt.Sprintf("device/s%d {}", i), fmt.Sprintf("provider/s%d x", i), fmt.Sprintf("current/s%d/reachable 1", i))
	}
	say(&m, "device/s0 "+`{"x":"`+strings.Repeat("x", 3000)+`"}`, "provider/P "+strings.Repeat("x", 3000))
	s := m.Stats()
	if s.Devices != 10 || s.Providers != 10 || s.Orphans != 10 || s.Bytes > 2000 || s.Full != 991+991+990+2 {
		t.Errorf("stats %+v", s)
	}
	if d, ok := m.Device("mine"); !ok || d.State != hemtjanst.Reachable {
		t.Errorf("device %+v", d)
	}
	// A device that is known and says more than there is room for is there, without what it said before.
	say(&m, `device/mine {"root":"r","providerID":"Q","x":"`+strings.Repeat("x", 3000)+`"}`)
	if d, ok := m.Device("mine"); !ok || d.Provider != "" || d.Root != "" || d.Problem != hemtjanst.TooLarge {
		t.Errorf("device %+v", d)
	}
	if got := complete(&m); !strings.Contains(strings.Join(got, "\n"), "complete unconfirmed") {
		t.Errorf("events %q", got)
	}
}
