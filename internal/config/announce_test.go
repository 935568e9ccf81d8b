package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
)

const announces = `
[[announce]]
name = "{host} page"
type = "_http._tcp"
port = 8080
txt = { path = "/", ro = true, "a b" = "", no = false }
health = { check = "http://127.0.0.1:8080/healthz", status = 204, interval = "1m", falls = 1 }

[[announce]]
name = "Laser 3. floor"
type = "_ipp._tcp"
port = 631
subtypes = ["_universal", "Fax"]
placeholders = ["_printer._tcp"]
host = "laser"
addresses = ["192.0.2.7", "2001:db8::7"]
interfaces = ["eth0"]
[announce.txt]
txtvers = "1"
rp = "ipp/print"
[announce.health]
check = "tcp"

[[announce]]
name = "Plain"
type = "_x._udp"
health.check = "tcp://[2001:db8::9]:80"
`

func TestAnnounce(t *testing.T) {
	c := parse(t, announces)
	if len(c.Announce) != 3 {
		t.Fatalf("%d services, want 3", len(c.Announce))
	}
	a := c.Announce[0]
	if a.Name != "{host} page" || a.Type != "_http._tcp" || a.Port != 8080 || !slices.Equal(a.TXT.Strings(), []string{"path=/", "ro", "a b="}) {
		t.Errorf("the first reads as %+v", a)
	}
	h := a.Health
	if h.Check != (config.HealthCheck{URL: "http://127.0.0.1:8080/healthz"}) || h.Status != 204 || h.Interval.Duration() != time.Minute ||
		h.Timeout.Duration() != 2*time.Second || h.Rises != 2 || h.Falls != 1 {
		t.Errorf("its health reads as %+v", h)
	}
	b := c.Announce[1]
	if b.Host != "laser" || len(b.Addresses) != 2 || b.Addresses[1].String() != "2001:db8::7" || !slices.Equal(b.Subtypes, []string{"_universal", "Fax"}) ||
		!slices.Equal(b.Placeholders, []string{"_printer._tcp"}) || !slices.Equal(b.TXT.Strings(), []string{"txtvers=1", "rp=ipp/print"}) || b.Health.Check.TCP != config.OwnPort {
		t.Errorf("the second reads as %+v", b)
	}
	if x := c.Announce[2]; x.Health.Check.TCP != "[2001:db8::9]:80" || !x.Health.Check.On() || x.Health.Interval.Duration() != 10*time.Second {
		t.Errorf("the third reads as %+v", x)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}

// The example in the reference is one that works, and has every key.
func TestReferenceShowsHowToAnnounce(t *testing.T) {
	var example []string
	inside := false
	for line := range strings.Lines(string(config.Reference())) {
		inside = inside || strings.HasPrefix(line, "#[[announce]]")
		if text, ok := strings.CutPrefix(line, "#"); ok && inside && !strings.HasPrefix(text, " ") {
			example = append(example, text)
		}
	}
	c := parse(t, strings.Join(example, ""))
	if len(c.Announce) != 1 {
		t.Fatalf("%d services in\n%s", len(c.Announce), strings.Join(example, ""))
	}
	shown, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(shown), "[[announce]]\n")
	for line := range strings.Lines(after) {
		key, _, ok := strings.Cut(line, " = ")
		if ok && !slices.ContainsFunc(example, func(l string) bool { return strings.HasPrefix(l, strings.Trim(key, `"`)+" = ") }) {
			t.Errorf("the reference doesn't show %s", key)
		}
	}
}
