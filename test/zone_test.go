package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// delegation is a site: a link with the DNS server and desks, one with a printer
// behind it, and a node on both that publishes what is on the second.
type delegation struct {
	*lab.Lab
	server, desk, gate, printer *lab.Host
	printers                    *lab.AvahiDaemon
	bind                        *lab.Process
	node                        *lab.RunningNode
	config, key                 string // the node's configuration, a file with the key for transfers
}

const (
	transferName   = "transfer.example.test"
	transferSecret = "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Q="
)

// newDelegation makes it; more are lines of the zone's configuration.
func newDelegation(t *testing.T, more string) *delegation {
	t.Helper()
	lab.Require(t, "root", "ip", "avahi-daemon", "named", "dig")
	l := lab.New(t)
	a, b := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64"), l.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	d := &delegation{Lab: l}
	d.server, d.desk = l.Host("server").Join(a), l.Host("desk").Join(a)
	d.gate = l.Host("gate").Join(a).Join(b)
	d.printer = l.Host("printer").Join(b)
	gate := d.gate.Link(a).V4.String()
	d.bind = d.server.BIND(lab.BIND{
		Zones: []lab.Zone{{Name: "example.test", Records: []string{
			"lan NS ns.lan", "ns.lan A " + gate, "lb._dns-sd._udp PTR lan.example.test.", "b._dns-sd._udp PTR lan.example.test.",
		}}},
		Recursion: true,
	})
	d.key = filepath.Join(t.TempDir(), "tsig.key")
	if err := os.WriteFile(d.key, []byte(transferName+":hmac-sha256:"+transferSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	d.printers = d.printer.Avahi(lab.Avahi{HostName: "laser", Services: []lab.Service{
		{Name: "Laser 2.0 Büro", Type: "_ipp._tcp", Subtypes: []string{"_universal"}, Port: 631, TXT: []string{"txtvers=1", "rp=ipp/print", "ro", "empty="}},
		{Name: "Secret", Type: "_ssh._tcp", Port: 22},
	}})
	d.config = fmt.Sprintf(`
name = "gate"

[[zone]]
domain = "lan.example.test"
types = ["_ipp._tcp", "_universal._sub._ipp._tcp", "_http._tcp"]
interfaces = ["eth1"]
announced = true
%s
[[zone.secondary]]
address = "%s"
key_file = %q

[[announce]]
name = "Gate's page"
type = "_http._tcp"
port = 8080
`, more, "10.99.1.10", d.key)
	d.node = d.gate.Up(lab.Node{Config: d.config})
	return d
}

// dig asks a server and returns what dig prints of the answer.
func (d *delegation) dig(server string, args ...string) string {
	return d.desk.Run(append([]string{"dig", "@" + server, "+tries=3", "+time=5"}, args...)...).Stdout
}

// wait waits until dig's answer is what it should be.
func (d *delegation) wait(t *testing.T, within time.Duration, what string, ok func(out string) bool, server string, args ...string) {
	t.Helper()
	lab.Eventually(t, within, what, func() error {
		if out := d.dig(server, args...); !ok(out) {
			return errors.New(out)
		}
		return nil
	})
}

func has(parts ...string) func(string) bool {
	return func(out string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(out, p) })
	}
}

const laserName = `Laser\0322\.0\032B\195\188ro._ipp._tcp.lan.example.test.`

func TestZoneIsServed(t *testing.T) {
	t.Parallel()
	d := newDelegation(t, "")
	gate := "10.99.1.12"
	d.wait(t, 20*time.Second, "printer in the zone", has(laserName), gate, "+short", "_ipp._tcp.lan.example.test", "PTR")
	d.wait(t, 20*time.Second, "the node's own page in the zone", has("Gate's"), gate, "+short", "_http._tcp.lan.example.test", "PTR")

	for _, c := range []struct {
		args []string
		want []string
		not  string
	}{
		{[]string{"+norec", "_ipp._tcp.lan.example.test", "PTR"},
			[]string{"status: NOERROR", "flags: qr aa;", laserName + " 10 IN SRV 0 0 631 laser.lan.example.test.", `TXT "txtvers=1" "rp=ipp/print" "ro" "empty="`, "A 10.99.2.11", "udp: 1232"}, "fe80"},
		{[]string{"+tcp", laserName, "SRV"}, []string{"0 0 631 laser.lan.example.test.", "10.99.2.11", "fd99:2::b"}, "fe80"},
		{[]string{"+noedns", "laser.lan.example.test", "AAAA"}, []string{"10 IN AAAA fd99:2::b"}, "EDNS"},
		{[]string{"_universal._sub._ipp._tcp.lan.example.test", "PTR"}, []string{laserName}, ""},
		{[]string{"_services._dns-sd._udp.lan.example.test", "PTR"}, []string{"_ipp._tcp.lan.example.test.", "_http._tcp.lan.example.test."}, "_ssh"},
		{[]string{"b._dns-sd._udp.lan.example.test", "PTR"}, []string{"PTR lan.example.test."}, ""},
		{[]string{"lb._dns-sd._udp.lan.example.test", "PTR"}, []string{"PTR lan.example.test."}, ""},
		{[]string{"lan.example.test", "SOA"}, []string{"SOA ns.lan.example.test. hostmaster.lan.example.test."}, ""},
		{[]string{"lan.example.test", "NS"}, []string{"NS ns.lan.example.test.", "A 10.99.1.12", "AAAA fd99:1::c"}, ""},
		{[]string{"nobody.lan.example.test", "A"}, []string{"status: NXDOMAIN", "10 IN SOA"}, ""},
		{[]string{"_tcp.lan.example.test", "PTR"}, []string{"status: NOERROR", "ANSWER: 0", "10 IN SOA"}, ""},
		{[]string{"laser.lan.example.test", "MX"}, []string{"status: NOERROR", "ANSWER: 0", "10 IN SOA"}, ""},
		{[]string{"lan.example.test", "ANY", "+notcp"}, []string{"status: NOERROR", "ANSWER: 1"}, ""},
		{[]string{"lan.example.test", "ANY", "+tcp"}, []string{"status: NOERROR", "ANSWER: 1,"}, ""},
		{[]string{"+edns=1", "+noednsneg", "lan.example.test", "SOA"}, []string{"status: BADVERS"}, ""},
		{[]string{"example.test", "SOA"}, []string{"status: REFUSED"}, ""},
		{[]string{"version.bind", "CH", "TXT"}, []string{"status: REFUSED"}, ""},
		{[]string{"+opcode=UPDATE", "lan.example.test", "SOA"}, []string{"status: NOTIMP"}, ""},
		{[]string{"lan.example.test", "AXFR"}, []string{"Transfer failed"}, "SRV"},
		{[]string{"-6", "+short", "laser.lan.example.test", "A"}, nil, ""},
	} {
		server := gate
		if c.args[0] == "-6" {
			server, c.args, c.want = "fd99:1::c", c.args[1:], []string{"10.99.2.11"}
		}
		out := strings.Join(strings.Fields(d.dig(server, c.args...)), " ")
		if !has(c.want...)(out) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("dig %v: %s", c.args, out)
		}
	}
	status := d.node.Run("status", "-o", "wide").Stdout
	if !has("zone lan.example.test", "2 services", "dns server", "on 10.99.1.12:53", "no such name")(status) {
		t.Errorf("status: %s", status)
	}
}

// What others ask a resolver that knows the node only by delegation.
func TestZoneByDelegation(t *testing.T) {
	t.Parallel()
	lab.Require(t, "avahi-browse", "dbus-daemon")
	d := newDelegation(t, `ttl = "3s"`)
	gate, server := "10.99.1.12", "10.99.1.10"
	d.wait(t, 20*time.Second, "printer in the zone", has(laserName), gate, "+short", "_ipp._tcp.lan.example.test", "PTR")
	d.wait(t, 20*time.Second, "printer through the resolver", has(laserName), server, "+short", "_ipp._tcp.lan.example.test", "PTR")

	lab.Eventually(t, 20*time.Second, "printer by lanfolk browse", func() error {
		r := d.desk.Lanfolk("browse", "_ipp._tcp", "--once", "--resolve", "--json", "--domain", "lan.example.test", "--server", server).Run()
		found := events(t, r.Stdout)
		if r.Exit != 0 || len(found) != 1 || found[0].Name != "Laser 2.0 Büro" || found[0].Host != "laser.lan.example.test" || found[0].Port != 631 || len(found[0].TXT) != 4 {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	lab.Eventually(t, 20*time.Second, "the domain by lanfolk domains", func() error {
		if r := d.desk.Lanfolk("domains", "--search", "example.test", "--server", server, "--direct").Run(); !strings.Contains(r.Stdout, "lan.example.test") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	avahi := d.desk.Avahi(lab.Avahi{DBus: true, DNSServer: server})
	lab.Eventually(t, 15*time.Second, "printer by avahi-browse", func() error {
		r := avahi.Command("avahi-browse", "--parsable", "--terminate", "--resolve", "--domain=lan.example.test", "_ipp._tcp").Run()
		if !has("laser.lan.example.test;10.99.2.11;631")(r.Stdout) && !has("laser.lan.example.test;fd99:2::b;631")(r.Stdout) {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})

	// dnsmasq, told where to ask, passes it on, too.
	lab.Require(t, "dnsmasq")
	d.desk.Dnsmasq("--server=/lan.example.test/10.99.1.12", "--listen-address=127.0.0.1", "--bind-interfaces")
	d.wait(t, 20*time.Second, "printer through dnsmasq", has(laserName), "127.0.0.1", "+short", "_ipp._tcp.lan.example.test", "PTR")

	// A service goes: it has left the zone a second after its goodbye (RFC 6762
	// §10.1), and the resolver when its TTL has passed.
	extra := lab.Service{Name: "Extra", Type: "_ipp._tcp", Port: 632}
	d.printers.Publish(extra)
	d.wait(t, 20*time.Second, "another printer in the zone", has("Extra._ipp"), gate, "+short", "_ipp._tcp.lan.example.test", "PTR")
	d.wait(t, 20*time.Second, "another printer through the resolver", has("Extra._ipp"), server, "+short", "_ipp._tcp.lan.example.test", "PTR")
	d.printers.Withdraw(extra)
	gone := func(out string) bool { return strings.Contains(out, laserName) && !strings.Contains(out, "Extra") }
	d.wait(t, 20*time.Second, "goodbye in the zone", gone, gate, "+short", "_ipp._tcp.lan.example.test", "PTR")
	d.wait(t, 20*time.Second, "goodbye through the resolver", gone, server, "+short", "_ipp._tcp.lan.example.test", "PTR")
}

// A secondary gets the zone by AXFR with TSIG and hears of changes by NOTIFY.
func TestZoneHasASecondary(t *testing.T) {
	t.Parallel()
	d := newDelegation(t, "")
	d.bind.Stop()
	secondary := d.server.BIND(lab.BIND{
		Keys: map[string]string{transferName: transferSecret},
		Statements: []string{
			`server 10.99.1.12 { keys { "` + transferName + `"; }; };`,
			`zone "lan.example.test" { type secondary; primaries { 10.99.1.12; }; file "lan"; min-refresh-time 3600; };`,
		},
	})
	server := "10.99.1.10"
	d.wait(t, 20*time.Second, "the zone at the secondary", has(laserName), server, "+short", "+norec", "_ipp._tcp.lan.example.test", "PTR")
	if !strings.Contains(secondary.Stderr(), "TSIG '"+transferName+"'") {
		t.Errorf("the transfer wasn't signed:\n%s", secondary.Stderr())
	}
	for _, change := range []struct {
		what string
		do   func(lab.Service)
		ok   func(string) bool
	}{
		{"another printer", d.printers.Publish, has("Extra")},
		{"its goodbye", d.printers.Withdraw, func(out string) bool { return !strings.Contains(out, "Extra") }},
	} {
		change.do(lab.Service{Name: "Extra", Type: "_ipp._tcp", Port: 632})
		begin := time.Now()
		d.wait(t, 20*time.Second, change.what+" at the secondary", change.ok, server, "+short", "+norec", "_ipp._tcp.lan.example.test", "PTR")
		t.Logf("%s was at the secondary after %v", change.what, time.Since(begin))
	}
	// A restart takes nothing away: the node isn't asked, and tells nobody, before it
	// knows what is there.
	d.node.Stop()
	d.node = d.gate.Up(lab.Node{Config: d.config, State: d.node.State})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out := d.dig(server, "+short", "+norec", "_ipp._tcp.lan.example.test", "PTR"); !strings.Contains(out, laserName) {
			t.Fatalf("the secondary lost a service at the restart: %s", out)
		}
	}
	// Both have the same serial number, and nobody else gets the zone.
	d.wait(t, 20*time.Second, "the same serial at both", func(out string) bool {
		return out != "" && out == d.dig("10.99.1.12", "+short", "lan.example.test", "SOA")
	}, server, "+short", "+norec", "lan.example.test", "SOA")
	for _, key := range []string{"", "hmac-sha256:" + transferName + ":d3Jvbmc=", "hmac-sha256:other:" + transferSecret} {
		args := []string{"lan.example.test", "AXFR"}
		if key != "" {
			args = append(args, "-y", key)
		}
		if out := d.dig("10.99.1.12", args...); strings.Contains(out, "SRV") {
			t.Errorf("a transfer with key %q: %s", key, out)
		}
	}
	// The key alone doesn't do where an address is asked for, too.
	if out := d.dig("10.99.1.12", "lan.example.test", "AXFR", "-y", "hmac-sha256:"+transferName+":"+transferSecret); strings.Contains(out, "SRV") {
		t.Errorf("a transfer from another address: %s", out)
	}
	r := d.server.Run("dig", "@10.99.1.12", "lan.example.test", "AXFR", "-y", "hmac-sha256:"+transferName+":"+transferSecret)
	if !has("SRV", "TSIG")(r.Stdout) || strings.Contains(r.Stdout, "Couldn't verify") {
		t.Errorf("a transfer with both: %s", r.Stdout)
	}
}

// A second implementation has a copy, too. It gives names in lower case.
func TestZoneHasAKnotSecondary(t *testing.T) {
	t.Parallel()
	lab.Require(t, "knotd")
	d := newDelegation(t, "")
	d.bind.Stop()
	d.server.Knot(lab.Knot{
		Keys:   map[string]string{transferName: transferSecret},
		Copies: map[string]string{"lan.example.test": "10.99.1.12"}, CopyKey: transferName,
	})
	atKnot := func(within time.Duration, what string, ok func(string) bool) {
		t.Helper()
		d.wait(t, within, what+" at Knot", ok, "10.99.1.10", "+short", "+norec", "_ipp._tcp.lan.example.test", "PTR")
	}
	atKnot(20*time.Second, "the zone", has(strings.ToLower(laserName)))
	extra := lab.Service{Name: "Extra", Type: "_ipp._tcp", Port: 632}
	d.printers.Publish(extra)
	atKnot(20*time.Second, "another printer", has("extra."))
	d.printers.Withdraw(extra)
	atKnot(20*time.Second, "its goodbye", func(out string) bool { return has("laser")(out) && !strings.Contains(out, "extra.") })
}

// Another server takes the zone file, whole or included into its own.
func TestZoneFile(t *testing.T) {
	t.Parallel()
	lab.Require(t, "named-checkzone")
	d := newDelegation(t, "")
	d.wait(t, 20*time.Second, "services in the zone", func(string) bool {
		out := d.node.Run("zone").Stdout
		return has("Laser", "Gate's")(out)
	}, "10.99.1.12", "lan.example.test", "SOA")
	whole, part := d.node.Run("zone"), d.node.Run("zone", "LAN.example.test.", "--include")
	if whole.Exit != 0 || part.Exit != 0 || strings.Contains(part.Stdout, "\tSOA\t") || strings.Contains(part.Stdout, "\tNS\t") {
		t.Fatalf("%s%s%s%s", whole.Stdout, whole.Stderr, part.Stdout, part.Stderr)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, file := range []string{
		write("whole", whole.Stdout),
		write("included", "$TTL 60\n@ SOA ns.example.org. hostmaster 1 3600 600 86400 10\n@ NS ns.example.org.\n$INCLUDE "+write("part", part.Stdout)+"\n"),
	} {
		r := d.desk.Run("named-checkzone", "-D", "lan.example.test", file)
		if r.Exit != 0 || !has(`Laser\0322\.0\032B\195\188ro._ipp._tcp.lan.example.test.`, "OK")(r.Stdout+r.Stderr) || strings.Contains(r.Stderr, "warning") {
			t.Errorf("%s: exit %d: %s%s", file, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if r := d.node.Run("zone", "example.org"); r.Exit != 5 {
		t.Errorf("another zone: exit %d: %s", r.Exit, r.Stderr)
	}
}

// What isn't announced by mDNS at all can be in the zone; the node serves it on the
// addresses that it gets, and says which it can't have.
func TestZoneWithoutMulticast(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "dnsmasq", "dig")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	gate, desk := l.Host("gate").Join(a), l.Host("desk").Join(a)
	other := gate.Dnsmasq("--listen-address=10.99.1.10", "--bind-interfaces")
	node := gate.Up(lab.Node{Config: `
name = "gate"
mdns.enabled = false

[[zone]]
domain = "studio.example.test"
announced = true

[[nmos.advertise]]
name = "Registry"
kind = "register"
port = 8235
versions = ["v1.3"]
mdns = false
health.check = "tcp"
health.interval = "2s"

[[announce]]
name = "Docs"
type = "_http._tcp"
port = 80
host = "docs"
addresses = ["10.99.1.80"]
`})
	d := delegation{desk: desk}
	lab.Eventually(t, 20*time.Second, "the status that says who has the address", func() error {
		if out := node.Run("status").Stdout; !has("not on 10.99.1.10:53: another program listens there", "Registry of type _nmos-register._tcp is dead")(out) {
			return errors.New(out)
		}
		return nil
	})
	other.Stop()
	d.wait(t, 20*time.Second, "the zone on the address that became free", has("Docs"), "10.99.1.10", "+short", "_http._tcp.studio.example.test", "PTR")
	if out := d.dig("10.99.1.10", "+short", "_nmos-register._tcp.studio.example.test", "PTR"); out != "" {
		t.Errorf("an API that doesn't work is there: %s", out)
	}
	gate.Link(a).AddAddresses(netip.MustParseAddr("10.99.1.53"))
	d.wait(t, 20*time.Second, "the zone on a new address", has("10.99.1.10", "10.99.1.53"), "10.99.1.53", "+short", "ns.studio.example.test", "A")

	works := accept(t, gate, ":8235")
	defer works.Close()
	lab.Eventually(t, 20*time.Second, "the API in the zone", func() error {
		r := desk.Lanfolk("nmos", "select", "--type", "register", "--mode", "unicast", "--domain", "studio.example.test", "--server", "10.99.1.53", "--json").Run()
		if r.Exit != 0 || !has(`"instance": "Registry"`, `"url": "http://gate.studio.example.test:8235"`, "10.99.1.10")(r.Stdout) {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// accept accepts connections in a host, and closes them.
func accept(t *testing.T, h *lab.Host, address string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := h.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l
}
