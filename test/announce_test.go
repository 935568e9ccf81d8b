package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/test/lab"
)

// pair is one subnet with a desk, where lanfolk announces, and a neighbour with
// avahi-daemon and its programs.
type pair struct {
	*lab.Lab
	a               *lab.Subnet
	desk, neighbour *lab.Host
	avahi           *lab.AvahiDaemon
}

func newPair(t *testing.T, services ...lab.Service) *pair {
	t.Helper()
	lab.Require(t, "root", "ip", "avahi-daemon", "avahi-browse", "dbus-daemon")
	l := lab.New(t)
	p := &pair{Lab: l, a: l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")}
	p.desk, p.neighbour = l.Host("desk").Join(p.a), l.Host("neighbour").Join(p.a)
	p.avahi = p.neighbour.Avahi(lab.Avahi{DBus: true, Services: services})
	return p
}

// browse returns what avahi-browse finds at once, its lines with resolved
// services ("=;") or, where resolve is false, those with names ("+;").
func browse(t *testing.T, d *lab.AvahiDaemon, typ string, resolve bool) []string {
	t.Helper()
	args, begin := []string{"avahi-browse", "--parsable", "--terminate"}, "+;"
	if resolve {
		args, begin = append(args, "--resolve"), "=;"
	}
	r := d.Command(append(args, typ)...).Run()
	if r.Exit != 0 {
		t.Fatalf("avahi-browse: exit %d: %s", r.Exit, r.Stderr)
	}
	var out []string
	for line := range strings.Lines(r.Stdout) {
		if strings.HasPrefix(line, begin) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// finds waits until a line of what avahi-browse finds holds all the parts, and
// returns it: who announces says so when it has sent, and not when others have heard it.
func finds(t *testing.T, d *lab.AvahiDaemon, typ string, resolve bool, parts ...string) (line string) {
	t.Helper()
	lab.Eventually(t, 20*time.Second, fmt.Sprintf("avahi-browse %s that says %q", typ, parts), func() error {
		all := browse(t, d, typ, resolve)
		i := slices.IndexFunc(all, has(parts...))
		if i < 0 {
			return fmt.Errorf("it says %q", all)
		}
		line = all[i]
		return nil
	})
	return line
}

// announced waits until the command says so.
func announced(p *lab.Process, name string) {
	p.WaitLine(20*time.Second, "announcement of "+name, func(line string) bool {
		return strings.Contains(line, `"event":"announced"`) && strings.Contains(line, fmt.Sprintf("%q", name))
	})
}

func TestAnnounceIsFoundByAvahiUntilItsGoodbye(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	wire := p.a.Capture()
	seen := p.avahi.Command("avahi-browse", "--parsable", "_http._tcp").Start()
	cmd := p.desk.Lanfolk("announce", "Büro v1.2", "_http._tcp", "8080", "path=/jobs", "ro", "--subtype", "_printer", "--state", p.Dir(), "-o", "jsonl").Start()
	announced(cmd, "Büro v1.2")

	found := finds(t, p.avahi, "_http._tcp", true, ";10.99.1.10;8080;", `"path=/jobs"`, `"ro"`)
	finds(t, p.avahi, "_printer._sub._http._tcp", false, "B\\195\\188ro")
	host := strings.Split(found, ";")[6]
	lab.Eventually(t, 20*time.Second, "avahi-resolve "+host, func() error {
		r := p.avahi.Command("avahi-resolve", "--name", "-4", host).Run()
		if r.Exit != 0 || !strings.Contains(r.Stdout, "10.99.1.10") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	if code := cmd.Stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, cmd.Stderr())
	}
	seen.WaitLine(20*time.Second, "removal", func(l string) bool { return strings.HasPrefix(l, "-;") && strings.Contains(l, "B\\195\\188ro") })
	wire.Wait(10*time.Second, "goodbye for the SRV record", goodbye(dns.TypeSRV))
}

// goodbye is true of a frame that takes back a record of a type (RFC 6762 §10.1).
func goodbye(typ uint16) func(lab.Frame) bool {
	return func(f lab.Frame) bool {
		payload, _, port, ok := f.UDP()
		var m dns.Msg
		if !ok || port != 5353 || m.Unpack(payload) != nil {
			return false
		}
		return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == typ && rr.Header().Ttl == 0 })
	}
}

func TestAnnounceIsRenamedAndKeepsItsName(t *testing.T) {
	t.Parallel()
	web := lab.Service{Name: "Web", Type: "_http._tcp", Port: 80}
	p := newPair(t)
	p.avahi.Publish(web)
	start := func() *lab.Process {
		return p.desk.Lanfolk("announce", "Web", "_http._tcp", "8080", "--state", p.Dir(), "-o", "jsonl").Start()
	}
	cmd := start()
	cmd.WaitText(10*time.Second, `"event":"renamed"`)
	announced(cmd, "Web (2)")
	if cmd.Stop() != 0 {
		t.Error(cmd.Stderr())
	}
	// The name is free now, and yet the other one is kept.
	left := p.a.Capture()
	p.avahi.Withdraw(web)
	left.Wait(20*time.Second, "goodbye of the first", func(f lab.Frame) bool { return sentBy(f, p.neighbour.Link(p.a)) && goodbye(dns.TypePTR)(f) })
	wire := p.a.Capture()
	cmd = start()
	announced(cmd, "Web (2)")
	if n := wire.Count(func(f lab.Frame) bool {
		return sentBy(f, p.desk.Link(p.a)) && strings.Contains(string(f.Data()), "\x03Web\x05_http")
	}); n > 0 {
		t.Errorf("it says the old name in %d packets", n)
	}
	// Who comes later gets another name.
	p.avahi.Publish(lab.Service{Name: "Web (2)", Type: "_http._tcp", Port: 80})
	finds(t, p.avahi, "_http._tcp", true, ";Web\\032\\0402\\041;", ";8080;")
}

// sentBy is true of a frame that a link sent.
func sentBy(f lab.Frame, k *lab.Link) bool {
	eth, ok := f.LinkLayer().(*layers.Ethernet)
	return ok && slices.Equal(eth.SrcMAC, k.MAC)
}

// Its own sockets share the port with a node and with avahi-daemon on the same
// host, and both hear it.
func TestAnnounceBesideANodeAndAvahi(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	here := p.desk.Avahi(lab.Avahi{DBus: true, HostName: "avahi-here"})
	n := p.desk.Up(lab.Node{})
	cmd := p.desk.Lanfolk("announce", "Web", "_http._tcp", "8080", "--state", p.Dir(), "-o", "jsonl").Start()
	announced(cmd, "Web")
	waitService(t, n, 10*time.Second, "Web", "_http._tcp", "heard by the node", func(s service) bool { return s.Port == 8080 && s.State == "reachable" })
	for what, d := range map[string]*lab.AvahiDaemon{"the neighbour's": p.avahi, "this host's": here} {
		lab.Eventually(t, 10*time.Second, "the service in "+what+" avahi", func() error {
			r := d.Command("avahi-browse", "--parsable", "--terminate", "--resolve", "_http._tcp").Run()
			if !strings.Contains(r.Stdout, ";10.99.1.10;8080;") {
				return fmt.Errorf("it says %s", r.Stdout)
			}
			return nil
		})
	}
	cmd.Stop()
	waitNoService(t, n, 5*time.Second, "Web", "_http._tcp")
}

// listener accepts connections in a host while it is open.
type listener struct {
	t    *testing.T
	host *lab.Host
	ln   net.Listener
	wg   sync.WaitGroup
}

func (l *listener) open(address string) {
	l.t.Helper()
	if err := l.host.Do(func() (err error) { l.ln, err = net.Listen("tcp", address); return err }); err != nil {
		l.t.Fatal(err)
	}
	ln := l.ln
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
}

func (l *listener) close() {
	l.ln.Close()
	l.wg.Wait()
}

func TestNodeAnnouncesWhatWorks(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	service1 := &listener{t: t, host: p.desk}
	service1.open("127.0.0.1:8080")
	config := `
name = "gw"
[[announce]]
name = "{host} page"
type = "_http._tcp"
port = 8080
subtypes = ["_admin"]
txt = { path = "/", ro = true }
health = { check = "tcp", interval = "1s", timeout = "1s", falls = 2, rises = 1 }
[[announce]]
name = "Laser"
type = "_ipp._tcp"
port = 631
host = "laser"
addresses = ["10.99.1.200"]
`
	n := p.desk.Up(lab.Node{Config: config})
	seen := p.avahi.Command("avahi-browse", "--parsable", "_http._tcp").Start()
	in := func(what string) func(string) bool {
		return func(l string) bool { return strings.HasPrefix(l, what+";eth0;IPv4;gw\\032page;") }
	}
	seen.WaitLine(10*time.Second, "service", in("+"))
	finds(t, p.avahi, "_http._tcp", true, ";gw.local;10.99.1.10;8080;", `"path=/"`, `"ro"`)
	finds(t, p.avahi, "_ipp._tcp", true, ";laser.local;10.99.1.200;631;") // of another machine
	own := waitService(t, n, 5*time.Second, "gw page", "_http._tcp", "in its own inventory", func(s service) bool { return s.Port == 8080 && s.State == "reachable" })
	if own.Protocol != "self" || own.Device == "" {
		t.Errorf("in its own inventory: %+v", own)
	}
	status := func() string { return n.Run("status", "-o", "wide").Stdout }
	if s := status(); !strings.Contains(s, "gw page._http._tcp.local on eth0") || !strings.Contains(s, "Laser._ipp._tcp.local on eth0") {
		t.Errorf("status: %s", s)
	}

	if r := n.Run("browse", "_http._tcp", "--once", "--resolve", "--json"); !strings.Contains(r.Stdout, `"name":"gw page"`) || !strings.Contains(r.Stdout, `"port":8080`) {
		t.Errorf("asked itself it doesn't find its own: %s%s", r.Stdout, r.Stderr)
	}
	if r := n.Run("find", "_http._tcp"); r.Exit != 0 || !strings.Contains(r.Stdout, "gw page") {
		t.Errorf("find: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}

	service1.close()
	lab.Eventually(t, 10*time.Second, "dead service taken back", func() error {
		if !slices.ContainsFunc(strings.Split(seen.Stdout(), "\n"), in("-")) {
			return fmt.Errorf("avahi-browse says %s", seen.Stdout())
		}
		return nil
	})
	if s := status(); !strings.Contains(s, "gw page._http._tcp.local is dead") || !strings.Contains(s, "connection refused") {
		t.Errorf("status: %s", s)
	}
	waitNoService(t, n, 5*time.Second, "gw page", "_http._tcp")
	service1.open("127.0.0.1:8080")
	defer service1.close()
	lab.Eventually(t, 10*time.Second, "service announced again", func() error {
		if n := strings.Count(seen.Stdout(), "+;eth0;IPv4;gw\\032page;"); n < 2 {
			return fmt.Errorf("it came %d times", n)
		}
		return nil
	})
	if code := n.Stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	lab.Eventually(t, 5*time.Second, "goodbye of the node", func() error {
		if n := strings.Count(seen.Stdout(), "-;eth0;IPv4;gw\\032page;"); n < 2 {
			return fmt.Errorf("it went %d times", n)
		}
		return nil
	})
}

func TestAnnounceInADomain(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "named", "dig")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk, server := l.Host("desk").Join(a), l.Host("server").Join(a)
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
	server.BIND(lab.BIND{
		Keys:  map[string]string{"up": secret},
		Zones: []lab.Zone{{Name: "example.test", UpdatePolicy: []string{"grant up subdomain example.test ANY;"}}},
	})
	for file, secret := range map[string]string{"up.key": secret, "wrong.key": "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9u"} {
		text := "key \"up\" { algorithm hmac-sha256; secret \"" + secret + "\"; };\n"
		if err := os.WriteFile(filepath.Join(l.Dir(), file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dig := func(name, typ string) string {
		return strings.TrimSpace(desk.Run("dig", "+short", "+norecurse", "@"+server.Links[0].V4.String(), name, typ).Stdout)
	}
	args := []string{"announce", "Web 1", "_http._tcp", "8080", "path=/", "--subtype", "_admin", "--domain", "example.test", "--server", server.Links[0].V4.String(), "-o", "jsonl"}
	cmd := desk.Lanfolk(append(args, "--tsig-file", l.Dir()+"/up.key")...).Start()
	announced(cmd, "Web 1")
	for _, c := range []struct{ name, typ, want string }{
		{"_http._tcp.example.test", "PTR", `Web\0321._http._tcp.example.test.`},
		{"_admin._sub._http._tcp.example.test", "PTR", `Web\0321._http._tcp.example.test.`},
		{"_services._dns-sd._udp.example.test", "PTR", "_http._tcp.example.test."},
		{`Web\0321._http._tcp.example.test`, "TXT", `"path=/"`},
	} {
		if got := dig(c.name, c.typ); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.name, c.typ, got, c.want)
		}
	}
	fields := strings.Fields(dig(`Web\0321._http._tcp.example.test`, "SRV"))
	if len(fields) != 4 || fields[2] != "8080" || dig(fields[3], "A") != desk.Links[0].V4.String() {
		t.Errorf("SRV %q", fields)
	}
	r := desk.Lanfolk("browse", "_http._tcp", "--domain", "example.test", "--server", server.Links[0].V4.String(), "--once", "--json").Run()
	if r.Exit != 0 || !strings.Contains(r.Stdout, `"Web 1"`) {
		t.Errorf("browse: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if code := cmd.Stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, cmd.Stderr())
	}
	for _, name := range []string{"_http._tcp.example.test", "_admin._sub._http._tcp.example.test"} {
		if got := dig(name, "PTR"); got != "" {
			t.Errorf("%s still leads to %s", name, got)
		}
	}
	if r := desk.Lanfolk(append(args, "--tsig-file", l.Dir()+"/wrong.key")...).Run(); r.Exit != 4 || !strings.Contains(r.Stderr, "refuses") {
		t.Errorf("with a wrong key: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

// Two programs publish one host. When the first says goodbye, the second sees
// to it that the host stays known (RFC 6762 §6.6).
func TestHostStaysWhenOneOfTwoAnnouncementsEnds(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	start := func(name, typ string) *lab.Process {
		cmd := p.desk.Lanfolk("announce", name, typ, "8080", "--state", p.Dir(), "-o", "jsonl").Start()
		announced(cmd, name)
		return cmd
	}
	first := start("Web", "_http._tcp")
	start("Mail", "_imap._tcp")
	if code := first.Stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, first.Stderr())
	}
	time.Sleep(3 * time.Second) // a goodbye works after one
	finds(t, p.avahi, "_imap._tcp", true, ";10.99.1.10;8080;")
	lab.Eventually(t, 10*time.Second, "the end of the other service", func() error {
		if found := browse(t, p.avahi, "_http._tcp", false); len(found) > 0 {
			return fmt.Errorf("it is found as %q", found)
		}
		return nil
	})
}
