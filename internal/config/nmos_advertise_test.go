package config_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
)

const advertised = `
[[nmos.advertise]]
name = "{host} registry"
kind = "register"
port = 8080
versions = ["v1.3", "v1.2"]

[[nmos.advertise]]
name = "reg-2"
kind = "register"
port = 443
versions = ["v1.3"]
proto = "https"
auth = true
pri = 100
development = true
legacy = true
subtypes = ["_main"]
host = "reg-2"
addresses = ["192.0.2.7", "2001:db8::7"]
mdns = false
health = { check = "https://192.0.2.7/x-nmos/", interval = "1m" }

[[nmos.advertise.domain]]
name = "studio.example.com"
server = "192.0.2.53"
key_file = "/etc/lanfolk/up.key"

[[nmos.advertise.domain]]
name = "example.com"
server = "[2001:db8::53]:5300"
lease = "5m"
lease_grace = "1m"
`

func TestNMOSAdvertise(t *testing.T) {
	c := parse(t, advertised)
	if len(c.NMOS.Advertise) != 2 || !c.NMOS.OnLinks() {
		t.Fatalf("%d sections, want 2", len(c.NMOS.Advertise))
	}
	a := c.NMOS.Advertise[0]
	if !a.MDNS || len(a.Domains) != 0 || a.Health.Check.On() {
		t.Errorf("the first reads as %+v", a)
	}
	all := a.Advertisements("nas")
	if len(all) != 1 {
		t.Fatalf("%d advertisements, want 1", len(all))
	}
	out, err := all[0].Announcement("local")
	if want := []string{"api_proto=http", "api_ver=v1.2,v1.3", "api_auth=false", "pri=0"}; err != nil || out.Name != "nas registry" || !slices.Equal(out.TXT, want) {
		t.Errorf("announced as %+v, %v", out, err)
	}
	a = c.NMOS.Advertise[1]
	if a.MDNS || a.Health.Interval.Duration() != time.Minute || len(a.Domains) != 2 {
		t.Errorf("the second reads as %+v", a)
	}
	if d := a.Domains[0]; d.Name.String() != "studio.example.com" || d.Server.String() != "192.0.2.53:53" || d.KeyFile != "/etc/lanfolk/up.key" || d.Lease.Duration() != time.Hour || d.Grace.Duration() != 10*time.Minute {
		t.Errorf("its first domain reads as %+v", d)
	}
	if d := a.Domains[1]; d.Server.String() != "[2001:db8::53]:5300" || d.Lease.Duration() != 5*time.Minute || d.Grace.Duration() != time.Minute {
		t.Errorf("its second domain reads as %+v", d)
	}
	all = a.Advertisements("nas")
	if len(all) != 2 || all[1].Kind.Service != "_nmos-registration._tcp" {
		t.Fatalf("advertisements %+v", all)
	}
	out, err = all[1].Announcement("studio.example.com")
	if want := []string{"api_proto=https", "api_ver=v1.3", "api_auth=true", "pri=100"}; err != nil || !slices.Equal(out.TXT, want) || len(out.Host.Addresses) != 2 || !slices.Equal(out.Subtypes, []string{"_main"}) {
		t.Errorf("announced as %+v, %v", out, err)
	}
	// What is shown can be read again.
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse("again.toml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := diff(c, again); d != "" {
		t.Error(d)
	}
}
