package config_test

import (
	"testing"
	"time"
)

func TestGateway(t *testing.T) {
	c := parse(t, `
[gateway]
hub = ["hub.example.com:8513", "[2001:db8::7]:08513"]
files = "/srv/hub"

[[gateway.program]]
name = "ping"
path = "/usr/bin/ping"
args = ["-c[1-9]", "[a-z0-9.-]+"]
user = "nobody"

[[gateway.program]]
name = "reboot"
path = "/sbin/reboot"
user = "root"
allow_root = true
timeout = "10s"

[gateway.insecure]
`)
	g := c.Gateway
	if len(g.Hub) != 2 || g.Hub[0].String() != "hub.example.com:8513" || g.Hub[1].String() != "[2001:db8::7]:8513" || g.Insecure.On() {
		t.Errorf("the hub reads as %v", g.Hub)
	}
	if p := g.Programs; len(p) != 2 || p[0].Timeout.Duration() != time.Minute || p[0].Args[1].String() != "[a-z0-9.-]+" || p[1].Timeout.Duration() != 10*time.Second || len(p[1].Args) != 0 {
		t.Errorf("the programs read as %+v", p)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(c, parse(t, string(text))); d != "" {
		t.Errorf("what TOML prints reads as something else (-was +reads):\n%s\n%s", d, text)
	}
}

// A server without TLS is on this machine, or the file says that it needn't be.
func TestInsecureHub(t *testing.T) {
	for hub, anywhere := range map[string]string{
		"localhost:50051": "false", "127.0.0.9:50051": "false", "[::1]:50051": "false", "192.0.2.7:50051": "true",
	} {
		c := parse(t, "[gateway.insecure]\nhub = \""+hub+"\"\nid = \"g1\"\nanywhere = "+anywhere+"\n")
		if !c.Gateway.Insecure.On() || c.Gateway.Insecure.Hub.String() != hub {
			t.Errorf("%s reads as %+v", hub, c.Gateway.Insecure)
		}
	}
}
