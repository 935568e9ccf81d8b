package test

import (
	"encoding/json"
	"errors"
	"fmt"
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
	browse := func(args ...string) []event {
		t.Helper()
		r := o.desk.Lanfolk(append([]string{"browse", "--once", "--json"}, args...)...).Run()
		if r.Exit != 0 {
			t.Fatalf("exit %d: %s", r.Exit, r.Stderr)
		}
		return events(t, r.Stdout)
	}
	// Who answers late isn't found in one look.
	lab.Eventually(t, 30*time.Second, "every service of a type", func() error {
		got := browse("_http._tcp", "--resolve")
		var errs []error
		for _, want := range o.published() {
			// The last line about an instance is what holds.
			i := -1
			for j, e := range got {
				if e.Name == want.Name {
					i = j
				}
			}
			switch {
			case want.Type != "_http._tcp" && i >= 0:
				t.Errorf("%s of type %s is among those of _http._tcp", want.Name, want.Type)
			case want.Type != "_http._tcp":
			case i < 0 || got[i].Event == "remove":
				errs = append(errs, fmt.Errorf("%s isn't found in %+v", want.Name, got))
			default:
				errs = append(errs, checkEvent(got[i], want))
			}
		}
		return errors.Join(errs...)
	})
	lab.Eventually(t, 30*time.Second, "every type", func() error {
		got := browse()
		for _, typ := range []string{"_http._tcp", "_ipp._tcp", "_smb._tcp"} {
			if !slices.ContainsFunc(got, func(e event) bool { return e.Type == typ }) {
				return fmt.Errorf("no %s in %+v", typ, got)
			}
		}
		return nil
	})

	lab.Eventually(t, 30*time.Second, "a list for people", func() error {
		r := o.desk.Lanfolk("browse", "_http._tcp", "--once").Run()
		if !strings.Contains("\n"+r.Stdout, "\n+ ") || !strings.Contains(r.Stdout, "nas.files v1.0") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})

	for _, e := range browse("_http._tcp", "--interface", "eth1") {
		if e.Interface != "eth1" || e.Name != "Door" {
			t.Errorf("on eth1 alone: %+v", e)
		}
	}
}

// checkEvent holds what is found of a service against what it says.
func checkEvent(e event, want published) error {
	if strings.TrimSuffix(e.Host, ".") != want.host+".local" || e.Port != want.Port || e.Interface != want.link || e.Via != "mdns" || e.Type != want.Type || strings.Trim(e.Domain, ".") != "local" {
		return fmt.Errorf("%s: %+v", want.Name, e)
	}
	for _, a := range want.addresses {
		if !slices.Contains(e.Addresses, netip.MustParseAddr(a)) {
			return fmt.Errorf("%s: address %s is not among %v", want.Name, a, e.Addresses)
		}
	}
	for i, x := range want.TXT {
		key, value, has := strings.Cut(x, "=")
		v, ok := e.TXT[key]
		if !ok || (v != nil) != has || v != nil && *v != value {
			return fmt.Errorf("%s: TXT %s: %v", want.Name, key, e.TXT)
		}
		if !slices.ContainsFunc(e.TXTRaw, func(b []byte) bool { return string(b) == x }) {
			return fmt.Errorf("%s: TXT string %d %q is not among %q", want.Name, i, x, e.TXTRaw)
		}
	}
	return nil
}

func TestResolveAndLookUp(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	laser := o.published()[0]
	var r lab.Result
	var found []event
	lab.Eventually(t, 30*time.Second, "resolve", func() error {
		r = o.desk.Lanfolk("resolve", laser.Name, laser.Type, "--json").Run()
		if err := json.Unmarshal([]byte(r.Stdout), &found); r.Exit != 0 || err != nil || len(found) != 1 {
			return fmt.Errorf("exit %d, %w: %s%s", r.Exit, err, r.Stdout, r.Stderr)
		}
		return nil
	})
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
	lab.Eventually(t, 30*time.Second, "look-up of both addresses", func() error {
		r := o.desk.Lanfolk("lookup", "camera.local", "--json").Run()
		if r.Exit != 0 || !strings.Contains(r.Stdout, `"10.99.2.11"`) || !strings.Contains(r.Stdout, `"fd99:2::b"`) {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
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
	wait(20*time.Second, "add", "Door")
	wait(20*time.Second, "add", "Printer's page")

	extra := lab.Service{Name: "extra", Type: "_http._tcp", Port: 81}
	o.nasd.Publish(extra)
	wait(20*time.Second, "add", "extra")
	o.nasd.Withdraw(extra)
	wait(20*time.Second, "remove", "extra")
	o.camerad.Stop()
	wait(20*time.Second, "remove", "Door")

	// A link that wasn't there when it started.
	c := o.Subnet("c", "10.99.3.0/24")
	late := lab.Service{Name: "late", Type: "_http._tcp", Port: 82}
	o.Host("lamp").Join(c).Avahi(lab.Avahi{Services: []lab.Service{late}})
	o.desk.Join(c)
	if e := wait(20*time.Second, "add", "late"); e.Interface != "eth2" {
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
	// A fifth of it is left when it is asked for again, and either side may be late.
	const ttl = 12
	r := lamp.Link(a).Respond(lab.Responder{TTL: ttl, Services: []lab.Service{{Name: "lamp", Type: "_hap._tcp", Port: 1}}})
	p := desk.Lanfolk("browse", "_hap._tcp", "--json").Start()
	is := func(what string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, `"event":"`+what+`"`) }
	}
	p.WaitLine(20*time.Second, "add", is("add"))
	// It stays for more than its TTL, because it is asked again in time.
	time.Sleep((ttl + 2) * time.Second)
	if strings.Contains(p.Stdout(), `"remove"`) {
		t.Fatalf("a live service is lost: %s", p.Stdout())
	}
	r.Silence()
	p.WaitLine((ttl+3)*time.Second, "remove", is("remove"))
}

func TestBrowseSharesThePortWithAvahi(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.desk.Avahi(lab.Avahi{Services: []lab.Service{{Name: "own", Type: "_http._tcp", Port: 83}}})
	p := o.desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start()
	for _, name := range []string{"own", "Door", "nas.files v1.0", "Printer's page"} {
		p.WaitLine(20*time.Second, name, func(line string) bool {
			var e event
			return json.Unmarshal([]byte(line), &e) == nil && e.Event != "remove" && e.Name == name && e.Port != 0 && len(e.Addresses) > 0
		})
	}
	doc := o.desk.Lanfolk("doctor").Run()
	if !strings.Contains(doc.Stdout+doc.Stderr, "avahi-daemon") {
		t.Errorf("doctor doesn't say that avahi-daemon holds the port: %s%s", doc.Stdout, doc.Stderr)
	}
}
