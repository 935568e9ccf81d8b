package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/internal/bridge"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

var start = time.Unix(1_000_000, 0)

func newBridge(t testing.TB) *bridge.Zone {
	t.Helper()
	z, err := zone.New(zone.Config{Domain: "lan.example.com"}, start)
	if err != nil {
		t.Fatal(err)
	}
	return &bridge.Zone{Zone: z}
}

// service is what is heard of a printer.
func service(link, name, host string, addresses ...string) dnssd.Service {
	s := dnssd.Service{
		Instance: dnssd.Instance{Name: name, Service: "_ipp._tcp", Domain: "local"}, Host: host + ".local", Port: 631,
		TXT: dnssd.TXT{"uuid=" + host + link}, Resolved: true, Interface: link, Via: "mdns", TTL: 4500,
	}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	return s
}

func hear(z *bridge.Zone, list ...dnssd.Service) {
	for _, s := range list {
		z.Hear(start, 0, dnssd.Event{Op: dnssd.Add, Service: s})
	}
}

func lose(z *bridge.Zone, list ...dnssd.Service) {
	for _, s := range list {
		z.Hear(start, 0, dnssd.Event{Op: dnssd.Remove, Service: s})
	}
}

// offered lists the instances and hosts that are in the zone, one a line.
func offered(t testing.TB, z *bridge.Zone) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := z.Zone.WriteInclude(&b); err != nil {
		t.Fatal(err)
	}
	var out []string
	owner := ""
	for line := range strings.Lines(b.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 5 {
			continue
		}
		if f[0] != "" {
			owner = f[0]
		}
		if f[3] == "SRV" || f[3] == "A" || f[3] == "AAAA" {
			out = append(out, strings.NewReplacer(`\032`, " ", `\(`, "(", `\)`, ")").Replace(owner)+" "+f[3]+" "+f[4])
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func want(t *testing.T, z *bridge.Zone, lines ...string) {
	t.Helper()
	slices.Sort(lines)
	if got := offered(t, z); got != strings.Join(lines, "\n") {
		t.Errorf("in the zone:\n%s\nwant:\n%s", got, strings.Join(lines, "\n"))
	}
}

func TestLinkLocalAddressesAreLeftOut(t *testing.T) {
	z := newBridge(t)
	hear(z, service("eth0", "Laser", "laser", "192.0.2.7", "fe80::7", "169.254.1.1", "2001:db8::7"), service("eth0", "Far", "far", "fe80::8"))
	want(t, z,
		"Laser._ipp._tcp SRV 0 0 631 laser",
		"laser A 192.0.2.7",
		"laser AAAA 2001:db8::7")
	if s := z.Stats(); s.Published != 1 || s.Hidden != 1 {
		t.Errorf("%+v", s)
	}
	// It gets an address that is of use, and loses it.
	hear(z, service("eth0", "Far", "far", "fe80::8", "192.0.2.8"))
	want(t, z, "Far._ipp._tcp SRV 0 0 631 far", "Laser._ipp._tcp SRV 0 0 631 laser", "far A 192.0.2.8", "laser A 192.0.2.7", "laser AAAA 2001:db8::7")
	hear(z, service("eth0", "Far", "far", "fe80::8"))
	lose(z, service("eth0", "Laser", "laser"))
	want(t, z)
}

func TestWhatIsHeardIsPublishedAsItIs(t *testing.T) {
	z := newBridge(t)
	s := service("eth0", `Büro. "2"`, "laser", "192.0.2.7")
	s.TXT, s.Subtypes = dnssd.TXT{"txtvers=1", "adminurl=http://laser.local/", "ro", "ro2=", "b=\x00\xff"}, []string{"_universal"}
	s.Targets = []dnssd.Target{
		{Host: "laser.local", Port: 631, Priority: 1, Weight: 2, Addresses: s.Addresses},
		{Host: "print.example.org", Port: 632},
	}
	hear(z, s)
	var b bytes.Buffer
	if _, err := z.Zone.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"B\\195\\188ro\\.\\032\\\"2\\\"._ipp._tcp\t10\tIN\tTXT\t\"txtvers=1\" \"adminurl=http://laser.local/\" \"ro\" \"ro2=\" \"b=\\000\\255\"\n",
		"\t10\tIN\tSRV\t0 0 632 print.example.org.\n", "\t10\tIN\tSRV\t1 2 631 laser\n",
		"_universal._sub._ipp._tcp\t10\tIN\tPTR\tB\\195\\188ro\\.\\032\\\"2\\\"._ipp._tcp\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestOneHostOnTwoLinksIsOne(t *testing.T) {
	z := newBridge(t)
	// A reflector between the links, or a bridge: the same address.
	a, b := service("eth0", "Laser", "laser", "192.0.2.7"), service("eth1", "Laser", "laser", "192.0.2.7", "2001:db8::7")
	// A foot in both: the same in every word.
	c, d := service("eth0", "NAS", "nas", "192.0.2.9"), service("eth1", "NAS", "nas", "198.51.100.9")
	d.TXT = c.TXT
	hear(z, a, b, c, d)
	both := []string{
		"Laser._ipp._tcp SRV 0 0 631 laser", "NAS._ipp._tcp SRV 0 0 631 nas",
		"laser A 192.0.2.7", "laser AAAA 2001:db8::7", "nas A 192.0.2.9", "nas A 198.51.100.9",
	}
	want(t, z, both...)
	lose(z, a, c)
	want(t, z, both[0], both[1], "laser A 192.0.2.7", "laser AAAA 2001:db8::7", "nas A 198.51.100.9")
	hear(z, a, c)
	want(t, z, both...)
	lose(z, a, b, c, d)
	want(t, z)
}

func TestOfTwoWithOneNameTheOlderKeepsIt(t *testing.T) {
	z := newBridge(t)
	seen := map[string]time.Time{"eth0": start.Add(-time.Hour), "eth1": start.Add(-2 * time.Hour)}
	z.FirstSeen = func(s dnssd.Service) time.Time { return seen[s.Interface] }
	a, b, c := service("eth0", "Laser", "laser", "192.0.2.7"), service("eth1", "Laser", "laser", "198.51.100.7"), service("eth2.5", "Laser", "laser", "203.0.113.7")
	hear(z, a, c)
	want(t, z,
		"Laser (eth2\\.5)._ipp._tcp SRV 0 0 631 laser-eth2-5",
		"Laser._ipp._tcp SRV 0 0 631 laser",
		"laser A 192.0.2.7", "laser-eth2-5 A 203.0.113.7")
	// An older one comes late: after a restart, say.
	hear(z, b)
	want(t, z,
		"Laser (eth0)._ipp._tcp SRV 0 0 631 laser-eth0",
		"Laser (eth2\\.5)._ipp._tcp SRV 0 0 631 laser-eth2-5",
		"Laser._ipp._tcp SRV 0 0 631 laser",
		"laser A 198.51.100.7", "laser-eth0 A 192.0.2.7", "laser-eth2-5 A 203.0.113.7")
	if s := z.Stats(); s.Published != 3 || s.Renamed != 2 {
		t.Errorf("%+v", s)
	}
	// It goes, and nobody is renamed for that.
	lose(z, b)
	want(t, z,
		"Laser (eth0)._ipp._tcp SRV 0 0 631 laser-eth0",
		"Laser (eth2\\.5)._ipp._tcp SRV 0 0 631 laser-eth2-5",
		"laser-eth0 A 192.0.2.7", "laser-eth2-5 A 203.0.113.7")
	hear(z, b)
	lose(z, a, c)
	want(t, z, "Laser._ipp._tcp SRV 0 0 631 laser", "laser A 198.51.100.7")
	lose(z, b)
	want(t, z)
	if services, records := z.Zone.Size(); services != 0 || records != 5 {
		t.Errorf("%d services, %d records are left", services, records)
	}
}

// A name that was made for one is another's own.
func TestMadeNameIsTaken(t *testing.T) {
	z := newBridge(t)
	hear(z, service("eth0", "Laser (eth1)", "other", "192.0.2.1"), service("eth0", "Laser", "laser", "192.0.2.7"), service("eth1", "Laser", "laser", "198.51.100.7"))
	want(t, z,
		"Laser (eth1 2)._ipp._tcp SRV 0 0 631 laser-eth1",
		"Laser (eth1)._ipp._tcp SRV 0 0 631 other",
		"Laser._ipp._tcp SRV 0 0 631 laser",
		"laser A 192.0.2.7", "laser-eth1 A 198.51.100.7", "other A 192.0.2.1")
}

func TestOnlyWhatIsMeant(t *testing.T) {
	z := newBridge(t)
	z.Links = []string{"eth0"}
	z.Own = func(s dnssd.Service) bool { return s.Name == "Mine" && s.Host == "here.local" }
	elsewhere, unicast, domain := service("eth1", "A", "a", "192.0.2.7"), service("eth0", "B", "b", "192.0.2.7"), service("eth0", "C", "c", "192.0.2.7")
	unicast.Via, domain.Domain = "unicast", "lan.example.com"
	gone := service("eth0", "D", "d", "192.0.2.7")
	gone.Resolved = false
	typ := service("eth0", "", "", "192.0.2.7")
	hear(z, elsewhere, unicast, domain, gone, typ, service("eth0", "Mine", "here", "192.0.2.9"))
	want(t, z)

	// What the node announces itself goes before what is heard.
	mine := service("eth0", "Mine", "here", "192.0.2.9")
	hear(z, service("eth0", "Yours", "here", "192.0.2.77"))
	z.Announced(start, []dnssd.Service{mine})
	want(t, z, "Mine._ipp._tcp SRV 0 0 631 here", "Yours._ipp._tcp SRV 0 0 631 here", "here A 192.0.2.77", "here A 192.0.2.9")
	z.Announced(start, nil)
	want(t, z, "Yours._ipp._tcp SRV 0 0 631 here", "here A 192.0.2.77")

	// Another one's may have the name elsewhere, and goes when it goes.
	yours := service("eth0", "Mine", "there", "192.0.2.78")
	hear(z, yours)
	z.Announced(start, []dnssd.Service{service("eth1", "Mine", "here", "192.0.2.9")})
	want(t, z, "Mine._ipp._tcp SRV 0 0 631 here-eth1", "Mine (eth0)._ipp._tcp SRV 0 0 631 there", "Yours._ipp._tcp SRV 0 0 631 here", "here A 192.0.2.77", "here-eth1 A 192.0.2.9", "there A 192.0.2.78")
	lose(z, yours)
	want(t, z, "Mine._ipp._tcp SRV 0 0 631 here-eth1", "Yours._ipp._tcp SRV 0 0 631 here", "here A 192.0.2.77", "here-eth1 A 192.0.2.9")
}

// Two feeds tell of a service: one of the type, one of a subtype.
func TestFeedsAreOnePicture(t *testing.T) {
	z := newBridge(t)
	s := service("eth0", "Laser", "laser", "192.0.2.7")
	sub := s
	sub.Subtypes = []string{"_universal"}
	z.Hear(start, 0, dnssd.Event{Op: dnssd.Add, Service: s})
	z.Hear(start, 1, dnssd.Event{Op: dnssd.Add, Service: sub})
	z.Hear(start, 0, dnssd.Event{Op: dnssd.Remove, Service: s})
	want(t, z, "Laser._ipp._tcp SRV 0 0 631 laser", "laser A 192.0.2.7")
	z.Hear(start, 1, dnssd.Event{Op: dnssd.Remove, Service: sub})
	want(t, z)
}

func TestManyServicesOfOneHost(t *testing.T) {
	z := newBridge(t)
	begin := time.Now()
	for i := range 5000 {
		for _, link := range []string{"eth0", "eth1"} {
			s := service(link, fmt.Sprint("Printer ", i), "server", "192.0.2.7")
			if link == "eth1" {
				s.Addresses = []netip.Addr{netip.MustParseAddr("198.51.100.7")}
			}
			s.TXT = nil
			hear(z, s)
		}
	}
	if services, _ := z.Zone.Size(); services != 5000 {
		t.Errorf("%d services", services)
	}
	if took := time.Since(begin); took > 2*time.Minute { // a second or so when there is a processor for it
		t.Errorf("it took %v", took)
	}
}

// From one host's announcement to the zone and back, over two engines.
func TestFromTheLinkIntoTheZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := lantest.New(1)
		engine := func(name, prefix string) *mdns.Engine {
			host := network.Host(name)
			host.Attach(network.Wire("lan"), "eth0", prefix)
			e := &mdns.Engine{Links: host.WatchLinks, Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) { return host.ListenMulticast(l, g) }}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
			return e
		}
		here, there := engine("here", "10.0.0.1/24"), engine("there", "10.0.0.2/24")
		z := newBridge(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		settled, start := time.Duration(0), time.Now()
		go func() {
			ended <- z.Run(ctx, dnssd.Multicast(here), []string{"_ipp._tcp", "_universal._sub._ipp._tcp"}, func() { settled = time.Since(start) })
		}()
		publisher := &dnssd.Publisher{Engine: there, Host: "laser"}
		laser, err := publisher.Publish(dnssd.Announcement{Name: "Laser", Type: "_ipp._tcp", Port: 631, Subtypes: []string{"_universal"}})
		if err != nil {
			t.Fatal(err)
		}
		web, err := publisher.Publish(dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		defer web.Withdraw()
		time.Sleep(5 * time.Second)
		want(t, z, "Laser._ipp._tcp SRV 0 0 631 laser", "laser A 10.0.0.2")
		laser.Withdraw()
		<-laser.Done()
		time.Sleep(1100 * time.Millisecond) // RFC 6762 §10.1 has a second
		want(t, z)
		if settled == 0 || settled > 4*time.Second {
			t.Errorf("the first look was complete after %v", settled)
		}
		again, err := publisher.Publish(dnssd.Announcement{Name: "Laser", Type: "_ipp._tcp", Port: 631})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Withdraw()
		time.Sleep(5 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// At the end nobody is told that all is gone: a secondary may go on.
		want(t, z, "Laser._ipp._tcp SRV 0 0 631 laser", "laser A 10.0.0.2")
	})
}

// A source that ends says nothing more, so what it said doesn't hold.
func TestSourceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := lantest.New(1)
		host := network.Host("here")
		host.Attach(network.Wire("lan"), "eth0", "10.0.0.1/24")
		e := &mdns.Engine{Links: host.WatchLinks, Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) { return host.ListenMulticast(l, g) }}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = e.Run(ctx) }()
		z := newBridge(t)
		ended := make(chan error, 1)
		go func() { ended <- z.Run(t.Context(), dnssd.Multicast(e), []string{"*"}, nil) }()
		synctest.Wait()
		hear(z, service("eth0", "Laser", "laser", "192.0.2.7"))
		cancel()
		if err := <-ended; err == nil {
			t.Error("no error")
		}
		want(t, z)
	})
}
