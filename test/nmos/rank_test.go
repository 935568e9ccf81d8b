package nmos

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// What a server can't publish, and why.
func bindCannot() map[string]string {
	return map[string]string{
		"rdata-cut-short-info-004-tinydns": "it reads TXT records, also those given as bytes, and refuses the zone",
	}
}

func dnsmasqCannot() map[string]string { return map[string]string{} }

func avahiCannot() map[string]string {
	return map[string]string{
		"txt-pri-beats-srv-priority":       "its SRV records have priority 0 and weight 0",
		"equal-txt-pri-ignores-srv":        "its SRV records have priority 0 and weight 0",
		"one-instance-two-srv":             "an instance has one SRV record, with priority 0",
		"one-instance-two-txt":             "an instance has one TXT record of its own",
		"ignorable-strings":                "it takes no string without a key",
		"rdata-cut-short-info-004-tinydns": "its strings are whole",
	}
}

// TestCases publishes every case by each server and looks for it with the real
// program. What was published by unicast DNS is published by mDNS, too: what
// is preferred doesn't depend on the way by which it was found.
func TestCases(t *testing.T) {
	t.Parallel()
	for _, c := range loadCases(t) {
		unicast, mdns := c.via("unicast"), c.via("mdns")
		t.Run(c.Name+"/bind", func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if why, cannot := bindCannot()[c.Name]; cannot {
				if s.bindTakes(unicast) {
					t.Errorf("BIND takes the zone; the table says: %s", why)
				}
				return
			}
			s.bind(unicast)
			s.rank(c, unicast, mdns, false)
		})
		t.Run(c.Name+"/dnsmasq", func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.dnsmasq(unicast, zoneTTL)
			if why, cannot := dnsmasqCannot()[c.Name]; cannot {
				if published(unicast, s.server) == nil {
					t.Errorf("dnsmasq can publish it; the table says: %s", why)
				}
				return
			}
			s.rank(c, unicast, mdns, true) // it writes names in lower case
		})
		if len(mdns.Advertisements) > 0 {
			continue // the case is about both ways
		}
		t.Run(c.Name+"/mdns", func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			local := c.inLocal()
			s.publishLocal(local)
			s.chooses(local, false, append(c.needs(), "--mode", "mdns")...)
			if mdns, unicast := s.asked(); len(unicast) > 0 || len(mdns) == 0 {
				t.Errorf("%d queries by mDNS and %d by unicast DNS", len(mdns), len(unicast))
			}
		})
	}
}

// rank looks for a case of which the unicast part is being served.
func (s *site) rank(c, unicast, mdns testCase, fold bool) {
	s.t.Helper()
	if len(mdns.Advertisements) > 0 {
		s.publishLocal(mdns)
	}
	lab.Eventually(s.t, 10*time.Second, "everything in the zone", func() error { return published(unicast, s.server) })
	s.chooses(c, fold, c.unicastArgs()...)
	if n, _ := s.asked(); len(n) > 0 && (len(unicast.Advertisements) > 0 || len(c.Expect.NotBrowsed) > 0) {
		s.t.Errorf("%d queries by mDNS: %s", len(n), c.Why)
	}
}

// publishLocal publishes a case by mDNS, from avahi-daemon where it can.
func (s *site) publishLocal(c testCase) {
	s.t.Helper()
	complete := func() error { return published(c, s.link) }
	d := s.avahi(c)
	why, cannot := avahiCannot()[c.Name]
	if !cannot {
		lab.Eventually(s.t, 20*time.Second, "everything published by avahi-daemon", complete)
		return
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if complete() == nil {
			s.t.Errorf("avahi-daemon can publish it; the table says: %s", why)
			return
		}
	}
	d.Stop()
	s.since = time.Now()
	s.responder(c)
	lab.Eventually(s.t, 5*time.Second, "everything published by the lab's responder", complete)
}

// bindTakes says whether BIND accepts the case's zone.
func (s *site) bindTakes(c testCase) bool {
	s.t.Helper()
	lab.Require(s.t, "named-checkzone")
	zone := append([]string{"$ORIGIN example.com.", "$TTL 60", "@ SOA ns.invalid. hostmaster 1 3600 600 86400 10", "@ NS ns.invalid."}, zoneLines(c, zoneTTL)...)
	r := s.dns.Run("named-checkzone", "example.com", s.file("zone", strings.Join(zone, "\n")+"\n"))
	return r.Exit == 0
}

// Where the documents leave a choice, what lanfolk does is written down with its
// reason.
func TestOpenChoicesAreWrittenDown(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocols/nmos.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, c := range loadCases(t) {
		names = append(names, c.Name)
		if c.Level == "open" && !strings.Contains(string(text), "`"+c.Name+"`") {
			t.Errorf("%s isn't in docs/protocols/nmos.md", c.Name)
		}
	}
	for _, table := range []map[string]string{bindCannot(), dnsmasqCannot(), avahiCannot()} {
		for name := range table {
			if !slices.Contains(names, name) {
				t.Errorf("no case %s", name)
			}
		}
	}
}
