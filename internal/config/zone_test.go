package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestZone(t *testing.T) {
	c := parse(t, `
[[zone]]
domain = "lan.example.com"

[[zone]]
domain = "studio.example.com."
listen = ["192.0.2.1", "[2001:db8::1]:5300", ":5354"]
types = ["_ipp._tcp", "_universal._sub._ipp._tcp"]
interfaces = ["eth0"]
announced = true
ttl = "2s"
contact = "dns.admin@example.com"
rate_limit = 0
[[zone.nameserver]]
name = "ns"
addresses = ["192.0.2.1"]
[[zone.nameserver]]
name = "ns.example.org"
[[zone.secondary]]
address = "192.0.2.53"
[[zone.secondary]]
address = "[2001:db8::53]:5300"
key_file = "/etc/lanfolk/tsig.key"
`)
	if len(c.Zones) != 2 {
		t.Fatalf("%d zones", len(c.Zones))
	}
	a, b := c.Zones[0], c.Zones[1]
	if a.Domain.String() != "lan.example.com" || !slices.Equal(a.Listen, []config.ZoneListen{{Port: 53}}) || len(a.Types) != 0 || a.Announced ||
		a.TTL.Duration() != 10*time.Second || a.NegativeTTL.Duration() != 10*time.Second || a.FixedTTL.Duration() != time.Hour || a.RateLimit != 1000 ||
		a.Refresh.Duration() != time.Hour || a.Retry.Duration() != 5*time.Minute || a.Expire.Duration() != 24*time.Hour {
		t.Errorf("the first reads as %+v", a)
	}
	if !slices.Equal(b.Listen, []config.ZoneListen{
		{Addr: netip.MustParseAddr("192.0.2.1"), Port: 53}, {Addr: netip.MustParseAddr("2001:db8::1"), Port: 5300}, {Port: 5354},
	}) || b.Domain.String() != "studio.example.com" || len(b.Types) != 2 || !b.Announced || b.Contact != "dns.admin@example.com" || b.RateLimit != 0 {
		t.Errorf("the second reads as %+v", b)
	}
	if n := b.Nameservers; len(n) != 2 || n[0].Name != "ns" || n[0].Addresses[0].String() != "192.0.2.1" || len(n[1].Addresses) != 0 {
		t.Errorf("its name servers read as %+v", n)
	}
	if s := b.Secondaries; len(s) != 2 || s[0].Address.String() != "192.0.2.53:53" || s[1].Address.String() != "[2001:db8::53]:5300" || s[1].KeyFile != "/etc/lanfolk/tsig.key" {
		t.Errorf("its secondaries read as %+v", s)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}

// The example in the reference has every key with its default, but for those that
// have none.
func TestReferenceShowsAZone(t *testing.T) {
	var example []string
	inside := false
	for line := range strings.Lines(string(config.Reference())) {
		if strings.HasPrefix(line, "#[") {
			inside = strings.HasPrefix(line, "#[[zone")
		}
		if text, ok := strings.CutPrefix(line, "#"); ok && inside && !strings.HasPrefix(text, " ") {
			example = append(example, text)
		}
	}
	text := strings.Join(example, "")
	got := parse(t, text).Zones[0]
	want := parse(t, `
[[zone]]
domain = "lan.example.com"
[[zone.nameserver]]
name = "ns.example.com"
[[zone.secondary]]
address = "192.0.2.53"`).Zones[0]
	if d := diff(&config.Config{Zones: []config.Zone{want}}, &config.Config{Zones: []config.Zone{got}}); d != "" {
		t.Errorf("the reference's example has other values than the defaults (-default +reference):\n%s", d)
	}
	shown, err := (&config.Config{HTTP: config.Default().HTTP, Hub: config.Default().Hub, Zones: []config.Zone{want}}).TOML()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shown[strings.Index(string(shown), "[[zone]]"):])) {
		if key, _, ok := strings.Cut(line, " = "); ok && !strings.Contains(text, "\n"+key+" = ") {
			t.Errorf("the reference doesn't show %s", key)
		}
	}
}
