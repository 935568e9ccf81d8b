package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"

	"github.com/lanfolk/lanfolk/internal/config"
)

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("lanfolk.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func diff(want, got *config.Config) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(config.Duration{}, config.Listen{}, config.Address{}, config.DNSServer{}, config.Domain{}, config.ZoneListen{}, config.ZoneAddress{},
		config.SyncthingAddress{}, config.SyncthingListen{}, config.MQTTURL{}, config.MQTTListen{}, config.HubAddress{}, config.HubListen{}, config.Pattern{}))
}

func TestNoFileIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "\n# nothing\n", "[http]\n[mdns]\n"} {
		if d := diff(config.Default(), parse(t, text)); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}

// The reference has each key of the structs, no other, and the defaults.
func TestReference(t *testing.T) {
	if d := diff(config.Default(), parse(t, string(config.Reference()))); d != "" {
		t.Errorf("reference.toml has other values than Default (-default +reference):\n%s", d)
	}
	var ref, shown map[string]any
	if err := toml.Unmarshal(config.Reference(), &ref); err != nil {
		t.Fatal(err)
	}
	text, err := config.Default().TOML()
	if err != nil {
		t.Fatal(err)
	}
	if err := toml.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(shown, ref); d != "" {
		t.Errorf("reference.toml has other keys than the structs (-structs +reference):\n%s", d)
	}
	// Each key and section has a comment right before it or before the block it stands in.
	lines := strings.Split(string(config.Reference()), "\n")
	for i, l := range lines {
		if l != "" && l[0] == '[' && (i+1 >= len(lines) || !strings.HasPrefix(lines[i+1], "# ")) {
			t.Errorf("line %d: section %s isn't explained", i+1, l)
		}
		if l != "" && l[0] != '[' && l[0] != '#' && i > 0 && lines[i-1] == "" {
			t.Errorf("line %d: %s isn't explained", i+1, l)
		}
	}
}

// No field may be left out of the file by mistake.
func TestEveryFieldHasAKey(t *testing.T) {
	var walk func(ty reflect.Type)
	walk = func(ty reflect.Type) {
		for i := range ty.NumField() {
			f := ty.Field(i)
			if !f.IsExported() || f.Anonymous {
				continue
			}
			if f.Tag.Get("toml") == "" {
				t.Errorf("%s.%s has no toml tag", ty, f.Name)
			}
			if f.Type.Kind() == reflect.Struct && f.Type.NumField() > 0 && f.Type.Field(0).Tag.Get("toml") != "" {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[config.Config]())
}

func TestParse(t *testing.T) {
	c := parse(t, `
name = "Büro"
state = "/srv/lanfolk"
interfaces = ["eth0", "wlan0"]
exclude_interfaces = ["docker0"]
mdns = { ipv6 = false }
store.path = "other.db"

[http] # with a comment
listen = ":8080"
allowed_hosts = [
  "nas.example.com", # with a comment
  "NAS",
]
token_file = "/etc/lanfolk/tokens"

[passive]
enabled = true
promiscuous = true
filter = "not port 22"
retention = "30d"
max_rows = 5_000

[inventory]
retention = "1w2d3h"
forget_services = "90m"
max_sightings = 1_000_000

[log]
level = "debug"
format = "json"

[vendors]
file = "/etc/lanfolk/oui.txt"
`)
	if c.Name != "Büro" || c.State != "/srv/lanfolk" || strings.Join(c.Interfaces, " ") != "eth0 wlan0" || strings.Join(c.ExcludeInterfaces, " ") != "docker0" {
		t.Errorf("the top reads as %+v", c)
	}
	if h := c.HTTP; !h.Enabled || h.Listen.String() != "[::]:8080" || strings.Join(h.AllowedHosts, " ") != "nas.example.com NAS" || h.TokenFile != "/etc/lanfolk/tokens" {
		t.Errorf("[http] reads as %+v", h)
	}
	if want := (config.MDNS{Enabled: true, IPv4: true}); c.MDNS != want {
		t.Errorf("[mdns] reads as %+v", c.MDNS)
	}
	if p := c.Passive; p.Enabled != config.On || !p.Promiscuous || p.Filter != "not port 22" || p.Retention.Duration() != 30*24*time.Hour || p.MaxRows != 5000 {
		t.Errorf("[passive] reads as %+v", c.Passive)
	}
	if i := c.Inventory; i.Retention.Duration() != (9*24+3)*time.Hour || i.ForgetServices.Duration() != 90*time.Minute || i.MaxSightings != 1_000_000 {
		t.Errorf("[inventory] reads as %+v", i)
	}
	if c.Store.PathIn("/s") != "/s/other.db" || (config.Store{Path: "/x.db"}).PathIn("/s") != "/x.db" {
		t.Errorf("[store] reads as %+v", c.Store)
	}
	if c.Log.Level.Level() != slog.LevelDebug || c.Log.Format != config.FormatJSON || c.Vendors.File != "/etc/lanfolk/oui.txt" {
		t.Errorf("[log] and [vendors] read as %+v %+v", c.Log, c.Vendors)
	}
	if off := parse(t, "passive.enabled = false\nhttp.enabled = false"); off.Passive.Enabled != config.Off || off.HTTP.Enabled {
		t.Errorf("false reads as %+v %+v", off.Passive, off.HTTP)
	}

	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}

// Defaults are made anew for each caller.
func TestDefaultsAreNotShared(t *testing.T) {
	a := config.Default()
	a.HTTP.Listen, a.Name = config.Listen{}, "x"
	if d := diff(parse(t, ""), config.Default()); d != "" {
		t.Errorf("one Default changed another:\n%s", d)
	}
	if b := config.Reference(); len(b) > 0 {
		b[0] = 'X'
	}
	if config.Reference()[0] == 'X' {
		t.Error("the reference can be overwritten")
	}
	if _, err := a.TOML(); err == nil || err.Error() != "config: write http.listen: config: no address to listen on" {
		t.Errorf("an address that is none prints: %v", err)
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		in, out string
		want    time.Duration
	}{
		{"90d", "90d", 90 * 24 * time.Hour},
		{"2w", "14d", 14 * 24 * time.Hour},
		{"1w2d", "9d", 9 * 24 * time.Hour},
		{"1d12h", "1d12h", 36 * time.Hour},
		{"36h", "1d12h", 36 * time.Hour},
		{"1h30m", "1h30m", 90 * time.Minute},
		{"1h0m5s", "1h0m5s", time.Hour + 5*time.Second},
		{"10m", "10m", 10 * time.Minute},
		{"24h10m", "1d10m", 24*time.Hour + 10*time.Minute},
		{"1.5h", "1h30m", 90 * time.Minute},
		{"250ms", "250ms", 250 * time.Millisecond},
		{"106751d", "106751d", 106751 * 24 * time.Hour},
	} {
		d, err := config.ParseDuration(c.in)
		if err != nil || d.Duration() != c.want || d.String() != c.out {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", c.in, d, err, c.out)
		}
		if back, err := config.ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%s reads back as %s, %v", d, back, err)
		}
	}
	for in, want := range map[string]string{
		"":            `want a span like "90d", "2w" or "1h30m", not ""`,
		"90":          `want a span like "90d", "2w" or "1h30m", not "90"`,
		"d":           `want a span like "90d", "2w" or "1h30m", not "d"`,
		"1d1w":        `want a span like "90d", "2w" or "1h30m", not "1d1w"`,
		"-1d":         `want a span like "90d", "2w" or "1h30m", not "-1d"`,
		"1d+1h":       `want a span like "90d", "2w" or "1h30m", not "1d+1h"`,
		"1d-1h":       `want more than 0, not "1d-1h"`,
		"0s":          `want more than 0, not "0s"`,
		"0d":          `want more than 0, not "0d"`,
		"106752d":     `want less than 292 years, not "106752d"`,
		"4294967295w": `want less than 292 years, not "4294967295w"`,
		"106751d24h":  `want less than 292 years, not "106751d24h"`,
		"1y":          `want a span like "90d", "2w" or "1h30m", not "1y"`,
	} {
		if d, err := config.ParseDuration(in); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", in, d, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	good, bad, big := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml"), filepath.Join(dir, "big.toml")
	for path, text := range map[string]string{good: "name = \"x\"\n", bad: "nme = \"x\"\n", big: "#" + strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := config.Load(good); err != nil || c.Name != "x" {
		t.Errorf("Load = %+v, %v", c, err)
	}
	if _, err := config.Load(bad); err == nil || err.Error() != bad+":1:1: nme: unknown key; did you mean name?" {
		t.Errorf("a bad file: %v", err)
	}
	if _, err := config.Load(filepath.Join(dir, "none.toml")); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "config: ") {
		t.Errorf("no file: %v", err)
	}
	if _, err := config.Load(big); err == nil || err.Error() != "config: "+big+" has more than 1048576 bytes" {
		t.Errorf("a big file: %v", err)
	}
	if _, err := config.Load(dir); err == nil {
		t.Error("a folder was read")
	}
}

func TestNotEndlesslyManyErrors(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "x%d = 1\n", i)
	}
	_, err := config.Parse("f", []byte(b.String()))
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) != 101 || errs[100].Error() != "f:101:1: more mistakes than are told at once" {
		t.Errorf("%d errors, the last %v", len(errs), errs[len(errs)-1])
	}
}
