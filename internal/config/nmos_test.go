package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/nmos"
)

func TestNMOSSelect(t *testing.T) {
	c := parse(t, `
[[nmos.select]]
kind = "register"

[[nmos.select]]
name = "studio B"
kind = "netctrl"
versions = ["v1.0", "v1.12"]
proto = "https"
auth = false
mode = "unicast"
domains = ["b.example.com"]
servers = ["192.0.2.53", "[2001:db8::53]:5300"]
url = "https://ctl.example.com:8443"
development = true
fall_back = true
merge = true
return = true
check_every = "1m"
timeout = "250ms"
ca_file = "/etc/studio.pem"
`)
	if len(c.NMOS.Select) != 2 {
		t.Fatalf("%d selections, want 2", len(c.NMOS.Select))
	}
	a := c.NMOS.Select[0]
	if a.Title() != "register" || a.Kind.Service != "_nmos-register._tcp" || a.Auth.Must != nil || a.Mode != config.NMOSBoth ||
		a.CheckEvery.Duration() != 5*time.Second || a.Timeout.Duration() != 5*time.Second || a.Development || a.FallBack || a.Merge || a.Return {
		t.Errorf("the first reads as %+v", a)
	}
	b := c.NMOS.Select[1]
	if b.Title() != "studio B" || b.Kind.Name != "netctrl" || len(b.Versions) != 2 || b.Versions[1].Version != (nmos.Version{Major: 1, Minor: 12}) ||
		b.Proto != "https" || b.Auth.Must == nil || *b.Auth.Must || b.Mode != config.NMOSUnicast || b.Domains[0].String() != "b.example.com" ||
		b.Servers[0].String() != "192.0.2.53:53" || b.Servers[1].String() != "[2001:db8::53]:5300" || b.URL != "https://ctl.example.com:8443" ||
		!b.Development || !b.FallBack || !b.Merge || !b.Return || b.CheckEvery.Duration() != time.Minute || b.Timeout.Duration() != 250*time.Millisecond ||
		b.CAFile != "/etc/studio.pem" {
		t.Errorf("the second reads as %+v", b)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}

// The reference shows each key of a section [[nmos.select]], with its default.
func TestReferenceShowsHowToSelect(t *testing.T) {
	var example strings.Builder
	inside := false
	for line := range strings.Lines(string(config.Reference())) {
		switch {
		case strings.HasPrefix(line, "#[["):
			inside = strings.HasPrefix(line, "#[[nmos.select]]")
		case !strings.HasPrefix(line, "#"):
			inside = false
		}
		if text := strings.TrimPrefix(line, "#"); inside && !strings.HasPrefix(text, " ") {
			example.WriteString(text)
		}
	}
	if d := diff(parse(t, "[[nmos.select]]\nkind = \"register\""), parse(t, example.String())); d != "" {
		t.Errorf("the reference shows other values than the defaults (-default +reference):\n%s", d)
	}
	shown, err := parse(t, example.String()).TOML()
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(shown), "[[nmos.select]]\n")
	section, _, _ = strings.Cut(section, "\n[")
	for line := range strings.Lines(section) {
		if key, _, ok := strings.Cut(line, " = "); ok && !strings.Contains(example.String(), "\n"+key+" = ") {
			t.Errorf("the reference doesn't show %s", key)
		}
	}
}
