package hemtjanst_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// say feeds a model with "topic payload" and returns its events in words.
func say(m *hemtjanst.Model, lines ...string) []string {
	var events []hemtjanst.Event
	for _, l := range lines {
		topic, payload, _ := strings.Cut(l, " ")
		events = m.Observe(time.Unix(1, 0), hemtjanst.Message{Topic: topic, Payload: []byte(payload)}, events)
	}
	return words(events)
}

func complete(m *hemtjanst.Model) []string { return words(m.Complete(time.Unix(2, 0), true, nil)) }

func words(events []hemtjanst.Event) []string {
	var out []string
	for _, e := range events {
		switch {
		case e.Device.ID != "":
			s := fmt.Sprintf("%v %s %v", e.Kind, e.Device.ID, e.Device.State)
			if e.Device.Problem != 0 {
				s += " (" + e.Device.Problem.String() + ")"
			}
			out = append(out, s)
		case e.Provider.ID != "":
			out = append(out, fmt.Sprintf("%v %s", e.Kind, e.Provider.ID))
		case e.Unconfirmed:
			out = append(out, e.Kind.String()+" unconfirmed")
		default:
			out = append(out, e.Kind.String())
		}
	}
	slices.Sort(out)
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("events\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestASnapshotIsToldWhenItIsComplete(t *testing.T) {
	var m hemtjanst.Model
	m.Begin()
	want(t, say(&m, "provider/P {}", `device/a {"root":"r/a","providerID":"P"}`, "current/r/a/reachable 1",
		`device/b {"root":"r/b","providerID":"P"}`, "current/r/b/reachable 0", `device/c {"root":"r/c"}`))
	want(t, complete(&m), "provider added P", "device added a reachable", "device added b unreachable", "device added c unknown", "complete")
	want(t, say(&m, "current/r/a/reachable 1", "provider/P {}", `device/a {"root":"r/a","providerID":"P"}`))
	want(t, say(&m, "current/r/c/reachable 1"), "device changed c reachable")
	want(t, say(&m, "device/c ", "current/r/c/reachable "), "device removed c reachable")
}

func TestADeviceWhoseProviderIsGoneCannotBeReached(t *testing.T) {
	var m hemtjanst.Model
	m.Begin()
	say(&m, "provider/P {}", `device/a {"root":"r/a","providerID":"P"}`, "current/r/a/reachable 1")
	complete(&m)
	want(t, say(&m, "provider/P "), "provider removed P", "device changed a unreachable")
	d, _ := m.Device("a")
	if d.Said != hemtjanst.Reachable || d.State != hemtjanst.Unreachable {
		t.Errorf("said %v, is %v", d.Said, d.State)
	}
	want(t, say(&m, "provider/P {}"), "provider added P", "device changed a reachable")
	want(t, say(&m, `device/a {"root":"r/a","providerID":"Q"}`), "device changed a unreachable")
	want(t, say(&m, "provider/P "), "provider removed P")
	want(t, say(&m, "provider/Q x"), "provider added Q", "device changed a reachable")
}

func TestANewSnapshotTellsOnlyWhatDiffers(t *testing.T) {
	var m hemtjanst.Model
	m.Begin()
	say(&m, "provider/P {}", "provider/Q {}", `device/a {"root":"r/a","providerID":"P"}`, "current/r/a/reachable 1",
		`device/b {"root":"r/b"}`, "current/r/b/reachable 1", `device/c {"root":"r/c"}`)
	complete(&m)
	m.Lost()
	m.Begin()
	want(t, say(&m, "provider/Q {}", `device/a {"root":"r/a","providerID":"P"}`, "current/r/a/reachable 1", `device/b {"root":"r/b"}`))
	want(t, complete(&m), "provider removed P", "device changed a unreachable", "device changed b unknown", "device removed c unknown", "complete")
	if s := m.Stats(); s.Devices != 2 || s.Providers != 2 || s.Orphans != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestProblemsAreListedAndLeftAlone(t *testing.T) {
	var m hemtjanst.Model
	m.Begin()
	say(&m, "device/1 {", "device/2 [1]", `device/3 {"providerID":"P"}`, `device/4 {"root":5,"providerID":"P"}`,
		"device/5 "+strings.Repeat("x", 300<<10), `device/6 {"root":"a/#"}`, `device/7 {"root":"a","providerID":7}`,
		`device/8 {"root":"same"}`, `device/9 {"root":"same"}`, `device/10 {"root":"b","providerID":"10"}`, `device/11 {"root":"c"}`, "provider/11 {}",
		`device/x+y {"root":"d"}`, "device/$x {}", "device/ {}", "device//x {}", "state/x 1", "current/a 1", "device 1")
	want(t, complete(&m), "complete", "provider added 11",
		"device added 1 unknown (malformed metadata)", "device added 2 unknown (malformed metadata)",
		"device added 3 unreachable (no root)", "device added 4 unreachable (no root)",
		"device added 5 unknown (metadata too large)", "device added 6 unknown (unusable root)",
		"device added 7 unknown (unusable providerID)",
		"device added 8 unknown (root of several devices)", "device added 9 unknown (root of several devices)",
		"device added 10 unknown (id of a device and a provider)", "device added 11 unknown (id of a device and a provider)")
	if s := m.Stats(); s.Malformed != 2 || s.TooLarge != 1 || s.Unusable != 4 || s.Others != 3 {
		t.Errorf("stats %+v", s)
	}
	want(t, say(&m, "device/1 {"))
	want(t, say(&m, `device/1 {"root":"z"}`), "device changed 1 unknown")
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	m := hemtjanst.Model{Topics: hemtjanst.Topics{Tenant: "t1"}}
	m.Begin()
	say(&m, `t1/device/a {"root":"r"}`, "t1/current/r/reachable 1", `t2/device/b {"root":"r"}`, `device/c {"root":"r"}`, `t1x/device/d {}`)
	want(t, complete(&m), "device added a reachable", "complete")
}
