package config_test

import (
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestSyncthing(t *testing.T) {
	if c := parse(t, "").Syncthing; !c.Listen || c.Announce.On() || len(c.Server.Listen) > 0 {
		t.Errorf("the default is %+v; want to hear, and neither to announce nor to serve", c)
	}
	c := parse(t, `
[syncthing]
listen = false
servers = ["discovery.example.com", "192.0.2.7", "[2001:db8::7]:22", "2001:db8::8", "::ffff:127.0.0.1", "host:22"]
[syncthing.announce]
id = "p56ioi7mzjnu2iqgdreydm2mgtmgl3bxnpq6w5btbbz4tjxzwicq"
addresses = [":22000", "192.0.2.7:22001", "[2001:db8::7]:22000", "[::ffff:192.0.2.8]:22000"]
local = false
interval = "20s"
servers = ["discovery.example.com:443"]
server_interval = "5m"
[syncthing.server]
listen = [":443", "127.0.0.1", "[2001:db8::1]:22", "::", "0.0.0.0:22"]
state = "/srv/discovery"
rate_limit = 0
allow = ["P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"]
pin = true
`[1:])
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("written and read it differs:\n%s", d)
	}
	s := c.Syncthing
	if s.Listen || s.Announce.ID != s.Server.Allow[0] || !s.Announce.On() || s.Announce.Local || !s.Server.Pin || s.Server.RateLimit != 0 {
		t.Errorf("read as %+v", s)
	}
	for i, want := range []config.SyncthingServerName{
		{"discovery.example.com", 22026}, {"192.0.2.7", 22026}, {"2001:db8::7", 22}, {"2001:db8::8", 22026}, {"::ffff:127.0.0.1", 22026}, {"host", 22},
	} {
		if s.Servers[i] != want {
			t.Errorf("server %d is %+v; want %+v", i, s.Servers[i], want)
		}
	}
	for i, want := range []string{":22000", "192.0.2.7:22001", "[2001:db8::7]:22000", "192.0.2.8:22000"} {
		if got := s.Announce.Addresses[i].String(); got != want {
			t.Errorf("address %d is %s; want %s", i, got, want)
		}
	}
	for i, want := range []string{":443", "127.0.0.1:22026", "[2001:db8::1]:22", "[::]:22026", "0.0.0.0:22"} {
		if got := s.Server.Listen[i].String(); got != want {
			t.Errorf("listen[%d] is %s; want %s", i, got, want)
		}
	}
}
