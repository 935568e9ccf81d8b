package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestAvahiPublishesAndBrowses(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	nas := l.Host("nas").Join(a)
	wire := a.Capture()
	files := lab.Service{Name: "Files & more <on> nas.1", Type: "_smb._tcp", Port: 445, TXT: []string{"a=1", "empty=", "bare"}}
	d := nas.Avahi(lab.Avahi{Services: []lab.Service{files}})
	browser := l.Host("desk").Join(a).Avahi(lab.Avahi{DBus: true})
	list := func() string {
		return browser.Command("avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", "_smb._tcp").Run().Stdout
	}
	lab.Eventually(t, 10*time.Second, "nas's service", func() error {
		if out := list(); !strings.Contains(out, ";nas.local;10.99.1.10;445;") || !strings.Contains(out, `"a=1"`) {
			return errText(out)
		}
		return nil
	})
	more := lab.Service{Name: "more", Type: "_http._tcp", Port: 80}
	d.Publish(more)
	d.Withdraw(more)
	wire.Wait(5*time.Second, "goodbye of a withdrawn service", goodbye("more._http._tcp.local."))
	if code := d.Stop(); code != 0 {
		t.Errorf("avahi-daemon ends with %d", code)
	}
	wire.Wait(5*time.Second, "goodbye of a stopped daemon", goodbye(`Files\ &\ more\ <on>\ nas\.1._smb._tcp.local.`))
}

type errText string

func (e errText) Error() string { return string(e) }

// goodbye is true of a frame that takes back a service by its PTR record with
// TTL 0 (RFC 6762 §10.1).
func goodbye(instance string) func(lab.Frame) bool {
	return func(f lab.Frame) bool {
		payload, _, port, ok := f.UDP()
		var m dns.Msg
		if !ok || port != 5353 || m.Unpack(payload) != nil {
			return false
		}
		for _, rr := range m.Answer {
			if ptr, ok := rr.(*dns.PTR); ok && ptr.Ptr == instance && ptr.Hdr.Ttl == 0 {
				return true
			}
		}
		return false
	}
}

func TestMosquittoAnswers(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	broker, client := l.Host("broker").Join(a), l.Host("client").Join(a)
	p := broker.Mosquitto()
	client.WaitListen(30*time.Second, "10.99.1.10:1883")
	if code := p.Stop(); code != 0 {
		t.Errorf("mosquitto ends with %d", code)
	}
}

func TestDnsmasqAnswers(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, client := l.Host("server").Join(a), l.Host("client").Join(a)
	server.Dnsmasq("--address=/nas.test/10.99.1.77", "--local-ttl=5", "--dhcp-range=10.99.1.100,10.99.1.120")
	out := client.Run("dig", "+noall", "+answer", "@10.99.1.10", "nas.test").Stdout
	if f := strings.Fields(out); len(f) != 5 || f[1] != "5" || f[4] != "10.99.1.77" {
		t.Errorf("answer %q", out)
	}
}

func TestBINDTakesASignedUpdate(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig", "nsupdate")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, client := l.Host("server").Join(a), l.Host("client").Join(a)
	server.BIND(lab.BIND{
		Zones: []lab.Zone{{
			Name:         "example.test",
			Records:      []string{"_services._dns-sd._udp PTR _http._tcp"},
			UpdatePolicy: []string{"grant up.example.test zonesub ANY;"},
		}},
		Keys: map[string]string{"up.example.test": "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="},
	})
	ask := func(name string) string {
		return client.Run("dig", "+short", "@10.99.1.10", name, "PTR").Stdout
	}
	if out := ask("_services._dns-sd._udp.example.test"); out != "_http._tcp.example.test.\n" {
		t.Errorf("answer %q", out)
	}
	update := func(key string) lab.Result {
		c := client.Command("nsupdate", "-y", "hmac-sha256:up.example.test:"+key)
		c.Stdin = "server 10.99.1.10\nzone example.test\nupdate add _http._tcp.example.test 60 PTR web._http._tcp.example.test\nsend\n"
		return c.Run()
	}
	if r := update("d3Jvbmc="); r.Exit == 0 || ask("_http._tcp.example.test") != "" {
		t.Errorf("an update with a wrong key is taken: %+v", r)
	}
	if r := update("c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="); r.Exit != 0 || ask("_http._tcp.example.test") != "web._http._tcp.example.test.\n" {
		t.Errorf("update: %+v", r)
	}
}

func TestResponderIsHeardByAvahi(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	browser := l.Host("desk").Join(a).Avahi(lab.Avahi{DBus: true})
	lamp := l.Host("lamp").Join(a)
	r := lamp.Link(a).Respond(lab.Responder{TTL: 10, Services: []lab.Service{{Name: "Lamp. (1)", Type: "_hap._tcp", Port: 5000, TXT: []string{"id=7"}}}})
	watch := browser.Command("avahi-browse", "--resolve", "--parsable", "--no-db-lookup", "_hap._tcp").Start()
	line := watch.WaitText(5*time.Second, "=;eth0;IPv4;")
	if !strings.Contains(line, `;lamp.local;10.99.1.11;5000;"id=7"`) {
		t.Errorf("resolved: %s", line)
	}
	if out := browser.Command("avahi-resolve", "--name", "-4", "lamp.local").Run().Stdout; out != "lamp.local\t10.99.1.11\n" {
		t.Errorf("address: %q", out)
	}
	r.Stop()
	watch.WaitText(5*time.Second, "-;eth0;IPv4;")
}

// A secondary gets its zone, one whose primary is gone answers SERVFAIL, and
// systemd-resolved finds a service through it.
func TestResolvedAsksASecondary(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	primary, secondary, desk := l.Host("primary").Join(a), l.Host("secondary").Join(a), l.Host("desk").Join(a)
	r := desk.Resolved(lab.Resolved{Servers: []string{"10.99.1.11"}, Domains: []string{"example.test"}})
	primary.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.test", Records: []string{
		"_http._tcp PTR Web._http._tcp", "Web._http._tcp SRV 0 0 8080 www", `Web._http._tcp TXT "path=/"`, "www A 10.99.1.77",
	}}}})
	secondary.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.test", Primaries: []string{"10.99.1.10"}}, {Name: "lost.test", Primaries: []string{"10.99.1.99"}}}})
	lab.Eventually(t, 10*time.Second, "service by way of the secondary", func() error {
		res := r.Ctl("service", "Web", "_http._tcp", "example.test")
		if !strings.Contains(res.Stdout, "www.example.test:8080") || !strings.Contains(res.Stdout, "10.99.1.77") || !strings.Contains(res.Stdout, "path=/") {
			return errText(res.Stdout + res.Stderr)
		}
		return nil
	})
	if out := desk.Run("dig", "@10.99.1.11", "lost.test", "SOA").Stdout; !strings.Contains(out, "status: SERVFAIL") {
		t.Errorf("a zone that the secondary never got: %s", out)
	}
}
