package hemtjanst_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// janitor runs one in a bubble, until the function leave is called. told gives its events since the last call.
func janitor(t *testing.T, j *hemtjanst.Janitor) (leave func(), told func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	j.Events = func(events []hemtjanst.JanitorEvent) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			s := e.Kind.String()
			for _, x := range []string{e.Device, e.Provider} {
				if x != "" {
					s += " " + x
				}
			}
			if e.Problem != 0 {
				s += " (" + e.Problem.String() + ")"
			}
			all = append(all, s)
		}
	}
	leave = run(t, j.Run)
	return leave, func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got := all
		all = nil
		slices.Sort(got)
		return got
	}
}

// bridged has a broker retain what a bridge with devices of these names said.
func bridged(b *fakeBroker, provider string, devices ...string) {
	b.say("provider/"+provider, "{}")
	for _, d := range devices {
		b.say("device/"+d, fmt.Sprintf(`{"root":"r/%s","providerID":"%s"}`, d, provider))
		b.say("current/r/"+d+"/reachable", "1")
	}
}

// marks returns how often devices were marked.
func marks(b *fakeBroker, devices ...string) (n int) {
	all := map[string]bool{}
	for _, d := range devices {
		all["current/r/"+d+"/reachable 0"] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.log {
		if all[m] {
			n++
		}
	}
	return n
}

func wantMarks(t *testing.T, b *fakeBroker, n int, devices ...string) {
	t.Helper()
	synctest.Wait()
	if got := marks(b, devices...); got != n {
		t.Errorf("%v: %d marks, want %d; the broker heard\n%s", devices, got, n, strings.Join(b.log, "\n"))
	}
}

func TestJanitorMarksAfterTheGraceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "2")
		bridged(b, "Q", "3")
		b.say("device/own", `{"root":"r/own"}`)
		b.say("current/r/own/reachable", "1")
		_, told := janitor(t, &hemtjanst.Janitor{Broker: b})
		want(t, told(), "working")
		b.say("provider/P", "")
		time.Sleep(4900 * time.Millisecond)
		wantMarks(t, b, 0, "1", "2")
		time.Sleep(200 * time.Millisecond)
		wantMarks(t, b, 2, "1", "2")
		want(t, told(), "marked 1 P", "marked 2 P")
		time.Sleep(time.Hour)
		wantMarks(t, b, 2, "1", "2", "3", "own")
		want(t, told(), "unconfirmed Q")
		b.say("provider/Q", "{}")
		want(t, told(), "confirmed Q")
	})
}

func TestJanitorSparesAProviderThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1")
		_, told := janitor(t, &hemtjanst.Janitor{Broker: b})
		told()
		for range 3 { // a stale will, each time
			b.say("provider/P", "")
			time.Sleep(4 * time.Second)
			b.say("provider/P", "{}")
			want(t, told(), "spared P")
		}
		time.Sleep(time.Minute)
		wantMarks(t, b, 0, "1")
		// One that was dead has the grace time again.
		b.say("provider/P", "")
		time.Sleep(6 * time.Second)
		wantMarks(t, b, 1, "1")
		bridged(b, "P", "1")
		time.Sleep(time.Second)
		b.say("provider/P", "")
		time.Sleep(4 * time.Second)
		wantMarks(t, b, 1, "1")
		time.Sleep(2 * time.Second)
		wantMarks(t, b, 2, "1")
	})
}

func TestJanitorFindsWhoDiedWhileItWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "2")
		b.say("provider/P", "")
		leave, told := janitor(t, &hemtjanst.Janitor{Broker: b})
		time.Sleep(4 * time.Second)
		wantMarks(t, b, 0, "1", "2")
		time.Sleep(2 * time.Second)
		want(t, told(), "working", "marked 1 P", "marked 2 P")
		leave()
		before := marks(b, "1", "2")
		retained := b.state()
		j := &hemtjanst.Janitor{Broker: b}
		leave, _ = janitor(t, j)
		time.Sleep(time.Hour)
		if s := j.Status(); !s.Complete || !s.Working || s.Marked != 0 || s.Left != 0 || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
		leave()
		if after := marks(b, "1", "2"); after != before {
			t.Error("a restart marks anew")
		}
		if got := b.state(); len(got) != len(retained) {
			t.Errorf("a restart leaves %v, before it %v", got, retained)
		}
	})
}

func TestJanitorGoesByWhatDevicesSayNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "moved", "stays", "gone")
		janitor(t, &hemtjanst.Janitor{Broker: b})
		bridged(b, "Q", "moved")
		b.say("provider/P", "")
		time.Sleep(4 * time.Second)
		b.say("device/gone", "")
		b.say("current/r/gone/reachable", "")
		time.Sleep(2 * time.Second)
		wantMarks(t, b, 1, "moved", "stays", "gone")
		// A device that names a dead provider later, and one that is said to be reachable.
		b.say("device/late", `{"root":"r/late","providerID":"P"}`)
		b.say("current/r/stays/reachable", "1")
		time.Sleep(6 * time.Second)
		wantMarks(t, b, 1, "late")
		wantMarks(t, b, 2, "stays")
		// A provider that nobody has ever seen.
		b.say("device/new", `{"root":"r/new","providerID":"N"}`)
		b.say("current/r/new/reachable", "1")
		time.Sleep(4 * time.Second)
		b.say("provider/N", "{}")
		time.Sleep(time.Minute)
		wantMarks(t, b, 0, "new", "moved")
	})
}

func TestJanitorLeavesAloneWhatIsDoubtful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "dead", "1", "2", "nested/x")
		b.say("device/nested", `{"root":"r/nested","providerID":"Q"}`)
		b.say("current/r/nested/reachable", "1")
		b.say("provider/Q", "{}")
		// One root for a device of the dead and one of the living, and for two of the dead.
		b.say("device/twin", `{"root":"r/1","providerID":"Q"}`)
		b.say("device/double", `{"root":"r/2","providerID":"dead"}`)
		// Ids of a device and a provider.
		bridged(b, "both", "child")
		b.say("device/both", `{"root":"r/both","providerID":"dead"}`)
		b.say("current/r/both/reachable", "1")
		b.say("device/own", `{"root":"r/own","providerID":"own"}`)
		b.say("current/r/own/reachable", "1")
		b.say("device/bad1", "{")
		b.say("device/bad2", `{"providerID":"dead"}`)
		b.say("device/bad3", `{"root":5,"providerID":"dead"}`)
		b.say("device/bad4", `{"root":"a/#","providerID":"dead"}`)
		b.say("device/bad5", `{"root":"r/bad5","providerID":7}`)
		b.say("current/r/bad5/reachable", "1")
		j := &hemtjanst.Janitor{Broker: b, Grace: -1}
		_, told := janitor(t, j)
		b.say("provider/dead", "")
		got := told()
		for _, s := range []string{
			"left-alone twin Q (root of several devices)", "left-alone both dead (id of a device and a provider)",
			"left-alone bad1 (malformed metadata)", "left-alone bad2 dead (no root)", "left-alone bad4 dead (unusable root)", "left-alone bad5 (unusable providerID)",
			"left-alone own own (id of a device and a provider)",
		} {
			if !slices.Contains(got, s) {
				t.Errorf("no %q in %q", s, got)
			}
		}
		time.Sleep(time.Minute)
		wantMarks(t, b, 2, "2", "nested/x")
		wantMarks(t, b, 0, "1", "nested", "both", "own", "bad5", "child")
		if s := j.Status(); s.LeftAlone < 9 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestOfSeveralJanitorsOneWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		var devices []string
		for i := range 6000 { // more than it listens to while it works
			devices = append(devices, fmt.Sprint(i))
		}
		bridged(b, "P", devices...)
		var all []*hemtjanst.Janitor
		for i := range 3 {
			j := &hemtjanst.Janitor{Broker: b, ClientID: fmt.Sprint("ears", i), Grace: time.Second}
			janitor(t, j)
			all = append(all, j)
		}
		time.Sleep(5 * time.Second)
		working := func() (at int) {
			t.Helper()
			synctest.Wait()
			at = -1
			for i, j := range all {
				if s := j.Status(); s.Working && at >= 0 {
					t.Errorf("%d and %d work", at, i)
				} else if s.Working {
					at = i
				}
			}
			if at < 0 {
				t.Errorf("nobody works")
			}
			return at
		}
		first := working()
		b.say("lanfolk/janitor", "") // an earlier connection's will
		time.Sleep(time.Second)
		if again := working(); again != first || b.state()["lanfolk/janitor"] == "" {
			t.Errorf("%d works after %d, retained %q", again, first, b.state()["lanfolk/janitor"])
		}
		b.say("provider/P", "")
		time.Sleep(2 * time.Second)
		wantMarks(t, b, len(devices), devices...)
		// The one at work is lost while it works: with its ears, and only where it publishes.
		for _, id := range []string{fmt.Sprint("ears", first), "lf"} {
			bridged(b, "P", devices...)
			before := marks(b, devices...)
			b.say("provider/P", "")
			time.Sleep(time.Second)
			b.cutOff(id)
			time.Sleep(10 * time.Second)
			wantMarks(t, b, before+len(devices), devices...)
			working()
		}
	})
}

// While very many devices are marked the janitor goes on listening to providers, also where it publishes, and afterwards to all.
func TestJanitorHearsAgainAfterMuchWork(t *testing.T) {
	for _, late := range []bool{false, true} { // what the connection that listens brings
		t.Run(fmt.Sprint("late=", late), func(t *testing.T) { hearsAgain(t, late) })
	}
}

func hearsAgain(t *testing.T, late bool) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		var devices []string
		for i := range 10_000 {
			devices = append(devices, fmt.Sprint(i))
		}
		bridged(b, "P", devices...)
		j := &hemtjanst.Janitor{Broker: b, ClientID: "ears", Grace: -1}
		janitor(t, j)
		synctest.Wait()
		n := 0
		b.judge = func(_ *fakeConn, m hemtjanst.Message) {
			if !strings.HasSuffix(m.Topic, "/reachable") || string(m.Payload) != "0" {
				return
			}
			if n++; n == 7000 { // the bridge is back
				b.judge = nil
				b.deaf = func(client, topic string) bool { return late && client == "ears" && topic == "provider/P" }
				b.publish(nil, hemtjanst.Message{Topic: "provider/P", Payload: []byte("{}"), Retain: true})
				b.deaf = nil
			}
		}
		b.say("provider/P", "")
		time.Sleep(10 * time.Second)
		b.mu.Lock()
		b.judge = nil
		b.mu.Unlock()
		if got := marks(b, devices...); got < 7000 || got > 7000+1024 {
			t.Errorf("%d devices were marked, and after 7,000 of them the bridge was back", got)
		}
		hears := func() (yes bool) {
			for c := range b.conns {
				_, on := c.filters["current/#"]
				yes = yes || on
			}
			return yes
		}
		if s := j.Status(); !hears() || !s.Complete || s.Left != 0 || s.Late > 1024 {
			t.Errorf("hears %v, status %+v", hears(), s)
		}
		bridged(b, "P", devices...)
		before := marks(b, devices...)
		b.say("provider/P", "")
		time.Sleep(10 * time.Second)
		wantMarks(t, b, before+len(devices), devices...)
		b.say("current/r/1/reachable", "1")
		time.Sleep(10 * time.Second)
		wantMarks(t, b, before+len(devices)+1, devices...)
	})
}

func TestAJanitorThatDoesNothingIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1")
		// What a janitor leaves that died together with a broker which kept its name.
		b.say("lanfolk/janitor", `{"janitor":"lost","grace_ms":2000}`)
		j := &hemtjanst.Janitor{Broker: b, Grace: time.Second}
		janitor(t, j)
		time.Sleep(time.Minute)
		if s := j.Status(); s.Working || s.Worker == "" {
			t.Errorf("takes over where nothing is to be done: %+v", s)
		}
		b.say("provider/P", "")
		time.Sleep(4 * time.Second) // its own grace time, the other one's beyond it, and what that is overdue
		wantMarks(t, b, 0, "1")
		time.Sleep(2 * time.Second)
		wantMarks(t, b, 1, "1")
		if !j.Status().Working {
			t.Error("it works and doesn't say so")
		}
	})
}

func TestJanitorMarksNothingByASnapshotThatLacksSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "2", "3")
		b.deny = func(topic string) bool { return strings.HasPrefix(topic, "current/$") } // no end is ever heard
		delete(b.retained, "provider/P")
		j := &hemtjanst.Janitor{Broker: b, Grace: -1}
		janitor(t, j)
		time.Sleep(time.Hour)
		wantMarks(t, b, 0, "1", "2", "3")
		if s := j.Status(); s.Waiting != 0 || s.Left != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestJanitorSaysWhatItWouldDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "2")
		before := b.state()
		_, told := janitor(t, &hemtjanst.Janitor{Broker: b, DryRun: true, Grace: -1})
		b.say("provider/P", "")
		want(t, told(), "would-mark 1 P", "would-mark 2 P")
		delete(before, "provider/P")
		if got := b.state(); len(got) != len(before) {
			t.Errorf("a dry run leaves %v", got)
		}
	})
}

func TestJanitorTriesAgainWhatTheBrokerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "2")
		b.deny = func(topic string) bool { return topic == "current/r/1/reachable" }
		_, told := janitor(t, &hemtjanst.Janitor{Broker: b, Grace: -1})
		told()
		b.say("provider/P", "")
		time.Sleep(10 * time.Second)
		want(t, told(), "marked 2 P", "failed 1")
		b.mu.Lock()
		b.deny = nil
		b.mu.Unlock()
		time.Sleep(time.Minute)
		if got := told(); !slices.Contains(got, "marked 1 P") {
			t.Errorf("events %q", got)
		}
	})
}

// The last word about a device of a bridge that came back is the bridge's, though a janitor's mark was on its
// way just then.
func TestABridgeThatIsMarkedSaysOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridge := &hemtjanst.Bridge{Broker: b, Provider: "P", ClientID: "bridge"}
		if err := bridge.Set([]hemtjanst.BridgeDevice{{ID: "1", Root: "r/1", Reachable: true}}); err != nil {
			t.Fatal(err)
		}
		run(t, bridge.Run)
		janitor(t, &hemtjanst.Janitor{Broker: b, Grace: -1})
		synctest.Wait()
		for range 5 {
			b.cutOff("bridge")
			time.Sleep(time.Minute)
			b.say("current/r/1/reachable", "0") // late
			time.Sleep(2 * time.Minute)
			if got := b.state(); got["current/r/1/reachable"] != "1" || got["provider/P"] == "" {
				t.Errorf("in the end the broker retains %v", got)
			}
		}
	})
}

func TestPurgeClearsADevicesOwnTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		bridged(b, "P", "1", "1/in", "2")
		for _, topic := range []string{"current/r/1/on", "desired/r/1/on", "current/r/1/in/on", "desired/r/1/in", "current/r/10/on", "current/r/1"} {
			b.say(topic, "x")
		}
		p := &hemtjanst.Purge{Broker: b}
		if _, err := p.Run(t.Context(), "none"); err == nil || err.Error() != "hemtjanst: purge none: no such device on the broker" {
			t.Error(err)
		}
		if _, err := p.Run(t.Context(), "1"); err == nil || err.Error() != "hemtjanst: purge 1: the device is alive: its provider P is there" {
			t.Error(err)
		}
		b.say("provider/P", "")
		before := b.state()
		own := []string{"current/r/1/on", "current/r/1/reachable", "desired/r/1/in", "desired/r/1/on", "device/1"}
		dry, err := (&hemtjanst.Purge{Broker: b, DryRun: true}).Run(t.Context(), "1")
		if err != nil || !slices.Equal(dry.Cleared, own) || !slices.Equal(dry.Kept, []string{"current/r/1/in/on", "current/r/1/in/reachable"}) {
			t.Errorf("dry run: %q, %v", dry, err)
		}
		if len(b.state()) != len(before) {
			t.Error("a dry run clears something")
		}
		done, err := p.Run(t.Context(), "1")
		if err != nil || !slices.Equal(done.Cleared, own) {
			t.Errorf("%q, %v", done, err)
		}
		for _, topic := range own {
			delete(before, topic)
		}
		if got := b.state(); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the broker retains %v, want %v", got, before)
		}
		b.say("device/twin", `{"root":"r/2"}`)
		if done, err := p.Run(t.Context(), "2"); err != nil || !slices.Equal(done.Cleared, []string{"device/2"}) || !slices.Equal(done.Kept, []string{"current/r/2/reachable"}) {
			t.Errorf("one of two devices with a root: %q, %v", done, err)
		}
		if _, err := p.Run(t.Context(), "twin"); err == nil || err.Error() != "hemtjanst: purge twin: the device is alive: current/r/2/reachable says 1" {
			t.Error(err)
		}
	})
}
