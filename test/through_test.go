package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/test/lab"
)

// Beside a node, browse, resolve and lookup ask the node and tell the same as
// with sockets of their own.
func TestDNSSDIsAskedThroughANode(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{})
	waitService(t, n, 10*time.Second, "Door", "_http._tcp", "reachable", func(s service) bool { return s.State == "reachable" })
	direct := func(args ...string) lab.Result { return o.desk.Lanfolk(append(args, "--direct")...).Run() }

	for _, args := range [][]string{
		{"browse", "_http._tcp", "--once", "--resolve", "--json"},
		{"browse", "_universal._sub._ipp._tcp", "--once", "--json"},
		{"browse", "--once", "--json"},
		{"resolve", "Laser, 2nd floor", "_ipp._tcp", "--json"},
		{"lookup", "camera.local", "--json"},
		{"lookup", "10.99.2.11", "--json"},
	} {
		lab.Eventually(t, 30*time.Second, fmt.Sprintf("the same for %q", args), func() error { // who answers late isn't found in one look
			through, alone := n.Run(args...), direct(args...)
			a, b := holds(t, through.Stdout), holds(t, alone.Stdout)
			if through.Exit != 0 || alone.Exit != 0 || len(a) == 0 || !slices.Equal(a, b) {
				return fmt.Errorf("through the node: exit %d\n%s%s\nalone: exit %d\n%s%s",
					through.Exit, strings.Join(a, "\n"), through.Stderr, alone.Exit, strings.Join(b, "\n"), alone.Stderr)
			}
			return nil
		})
	}
	for _, args := range [][]string{
		{"resolve", "Nobody", "_ipp._tcp", "--timeout", "1s"},
		{"lookup", "nobody.local", "--timeout", "1s"},
	} {
		if r := n.Run(args...); r.Exit != 6 || !strings.Contains(r.Stderr, "nobody answered") || r.Stdout != "" {
			t.Errorf("%v: exit %d: %s%s", args, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if r := o.desk.Lanfolk("lookup", "camera.local", "--state", o.Dir()).Run(); r.Exit != 3 {
		t.Errorf("with --state where no node runs: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

// holds returns what the lines of a stream, or the items of a list, say at the
// end, sorted; but for how long it holds, which runs down.
func holds(t *testing.T, out string) []string {
	t.Helper()
	var all []map[string]any
	if strings.HasPrefix(out, "[") {
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	} else {
		for line := range strings.Lines(out) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			all = append(all, m)
		}
	}
	last := make(map[string]string)
	for _, m := range all {
		gone := m["event"] == "remove"
		delete(m, "ttl")
		delete(m, "event")
		if list, ok := m["addresses"].([]any); ok {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		key := fmt.Sprint(m["name"], m["type"], m["host"], m["address"], m["interface"])
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if last[key] = string(b); gone {
			delete(last, key)
		}
	}
	var s []string
	for _, v := range last {
		s = append(s, v)
	}
	slices.Sort(s)
	return s
}

// Two engines on one host would take unicast answers from each other.
func TestBrowseThroughANodeOpensNoSocket(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{User: lab.Nobody})
	// The node that a user runs is asked without being named.
	if err := os.Symlink(n.State, filepath.Join(o.Dir(), "lanfolk")); err != nil {
		t.Fatal(err)
	}
	holders := func() (pids []int) {
		t.Helper()
		var all []lan.Holder
		if err := o.desk.Do(func() (err error) { all, err = lan.PortHolders(5353); return err }); err != nil {
			t.Fatal(err)
		}
		for _, h := range all {
			pids = append(pids, h.PID)
		}
		slices.Sort(pids)
		return slices.Compact(pids)
	}
	c := o.desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json")
	c.User, c.Env = lab.Nobody, []string{"XDG_STATE_HOME=" + o.Dir()}
	p := c.Start()
	wait := func(what, name string) {
		t.Helper()
		p.WaitLine(20*time.Second, what+" of "+name, func(line string) bool {
			var e event
			return json.Unmarshal([]byte(line), &e) == nil && e.Event == what && e.Name == name
		})
	}
	wait("add", "Door")
	if pids := holders(); !slices.Equal(pids, []int{n.Pid()}) {
		t.Errorf("port 5353 is held by processes %v; want only the node, %d", pids, n.Pid())
	}
	extra := lab.Service{Name: "extra", Type: "_http._tcp", Port: 81}
	o.nasd.Publish(extra)
	wait("add", "extra")
	o.nasd.Withdraw(extra)
	wait("remove", "extra")

	// With sockets of its own it is seen.
	d := o.desk.Lanfolk("browse", "_http._tcp", "--json", "--direct").Start()
	lab.Eventually(t, 20*time.Second, "second holder of the port", func() error {
		if pids := holders(); !slices.Contains(pids, d.Pid()) {
			return errors.New(fmt.Sprint("it is held by ", pids))
		}
		return nil
	})
	if code := d.Stop(); code != 0 && code != 130 {
		t.Errorf("stopped with %d", code)
	}

	// It doesn't go on alone when its node ends.
	n.Stop()
	if code := p.Wait(20 * time.Second); code != 3 {
		t.Errorf("after the node's end: exit %d", code)
	}
}

// A node that was not named keeps nobody from asking: one that this user may not
// call, and one that lives in another network.
func TestAsksAloneBesideANodeThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{})
	if err := os.Symlink(n.State, filepath.Join(o.Dir(), "lanfolk")); err != nil {
		t.Fatal(err)
	}
	ask := func(h *lab.Host, user int) lab.Result {
		c := h.Lanfolk("resolve", "Door", "_http._tcp", "--json")
		c.User, c.Env = user, []string{"XDG_STATE_HOME=" + o.Dir()}
		// Root's default is a folder of the machine: here it is this node's.
		c.Mounts = []lab.Mount{{Target: "/var/lib"}}
		return c.Run()
	}
	// The node's socket is root's, and so is its folder.
	if err := os.Chmod(n.State, 0o700); err != nil {
		t.Fatal(err)
	}
	knowsDoor := func(where string) {
		t.Helper()
		lab.Eventually(t, 30*time.Second, "Door "+where, func() error {
			if r := ask(o.desk, lab.Nobody); r.Exit != 0 || !strings.Contains(r.Stdout, "10.99.2.11") {
				return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	knowsDoor("beside a node of root's")
	if err := os.Chmod(n.State, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(n.State, "node.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	// The printer's host is on subnet a alone: there is no Door. The desk's
	// node, asked from there, would know it.
	if r := ask(o.printer, lab.Nobody); r.Exit != 6 {
		t.Errorf("beside a node in another network: exit %d: %s%s; want that nobody answered", r.Exit, r.Stdout, r.Stderr)
	}
	knowsDoor("on the node's own host")
}
