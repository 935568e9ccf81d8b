package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestGatewayFindsHubByMDNS: a join string without an address will do, and so will a
// hub that moved.
func TestGatewayFindsHubByMDNS(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	s.startHub("[hub.announce]\nmdns = true\n")
	g := s.join(s.Host("shop").Join(s.net), "shop", "")
	g.node.Config = strings.Replace(g.node.Config, "[mdns]\nenabled = false\n", "", 1)
	// The address that it joined at is nobody's any more.
	s.hub.Stop()
	s.at = s.Host("moved").Join(s.net)
	moved := s.at.Link(s.net).V4.String() + ":" + grpcPort
	s.node.Config = strings.ReplaceAll(s.node.Config, s.address, moved)
	s.node.Args = []string{"--grpc", moved}
	s.restartHub()
	g.start()
	s.waitState("shop", "online", patience)
}

// TestGatewayFindsHubInADomain: the hub registers itself at a name server, by signed
// updates, and a gateway that knows the domain and no address joins there, finds it again
// where it moved to, and is told no more of a hub that ended.
func TestGatewayFindsHubInADomain(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	s := bareSite(t)
	const key, secret = "hub.example.test", "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="
	server := s.Host("server").Join(s.net)
	server.BIND(lab.BIND{
		Zones: []lab.Zone{{Name: "example.test", UpdatePolicy: []string{"grant " + key + " zonesub ANY;"}}},
		Keys:  map[string]string{key: secret},
	})
	ns := server.Link(s.net).V4.String()
	dig := func(name, kind string) string {
		t.Helper()
		return server.Run("dig", "+short", "+tries=1", "@"+ns, name+".example.test", kind).Stdout
	}
	keyFile := filepath.Join(s.folder("key"), "tsig")
	if err := os.WriteFile(keyFile, []byte(key+":hmac-sha256:"+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.startHub(fmt.Sprintf("[hub.announce]\nname = \"The hub\"\n[[hub.announce.domain]]\nname = \"example.test\"\nserver = %q\nkey_file = %q\n", ns, keyFile))
	registered := func() {
		t.Helper()
		address := s.at.Link(s.net).V4.String()
		lab.Eventually(t, patience, "the hub's registration", func() error {
			srv := strings.Fields(dig(`The\032hub._lanfolk-hub._tcp`, "SRV"))
			if len(srv) != 4 || srv[2] != grpcPort || dig("_lanfolk-hub._tcp", "PTR") == "" {
				return fmt.Errorf("SRV %v", srv)
			}
			if got := strings.TrimSpace(dig(strings.TrimSuffix(srv[3], ".example.test."), "A")); got != address {
				return fmt.Errorf("%s is at %s, and the hub at %s", srv[3], got, address)
			}
			return nil
		})
	}
	registered()

	g := &gate{name: "shop", host: s.Host("shop").Join(s.net), files: s.folder("files")}
	g.node = lab.Node{State: s.folder("shop"), Limit: limit(), Config: gatewayConfig + fmt.Sprintf("[dns]\nservers = [%q]\nsearch = [\"example.test\"]\n", ns)}
	config := filepath.Join(s.folder("config"), "lanfolk.toml")
	if err := os.WriteFile(config, []byte(g.node.Config), 0o644); err != nil {
		t.Fatal(err)
	}
	c := g.host.Lanfolk("join", "-", "--state", g.node.State, "-c", config)
	c.Stdin = s.ok("hub", "token", "create", "--gateway", "shop", "--no-address")
	if r := c.Run(); r.Exit != 0 {
		t.Fatalf("join: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	s.hub.Stop()
	if ptr := dig("_lanfolk-hub._tcp", "PTR"); ptr != "" {
		t.Errorf("the hub ended, and the domain has %s", ptr)
	}
	// Where it joined nobody is any more.
	s.at = s.Host("moved").Join(s.net)
	moved := s.at.Link(s.net).V4.String() + ":" + grpcPort
	s.node.Config = strings.ReplaceAll(s.node.Config, s.address, moved)
	s.node.Args = []string{"--grpc", moved}
	s.restartHub()
	registered()
	g.start()
	s.waitState("shop", "online", patience)
	if o := s.run("shop", "status"); o.Status != "ok" {
		t.Errorf("status: %+v", o)
	}
}

// TestSyncthingServerInHub: the global server runs beside the hub when it is configured.
func TestSyncthingServerInHub(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	address := s.at.Link(s.net).V4.String() + ":22026"
	s.startHub("[syncthing.server]\nlisten = [\"" + address + "\"]\n")
	desk := s.Host("desk").Join(s.net)
	const id = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"
	announce := desk.Lanfolk("syncthing", "announce", "--id", id, "--address", "10.99.1.77:22000", "--server", address).Start()
	defer announce.Stop()
	lab.Eventually(t, patience, "an answer of the global server", func() error {
		r := desk.Lanfolk("syncthing", "query", id, "--server", address).Run()
		if r.Exit != 0 || !strings.Contains(r.Stdout, "10.99.1.77:22000") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// TestWhoMayDoWhat: from another machine, with tokens of a viewer and of an operator who
// was granted one verb on the gateways with a label.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	s.startHub("", "--listen", s.at.Link(s.net).V4.String()+":8443")
	for _, name := range []string{"shop", "home"} {
		s.gateway(name, "").put(t, "notes.txt", []byte("notes"))
	}
	s.ok("hub", "label", "shop", "site=shop")
	dir := s.folder("tokens")
	user := func(name, role string) string {
		t.Helper()
		c := s.at.Lanfolk("hub", "user", "create", name, "--role", role, "--state", s.hub.State)
		c.Stdin = "correct horse battery staple\n"
		if r := c.Run(); r.Exit != 0 {
			t.Fatalf("user create: exit %d: %s", r.Exit, r.Stderr)
		}
		file := filepath.Join(dir, name)
		secret := strings.TrimSpace(s.ok("hub", "api-token", "create", "--user", name))
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	viewer, operator := user("vera", "viewer"), user("otto", "operator")
	s.ok("hub", "grant", "otto", "get", "site=shop")

	desk := s.Host("desk").Join(s.net)
	exits := func(want int, token string, args ...string) {
		t.Helper()
		flags := []string{"--api", s.hub.Page, "--ca-file", filepath.Join(s.hub.State, "hub-ca.pem"), "--token-file", token}
		if r := desk.Lanfolk(append(flags, args...)...).Run(); r.Exit != want {
			t.Errorf("%s: %v: exit %d, want %d: %s%s", filepath.Base(token), args, r.Exit, want, r.Stdout, r.Stderr)
		}
	}
	exits(0, viewer, "gateways")
	exits(4, viewer, "run", "shop", "status")
	exits(0, operator, "run", "shop", "status")
	exits(0, operator, "run", "home", "status")
	exits(0, operator, "run", "shop", "get", "notes.txt")
	exits(4, operator, "run", "home", "get", "notes.txt")
	exits(4, operator, "run", "shop", "exec", "anything")
	exits(4, operator, "hub", "revoke", "shop")
	nobody := filepath.Join(dir, "nobody")
	if err := os.WriteFile(nobody, []byte(strings.Repeat("0", 26)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exits(4, nobody, "gateways")
}

// TestHubShowsAllGatewaysDevices: what gateways find in their networks is in the hub's
// inventory, with who found it; network control services as such.
func TestHubShowsAllGatewaysDevices(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	for i, name := range []string{"shop", "home"} {
		inside := s.Subnet(name, fmt.Sprintf("10.99.%d.0/24", 10+i))
		s.Host("control-" + name).Join(inside).Links[0].Respond(lab.Responder{
			HostName: "control-" + name,
			Services: []lab.Service{{Name: "Control of " + name, Type: "_nmos-netctrl._tcp", Port: 8080, TXT: []string{"api_proto=http", "api_ver=v1.0", "pri=10"}}},
		})
		g := s.join(s.Host(name).Join(s.net).Join(inside), name, "")
		g.node.Config = strings.Replace(g.node.Config, "[mdns]\nenabled = false\n", "interfaces = [\"eth1\"]\n", 1)
		g.start()
	}
	type service struct{ Name, Type, Gateway, State string }
	for _, name := range []string{"shop", "home"} {
		id := s.waitState(name, "online", patience).ID
		lab.Eventually(t, patience, "what "+name+" found", func() error {
			var all []service
			if err := s.hub.JSON(&all, "services", "--gateway", id); err != nil {
				return err
			}
			for _, x := range all {
				if x.Gateway != name {
					return fmt.Errorf("of another gateway: %+v", x)
				}
				if x.Name == "Control of "+name && x.Type == "_nmos-netctrl._tcp" {
					return nil
				}
			}
			return fmt.Errorf("%+v", all)
		})
		if g, _ := s.listedAs(name); g.Devices == 0 {
			t.Errorf("listed as %+v; want its devices counted", g)
		}
	}
	if r := s.hub.Run("explain", "control-shop.local"); r.Exit != 0 || !strings.Contains(r.Stdout, "mdns") {
		t.Errorf("explain: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}
