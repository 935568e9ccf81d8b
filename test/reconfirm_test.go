package test

import (
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A host falls silent. Somebody says to one node that its service didn't work;
// a browser elsewhere and a node that never sends draw their conclusions from
// that node's questions (RFC 6762 §10.4, §10.5).
func TestWhatDoesNotWorkIsGoneEverywhere(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk, ear, watcher, lamp := l.Host("desk").Join(a), l.Host("ear").Join(a), l.Host("watcher").Join(a), l.Host("lamp").Join(a)
	wire := a.Capture()
	asks, hears := desk.Up(lab.Node{}), ear.Up(lab.Node{Config: "[mdns]\nsilent = true\n"})
	p := watcher.Lanfolk("browse", "_hap._tcp", "--json").Start()
	time.Sleep(1500 * time.Millisecond) // their first questions are over
	r := lamp.Link(a).Respond(lab.Responder{TTL: 4500, Services: []lab.Service{{Name: "lamp", Type: "_hap._tcp", Port: 1}}})
	p.WaitLine(5*time.Second, "add", func(line string) bool { return strings.Contains(line, `"event":"add"`) })
	for _, n := range []*lab.RunningNode{asks, hears} {
		waitService(t, n, 10*time.Second, "lamp", "_hap._tcp", "reachable", func(s service) bool { return s.State == "reachable" })
	}

	// While it is there it is confirmed at once.
	if again := asks.Run("resolve", "lamp", "_hap._tcp", "--reconfirm"); again.Exit != 0 || again.Took > 4*time.Second {
		t.Errorf("while it lives: exit %d after %v: %s", again.Exit, again.Took, again.Stderr)
	}
	time.Sleep(5 * time.Second)
	r.Silence()
	start := time.Now()
	again := asks.Run("resolve", "lamp", "_hap._tcp", "--reconfirm")
	if again.Exit != 6 || again.Took < 10*time.Second || again.Took > 14*time.Second {
		t.Errorf("when it is dead: exit %d after %v: %s%s", again.Exit, again.Took, again.Stdout, again.Stderr)
	}
	p.WaitLine(time.Until(start.Add(15*time.Second)), "remove", func(line string) bool { return strings.Contains(line, `"event":"remove"`) })
	if took := time.Since(start); took < 10*time.Second {
		t.Errorf("the browser lost it after %v, want 10 s or more", took)
	}
	for _, n := range []*lab.RunningNode{asks, hears} {
		waitNoService(t, n, time.Until(start.Add(15*time.Second)), "lamp", "_hap._tcp")
	}
	if n := wire.Count(func(f lab.Frame) bool {
		_, _, port, ok := f.UDP()
		return ok && port == 5353 && f.LinkLayer().LinkFlow().Src().String() == ear.Link(a).MAC.String()
	}); n != 0 {
		t.Errorf("the silent node sent %d packets", n)
	}
}
