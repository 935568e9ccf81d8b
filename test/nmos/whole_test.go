package nmos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// advertised is what the tests advertise with lanfolk itself.
const advertised = "Control 1"

// advertise runs `lanfolk nmos advertise` on the peer.
func (s *site) advertise(args ...string) *lab.Process {
	s.t.Helper()
	return s.peer.Lanfolk(append([]string{"nmos", "advertise", advertised, "8080", "--type", "netctrl", "--api-version", "v1.0,v1.1", "--proto", "http", "--auth", "false", "--pri", "10", "-o", "jsonl"}, args...)...).Start()
}

// finds waits until a client on another host chooses what is advertised.
func (s *site) finds(args ...string) {
	s.t.Helper()
	lab.Eventually(s.t, 20*time.Second, "selection of what is advertised", func() error {
		got, r := s.choose(append([]string{"--type", "netctrl", "--api-version", "v1.1", "--proto", "http"}, args...)...)
		a := got.Selected
		if a == nil {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		if a.Instance != advertised || a.Port != 8080 || a.Priority != 10 || strings.Join(a.Versions, ",") != "v1.0,v1.1" || len(a.Addresses) == 0 {
			return fmt.Errorf("selected %+v", a)
		}
		return nil
	})
}

// sees waits until what another program prints holds all the texts.
func (s *site) sees(what string, run func() lab.Result, want ...string) {
	s.t.Helper()
	lab.Eventually(s.t, 20*time.Second, what, func() error {
		r := run()
		for _, w := range want {
			if !strings.Contains(r.Stdout, w) {
				return fmt.Errorf("no %q in %s%s", w, r.Stdout, r.Stderr)
			}
		}
		return nil
	})
}

// Advertised by mDNS: lanfolk, avahi-browse and systemd-resolved find it.
func TestAdvertisedByMulticast(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.advertise()
	s.finds("--mode", "mdns")
	avahi := s.dns.Avahi(lab.Avahi{DBus: true})
	s.sees("avahi-browse", func() lab.Result {
		return avahi.Command("avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", "_nmos-netctrl._tcp").Run()
	}, ";10.99.1.11;8080;", `"api_ver=v1.0,v1.1"`, `"pri=10"`)
	resolved := s.Host("other").Join(s.net).Resolved(lab.Resolved{MulticastDNS: true})
	s.sees("resolvectl", func() lab.Result { return resolved.Ctl("service", advertised, "_nmos-netctrl._tcp", "local") },
		":8080 [", "10.99.1.11", "api_ver=v1.0,v1.1", "pri=10")
	if code := p.Stop(); code != 0 {
		t.Errorf("advertise ends with %d: %s", code, p.Stderr())
	}
	lab.Eventually(t, 5*time.Second, "nothing left", func() error {
		if got, r := s.choose("--type", "netctrl", "--mode", "mdns"); got.Selected != nil {
			return fmt.Errorf("%s", r.Stdout)
		}
		return nil
	})
}

// Advertised by RFC 2136 on BIND: lanfolk, dig, avahi-browse -d and systemd-resolved
// find it.
func TestAdvertisedByUpdate(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	s := newSite(t)
	s.bindWithUpdates(testCase{}, 60)
	key := s.file("up.key", fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", tsigName, tsigSecret))
	p := s.advertise("--domain", "example.com", "--server", dnsServer, "--tsig-file", key, "--no-mdns")
	s.finds("--domain", "example.com", "--server", dnsServer, "--mode", "unicast")
	s.unicastClientsSee("example.com", "10.99.1.11")
	for _, m := range s.wire.MDNS() {
		if m.Src.Addr() == s.peer.Link(s.net).V4 {
			t.Error("mDNS was ruled out, and spoken")
			break
		}
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("advertise ends with %d: %s", code, p.Stderr())
	}
	if got, r := s.choose("--type", "netctrl", "--domain", "example.com", "--server", dnsServer, "--mode", "unicast"); got.Selected != nil {
		t.Errorf("left behind: %s", r.Stdout)
	}
}

// Advertised by both ways at once: each finds it, and neither way is left out.
func TestAdvertisedBothWays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bindWithUpdates(testCase{}, 60)
	key := s.file("up.key", fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", tsigName, tsigSecret))
	s.advertise("--domain", "example.com", "--server", dnsServer, "--tsig-file", key)
	s.finds("--domain", "example.com", "--server", dnsServer, "--mode", "unicast")
	s.finds("--mode", "mdns")
}

// Advertised by a zone file that BIND takes in.
func TestAdvertisedByZoneFile(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	s := newSite(t)
	p := s.advertise("--domain", "example.com", "--host", "ctl", "--address", "10.99.1.11", "--zone-file", "-", "-o", "table")
	if code := p.Wait(10 * time.Second); code != 0 {
		t.Fatalf("exit %d: %s", code, p.Stderr())
	}
	s.dns.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.com", Records: []string{p.Stdout()}}}})
	s.finds("--domain", "example.com", "--server", dnsServer, "--mode", "unicast")
	s.unicastClientsSee("example.com", "10.99.1.11")
}

// Advertised by mDNS on a link where a node serves a zone, to which the site's
// DNS delegates: clients on another link, which no mDNS reaches, find it.
func TestAdvertisedByOwnZone(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	l := lab.New(t)
	far := l.Subnet("far", "10.99.2.0/24", "fd99:2::/64")
	s := newSiteIn(t, l)
	l.Router("r", s.net, far)
	s.peer = l.Host("studio").Join(far)
	s.dns.BIND(lab.BIND{Recursion: true, Zones: []lab.Zone{{Name: "example.com", Records: []string{
		"lan NS ns.lan.example.com.", "ns.lan A 10.99.2.11", "ns.lan AAAA fd99:2::b",
	}}}})
	l.Host("node").Join(far).Up(lab.Node{Config: "[http]\nenabled = false\n[[zone]]\ndomain = \"lan.example.com\"\nlisten = [\":53\"]\ntypes = [\"_nmos-netctrl._tcp\"]\n"})
	p := s.advertise()
	s.finds("--domain", "lan.example.com", "--server", dnsServer, "--mode", "unicast")
	s.unicastClientsSee("lan.example.com", "10.99.2.10")
	if code := p.Stop(); code != 0 {
		t.Errorf("advertise ends with %d: %s", code, p.Stderr())
	}
	// Nobody remembers it for longer than the zone's TTL of 10 s.
	lab.Eventually(t, 25*time.Second, "nothing left", func() error {
		if got, r := s.choose("--type", "netctrl", "--domain", "lan.example.com", "--server", dnsServer, "--mode", "unicast"); got.Selected != nil {
			return fmt.Errorf("%s", r.Stdout)
		}
		return nil
	})
}

// unicastClientsSee holds what programs other than lanfolk find in a domain: an
// API at an address.
func (s *site) unicastClientsSee(domain, address string) {
	s.t.Helper()
	other := s.Host("other").Join(s.net)
	dig := func(name, typ string) func() lab.Result {
		return func() lab.Result { return other.Run("dig", "+short", "@"+dnsServer, name, typ) }
	}
	full := `Control\0321._nmos-netctrl._tcp.` + domain + "."
	s.sees("dig", dig("_nmos-netctrl._tcp."+domain, "PTR"), full)
	s.sees("dig", dig("_services._dns-sd._udp."+domain, "PTR"), "_nmos-netctrl._tcp."+domain+".")
	s.sees("dig", dig(full, "SRV"), "0 0 8080 ")
	s.sees("dig", dig(full, "TXT"), `"api_proto=http" "api_ver=v1.0,v1.1" "api_auth=false" "pri=10"`)
	avahi := other.Avahi(lab.Avahi{DBus: true, DNSServer: dnsServer})
	s.sees("avahi-browse -d", func() lab.Result {
		return avahi.Command("avahi-browse", "--domain="+domain, "--resolve", "--parsable", "--terminate", "--no-db-lookup", "_nmos-netctrl._tcp").Run()
	}, ";"+address+";8080;", `"api_ver=v1.0,v1.1"`, `"pri=10"`)
	resolved := s.Host("another").Join(s.net).Resolved(lab.Resolved{Servers: []string{dnsServer}, Domains: []string{domain}})
	s.sees("resolvectl", func() lab.Result { return resolved.Ctl("service", advertised, "_nmos-netctrl._tcp", domain) },
		":8080 [", address, "api_ver=v1.0,v1.1", "pri=10")
	s.sees("resolvectl", func() lab.Result { return resolved.Ctl("query", "--type=PTR", "_nmos-netctrl._tcp."+domain) }, full[:len(full)-1])
}
