package mqtt

import (
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A janitor that is stopped while it is the one at work is replaced, and what
// it does when it goes on changes nothing.
func TestAStoppedJanitorIsReplaced(t *testing.T) {
	onBoth(t, func(s *site) {
		first := s.startJanitor(step{})
		second := s.startJanitor(step{})
		seen := observe(s.t, s.host.DialContext)
		b := s.startBridge(step{As: "b", Provider: "P"}, lamps(true, true, true))
		s.wants(lamp1, map[string]string{lamp1: "1"})
		first.freeze()
		b.kill()
		lab.Eventually(s.t, 60*time.Second, "marks by the second janitor", func() error {
			return s.checkAll(&allUnder{Prefix: "current/home/lamp", Payload: "0", Count: 3})
		})
		again := s.startBridge(step{As: "again", Provider: "P2"}, lamps(true, true, true))
		s.wants(lamp1, map[string]string{lamp1: "1"})
		first.(program).Signal(syscall.SIGCONT)
		time.Sleep(2 * time.Second)
		s.wants(lamp1, map[string]string{lamp1: "1"})
		if n := seen.count("current/home/lamp/", "0"); n != 3 {
			s.t.Errorf("3 devices were marked %d times", n)
		}
		second.stop()
		again.kill()
		lab.Eventually(s.t, 60*time.Second, "marks by the first janitor", func() error {
			return s.checkAll(&allUnder{Prefix: "current/home/lamp", Payload: "0", Count: 3})
		})
		first.stop()
	})
}

// The network is gone for so long that the broker speaks all wills. Who comes
// back with it isn't marked, and who died meanwhile is.
func TestTheNetworkIsGoneForAWhile(t *testing.T) {
	onBoth(t, func(s *site) {
		grace := 10_000
		s.startJanitor(step{Grace: &grace, KeepAlive: 2})
		seen := observe(s.t, s.host.DialContext)
		s.startBridge(step{As: "lives", Provider: "P", KeepAlive: 2}, lamps(true))
		dies := s.startBridge(step{As: "dies", Provider: "Q", KeepAlive: 2}, lamps(false, true)[1:])
		const lamp2 = "current/home/lamp/2/reachable"
		s.wants("current/#", map[string]string{lamp1: "1", lamp2: "1"})
		s.host.Run("ip", "link", "set", "lo", "down")
		time.Sleep(time.Second)
		dies.kill()
		time.Sleep(7 * time.Second)
		up := time.Now()
		s.host.Run("ip", "link", "set", "lo", "up")
		fresh := observe(s.t, s.host.DialContext) // the other one's connection may take seconds to go on
		lab.Eventually(s.t, 60*time.Second, "the mark of the bridge that died", func() error {
			return s.check(map[string]json.RawMessage{
				lamp1: []byte(`"1"`), "provider/P": []byte(`{"json_subset":{}}`), lamp2: []byte(`"0"`), "provider/Q": []byte("null"),
			})
		})
		// The janitor doesn't learn that the bridge is gone before the network is there again. A bridge whose wait
		// for the next attempt is longer than the grace time from then on is marked.
		away := fresh.first("provider/P", "{}").Sub(up)
		if away < time.Duration(grace)*time.Millisecond && seen.after(lamp1, "0") {
			s.t.Errorf("a bridge that came back within %v was marked", away)
		}
	})
}
