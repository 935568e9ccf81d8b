package test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestBrowseFindsEveryServiceOnEveryLink(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	r := o.desk.Lanfolk("browse", "_http._tcp", "--once", "--resolve", "--json").Run()
	if r.Exit != 0 {
		t.Fatalf("exit %d: %s", r.Exit, r.Stderr)
	}
	got := events(t, r.Stdout)
	for _, want := range o.published() {
		i := slices.IndexFunc(got, func(e event) bool { return e.Name == want.Name && e.Event != "remove" })
		if want.Type != "_http._tcp" {
			if i >= 0 {
				t.Errorf("%s of type %s is among those of _http._tcp", want.Name, want.Type)
			}
			continue
		}
		// The last line about an instance is what holds.
		for j, e := range got {
			if e.Name == want.Name && e.Event != "remove" {
				i = j
			}
		}
		if i < 0 {
			t.Errorf("%s not found in\n%s", want.Name, r.Stdout)
			continue
		}
		checkEvent(t, got[i], want)
	}
	if t.Failed() {
		t.Logf("it says\n%s", r.Stdout)
	}

	r = o.desk.Lanfolk("browse", "--once", "--json").Run()
	for _, typ := range []string{"_http._tcp", "_ipp._tcp", "_smb._tcp"} {
		if !slices.ContainsFunc(events(t, r.Stdout), func(e event) bool { return e.Type == typ }) {
			t.Errorf("type %s not found in\n%s", typ, r.Stdout)
		}
	}

	r = o.desk.Lanfolk("browse", "_http._tcp", "--once").Run()
	if n := strings.Count(r.Stdout, "\n+ ") + strings.Count("\n"+r.Stdout, "\n+ "); n == 0 || !strings.Contains(r.Stdout, "nas.files v1.0") {
		t.Errorf("for people: %s", r.Stdout)
	}

	r = o.desk.Lanfolk("browse", "_http._tcp", "--once", "--json", "--interface", "eth1").Run()
	for _, e := range events(t, r.Stdout) {
		if e.Interface != "eth1" || e.Name != "Door" {
			t.Errorf("on eth1 alone: %+v", e)
		}
	}
}

func checkEvent(t *testing.T, e event, want published) {
	t.Helper()
	if strings.TrimSuffix(e.Host, ".") != want.host+".local" || e.Port != want.Port || e.Interface != want.link || e.Via != "mdns" || e.Type != want.Type || strings.Trim(e.Domain, ".") != "local" {
		t.Errorf("%s: %+v", want.Name, e)
	}
	for _, a := range want.addresses {
		if !slices.Contains(e.Addresses, netip.MustParseAddr(a)) {
			t.Errorf("%s: address %s is not among %v", want.Name, a, e.Addresses)
		}
	}
	for i, x := range want.TXT {
		key, value, has := strings.Cut(x, "=")
		v, ok := e.TXT[key]
		if !ok || (v != nil) != has || v != nil && *v != value {
			t.Errorf("%s: TXT %s: %v", want.Name, key, e.TXT)
		}
		if !slices.ContainsFunc(e.TXTRaw, func(b []byte) bool { return string(b) == x }) {
			t.Errorf("%s: TXT string %d %q is not among %q", want.Name, i, x, e.TXTRaw)
		}
	}
}

func TestResolveAndLookUp(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	laser := o.published()[0]
	r := o.desk.Lanfolk("resolve", laser.Name, laser.Type, "--json").Run()
	var found []event
	if err := json.Unmarshal([]byte(r.Stdout), &found); r.Exit != 0 || err != nil || len(found) != 1 {
		t.Fatalf("resolve: exit %d, %v: %s%s", r.Exit, err, r.Stdout, r.Stderr)
	}
	e := found[0]
	if strings.TrimSuffix(e.Host, ".") != "printer.local" || e.Port != 631 {
		t.Errorf("resolve: %s", r.Stdout)
	}
	if v, ok := e.TXT["Duplex"]; !ok || v != nil {
		t.Errorf("a key without value: %s", r.Stdout)
	}
	if v, ok := e.TXT["Color"]; !ok || v == nil || *v != "" {
		t.Errorf("a key with an empty value: %s", r.Stdout)
	}
	r = o.desk.Lanfolk("lookup", "camera.local", "--json").Run()
	if r.Exit != 0 || !strings.Contains(r.Stdout, `"10.99.2.11"`) || !strings.Contains(r.Stdout, `"fd99:2::b"`) {
		t.Errorf("look-up: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r = o.desk.Lanfolk("lookup", "nobody.local").Run(); r.Exit != 5 && r.Exit != 6 {
		t.Errorf("look-up of nobody: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

func TestBrowseSeesWhatComesAndGoes(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := o.desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start()
	wait := func(d time.Duration, what, name string) event {
		t.Helper()
		var found event
		p.WaitLine(d, what+" of "+name, func(line string) bool {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Event == what && e.Name == name {
				found = e
				return true
			}
			return false
		})
		return found
	}
	wait(5*time.Second, "add", "Door")
	wait(5*time.Second, "add", "Printer's page")

	extra := lab.Service{Name: "extra", Type: "_http._tcp", Port: 81}
	o.nasd.Publish(extra)
	wait(5*time.Second, "add", "extra")
	o.nasd.Withdraw(extra)
	wait(5*time.Second, "remove", "extra")
	o.camerad.Stop()
	wait(5*time.Second, "remove", "Door")

	// A link that wasn't there when it started.
	c := o.Subnet("c", "10.99.3.0/24")
	late := lab.Service{Name: "late", Type: "_http._tcp", Port: 82}
	o.Host("lamp").Join(c).Avahi(lab.Avahi{Services: []lab.Service{late}})
	o.desk.Join(c)
	if e := wait(10*time.Second, "add", "late"); e.Interface != "eth2" {
		t.Errorf("on a new link: %+v", e)
	}
	if code := p.Stop(); code != 0 && code != 130 {
		t.Errorf("stopped with %d", code)
	}
}

// A host that dies says no goodbye: its records run out, however long the
// querier asks for them (RFC 6762 §5.2).
func TestBrowseForgetsAHostThatDied(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk, lamp := l.Host("desk").Join(a), l.Host("lamp").Join(a)
	r := lamp.Link(a).Respond(lab.Responder{TTL: 4, Services: []lab.Service{{Name: "lamp", Type: "_hap._tcp", Port: 1}}})
	wire := a.Capture()
	p := desk.Lanfolk("browse", "_hap._tcp", "--json").Start()
	is := func(what string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, `"event":"`+what+`"`) }
	}
	p.WaitLine(5*time.Second, "add", is("add"))
	// It stays for more than its TTL, because it is asked again in time.
	time.Sleep(6 * time.Second)
	if strings.Contains(p.Stdout(), `"remove"`) {
		t.Fatalf("a live service is lost: %s", p.Stdout())
	}
	r.Silence()
	start := time.Now()
	p.WaitLine(8*time.Second, "remove", is("remove"))
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("lost after %v with a TTL of 4 s", took)
	}
	if n := wire.Count(func(f lab.Frame) bool { _, _, port, ok := f.UDP(); return ok && port == 5353 }); n < 3 {
		t.Errorf("only %d packets", n)
	}
}

func TestBrowseSharesThePortWithAvahi(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.desk.Avahi(lab.Avahi{Services: []lab.Service{{Name: "own", Type: "_http._tcp", Port: 83}}})
	p := o.desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start()
	for _, name := range []string{"own", "Door", "nas.files v1.0", "Printer's page"} {
		p.WaitLine(10*time.Second, name, func(line string) bool {
			var e event
			return json.Unmarshal([]byte(line), &e) == nil && e.Event != "remove" && e.Name == name && e.Port != 0 && len(e.Addresses) > 0
		})
	}
	doc := o.desk.Lanfolk("doctor").Run()
	if !strings.Contains(doc.Stdout+doc.Stderr, "avahi-daemon") {
		t.Errorf("doctor doesn't say that avahi-daemon holds the port: %s%s", doc.Stdout, doc.Stderr)
	}
}
