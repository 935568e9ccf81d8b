package mqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// known is a service or a device as commands print it.
type known struct {
	ID, Name, Type, Protocol, Host, Device, State string
	Names, Addresses, Protocols                   []string
	Port                                          uint16
	Attributes                                    map[string]string
}

// network is a link with a broker, a node that speaks with it, and who announces things.
type network struct {
	t                        *testing.T
	lab                      *lab.Lab
	link                     *lab.Subnet
	hub, gate, laser, device *lab.Host
	broker                   *lab.MQTTBroker
}

func newNetwork(t *testing.T, m lab.MQTT) *network {
	l := lab.New(t)
	n := &network{t: t, lab: l, link: l.Subnet("ours", "10.96.1.0/24")}
	n.hub, n.gate = l.Host("hub").Join(n.link), l.Host("gate").Join(n.link)
	n.laser, n.device = l.Host("laser").Join(n.link), l.Host("device").Join(n.link)
	n.broker = n.hub.MQTT(m)
	return n
}

func (n *network) url() string { return "mqtt://" + n.hub.Link(n.link).V4.String() }

func (n *network) printer() *lab.AvahiDaemon {
	return n.laser.Avahi(lab.Avahi{HostName: "laser", Services: []lab.Service{{Name: "Laser", Type: "_ipp._tcp", Port: 631, TXT: []string{"rp=ipp/print", "usb_MFG=Acme"}}}})
}

// announce starts the announcer of a device.
func (n *network) announce(id string, args ...string) *lab.Process {
	n.t.Helper()
	p := n.device.Command("sh", "-c", `echo '{"name":"Kitchen","type":"light","features":{"on":{},"brightness":{}},"host":"lamp.example","port":80,"addresses":["10.96.1.77"]}' | exec "$@"`, "sh",
		lab.Binary(n.t), "mqtt", "announce", "--broker", n.url(), "--id", id, "--root", "home/"+id, "--meta", "-").Start()
	p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
	return p
}

// services are those that a node knows by the broker.
func services(node *lab.RunningNode, args ...string) (map[string]known, error) {
	var all []known
	err := node.JSON(&all, append([]string{"services", "--protocol", "mqtt"}, args...)...)
	by := map[string]known{}
	for _, s := range all {
		by[s.Attributes["device_id"]] = s
	}
	return by, err
}

// is waits until a node knows a device of the broker in a state; "" is not at all.
func (n *network) is(node *lab.RunningNode, id, state string) (s known) {
	n.t.Helper()
	lab.Eventually(n.t, 30*time.Second, id+" is "+state, func() error {
		all, err := services(node)
		if err != nil {
			return err
		}
		if s = all[id]; s.State != state {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	return s
}

// announced waits until so many printers are on the broker with this in their reachable topics, and returns
// their ids and metadata. Then "" is that there is none.
func (n *network) announced(reachable string, printers int) map[string]map[string]any {
	n.t.Helper()
	found := map[string]map[string]any{}
	lab.Eventually(n.t, 30*time.Second, fmt.Sprintf("%d printers, reachable %q", printers, reachable), func() error {
		all, err := retained(n.hub.DialContext, "#")
		if err != nil {
			return err
		}
		clear(found)
		for topic, payload := range all {
			id, ok := strings.CutPrefix(topic, "device/lanfolk/")
			if !ok {
				continue
			}
			id = "lanfolk/" + id
			var meta map[string]any
			if err := json.Unmarshal([]byte(payload), &meta); err != nil {
				return err
			}
			if at := all["current/"+id+"/reachable"]; at != reachable {
				return fmt.Errorf("%s is %q", id, at)
			}
			if provider := all[fmt.Sprint("provider/", meta["providerID"])]; (provider != "") != (reachable == "1") && reachable == "1" {
				return fmt.Errorf("%s has no provider: %v", id, all)
			}
			found[id] = meta
		}
		if len(found) != printers {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	return found
}

// A printer becomes a device on the broker, and devices on the broker enter the inventory, whatever
// happens to the broker, the devices and the node.
func TestNode(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, brokers()[name])
			config := fmt.Sprintf("[mqtt]\nbroker = %q\nannounce = [\"_ipp._tcp\"]\nforget = \"2s\"\njanitor = true\ngrace = \"500ms\"\n", n.url())
			node := n.gate.Up(lab.Node{Config: config})
			printer := n.printer()
			lamp := n.announce("lamp-7")

			meta := n.announced("1", 1)
			for id, m := range meta {
				if !strings.Contains(id, "/laser-") || m["name"] != "Laser" || m["type"] != "_ipp._tcp" || m["manufacturer"] != "Acme" || m["host"] != "laser.local" || m["root"] != id ||
					fmt.Sprint(m["addresses"]) != "["+n.laser.Link(n.link).V4.String()+"]" || m["port"] != 631.0 || fmt.Sprint(m["txt"]) != "map[rp:ipp/print usb_MFG:Acme]" {
					t.Errorf("%s: %v", id, m)
				}
			}
			n.inventory(node)
			n.bridgeDies(node)

			// A device that dies can't be reached; the last will says so.
			lamp.Kill()
			n.is(node, "lamp-7", "unreachable")
			lamp = n.announce("lamp-7")
			n.is(node, "lamp-7", "reachable")

			// While the broker is away nothing is known, and nothing gone.
			n.broker.Stop(syscall.SIGKILL)
			n.is(node, "lamp-7", "unknown")
			lab.Eventually(t, 30*time.Second, "that it isn't connected", func() error {
				if p := part(t, node, "mqtt"); !strings.Contains(p.Detail, "isn't connected") {
					return fmt.Errorf("%+v", p)
				}
				return nil
			})
			n.broker.Start()
			n.is(node, "lamp-7", "reachable")
			if again := n.announced("1", 1); !slices.Equal(slices.Collect(maps.Keys(again)), slices.Collect(maps.Keys(meta))) {
				t.Errorf("after the broker's restart: %v", again)
			}

			// A node that is killed takes its provider with it; after a restart its devices are the same.
			node.Kill()
			lab.Eventually(t, 30*time.Second, "the last will", func() error {
				all, err := retained(n.hub.DialContext, "provider/#")
				if err == nil && len(all) > 0 {
					err = fmt.Errorf("%v", all)
				}
				return err
			})
			node = n.gate.Up(lab.Node{State: node.State, Config: config})
			if again := n.announced("1", 1); !slices.Equal(slices.Collect(maps.Keys(again)), slices.Collect(maps.Keys(meta))) {
				t.Errorf("after the node's restart: %v", again)
			}

			// Its farewell counts once it was heard by this run.
			if r := node.Run("find", "_ipp._tcp", "--first", "--timeout", "30s", "--via", "mdns"); r.Exit != 0 {
				t.Fatalf("%+v", r)
			}
			// A printer that takes its leave is out of reach, and then forgotten. So is a device.
			seen := observe(t, n.hub.DialContext)
			printer.Stop()
			lab.Eventually(t, 30*time.Second, "the printer out of reach", func() error {
				if seen.count("current/lanfolk/", "0") == 0 {
					return errors.New("nobody says so")
				}
				return nil
			})
			n.announced("", 0)
			if r := n.device.Lanfolk("mqtt", "purge", "lamp-7", "--broker", n.url(), "--force").Run(); r.Exit != 0 {
				t.Fatalf("%+v", r)
			}
			lamp.Kill()
			n.is(node, "lamp-7", "")

			if code := node.Stop(); code != 0 {
				t.Errorf("the node ends with %d", code)
			}
			if all, err := retained(n.hub.DialContext, "provider/#"); err != nil || len(all) > 0 {
				t.Errorf("after the farewell: %v, %v", all, err)
			}
		})
	}
}

// inventory looks at how a node shows the lamp.
func (n *network) inventory(node *lab.RunningNode) {
	t := n.t
	t.Helper()
	s := n.is(node, "lamp-7", "reachable")
	if s.Name != "Kitchen" || s.Type != "light" || s.Host != "lamp.example" || s.Port != 80 || !slices.Equal(s.Addresses, []string{"10.96.1.77"}) ||
		s.Attributes["root"] != "home/lamp-7" || s.Attributes["features"] != "brightness on" || s.Attributes["broker"] != n.hub.Link(n.link).V4.String()+":1883" {
		t.Errorf("%+v", s)
	}
	if all, err := services(node); err != nil || len(all) != 1 {
		t.Errorf("what the node announces itself comes back: %+v, %v", all, err)
	}
	var devices []known
	if err := node.JSON(&devices, "devices", "--protocol", "mqtt"); err != nil || len(devices) != 1 || devices[0].ID != s.Device || devices[0].State != "reachable" {
		t.Errorf("%+v, %v", devices, err)
	}
	var e struct {
		Device   known
		Evidence []struct{ What string }
	}
	if err := node.JSON(&e, "explain", "Kitchen"); err != nil || e.Device.ID != s.Device || len(e.Evidence) == 0 || !strings.Contains(e.Evidence[0].What, "lamp-7 is reachable") {
		t.Errorf("%+v, %v", e, err)
	}
	for _, text := range []string{"lamp-7", "light", "LIGHT"} {
		for what, r := range map[string]lab.Result{
			"the node": node.Run("find", text, "--first", "--timeout", "20s", "--via", "mqtt", "-o", "jsonl"),
			"alone":    n.device.Lanfolk("find", text, "--first", "--timeout", "20s", "--via", "mqtt", "--broker", n.url(), "-o", "jsonl").Run(),
		} {
			var found known
			line, _, _ := strings.Cut(r.Stdout, "\n")
			if err := json.Unmarshal([]byte(line), &found); err != nil || r.Exit != 0 || found.Attributes["device_id"] != "lamp-7" || found.State != "reachable" || (found.ID != "") != (what == "the node") {
				t.Errorf("find %s, %s: %+v, %v", text, what, r, err)
			}
		}
	}
	if r := node.Run("find", "nobody", "--via", "mqtt"); r.Exit != 6 {
		t.Errorf("find nobody: %+v", r)
	}
}

// A node is the broker itself, with users, certificates and rules: a device of the node's own
// user, others by password, and none by a wrong one. What is retained survives a kill.
func TestNodeIsTheBroker(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := l.Subnet("ours", "10.96.2.0/24")
	gate, device := l.Host("gate").Join(link), l.Host("device").Join(link)
	at := gate.Link(link).V4.String()
	a := lab.NewAuthority(t, l.Dir())
	cert, key := a.Issue("server", at)
	file := func(name, text string) string {
		path := filepath.Join(l.Dir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passwords, secret, wrong := file("passwords", ""), file("secret", "correct horse\n"), file("wrong", "battery staple\n")
	for _, user := range []string{"lanfolk", "lamp"} {
		c := gate.Lanfolk("mqtt", "passwd", passwords, user)
		c.Stdin = "correct horse\n"
		if r := c.Run(); r.Exit != 0 {
			t.Fatalf("%+v", r)
		}
	}
	config := fmt.Sprintf("[mqtt]\nbroker = \"mqtts://%s\"\nuser = \"lanfolk\"\npassword_file = %q\nca_file = %q\nannounce = [\"_http._tcp\"]\nprovider = \"lanfolk\"\n"+
		"[mqtt.server]\nlisten = [\"mqtts://0.0.0.0\", \"127.0.0.1:1883\"]\npasswords_file = %q\ncert_file = %q\nkey_file = %q\nwill_grace = \"1s\"\n"+
		"[[announce]]\nname = \"Page\"\ntype = \"_http._tcp\"\nport = 80\n", at, secret, a.CA, passwords, cert, key)
	node := gate.Up(lab.Node{Config: config})
	announce := func(id, password string) *lab.Process {
		return device.Lanfolk("mqtt", "announce", "--broker", "mqtts://"+at, "--ca", a.CA, "--user", "lamp", "--password-file", password, "--id", id, "--root", id).Start()
	}
	n := &network{t: t, hub: gate}
	refused := device.Up(lab.Node{Config: fmt.Sprintf("[mqtt]\nbroker = \"mqtts://%s\"\nuser = \"lamp\"\npassword_file = %q\nca_file = %q\n", at, wrong, a.CA)})
	lab.Eventually(t, 30*time.Second, "that the broker refuses a node", func() error {
		if p := part(t, refused, "mqtt"); p.State != "failed" || !strings.Contains(p.Error, "refuses") || strings.Contains(p.Error, "battery") {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	denied := announce("lamp", wrong)
	if code := denied.Wait(60 * time.Second); code == 0 {
		t.Errorf("a wrong password: %d, %s", code, denied.Stderr())
	}
	lamp := announce("lamp", secret)
	n.is(node, "lamp", "reachable")
	lab.Eventually(t, 30*time.Second, "the broker's parts", func() error {
		for _, name := range []string{"mqtt", "mqtt bridge", "mqtt broker"} {
			if p := part(t, node, name); p.State != "running" || p.Error != "" && name == "mqtt broker" || strings.Contains(p.Detail, "connect") || p.Counters["refused"] > 0 {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
	for _, args := range [][]string{{"status", "--json"}, {"doctor", "--json"}} {
		if r := node.Run(args...); strings.Contains(r.Stdout+r.Stderr, "correct horse") {
			t.Errorf("%v shows the password: %s", args, r.Stdout)
		}
	}
	if strings.Contains(node.Stderr(), "correct horse") {
		t.Error("the password is in the log")
	}

	// Both die at once: the will is on disk, and is spoken when the grace time is over.
	waitJournal(t, filepath.Join(node.State, "mqtt", "mqtt.journal"), "the lamp on disk", func(j journal) bool {
		return j.retained["device/lamp"] != "" && j.retained["current/lamp/reachable"] == "1" && j.hasWill("current/lamp/reachable")
	})
	node.Kill()
	lamp.Kill()
	node = gate.Up(lab.Node{State: node.State, Config: config})
	n.is(node, "lamp", "unreachable")
	if code := node.Stop(); code != 0 {
		t.Errorf("the node ends with %d: %s", code, node.Stderr())
	}
}

// bridgeDies looks at how the node's janitor marks the device of a bridge that dies.
func (n *network) bridgeDies(node *lab.RunningNode) {
	t := n.t
	t.Helper()
	file := filepath.Join(n.lab.Dir(), "bridge.jsonl")
	if err := os.WriteFile(file, []byte(`{"id":"valve","root":"home/valve","meta":{"type":"heater"},"reachable":true}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bridge := n.device.Lanfolk("mqtt", "bridge", "--broker", n.url(), "--provider", "heating", "--devices", file).Start()
	s := n.is(node, "valve", "reachable")
	if s.Attributes["provider"] != "heating" {
		t.Errorf("%+v", s)
	}
	bridge.Kill()
	n.is(node, "valve", "unreachable")
	lab.Eventually(t, 30*time.Second, "the janitor's mark", func() error {
		all, err := retained(n.hub.DialContext, "current/#")
		if err == nil && all["current/home/valve/reachable"] != "0" {
			err = fmt.Errorf("%v", all)
		}
		return err
	})
	lab.Eventually(t, 30*time.Second, "what the janitor says of it", func() error {
		if p := part(t, node, "mqtt janitor"); p.Counters["marked"] != 1 || p.Detail != "works" {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

// running is one thing that a node runs, as `lanfolk status` tells it.
type running struct {
	Name, State, Detail, Error string
	Counters                   map[string]uint64
}

func part(t *testing.T, node *lab.RunningNode, name string) running {
	t.Helper()
	var s struct{ Parts []running }
	if err := node.JSON(&s, "status"); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Parts {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no part %q: %+v", name, s.Parts)
	return running{}
}

// Two nodes that know one printer announce it each by itself, and know what the other one announces.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, lab.MQTT{Lanfolk: true})
	config := fmt.Sprintf("[mqtt]\nbroker = %q\nannounce = [\"_ipp._tcp\"]\n", n.url())
	one, two := n.gate.Up(lab.Node{Config: config}), n.device.Up(lab.Node{Config: config})
	n.printer()
	ids := slices.Sorted(maps.Keys(n.announced("1", 2)))
	if own := len("lanfolk/0123456789abcdef/"); len(ids[0]) < own || ids[0][:own] == ids[1][:own] || ids[0][own:] != ids[1][own:] {
		t.Errorf("%q; want the same behind each node's own", ids)
	}
	seen := map[string]bool{}
	for _, node := range []*lab.RunningNode{one, two} {
		lab.Eventually(t, 30*time.Second, "the other one's printer", func() error {
			all, err := services(node)
			if err != nil || len(all) != 1 {
				return fmt.Errorf("%+v, %w", all, err)
			}
			for id, s := range all {
				seen[id] = true
				if s.Type != "_ipp._tcp" || s.Port != 631 || !slices.Equal(s.Addresses, []string{n.laser.Link(n.link).V4.String()}) {
					return fmt.Errorf("%+v", s)
				}
			}
			return nil
		})
	}
	if !slices.Equal(slices.Sorted(maps.Keys(seen)), ids) {
		t.Errorf("they know %v of %q", seen, ids)
	}
}
