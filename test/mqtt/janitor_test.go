package mqtt

import (
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

const lamp1 = "current/home/lamp/1/reachable"

// Two janitors mark a death once between them, and the death of either changes
// nothing.
func TestJanitorsShareTheWork(t *testing.T) {
	onBoth(t, func(s *site) {
		first, second := s.startJanitor(step{}), s.startJanitor(step{})
		seen := observe(s.t, s.host.DialContext)
		dies := func(provider string) {
			s.t.Helper()
			b := s.startBridge(step{As: provider, Provider: provider}, lamps(true, true, true))
			s.wants(lamp1, map[string]string{lamp1: "1"})
			b.kill()
			lab.Eventually(s.t, 30*time.Second, "marks after the death of "+provider, func() error {
				return s.checkAll(&allUnder{Prefix: "current/home/lamp", Payload: "0", Count: 3})
			})
		}
		dies("P1")
		time.Sleep(2 * grace) // for a second one that marks as well
		if n := seen.count("current/home/lamp/", "0"); n != 3 {
			s.t.Errorf("3 devices were marked %d times", n)
		}
		first.kill()
		dies("P2")
		third := s.startJanitor(step{})
		second.kill()
		dies("P3")
		third.stop()
	})
}

// A janitor that starts where nothing is dead publishes nothing about devices.
func TestJanitorFindsNothing(t *testing.T) {
	onBoth(t, func(s *site) {
		s.startBridge(step{As: "b", Provider: "P"}, lamps(true, false))
		s.startDevice(step{As: "d", ID: "radio", Root: "home/radio"})
		seen := observe(s.t, s.host.DialContext)
		for range 2 {
			j := s.startJanitor(step{})
			time.Sleep(3 * grace)
			j.stop()
		}
		for _, m := range seen.published() {
			if strings.HasPrefix(m.topic, "device/") || strings.HasPrefix(m.topic, "provider/") || strings.HasSuffix(m.topic, "/reachable") {
				s.t.Errorf("it publishes %s %q", m.topic, m.payload)
			}
		}
	})
}

// A bridge that comes back within the grace time is left alone, and one that
// died while no janitor was there is found.
func TestJanitorWaitsAndLooksBack(t *testing.T) {
	onBoth(t, func(s *site) {
		long := 30_000
		j := s.startJanitor(step{Grace: &long}).(program)
		seen := observe(s.t, s.host.DialContext)
		again := step{As: "b", Provider: "P", ClientID: "bridge"}
		b := s.startBridge(again, lamps(true))
		b.kill()
		s.wants("provider/#", map[string]string{})
		b = s.startBridge(again, lamps(true))
		j.WaitText(30*time.Second, "spared")
		if seen.after(lamp1, "0") {
			s.t.Error("a bridge that came back was marked")
		}
		j.stop()
		b.kill()
		s.wants("provider/#", map[string]string{})
		dry := s.host.Lanfolk("mqtt", "janitor", "--dry-run", "--grace", "0s", "--broker", s.broker.URL("mqtt")).Start()
		dry.WaitText(becomesReady, "lamp-1")
		time.Sleep(200 * time.Millisecond)
		s.wants(lamp1, map[string]string{lamp1: "1"})
		dry.Stop()
		s.startJanitor(step{})
		s.wants(lamp1, map[string]string{lamp1: "0"})
	})
}
