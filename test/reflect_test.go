package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// crossing is a host that publishes on one subnet, a desk on another, and a
// router between them.
//
//	nas .11 (avahi)           desk .11 (browses)
//	     |                          |
//	a ===+===+===           b ===+==+===
//	        eth0  router .1  eth1
type crossing struct {
	*lab.Lab
	router, nas, desk *lab.Host
	nasd              *lab.AvahiDaemon
}

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	lab.Require(t, "root", "ip", "avahi-daemon", "avahi-browse", "dbus-daemon")
	l := lab.New(t)
	a, b := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64"), l.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	c := &crossing{Lab: l, router: l.Router("router", a, b), nas: l.Host("nas").Join(a), desk: l.Host("desk").Join(b)}
	c.nasd = c.nas.Avahi(lab.Avahi{Services: []lab.Service{
		{Name: "Page", Type: "_http._tcp", Port: 80, TXT: []string{"path=/"}},
		{Name: "Files", Type: "_smb._tcp", Port: 445},
	}})
	return c
}

// follow checks that what is allowed is found from the desk with an address of
// the other subnet, that what is denied isn't, and that a goodbye crosses.
func (c *crossing) follow(t *testing.T) {
	t.Helper()
	p := c.desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start()
	smb := c.desk.Lanfolk("browse", "_smb._tcp", "--json").Start()
	wait := func(what, name string) {
		t.Helper()
		p.WaitLine(30*time.Second, what+" of "+name, func(line string) bool {
			var e event
			return json.Unmarshal([]byte(line), &e) == nil && e.Event == what && e.Name == name
		})
	}
	there := netip.MustParsePrefix("10.99.1.0/24")
	reachable := func(e event) bool { return slices.ContainsFunc(e.Addresses, there.Contains) }
	p.WaitLine(30*time.Second, "Page with its address", func(line string) bool {
		var e event
		return json.Unmarshal([]byte(line), &e) == nil && e.Event != "remove" && e.Name == "Page" && e.Port == 80 && reachable(e)
	})
	if strings.Contains(p.Stdout(), "fe80:") {
		t.Errorf("a link-local address crossed: %s", p.Stdout())
	}

	// avahi sees the same.
	d := c.desk.Avahi(lab.Avahi{DBus: true})
	lab.Eventually(t, 30*time.Second, "avahi-browse to find it", func() error {
		r := d.Command("avahi-browse", "--terminate", "--resolve", "--parsable", "--no-db-lookup", "--all").Run()
		if !strings.Contains(r.Stdout, ";Page;_http._tcp;local;nas.local;10.99.1.") {
			return fmt.Errorf("it prints %s%s", r.Stdout, r.Stderr)
		}
		if strings.Contains(r.Stdout, "Files") || strings.Contains(r.Stdout, "_smb") {
			t.Errorf("what is denied crossed: %s", r.Stdout)
		}
		return nil
	})

	extra := lab.Service{Name: "extra", Type: "_http._tcp", Port: 81}
	c.nasd.Publish(extra)
	wait("add", "extra")
	c.nasd.Withdraw(extra)
	wait("remove", "extra")
	if out := smb.Stdout(); out != "" {
		t.Errorf("what is denied crossed: %s", out)
	}
}

func TestReflectCommandBetweenTwoSubnets(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	r := c.router.Lanfolk("reflect", "-i", "eth0", "-i", "eth1", "--deny", "_smb._tcp").Start()
	r.WaitText(30*time.Second, "ready")
	c.follow(t)
	if code := r.Stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, r.Stderr())
	}
	if s := r.Stderr(); !strings.Contains(s, "eth0, seen from eth1: deny:") || !strings.Contains(s, "_smb._tcp.local") {
		t.Errorf("it doesn't say what it stopped: %s", s)
	}
}

func TestReflectDryRunSendsNothing(t *testing.T) {
	t.Parallel()
	c := newCrossing(t)
	r := c.router.Lanfolk("reflect", "--all", "--deny", "_smb._tcp", "--dry-run", "-o", "jsonl").Start()
	r.WaitText(30*time.Second, "ready")
	c.desk.Lanfolk("browse", "_http._tcp", "--json").Start()
	c.nasd.Publish(lab.Service{Name: "new files", Type: "_smb._tcp", Port: 446})
	wait := func(what string, ok func(map[string]any) bool) {
		t.Helper()
		r.WaitLine(30*time.Second, what, func(line string) bool {
			var d map[string]any
			return json.Unmarshal([]byte(line), &d) == nil && ok(d)
		})
	}
	wait("question", func(d map[string]any) bool {
		return d["section"] == "question" && d["name"] == "_http._tcp.local" && d["from"] == "eth1" && d["to"] == "eth0" && d["passed"] == true
	})
	wait("denied record", func(d map[string]any) bool {
		return d["name"] == "new files._smb._tcp.local" && d["type"] == "SRV" && d["passed"] == false && d["rule"] == "deny"
	})
	b := c.desk.Lanfolk("browse", "_http._tcp", "--once", "--json").Run()
	if b.Stdout != "" {
		t.Errorf("it sent something: %s", b.Stdout)
	}
}

func TestNodeReflectsAsItsConfigSays(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"plain", "proxy"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := newCrossing(t)
			n := c.router.Up(lab.Node{Config: `
[reflect]
enabled = true
mode = "` + mode + `"

[[reflect.rule]]
name = "no files"
types = ["_smb._tcp"]
from = ["eth0"]
`})
			c.follow(t)
			lab.Eventually(t, 10*time.Second, "what the rule stopped in the status", func() error {
				if s := n.Run("status", "--json"); !strings.Contains(s.Stdout, `"stopped: eth0 to eth1: no files"`) {
					return fmt.Errorf("it is %s%s", s.Stdout, s.Stderr)
				}
				return nil
			})
		})
	}
}
