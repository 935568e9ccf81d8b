package hemtjanst_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// watch runs a watcher in a bubble; the function it returns gives the events since the last call.
func watch(t *testing.T, b *fakeBroker) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []hemtjanst.Event
	w := &hemtjanst.Watcher{Broker: b, ClientID: "watcher", Event: func(e hemtjanst.Event) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e)
	}}
	run(t, w.Run)
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got := all
		all = nil
		return words(got)
	}
}

// run runs a role until the test's end, or until the function it returns is called.
func run(t *testing.T, f func(context.Context) error) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	leave = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(leave)
	return leave
}

func TestWatcherTellsWhatIsThereAndThenWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		b.say("device/a", `{"root":"r/a","providerID":"P"}`)
		b.say("current/r/a/reachable", "1")
		b.say("current/r/a/on", "1")
		b.say("provider/P", "{}")
		events := watch(t, b)
		want(t, events(), "provider added P", "device added a reachable", "complete")
		b.say("provider/P", "")
		want(t, events(), "provider removed P", "device changed a unreachable")
		b.cutOff("watcher")
		want(t, events(), "lost")
		b.say("provider/P", "{}")
		b.say("device/b", `{"root":"r/b"}`)
		time.Sleep(time.Second)
		want(t, events(), "provider added P", "device changed a reachable", "device added b unknown", "complete")
	})
}

// Mosquitto cuts a snapshot short without a word: what is missing is seen, and asked for again.
func TestASnapshotThatIsCutShortIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		b.cut = []int{3, 5}
		for _, id := range []string{"a", "b", "c"} {
			b.say("device/"+id, `{"root":"r/`+id+`","providerID":"P"}`)
			b.say("current/r/"+id+"/reachable", "1")
		}
		b.say("provider/P", "{}")
		events := watch(t, b)
		want(t, events(), "provider added P", "device added a reachable", "device added b reachable", "device added c reachable", "complete")
		// After a connect, too: nothing is gone because it isn't heard at once.
		b.cut = []int{2}
		b.cutOff("watcher")
		time.Sleep(time.Second)
		want(t, events(), "lost", "complete")
		// What is really gone is believed when it is missing twice.
		b.cutOff("watcher")
		b.say("device/a", "")
		b.say("current/r/a/reachable", "")
		time.Sleep(time.Second)
		want(t, events(), "lost", "device removed a unknown", "complete")
	})
}

func TestASnapshotThatIsCutShortEachTimeIsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		for i := range 20 {
			b.say("device/"+string(rune('a'+i)), `{"root":"r/`+string(rune('a'+i))+`"}`)
			b.say("current/r/"+string(rune('a'+i))+"/reachable", "1")
		}
		b.cut = slices.Repeat([]int{5, 0, 0, 3, 0, 0}, 5) // of each filter
		events := watch(t, b)
		if got := events(); !slices.Contains(got, "complete unconfirmed") {
			t.Errorf("events %q", got)
		}
		time.Sleep(11 * time.Second)
		if got := events(); !slices.Contains(got, "complete") || len(got) < 15 {
			t.Errorf("events %q", got)
		}
	})
}

// A watcher that may not publish gets no sentinel.
func TestWithoutItsSentinelASnapshotIsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		b.deny = func(string) bool { return true }
		b.say("device/a", `{"root":"r/a"}`)
		events := watch(t, b)
		want(t, events())
		time.Sleep(4 * time.Second)
		want(t, events(), "device added a unknown", "complete unconfirmed")
		b.say("current/r/a/reachable", "1")
		want(t, events(), "device changed a reachable")
	})
}

func TestABrokerThatRefusesUsIsAnErrorAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		b.refuse = func() error { return hemtjanst.ErrDenied }
		w := &hemtjanst.Watcher{Broker: b, Event: func(hemtjanst.Event) {}}
		if err := w.Run(t.Context()); !errors.Is(err, hemtjanst.ErrDenied) {
			t.Error(err)
		}
		w = &hemtjanst.Watcher{Broker: b, Tenant: "a/#", Event: func(hemtjanst.Event) {}}
		if err := w.Run(t.Context()); !errors.Is(err, hemtjanst.ErrName) {
			t.Error(err)
		}
		if err := (&hemtjanst.Watcher{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no broker") {
			t.Error(err)
		}
	})
}

func TestABrokerThatIsDownIsTriedEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake()
		b.refuse = func() error { return errors.New("connection refused") }
		events := watch(t, b)
		time.Sleep(10 * time.Minute)
		b.mu.Lock()
		// Up to 30 s between two, half of that on average.
		if b.connects < 20 || b.connects > 80 {
			t.Errorf("%d attempts in 10 minutes", b.connects)
		}
		b.refuse = nil
		b.mu.Unlock()
		time.Sleep(31 * time.Second)
		want(t, events(), "complete")
	})
}
