package syncthing

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestServeOnlySome: devices that aren't allowed aren't kept, and a changed list counts from
// SIGHUP on. A broken one leaves the last.
func TestServeOnlySome(t *testing.T) {
	l := newLab(t)
	h := l.Host("server")
	file := writeFile(t, l, "allowed.txt", []byte("# ours\n"+textID("alpha")+"\n\n"+hexID(sentinel)+" # for the test\n"))
	p := serve(h, "--allow", file, "--allow", textID("beta"))
	to := server("127.0.0.1")
	s := open(t, h, "127.0.0.1:0")
	s.announceSentinel(to)
	announced := func(name string) bool {
		t.Helper()
		s.exchange(to, announcement(deviceID(name), ":22000"))
		return len(s.found(to, deviceID(name))) > 0
	}
	for name, want := range map[string]bool{"alpha": true, "beta": true, "gamma": false} {
		if got := announced(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	writeFile(t, l, "allowed.txt", []byte(textID("gamma")+"\n"+hexID(sentinel)+"\n"))
	p.Signal(syscall.SIGHUP)
	lab.Eventually(t, 15*time.Second, "the new list", func() error {
		if !announced("gamma") {
			return fmt.Errorf("not served: %s", p.Stderr())
		}
		return nil
	})
	if announced("delta") {
		t.Error("delta is served")
	}
	writeFile(t, l, "allowed.txt", []byte("\n"+textID("delta")[:20]+"\n"))
	p.Signal(syscall.SIGHUP)
	p.WaitText(15*time.Second, "allowed.txt:2: ")
	if !announced("gamma") || announced("delta") {
		t.Error("a broken list counts")
	}
	p.Signal(syscall.SIGUSR1)
	p.WaitText(15*time.Second, "denied=")
	for _, c := range []struct {
		arg  string
		exit int
		says string
	}{
		{file, 1, "allowed.txt:2: "},
		{file + ".not", 2, "allowed.txt.not"},
	} {
		if r := h.Lanfolk("syncthing", "serve", "--allow", c.arg).Run(); r.Exit != c.exit || !strings.Contains(r.Stderr, c.says) || r.Stdout != "" {
			t.Errorf("%s: exit %d: %s%s", c.arg, r.Exit, r.Stdout, r.Stderr)
		}
	}
}

// TestServePinned: with --pin a device can only be announced from the network that first did so.
func TestServePinned(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/16")
	h := l.Host("server").Join(net)
	first := l.Host("first").Join(net, lab.WithAddress("10.77.1.1"))
	beside := l.Host("beside").Join(net, lab.WithAddress("10.77.1.200"))
	thief := l.Host("thief").Join(net, lab.WithAddress("10.77.2.1"))
	p := serve(h, "--pin")
	to := at(h.Link(net).V4)
	s := open(t, first, "0.0.0.0:0")
	s.announceSentinel(to)
	s.exchange(to, announcement(deviceID("alpha"), ":22000"))
	other := open(t, thief, "0.0.0.0:0")
	other.exchange(to, announcement(deviceID("alpha"), ":666"))
	s.wantFound(to, "alpha", "10.77.1.1:22000")
	neighbour := open(t, beside, "0.0.0.0:0")
	neighbour.exchange(to, announcement(deviceID("alpha"), ":22001"))
	other.wantFound(to, "alpha", "10.77.1.200:22001", "10.77.1.1:22000")
	p.Signal(syscall.SIGUSR1)
	p.WaitText(15*time.Second, "conflict")
}

// TestWithoutRights: every command works for who may do nothing special.
func TestWithoutRights(t *testing.T) {
	l := newLab(t)
	lab.Require(t, "setpriv")
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, they := l.Host("us").Join(net), l.Host("they").Join(net)
	start := func(h *lab.Host, args ...string) *lab.Process {
		c := h.Lanfolk(append([]string{"syncthing"}, args...)...)
		c.User = lab.Nobody
		return c.Start()
	}
	waitReady(start(h, "serve"))
	x := &listener{start(they, "listen", "-o", "jsonl"), t}
	waitBound(t, they, localPort, 21026)
	start(h, "announce", "--id", hexID("alpha"), "--local", "--server", "127.0.0.1")
	ours := h.Link(net)
	x.want("by IPv4", named("alpha", ours.V4.String(), "eth0", netip.AddrPortFrom(ours.V4, 22000).String()))
	x.want("by IPv6", named("alpha", ours.LinkLocal().String(), "eth0", fmt.Sprintf("[%s%%eth0]:22000", ours.LinkLocal())))
	c := they.Lanfolk("syncthing", "query", hexID("alpha"), "--server", ours.V6.String(), "--timeout", "20s", "-o", "name")
	c.User = lab.Nobody
	if r := c.Run(); r.Exit != 0 { // what a loopback source announced of itself
		t.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

// TestServersByName: a name stands for all its addresses.
func TestServersByName(t *testing.T) {
	l := newLab(t)
	h := l.Host("h")
	newFake(t, h, "127.0.0.1:22026", [][]byte{announcement(deviceID("alpha"), "192.0.2.1:1")})
	six := newFake(t, h, "[::1]:22026", [][]byte{announcement(deviceID("alpha"), "192.0.2.2:2")})
	hosts := writeFile(t, l, "hosts", []byte("127.0.0.1 both\n::1 both\n"))
	c := h.Lanfolk("syncthing", "query", hexID("alpha"), "--server", "both", "--timeout", "20s", "-o", "json")
	c.Mounts = []lab.Mount{{Source: hosts, Target: "/etc/hosts"}}
	lab.Eventually(t, 15*time.Second, "both", func() error { // who answers half a second later is left out
		if r := c.Run(); r.Exit != 0 || !strings.Contains(r.Stdout, "192.0.2.1:1") || !strings.Contains(r.Stdout, "192.0.2.2:2") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	before := len(six.questions())
	a := h.Lanfolk("syncthing", "announce", "--id", hexID("alpha"), "--server", "both")
	a.Mounts = c.Mounts
	a.Start()
	lab.Eventually(t, 15*time.Second, "the announcement to both", func() error {
		if all := six.questions(); len(all) <= before {
			return fmt.Errorf("%d", len(all))
		}
		return nil
	})
}

// TestAnnounceFollowsLinks: where a link comes, the device is announced; also one with IPv6 alone.
func TestAnnounceFollowsLinks(t *testing.T) {
	l := newLab(t)
	a, b, six := l.Subnet("a", "10.77.1.0/24"), l.Subnet("b", "10.77.2.0/24"), l.Subnet("six")
	h := l.Host("device").Join(a).Join(b)
	h.Link(b).Down()
	onA, onB, onSix := a.Capture(), b.Capture(), six.Capture()
	announced := func(c *lab.Capture, dst uint16) {
		t.Helper()
		c.Wait(20*time.Second, fmt.Sprintf("announcement to port %d", dst), func(f lab.Frame) bool {
			_, _, port, ok := f.UDP()
			return ok && port == dst
		})
	}
	announce(h, "--id", hexID("alpha"), "--local")
	announced(onA, localPort)
	h.Link(b).Up()
	announced(onB, localPort)
	h.Join(six)
	announced(onSix, 21026)
	// Away and back: soon announced again.
	n := onB.Count(func(f lab.Frame) bool { _, _, dst, ok := f.UDP(); return ok && dst == localPort })
	h.Link(b).Down()
	time.Sleep(1500 * time.Millisecond)
	h.Link(b).Up()
	lab.Eventually(t, 20*time.Second, "the announcement on the link that is back", func() error {
		if m := onB.Count(func(f lab.Frame) bool { _, _, dst, ok := f.UDP(); return ok && dst == localPort }); m <= n {
			return fmt.Errorf("%d", m)
		}
		return nil
	})
}

// TestInterrupted: what is interrupted ends at once; only what had to answer says so.
func TestInterrupted(t *testing.T) {
	l := newLab(t)
	h := l.Host("h").Join(l.Subnet("net", "10.77.0.0/24"))
	silent := newFake(t, h, "127.0.0.1:4000", nil)
	asked := 0 // before
	for _, c := range []struct {
		exit    int
		args    []string
		started func(*lab.Process)
	}{
		{130, []string{"query", hexID("alpha"), "--server", "127.0.0.1:4000", "--timeout", "10m"}, func(*lab.Process) {
			lab.Eventually(t, 20*time.Second, "the question", func() error {
				if len(silent.questions()) == asked {
					return errors.New("none")
				}
				return nil
			})
		}},
		{0, []string{"listen"}, func(*lab.Process) { waitBound(t, h, localPort) }},
		{0, []string{"announce", "--id", hexID("alpha"), "--local", "--server", "10.77.0.1"}, func(p *lab.Process) { p.WaitText(20*time.Second, "announced") }},
		{0, []string{"serve"}, waitReady},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			p := h.Lanfolk(append([]string{"syncthing"}, c.args...)...).Start()
			c.started(p)
			p.Signal(sig)
			if exit := p.Wait(10 * time.Second); exit != c.exit {
				t.Errorf("%s, %v: exit %d: %s", c.args[0], sig, exit, p.Stderr())
			}
			asked = len(silent.questions())
		}
	}
}

// TestListenOptions: the first one, only those wanted, and nobody in time.
func TestListenOptions(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24")
	h, they := l.Host("us").Join(net), l.Host("they").Join(net)
	p := h.Lanfolk("syncthing", "listen", "--once", textID("beta"), "-o", "name").Start()
	waitBound(t, h, localPort)
	src, all := netip.AddrPortFrom(they.Link(net).V4, 4000), netip.MustParseAddrPort("10.77.0.255:21025")
	for _, name := range []string{"alpha", "beta"} {
		replay(t, they.Link(net), src, all, announcement(deviceID(name), ":1"))
	}
	if exit := p.Wait(20 * time.Second); exit != 0 || p.Stdout() != textID("beta")+"\n" {
		t.Errorf("exit %d: %s%s", exit, p.Stdout(), p.Stderr())
	}
	if r := h.Lanfolk("syncthing", "listen", "--once", "--timeout", "300ms").Run(); r.Exit != 6 || r.Stdout != "" {
		t.Errorf("nobody: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for _, args := range [][]string{{"--timeout", "-1s"}, {"ABC"}, {"-i", "nosuch"}, {"-o", "nonsense"}} {
		if r := h.Lanfolk(slices.Concat([]string{"syncthing", "listen"}, args)...).Run(); r.Exit != 2 {
			t.Errorf("%q: exit %d: %s%s", args, r.Exit, r.Stdout, r.Stderr)
		}
	}
}
