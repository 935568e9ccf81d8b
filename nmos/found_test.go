package nmos

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

func service(name string, link int, addresses ...string) dnssd.Service {
	s := dnssd.Service{
		Instance: dnssd.Instance{Name: name, Service: "_nmos-netctrl._tcp", Domain: "local"}, Host: "ctl.local", Port: 80, Link: link,
		Interface: fmt.Sprint("eth", link), TXT: dnssd.TXT{"api_proto=http", "api_ver=v1.0", "api_auth=false", "pri=10"},
	}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	return s
}

func lookOf(services ...dnssd.Service) *look {
	l := &look{via: viaMulticast, domain: "local", service: "_nmos-netctrl._tcp"}
	for _, s := range services {
		l.hear(time.Time{}, dnssd.Event{Op: dnssd.Add, Service: s})
	}
	return l
}

func TestOneInstanceOnTwoLinksIsOne(t *testing.T) {
	l := lookOf(service("A", 2, "192.0.2.1", "fe80::1"), service("a", 1, "192.0.2.1", "0.0.0.0", "fe80::1", "ff02::1", "2001:db8::1"))
	got := l.found()
	if len(got) != 1 || len(got[0].Targets) != 1 {
		t.Fatalf("found %+v", got)
	}
	want := "[192.0.2.1 fe80::1%eth1 2001:db8::1 fe80::1%eth2]"
	if s := fmt.Sprint(got[0].Targets[0].Addresses); s != want {
		t.Errorf("addresses %s, want %s", s, want)
	}
	// Where it says different things it is two.
	other := service("A", 3, "192.0.2.1")
	other.Port = 81
	l.hear(time.Time{}, dnssd.Event{Op: dnssd.Add, Service: other})
	if got := l.found(); len(got) != 2 {
		t.Errorf("%d found, want 2", len(got))
	}
	l.hear(time.Time{}, dnssd.Event{Op: dnssd.Remove, Service: service("A", 2)})
	if got := l.found(); len(got) != 2 || len(got[0].Targets[0].Addresses) != 3 {
		t.Errorf("after a goodbye on one link: %+v", got)
	}
}

func TestFoundSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*dnssd.Service){
		"":                                  func(*dnssd.Service) {},
		"its host ctl.local has no address": func(s *dnssd.Service) { s.Addresses = nil },
		`its SRV record says that it isn't there (target ".")`: func(s *dnssd.Service) { s.Host = "." },
		"no SRV record":        func(s *dnssd.Service) { s.Host = "" },
		"cut short":            func(s *dnssd.Service) { s.Broken = errors.New("cut short") },
		"api_proto is missing": func(s *dnssd.Service) { s.TXT = nil },
	} {
		s := service("A", 1, "192.0.2.1")
		change(&s)
		f := lookOf(s).found()[0]
		k, _ := KindOf("netctrl")
		if _, err := Parse(k, f); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestFoundHasAllTextsAndTargets(t *testing.T) {
	s := service("A", 0, "192.0.2.1")
	s.TXTs = []dnssd.TXT{{"a"}, {"b"}}
	s.Targets = []dnssd.Target{
		{Host: "x.example.com.", Port: 1, Addresses: s.Addresses}, {Host: ".", Port: 2}, {Host: "y.example.com", Port: 3, Priority: 1},
	}
	f := foundOf(s, viaUnicast)
	if len(f.TXT) != 2 || f.Broken != nil {
		t.Errorf("%d texts, broken %v", len(f.TXT), f.Broken)
	}
	if len(f.Targets) != 2 || f.Targets[0].Host != "x.example.com" || f.Targets[1].Host != "y.example.com" {
		t.Errorf("targets %+v", f.Targets)
	}
}

func TestFoundIsInOrderOfName(t *testing.T) {
	l := lookOf(service("c", 1), service("B", 1), service("a", 1), service("b", 2))
	var names []string
	for _, f := range l.found() {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"a", "B", "c"}) {
		t.Errorf("names %q", names)
	}
}

func TestFewAddressesAreTried(t *testing.T) {
	var s Selection
	for i := range 100 {
		s.Target.Addresses = append(s.Target.Addresses, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if n := len(s.endpoints()); n != maxAddresses {
		t.Errorf("%d addresses would be tried", n)
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "aBC.Z@[": "abc.z@[", "ÄÖ\xff": "ÄÖ\xff"} {
		if got := fold(in); got != want {
			t.Errorf("fold(%q) = %q, want %q", in, got, want)
		}
	}
	if equalFold("ctl.", "ctl") || !equalFold("CTL", "ctl") || equalFold("ctl", "ctx") {
		t.Error("equalFold")
	}
}

var locationSeeds = []string{
	"http://10.0.0.5:8080", "https://reg.example.com/x-nmos/registration/v1.3/", "http://[fe80::1%25eth0]:80", "http://[::1]", "HTTP://A", "http://a:0",
	"http://a:", "http://%41", "http://a/%zz", "mqtt://a", "http://a b/", "http:///x", "//a", "http://a\n",
	"http://aA0#", "http://a?",
}

// Whatever is configured, what is accepted leads somewhere, by a URL that says
// the same.
func FuzzParseLocation(f *testing.F) {
	for _, s := range locationSeeds {
		for kind := range Kinds() {
			f.Add(s, uint8(kind))
		}
	}
	f.Fuzz(func(t *testing.T, location string, kind uint8) {
		k := Kinds()[int(kind)%len(Kinds())]
		s, err := ParseLocation(k, location)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "nmos: location") {
				t.Fatalf("%q: %v", location, err)
			}
			return
		}
		if s.Target.Port == 0 || s.Target.Host == "" || s.URL() != location || !slices.Contains(k.Protos, s.Proto) || len(s.endpoints()) != 1 {
			t.Fatalf("%q was accepted as %+v", location, s.Target)
		}
		if again, err := ParseLocation(k, s.Base()); err != nil || again.place() != s.place() {
			t.Fatalf("%q: its base %q is %v (%v)", location, s.Base(), again.Target, err)
		}
	})
}

func TestLocationFuzzSeeds(t *testing.T) {
	if len(locationSeeds) == 0 {
		t.Error("no seeds")
	}
}
