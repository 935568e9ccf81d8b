package nmos

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// With no server named, those of the machine are asked, in the domains that it
// searches: from resolv.conf itself, or through systemd-resolved.
func TestMachineKnowsServerAndDomain(t *testing.T) {
	t.Parallel()
	for name, conf := range map[string]string{
		"resolv.conf":      "nameserver " + dnsServer + "\nsearch other.example.com example.com\n",
		"systemd-resolved": "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.com\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := loadCase(t, "pri-ascending")
			s := newSite(t)
			s.bind(c)
			if name == "systemd-resolved" {
				s.desk.Resolved(lab.Resolved{Servers: []string{dnsServer}, Domains: []string{"example.com"}, Stub: true})
			}
			file := s.file("resolv.conf", conf)
			lab.Eventually(t, 20*time.Second, "what the case expects", func() error {
				cmd := s.desk.Lanfolk(append([]string{"nmos", "select", "-o", "json"}, c.needs()...)...)
				cmd.Mounts = []lab.Mount{{Source: file, Target: "/etc/resolv.conf"}}
				r := cmd.Run()
				var got selection
				if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
					return fmt.Errorf("exit %d, %w: %s%s", r.Exit, err, r.Stdout, r.Stderr)
				}
				return c.holds(got, r, false)
			})
			if n, _ := s.asked(); len(n) > 0 {
				t.Errorf("%d queries by mDNS", len(n))
			}
		})
	}
}

// Both ways at once make one list, in order as any other.
func TestMergedList(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "unicast-unresponsive-still-no-mdns")
	s := newSite(t)
	s.bind(c.via("unicast"))
	s.publishLocal(c.via("mdns"))
	c.Expect.Groups = [][]string{{"M"}, {"U"}}
	s.chooses(c, false, append(c.unicastArgs(), "--merge")...)
}

// The DNS server had no answer, and has one later: then there is one list of what both
// ways found, and what works stays in use.
func TestUnicastComesLater(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "unicast-unresponsive-still-no-mdns")
	s := newSite(t)
	s.bindWithUpdates(testCase{}, 1)
	s.publishLocal(c.via("mdns"))
	apis := s.apis(c)
	w := s.watch(apis, c.unicastArgs()...)
	w.selects(15*time.Second, "M")
	s.update(c.via("unicast"), 60)
	s.learns(c.via("unicast"))
	if all := w.changes(); len(all) != 1 {
		t.Fatalf("moved: %s", w.Stdout())
	}
	apis["M"].set(refuses)
	ch := w.next(10 * time.Second)
	if ch.label(apis) != "U" || len(ch.Groups) != 2 || ch.Groups[0][0].Instance != "M" || ch.Groups[1][0].Instance != "U" {
		t.Errorf("after the failure of M: %+v", ch)
	}
}

// The client is started before there is a network, as at boot: it finds its way
// when one comes.
func TestNetworkComesLater(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"unicast", "mdns", "both"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := pair(t, "http")
			s := newSite(t)
			if mode == "unicast" {
				s.bind(c)
			} else {
				c = c.inLocal()
				s.publishLocal(c) // and nobody runs a DNS server
			}
			c.Client.Mode = mode
			apis := s.apis(c)
			s.desk.Link(s.net).Down()
			w := s.watch(apis, c.unicastArgs()...)
			if ch := w.next(10 * time.Second); ch.Selected != nil {
				t.Fatalf("selected %+v", ch.Selected)
			}
			time.Sleep(3 * time.Second)
			s.desk.Link(s.net).Up()
			lab.Eventually(t, 40*time.Second, "selection", func() error {
				all := w.changes()
				if last := all[len(all)-1]; last.label(apis) != "A" {
					return fmt.Errorf("%s: %s", last.Event, last.Reason)
				}
				return nil
			})
		})
	}
}
