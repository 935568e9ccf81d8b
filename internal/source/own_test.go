package source_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/source"
)

func TestOwnServicesAreSightings(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	self := source.Self{Gateway: "gw", Name: "nas", ID: "abc"}
	x := dnssd.Service{
		Instance: dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "local"}, Host: "nas.local", Port: 80, TXT: dnssd.TXT{"ro", "path=/"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Interface: "eth0",
	}
	s := self.Service(now, x, true)
	if s.Origin != (lanfolk.Origin{Protocol: "self", Gateway: "gw", Link: "eth0"}) || s.Key != "web._http._tcp.local" || s.Kind != lanfolk.KindService ||
		s.Name != "Web" || s.Type != "_http._tcp" || s.Host != "nas.local" || s.Port != 80 || s.Attributes["path"] != "/" || s.State != lanfolk.Reachable {
		t.Errorf("%+v", s)
	}
	if len(s.Identifiers) != 1 || s.Identifiers[0] != lanfolk.ProtocolIdentifier("lanfolk", "abc") {
		t.Errorf("identifiers %+v, want the node's own: it is its service", s.Identifiers)
	}
	x.Host = "laser.local"
	s = self.Service(now, x, false)
	for _, id := range s.Identifiers {
		if id == lanfolk.ProtocolIdentifier("lanfolk", "abc") {
			t.Error("another machine's service joins the node's device")
		}
	}
	if len(s.Identifiers) != 2 {
		t.Errorf("identifiers %+v, want host and address", s.Identifiers)
	}
}

// What a reflector brings back of our own is no news.
func TestOwnNamesThatComeBackAreOurs(t *testing.T) {
	m := source.MDNS{Own: func(link, key string) bool {
		return link == "eth0" && (key == "web._http._tcp.local" || key == "nas.local")
	}}
	now := time.Now()
	for _, c := range []struct {
		link, name, host string
		own              bool
	}{
		{"eth0", "WEB", "NAS.local", true},
		{"eth1", "Web", "nas.local", false},
		{"eth0", "Other", "other.local", false},
	} {
		ev := dnssd.Event{Op: dnssd.Add, Service: dnssd.Service{Instance: dnssd.Instance{Name: c.name, Service: "_http._tcp", Domain: "local"}, Interface: c.link}}
		s, ok := m.Service(now, ev)
		if !ok || s.Origin.Self != c.own {
			t.Errorf("%s on %s: self %v, want %v", c.name, c.link, s.Origin.Self, c.own)
		}
		h := m.Host(dnssd.HostEvent{Op: dnssd.Add, Host: c.host, Addr: netip.MustParseAddr("10.0.0.1"), Interface: c.link, Time: now, Expires: now.Add(time.Minute)})
		if h.Origin.Self != c.own {
			t.Errorf("%s on %s: self %v, want %v", c.host, c.link, h.Origin.Self, c.own)
		}
	}
}
