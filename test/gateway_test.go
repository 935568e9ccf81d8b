package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/test/lab"
)

// hubPort is where the hubs of these tests listen for gateways.
const hubPort = 8513

// hubUp starts a hub in a host, on the address that it has in the first subnet.
func hubUp(h *lab.Host, more string) *lab.RunningNode {
	return h.Hub(lab.Node{Config: fmt.Sprintf("[hub]\nlisten = \"127.0.0.1:8443\"\naddresses = [\"%s:%d\"]\n", h.Addresses()[0], hubPort) + more})
}

// joinString has a hub print one.
func joinString(t *testing.T, hub *lab.RunningNode, name string, args ...string) string {
	t.Helper()
	r := hub.Run(append([]string{"hub", "token", "create", "--gateway", name}, args...)...)
	if r.Exit != 0 {
		t.Fatalf("token create: exit %d: %s", r.Exit, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// join runs `lanfolk join -`, as root.
func join(h *lab.Host, state, text string, args ...string) lab.Result {
	c := h.Lanfolk(append([]string{"join", "-", "--state", state}, args...)...)
	c.Stdin = text + "\n"
	return c.Run()
}

// online waits until a hub lists a gateway as online.
func online(t *testing.T, hub *lab.RunningNode, name string) {
	t.Helper()
	lab.Eventually(t, 20*time.Second, name+" online", func() error {
		var all []struct{ Name, State string }
		if err := hub.JSON(&all, "gateways"); err != nil {
			return err
		}
		for _, g := range all {
			if g.Name == name && g.State == "online" {
				return nil
			}
		}
		return fmt.Errorf("%+v", all)
	})
}

// A gateway with no address finds its hub by unicast DNS-SD: in the order of the SRV
// records, past one that is dead and past another hub, which learns nothing; and by mDNS
// where no domain has it.
func TestGatewayFindsItsHub(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	server, here, there := l.Host("server").Join(a), l.Host("here").Join(a), l.Host("there").Join(a)
	gate, shed := l.Host("gate").Join(a), l.Host("shed").Join(a)
	server.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.test", Records: []string{
		"_lanfolk-hub._tcp PTR Other._lanfolk-hub._tcp", "_lanfolk-hub._tcp PTR Dead._lanfolk-hub._tcp", "_lanfolk-hub._tcp PTR Hub._lanfolk-hub._tcp",
		"Other._lanfolk-hub._tcp SRV 1 0 8513 there", "Dead._lanfolk-hub._tcp SRV 2 0 8514 here", "Hub._lanfolk-hub._tcp SRV 3 0 8513 here",
		"Other._lanfolk-hub._tcp TXT \"\"", "Dead._lanfolk-hub._tcp TXT \"\"", "Hub._lanfolk-hub._tcp TXT \"\"",
		"here A " + here.Addresses()[0].String(), "there A " + there.Addresses()[0].String(),
	}}}})
	hub := hubUp(here, "[hub.announce]\nmdns = true\n")
	other := hubUp(there, "[hub.announce]\nmdns = true\n")

	const quiet = "[http]\nenabled = false\n[passive]\nenabled = false\n"
	dns := quiet + fmt.Sprintf("[mdns]\nenabled = false\n[dns]\nservers = [%q]\nsearch = [\"example.test\"]\n", server.Addresses()[0])
	config := filepath.Join(l.Dir(), "gate.toml")
	if err := os.WriteFile(config, []byte(dns), 0o644); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(l.Dir(), "gate")
	r := join(gate, state, joinString(t, hub, "gate", "--no-address"), "-c", config)
	if r.Exit != 0 || !strings.HasPrefix(r.Stdout, "joined as gate, the gateway g") || !strings.Contains(r.Stderr, "at "+there.Addresses()[0].String()+":8513 there is another hub") {
		t.Fatalf("join: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	t.Logf("joined after %v", r.Took)
	gate.Up(lab.Node{State: state, Config: dns + "[gateway]\nhub = [\"[fd99:1::77]:8513\"]\n"}) // nobody is there
	online(t, hub, "gate")

	// A node that runs is asked: its engine has the port. It looks for the hub by mDNS
	// itself, too, where the configuration is out of date.
	mdns := quiet + "[gateway]\nhub = [\"10.99.1.77:8513\"]\n"
	up := shed.Up(lab.Node{Config: mdns})
	c := shed.Lanfolk("join", joinString(t, hub, "shed", "--no-address"), "--state", up.State)
	nowhere := filepath.Join(l.Dir(), "resolv.conf")
	if err := os.WriteFile(nowhere, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Mounts = []lab.Mount{{Source: nowhere, Target: "/etc/resolv.conf"}}
	if r := c.Run(); r.Exit != 0 {
		t.Fatalf("join by mDNS: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	online(t, hub, "shed")
	lab.Eventually(t, 10*time.Second, "the hub in the shed's status", func() error {
		var status struct{ Hub struct{ Address string } }
		err := up.JSON(&status, "status")
		if err == nil && !strings.HasSuffix(status.Hub.Address, fmt.Sprint(":", hubPort)) {
			err = fmt.Errorf("it is at %q", status.Hub.Address)
		}
		return err
	})
	if r := other.Run("gateways", "--json"); strings.TrimSpace(r.Stdout) != "[]" {
		t.Errorf("the other hub has gateways: %s%s", r.Stdout, r.Stderr)
	}
}

// Why a machine can't join is told in words, with an exit code for scripts.
func TestWhyAMachineCanNotJoin(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	here, there, gate := l.Host("here").Join(a), l.Host("there").Join(a), l.Host("gate").Join(a)
	hub, other := hubUp(here, ""), hubUp(there, "")
	folder := func(name string) string { return filepath.Join(l.Dir(), name) }
	used := joinString(t, hub, "first")
	if r := join(gate, folder("first"), used); r.Exit != 0 {
		t.Fatalf("join: exit %d: %s", r.Exit, r.Stderr)
	}
	change := func(text string, f func(*invitation.Invitation)) string {
		i, err := invitation.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		f(&i)
		out, err := i.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	expired := hub.Run("hub", "token", "create", "--ttl", "1s").Stdout
	time.Sleep(1100 * time.Millisecond)
	for _, c := range []struct {
		name, text, state string
		args              []string
		exit              int
		says              string
	}{
		{"no join string", "lanfolk1.x", "x", nil, 2, "not a join string"},
		{"nothing", "", "x", nil, 2, "not a join string"},
		{"a token that was used", used, "x", nil, 4, "the token was used by another machine"},
		{"a token that expired", expired, "x", nil, 4, "the token expired; ask for a new one"},
		{"a token that the hub doesn't know", change(used, func(i *invitation.Invitation) { i.Secret = strings.Repeat("A", 26) }), "x", nil, 4, "the hub doesn't know this token"},
		{"another hub at the address", change(used, func(i *invitation.Invitation) { i.Addresses = []string{there.Addresses()[0].String() + ":8513"} }), "x", nil, 1,
			"this is not the gateway's hub, or somebody is in between; it was told nothing"},
		{"nobody at the address", change(used, func(i *invitation.Invitation) {
			i.Addresses = []string{"10.99.1.77:8513", here.Addresses()[0].String() + ":1"}
		}), "x", nil, 6,
			"the hub can't be reached: at 10.99.1.77:8513: enrol: dial tcp 10.99.1.77:8513: connect: no route to host; at 10.99.1.10:1: enrol: dial tcp 10.99.1.10:1: connect: connection refused"},
		{"a member of another hub", joinString(t, other, "first"), "first", nil, 1, "this machine is the gateway g"},
		{"again at the same hub", joinString(t, hub, "first"), "first", nil, 0, `no node runs here; "lanfolk up" connects`},
		{"another hub, on purpose", joinString(t, other, "first"), "first", []string{"--replace"}, 0, ""},
	} {
		r := join(gate, folder(c.state), c.text, c.args...)
		if r.Exit != c.exit || !strings.Contains(r.Stderr, c.says) {
			t.Errorf("%s: exit %d after %v: %s%s; want %d, %q", c.name, r.Exit, r.Took, r.Stdout, r.Stderr, c.exit, c.says)
		}
	}
	slow := gate.Lanfolk("join", used, "--state", folder("y"), "--json")
	if r := slow.Run(); r.Exit != 4 || r.Stdout != "" {
		t.Errorf("as an argument: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

// Root joins for the user of the service: the key is that user's. What a program of the
// gateway's began dies with the gateway, however it dies; the command is reported as
// interrupted, and isn't run again.
func TestServiceUsersGateway(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	here, gate := l.Host("here").Join(a), l.Host("gate").Join(a)
	hub := hubUp(here, "")
	const seconds = "98765.4321" // so that it is found among all processes
	config := fmt.Sprintf(`
[http]
enabled = false
[mdns]
enabled = false
[[gateway.program]]
name = "wait"
path = "/bin/sh"
args = ["-c", ".*"]
user = "%d"
timeout = "1h"
`, lab.Nobody)
	up := gate.Up(lab.Node{Config: config, User: lab.Nobody})
	if r := join(gate, up.State, joinString(t, hub, "gate")); r.Exit != 0 || !strings.Contains(r.Stderr, "the node that runs is connected") {
		t.Fatalf("join: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for _, name := range []string{"gateway", "gateway/identity.json"} {
		info, err := os.Stat(filepath.Join(up.State, name))
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != lab.Nobody || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v and owner %d", name, info.Mode(), s.Uid)
		}
	}
	online(t, hub, "gate")
	run := here.Lanfolk("run", "gate", "exec", "wait", "-c", "sleep "+seconds+" & echo begun; wait", "--state", hub.State, "-o", "jsonl").Start()
	sleeping := func() bool {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if b, err := os.ReadFile(path); err == nil && string(b) == "sleep\x00"+seconds+"\x00" {
				return true
			}
		}
		return false
	}
	lab.Eventually(t, 20*time.Second, "the program", func() error {
		if !sleeping() {
			return fmt.Errorf("it doesn't run: %s%s", run.Stdout(), run.Stderr())
		}
		return nil
	})
	lab.Eventually(t, 20*time.Second, "what it said at the hub", func() error {
		var all []struct {
			ID string `json:"command_id"`
		}
		if err := hub.JSON(&all, "commands"); err != nil || len(all) != 1 {
			return fmt.Errorf("commands %+v, %w", all, err)
		}
		if r := hub.Run("commands", "output", all[0].ID, "--now"); r.Stdout != "begun\n" {
			return fmt.Errorf("exit %d: %q%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	up.Kill()
	gate.Up(lab.Node{State: up.State, Config: config, User: lab.Nobody})
	lab.Eventually(t, 20*time.Second, "the program's end", func() error {
		if sleeping() {
			return errors.New("what it began still runs")
		}
		return nil
	})
	line := run.WaitLine(20*time.Second, "the command's end", func(line string) bool { return strings.Contains(line, `"interrupted"`) })
	var got struct{ Status, Output string }
	if err := json.Unmarshal([]byte(line), &got); err != nil || got.Output != "begun\n" {
		t.Errorf("%s: %v", line, err)
	}
	if code := run.Wait(20 * time.Second); code != 1 {
		t.Errorf("run exits with %d", code)
	}
}

// A network control service that is announced, by mDNS or in a domain that doesn't list
// its types, is in the inventory, and where it runs is a controller.
func TestNetworkControlServicesAreInTheInventory(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, control, desk := l.Host("server").Join(a), l.Host("control").Join(a), l.Host("desk").Join(a)
	const txt = `"api_ver=v1.0" "api_proto=http" "api_auth=false" "pri=10"`
	server.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.test", Records: []string{
		"_nmos-netctrl._tcp PTR Floor._nmos-netctrl._tcp", "Floor._nmos-netctrl._tcp SRV 0 0 8080 switch", "Floor._nmos-netctrl._tcp TXT " + txt, "switch A 10.99.1.77",
	}}}})
	control.Lanfolk("announce", "Stage", "_nmos-netctrl._tcp", "8081", "api_ver=v1.0", "api_proto=http", "api_auth=false", "pri=20").Start()
	n := desk.Up(lab.Node{Config: "[http]\nenabled = false\n[dns]\nservers = [\"10.99.1.10\"]\nbrowse = [\"example.test\"]\n"})
	lab.Eventually(t, 15*time.Second, "network control services", func() error {
		var all []struct {
			Name, Type, Protocol string
			Port                 uint16
			Attributes           map[string]string
		}
		if err := n.JSON(&all, "services", "--type", "_nmos-netctrl._tcp"); err != nil {
			return err
		}
		want := map[string]string{"Floor": "dns-sd 8080 10", "Stage": "mdns 8081 20"}
		for _, s := range all {
			if want[s.Name] == fmt.Sprint(s.Protocol, " ", s.Port, " ", s.Attributes["pri"]) {
				delete(want, s.Name)
			}
		}
		if len(want) > 0 {
			return fmt.Errorf("%v of these is missing in %+v", want, all)
		}
		return nil
	})
	lab.Eventually(t, 15*time.Second, "a controller", func() error {
		var all []struct{ Class, Model string }
		if err := n.JSON(&all, "devices", "--type", "_nmos-netctrl._tcp"); err != nil {
			return err
		}
		for _, d := range all {
			if d.Class == "controller" && d.Model == "NMOS network controller" {
				return nil
			}
		}
		return fmt.Errorf("%+v", all)
	})
}
