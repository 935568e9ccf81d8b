package mqtt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// Of three janitors the one that works is killed, or stopped for good, in the middle
// of 5,000 marks: another one finishes them.
func TestJanitorsMidway(t *testing.T) {
	onBoth(t, func(s *site) {
		const n = 5000
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			var all []*lab.Process
			for range 3 {
				p := s.host.Lanfolk("mqtt", "janitor", "--grace", "300ms", "--keep-alive", "2s", "--broker", s.broker.URL("mqtt")).Start()
				p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
				all = append(all, p)
			}
			b := s.startBridge(step{As: "b", Provider: sig.String()}, bulk(n))
			seen := observe(s.t, s.host.DialContext)
			b.kill()
			lab.Eventually(s.t, 30*time.Second, "the first marks", func() error {
				if seen.count("current/bulk", "0") < 50 {
					return fmt.Errorf("%d marks", seen.count("current/bulk", "0"))
				}
				return nil
			})
			worker := 0
			for i, p := range all { // whoever has said so last
				if w := strings.Fields(p.Stdout()); slices.Contains(w, "working") && !slices.Contains(w, "resting") {
					worker = i
				}
			}
			all[worker].Signal(sig)
			when := seen.count("current/bulk", "0")
			lab.Eventually(s.t, 60*time.Second, "all marks", func() error {
				return s.checkAll(&allUnder{Prefix: "current/bulk", Payload: "0", Count: n})
			})
			marks := seen.count("current/bulk", "0")
			s.t.Logf("%v after about %d marks; there were %d in all", sig, when, marks)
			if marks > n+3000 {
				s.t.Errorf("after %v: %d devices were marked %d times", sig, n, marks)
			}
			for _, p := range all {
				p.Kill()
			}
		}
	})
}

// A provider that is back just before the grace time is over is spared; one that
// comes just after it says 1 again. Whichever it is, in the end all say 1.
func TestBackAtTheEndOfTheGrace(t *testing.T) {
	onBoth(t, func(s *site) {
		s.startJanitor(step{})
		again := step{As: "b", Provider: "P", ClientID: "bridge"}
		b := s.startBridge(again, bulk(300))
		for i := range 8 {
			b.kill()
			time.Sleep(grace - 140*time.Millisecond + time.Duration(i)*20*time.Millisecond)
			b = s.startBridge(again, bulk(300))
		}
		time.Sleep(2 * grace)
		lab.Eventually(s.t, 30*time.Second, "all say 1", func() error {
			return s.checkAll(&allUnder{Prefix: "current/bulk", Payload: "1", Count: 300})
		})
	})
}

// Devices move from one bridge to another while the first one dies.
func TestMovesWhileOneDies(t *testing.T) {
	onBoth(t, func(s *site) {
		s.startJanitor(step{})
		for i := range 3 {
			first := s.startBridge(step{As: "first", Provider: fmt.Sprintf("first-%d", i), ClientID: "first"}, bulk(500))
			gone := make(chan struct{})
			go func() {
				time.Sleep(time.Duration(i*60) * time.Millisecond)
				first.kill()
				close(gone)
			}()
			second := s.startBridge(step{As: "second", Provider: fmt.Sprintf("second-%d", i), ClientID: "second"}, bulk(250))
			<-gone
			lab.Eventually(s.t, 30*time.Second, "the half that moved", func() error {
				got, err := retained(s.host.DialContext, "current/#")
				if err != nil {
					return err
				}
				for j := range 500 {
					want := map[bool]string{true: "1", false: "0"}[j < 250]
					if p := got[fmt.Sprintf("current/bulk/%d/reachable", j)]; p != want {
						return fmt.Errorf("device %d says %s, want %s", j, p, want)
					}
				}
				return nil
			})
			second.stop()
		}
	})
}

// Whatever a stranger writes where devices and providers are, a janitor marks
// nothing because of it, and purge clears what is the device's own alone.
func TestHostileNames(t *testing.T) {
	onBoth(t, func(s *site) {
		doc := func(root, provider string) string {
			b, err := json.Marshal(map[string]string{"root": root, "providerID": provider})
			if err != nil {
				s.t.Fatal(err)
			}
			return string(b)
		}
		strange := map[string]string{
			"device/wild":                    doc("home/#", "gone"),
			"device/plus":                    doc("+/lamp", "gone"),
			"device/dollar":                  doc("$SYS/broker", "gone"),
			"device/control":                 doc("a\x00b\nc", "gone"),
			"device/noutf8":                  "{\"root\":\"\xff\xfe\",\"providerID\":\"gone\"}",
			"device/empty":                   doc("home//x", "gone"),
			"device/slash":                   doc("/home", "gone"),
			"device/long":                    doc(strings.Repeat("x", 70_000), "gone"),
			"device/noroot":                  `{"providerID":"gone"}`,
			"device/numbers":                 `{"root":7,"providerID":["gone"]}`,
			"device/twice":                   doc("same/root", "gone"),
			"device/twice2":                  doc("same/root", ""),
			"device/badprovider":             doc("bad/provider", "#"),
			"device/deep":                    `{"root":"deep","providerID":"gone","x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
			"device/itself":                  doc("itself", "itself"),
			"device/huge":                    `{"root":"huge","providerID":"gone","x":"` + strings.Repeat("x", 200_000) + `"}`,
			"device/tv":                      doc("home/tv", "gone"),
			"device/remote":                  doc("home/tv/remote", ""),
			"device/$sys":                    doc("sys", "gone"),
			"current/same/root/reachable":    "1",
			"current/bad/provider/reachable": "1",
			"current/huge/reachable":         "1",
			"current/sys/reachable":          "1",
			"current/home//x/reachable":      "1",
			"current/home/tv/reachable":      "1",
			"current/home/tv/on":             "true",
			"desired/home/tv/on":             "true",
			// Of the device that is nested in it, and of a neighbour that begins alike.
			"current/home/tv/remote/reachable": "1",
			"current/home/tv/remote/battery":   "7",
			"current/home/tv2/reachable":       "1",
			"t/device/tv":                      doc("home/tv", "gone"),
			"t/current/home/tv/reachable":      "1",
		}
		c, err := dialRaw(s.host.DialContext)
		if err != nil {
			s.t.Fatal(err)
		}
		defer c.close()
		for topic, payload := range strange {
			if err := c.publish(topic, payload, true); err != nil {
				s.t.Fatalf("%s: %v", topic, err)
			}
		}
		all := func() map[string]string {
			s.t.Helper()
			got, err := retained(s.host.DialContext, "#")
			if err != nil {
				s.t.Fatal(err)
			}
			delete(got, "lanfolk/janitor")
			return got
		}
		differs := func(what string, before map[string]string, want map[string]string) {
			s.t.Helper()
			got := all()
			for topic, payload := range before {
				w, changed := want[topic]
				if !changed {
					w = payload
				}
				if got[topic] != w {
					s.t.Errorf("%s: %s is %.100q, want %.100q", what, topic, got[topic], w)
				}
				delete(got, topic)
			}
			for topic := range got {
				s.t.Errorf("%s: there is %s", what, topic)
			}
		}
		before := all()
		dry := s.host.Lanfolk("mqtt", "janitor", "--dry-run", "--grace", "300ms", "--broker", s.broker.URL("mqtt")).Start()
		dry.WaitText(becomesReady, "would-mark")
		time.Sleep(500 * time.Millisecond)
		dry.Stop()
		differs("dry run", before, nil)
		s.startJanitor(step{})
		tv := "current/home/tv/reachable"
		lab.Eventually(s.t, 30*time.Second, "the mark", func() error {
			if got := all()[tv]; got != "0" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		time.Sleep(3 * time.Second) // beyond the time for strays
		differs("janitor", before, map[string]string{tv: "0"})
		for _, id := range []string{"wild", "huge", "deep", "twice"} {
			before := all()
			args := []string{"mqtt", "purge", id, "--broker", s.broker.URL("mqtt")}
			if r := s.host.Lanfolk(append(args, "--dry-run")...).Run(); r.Exit != 0 || !strings.Contains(r.Stdout, "would-clear") {
				s.t.Errorf("purge %s --dry-run: exit %d: %s%s", id, r.Exit, r.Stdout, r.Stderr)
			}
			differs("purge --dry-run of "+id, before, nil)
			if r := s.host.Lanfolk(args...).Run(); r.Exit != 0 {
				s.t.Errorf("purge %s: exit %d: %s", id, r.Exit, r.Stderr)
			}
			differs("purge of "+id, before, map[string]string{"device/" + id: ""})
		}
		before = all()
		if r := s.host.Lanfolk("mqtt", "purge", "tv", "--broker", s.broker.URL("mqtt")).Run(); r.Exit != 0 || !strings.Contains(r.Stdout, "current/home/tv/remote/battery") {
			s.t.Errorf("purge tv: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		differs("purge of tv", before, map[string]string{"device/tv": "", tv: "", "current/home/tv/on": "", "desired/home/tv/on": ""})
		for _, id := range []string{"a+b", "#", "$SYS", "a\nb", "a//b", "\xff"} {
			for _, args := range [][]string{
				{"purge", id}, {"announce", "--id", id, "--root", "x"}, {"announce", "--id", "x", "--root", id},
				{"watch", "--tenant", id}, {"janitor", "--tenant", id}, {"bridge", "--provider", id, "--devices", "/dev/null"},
			} {
				if r := s.host.Lanfolk(append(append([]string{"mqtt"}, args...), "--broker", s.broker.URL("mqtt"))...).Run(); r.Exit != 2 || !strings.Contains(r.Stderr, "unusable name") {
					s.t.Errorf("%q: exit %d: %s", args, r.Exit, r.Stderr)
				}
			}
		}
	})
}
