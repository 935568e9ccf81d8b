package syncthing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	protocol "github.com/lanfolk/lanfolk/syncthing"
	"github.com/lanfolk/lanfolk/test/lab"
)

// known is a service or a device as commands print it.
type known struct {
	ID, Name, Type, Protocol, Device, Interface, State string
	Names, MACs, Addresses, Protocols                  []string
	Port                                               uint16
	Attributes                                         map[string]string
	LastSeen, Expires                                  time.Time
}

func (k *known) UnmarshalJSON(b []byte) error {
	type plain known
	var times struct {
		LastSeen time.Time `json:"last_seen"`
		Expires  time.Time `json:"expires"`
	}
	if err := json.Unmarshal(b, (*plain)(k)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &times); err != nil {
		return err
	}
	k.LastSeen, k.Expires = times.LastSeen, times.Expires
	return nil
}

func shortID(name string) string { return textID(name)[:7] }

// evidence is what `lanfolk explain` prints.
type evidence struct {
	Device   known
	Evidence []struct {
		What      string
		WhyJoined string `json:"why_joined"`
	}
}

func (e evidence) has(what string) bool {
	return slices.ContainsFunc(e.Evidence, func(x struct {
		What      string
		WhyJoined string `json:"why_joined"`
	}) bool {
		return strings.HasPrefix(x.What, what)
	})
}

// metrics returns what a node's socket answers for /metrics.
func metrics(t *testing.T, n *lab.RunningNode) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.State, "node.sock"))
	}}}
	r, err := c.Get("http://lanfolk/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", r.Status, err, b)
	}
	return string(b)
}

// list runs devices or services on a node.
func list(t *testing.T, n *lab.RunningNode, args ...string) []known {
	t.Helper()
	var all []known
	if err := n.JSON(&all, args...); err != nil {
		t.Fatal(err)
	}
	return all
}

// holders counts the devices that are known by Syncthing.
func holders(t *testing.T, n *lab.RunningNode) int {
	t.Helper()
	all := make(map[string]bool)
	for _, s := range list(t, n, "services", "--protocol", "syncthing") {
		all[s.Device] = true
	}
	return len(all)
}

// find runs `lanfolk find` and returns what it printed and its exit code.
func find(t *testing.T, run func(...string) lab.Result, args ...string) ([]known, int) {
	t.Helper()
	r := run(append([]string{"find", "-o", "jsonl"}, args...)...)
	var all []known
	for line := range strings.Lines(r.Stdout) {
		var k known
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, k)
	}
	return all, r.Exit
}

// part is one thing that a node runs, as `lanfolk status` tells it.
type part struct {
	Name, State, Detail, Error string
	Counters                   map[string]uint64
}

func status(n *lab.RunningNode, name string) (part, error) {
	var s struct{ Parts []part }
	if err := n.JSON(&s, "status"); err != nil {
		return part{}, err
	}
	for _, p := range s.Parts {
		if p.Name == name {
			return p, nil
		}
	}
	return part{}, fmt.Errorf("no part %q", name)
}

// becomes waits for a part of a node to tell something.
func becomes(t *testing.T, n *lab.RunningNode, name, what string, is func(part) bool) {
	t.Helper()
	lab.Eventually(t, 30*time.Second, name+": "+what, func() error {
		p, err := status(n, name)
		if err != nil {
			return err
		}
		if !is(p) {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

// speak starts the announcer of a device on all of a host's links.
func speak(h *lab.Host, name string, args ...string) *lab.Process {
	return h.Lanfolk(append([]string{"syncthing", "announce", "--id", hexID(name), "--local", "--interval", "1s"}, args...)...).Start()
}

// Two nodes hear a device that has a link with each of them: one device, whatever family it speaks and
// on how many links. Its ids survive a restart of the node.
func TestNodesHearADevice(t *testing.T) {
	lab.Require(t, "avahi-daemon")
	l := newLab(t)
	ours, theirs := l.Subnet("ours", "10.98.1.0/24", "fd98:1::/64"), l.Subnet("theirs", "10.98.2.0/24", "fd98:2::/64")
	gate := l.Host("gate").Join(ours).Join(theirs)
	other := l.Host("other").Join(theirs)
	device := l.Host("device").Join(ours).Join(theirs)
	// The gate has met the device, as gateways do, so it knows its hardware addresses.
	for _, subnet := range []*lab.Subnet{ours, theirs} {
		for _, a := range []netip.Addr{device.Link(subnet).V4, device.Link(subnet).V6} {
			gate.Run("ping", "-c1", "-W2", a.String())
		}
	}
	node, second := gate.Up(lab.Node{}), other.Up(lab.Node{})
	device.Avahi(lab.Avahi{HostName: "alpha-host"}) // one name on both links is the second sign
	speaker := speak(device, "alpha", "--address", ":22000", "--address", "192.0.2.7:22001")

	services := func(n *lab.RunningNode) []known { return list(t, n, "services", "--protocol", "syncthing") }
	lab.Eventually(t, 20*time.Second, "the device on both links by both families", func() error {
		var told []string
		for _, s := range services(node) {
			told = append(told, fmt.Sprintf("%s %s %s:%d", s.Interface, s.Name, s.State, s.Port))
			if s.Port == 22000 && len(s.Addresses) != 2 || s.Type != "syncthing" || s.Attributes["device_id"] != textID("alpha") {
				return fmt.Errorf("%+v", s)
			}
		}
		slices.Sort(told)
		var want []string
		for _, subnet := range []*lab.Subnet{ours, theirs} {
			for _, port := range []int{22000, 22001} {
				want = append(want, fmt.Sprintf("%s %s reachable:%d", gate.Link(subnet).Name, shortID("alpha"), port))
			}
		}
		slices.Sort(want)
		if !slices.Equal(told, want) {
			return fmt.Errorf("%q; want %q", told, want)
		}
		return nil
	})
	for _, s := range services(node) {
		if life := s.Expires.Sub(s.LastSeen); life != 3*time.Minute {
			t.Errorf("it holds for %v", life)
		}
	}
	var devices []known
	lab.Eventually(t, 20*time.Second, "one device with both hardware addresses", func() error {
		devices = list(t, node, "devices", "--protocol", "syncthing")
		for _, subnet := range []*lab.Subnet{ours, theirs} {
			if len(devices) != 1 || !slices.Contains(devices[0].MACs, device.Link(subnet).MAC.String()) {
				return fmt.Errorf("%+v", devices)
			}
		}
		return nil
	})
	if !slices.Contains(devices[0].Addresses, device.Link(ours).V4.String()) || !slices.Contains(devices[0].Addresses, device.Link(theirs).V4.String()) {
		t.Fatalf("devices: %+v; want one, at both addresses", devices)
	}

	var e, byID evidence
	if err := node.JSON(&e, "explain", shortID("alpha")); err != nil {
		t.Fatal(err)
	}
	if err := node.JSON(&byID, "explain", hexID("alpha")); err != nil || byID.Device.ID != e.Device.ID {
		t.Errorf("by its ID: %+v, %v", byID, err)
	}
	for _, subnet := range []*lab.Subnet{ours, theirs} {
		a := device.Link(subnet).V4.String()
		if !e.has(a + " announces " + shortID("alpha") + " at " + a + ":22000, 192.0.2.7:22001") {
			t.Errorf("no evidence from %s: %+v", a, e)
		}
	}

	for _, text := range []string{textID("alpha"), strings.ToLower(textID("alpha")), hexID("alpha")} {
		found, exit := find(t, node.Run, text, "--via", "syncthing")
		// Which part of it keeps its id changes when a second hardware address of the device is heard of.
		devices = list(t, node, "devices", "--protocol", "syncthing")
		if exit != 0 || len(found) != 5 || found[0].Port == 0 || found[0].ID == "" || found[4].ID != devices[0].ID {
			t.Errorf("find %s: exit %d, %+v; want four services and the device", text, exit, found)
		}
	}
	if found, exit := find(t, node.Run, textID("nobody"), "--timeout", "500ms"); exit != 6 || len(found) > 0 {
		t.Errorf("find nobody: exit %d, %+v", exit, found)
	}
	// Beside a node, and alone where there is none.
	for what, run := range map[string]func(...string) lab.Result{
		"beside a node": func(args ...string) lab.Result { return other.Lanfolk(append(args, "--direct")...).Run() },
		"alone":         func(args ...string) lab.Result { return device.Lanfolk(args...).Run() },
	} {
		if found, exit := find(t, run, textID("alpha"), "--timeout", "30s", "--first"); exit != 0 || len(found) != 1 || found[0].Attributes["device_id"] != textID("alpha") {
			t.Errorf("find %s: exit %d, %+v", what, exit, found)
		}
	}

	// Where frames are captured the fingerprint database knows from which hardware address it was announced.
	lab.Eventually(t, 20*time.Second, "who announced it, in the fingerprint database", func() error {
		var rows []struct {
			Query string
			MAC   string `json:"src_mac"`
		}
		if err := node.JSON(&rows, "fingerprints", "--protocol", "syncthing", "--query", textID("alpha")); err != nil {
			return err
		}
		for _, subnet := range []*lab.Subnet{ours, theirs} {
			mac := device.Link(subnet).MAC.String()
			if !slices.ContainsFunc(rows, func(r struct {
				Query string
				MAC   string `json:"src_mac"`
			}) bool {
				return r.MAC == mac
			}) {
				return fmt.Errorf("%+v; want %s", rows, mac)
			}
		}
		return nil
	})

	// The other node hears the one link that it has.
	lab.Eventually(t, 20*time.Second, "the other node", func() error {
		if all := services(second); len(all) != 2 || all[0].Interface != other.Link(theirs).Name {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})

	// What was heard is there at once after a restart, under the same ids.
	speaker.Stop()
	before := services(node)
	devices = list(t, node, "devices", "--protocol", "syncthing")
	node.Stop()
	node = gate.Up(lab.Node{State: node.State})
	after := services(node)
	same := func(a, b known) bool { return a.ID == b.ID && a.Device == b.Device }
	if !slices.EqualFunc(before, after, same) {
		t.Errorf("before the restart %+v\nand after it %+v", before, after)
	}
	if again := list(t, node, "devices", "--protocol", "syncthing"); len(again) != 1 || len(devices) != 1 || again[0].ID != devices[0].ID {
		t.Errorf("before the restart %+v\nand after it %+v", devices, again)
	}
	if os.Getenv("LANFOLK_SOAK") == "" {
		return
	}
	// Nobody announces it any more.
	lab.Eventually(t, 4*time.Minute, "the end of a silent device", func() error {
		for _, k := range append(services(node), list(t, node, "devices", "--protocol", "syncthing")...) {
			if k.State != "unreachable" {
				return fmt.Errorf("%+v", k)
			}
		}
		return nil
	})
}

// What others say of a device is told apart, and one host can't fill the inventory.
func TestNodeAmongTalkers(t *testing.T) {
	l := newLab(t)
	ours := l.Subnet("ours", "10.98.1.0/24")
	gate := l.Host("gate").Join(ours)
	talker := l.Host("talker").Join(ours)
	node := gate.Up(lab.Node{})
	s := open(t, talker, "0.0.0.0:0")
	all := netip.MustParseAddrPort("10.98.1.255:21025")
	// The talker is beta, and has heard of kappa, which it says is at the node's address.
	gossip := protocol.Announcement{
		Device: protocol.Device{ID: deviceID("beta"), Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 22000)}},
		Extra:  []protocol.Device{{ID: deviceID("kappa"), Addresses: []netip.AddrPort{netip.AddrPortFrom(gate.Link(ours).V4, 1)}}},
	}
	lab.Eventually(t, 20*time.Second, "both devices", func() error {
		s.send(all, gossip.Append(nil))
		if n := len(list(t, node, "services", "--protocol", "syncthing")); n != 2 {
			return fmt.Errorf("%d services", n)
		}
		return nil
	})
	var e evidence
	if err := node.JSON(&e, "explain", shortID("kappa")); err != nil {
		t.Fatal(err)
	}
	from := talker.Link(ours).V4.String()
	if !e.has("hearsay: "+from+" says of "+shortID("kappa")) || e.Device.State != "unreachable" || len(e.Device.MACs) > 0 || slices.Contains(e.Device.Names, shortID("beta")) {
		t.Errorf("hearsay makes %+v", e)
	}

	before := len(list(t, node, "services", "--protocol", "syncthing"))
	devices := holders(t, node)
	if devices != 2 {
		t.Errorf("beta and kappa are %d devices", devices)
	}
	for i := range 10_000 {
		s.send(all, announcement(deviceID(fmt.Sprint(i)), ":22000"))
	}
	becomes(t, node, "syncthing", "no room for more of one host", func(p part) bool { return p.Counters["dropped: no room"] > 0 })
	n := 0
	lab.Eventually(t, 20*time.Second, "some of them in the inventory", func() error {
		if n = len(list(t, node, "services", "--protocol", "syncthing")) - before; n < 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if n > 64 {
		t.Errorf("one host announced 10,000 devices, and %d more are in the inventory", n)
	}
	if n := holders(t, node); n > devices+1 {
		t.Errorf("they make %d devices of %d: what one host announces is one", n, devices)
	}
}

// A node announces a device on its links and to a server, which is another node; a third one finds it by asking that.
// The server knows it after it was killed.
func TestNodesAnnounceAndServe(t *testing.T) {
	l := newLab(t)
	ours, theirs := l.Subnet("ours", "10.98.1.0/24"), l.Subnet("theirs", "10.98.2.0/24")
	hub := l.Host("hub").Join(ours).Join(theirs)
	device, asker := l.Host("device").Join(ours), l.Host("asker").Join(theirs)
	serving := "[syncthing.server]\nlisten = [\":22026\"]\nallow = [\"" + textID("alpha") + "\"]\npin = true\n"

	// Another program has the port first: the node waits for it and says who that is.
	busy := serve(hub)
	server := hub.Up(lab.Node{Config: serving})
	becomes(t, server, "syncthing server", "who holds its port", func(p part) bool {
		return p.State == "failed" && strings.Contains(p.Error, "lanfolk (pid ")
	})
	busy.Stop()
	becomes(t, server, "syncthing server", "the port, once it is free", func(p part) bool { return p.State == "running" && p.Detail == "knows 0 devices" })

	speaker := device.Up(lab.Node{Config: `
[syncthing.announce]
id = "` + hexID("alpha") + `"
addresses = [":22000"]
servers = ["` + hub.Link(ours).V4.String() + `"]
`})
	becomes(t, speaker, "syncthing announcer", "an announcement that the server has taken in", func(p part) bool {
		return p.State == "running" && p.Detail == "announces "+shortID("alpha")+" to "+hub.Link(ours).V4.String()+":22026"
	})
	becomes(t, server, "syncthing", "the device on the link", func(p part) bool { return strings.HasPrefix(p.Detail, "hears 1 devices") })
	if all := list(t, speaker, "services", "--protocol", "syncthing"); len(all) > 0 {
		t.Errorf("the node hears itself: %+v", all)
	}
	becomes(t, speaker, "syncthing", "what it has sent, and heard of itself", func(p part) bool { return p.Counters["own"] > 0 && p.Counters["sent"] > 0 })

	for name, want := range map[*lab.RunningNode][]string{
		server: {"lanfolk_syncthing_heard_devices 1\n", "lanfolk_syncthing_server_devices 1\n", "lanfolk_syncthing_server_state_bytes "},
		// The link by both families, and the server.
		speaker: {"lanfolk_syncthing_heard_devices 0\n", `lanfolk_syncthing_announce_targets{result="failing"} 0`, `lanfolk_syncthing_announce_targets{result="good"} 3`},
	} {
		lab.Eventually(t, 20*time.Second, "metrics", func() error {
			text := metrics(t, name)
			for _, line := range want {
				if !strings.Contains(text, line) {
					return fmt.Errorf("%q isn't in\n%s", line, text)
				}
			}
			return nil
		})
	}

	seeker := asker.Up(lab.Node{Config: "[syncthing]\nservers = [\"" + hub.Link(theirs).V4.String() + "\"]\n"})
	ask := func(run func(...string) lab.Result, args ...string) error {
		found, exit := find(t, run, append([]string{textID("alpha"), "--first", "--timeout", "30s"}, args...)...)
		if exit != 0 || len(found) != 1 || !slices.Equal(found[0].Addresses, []string{device.Link(ours).V4.String()}) || found[0].Port != 22000 {
			return fmt.Errorf("exit %d, %+v", exit, found)
		}
		return nil
	}
	if err := ask(seeker.Run); err != nil {
		t.Errorf("through the node: %v", err)
	}
	alone := func(args ...string) lab.Result { return asker.Lanfolk(args...).Run() }
	if err := ask(alone, "--syncthing-server", hub.Link(theirs).V4.String()); err != nil {
		t.Errorf("alone: %v", err)
	}
	if found, exit := find(t, seeker.Run, textID("beta"), "--timeout", "500ms"); exit != 6 {
		t.Errorf("a device that nobody knows: exit %d, %+v", exit, found)
	}

	// The announcer is silent for the next half an hour: what the server says comes from its disk.
	waitSaved(t, filepath.Join(server.State, "syncthing"), "alpha")
	speaker.Stop()
	server.Kill()
	server = hub.Up(lab.Node{State: server.State, Config: serving})
	becomes(t, server, "syncthing server", "what it knew", func(p part) bool { return p.Detail == "knows 1 devices" })
	if err := ask(alone, "--syncthing-server", hub.Link(theirs).V4.String()); err != nil {
		t.Errorf("after a kill: %v", err)
	}
}

// An old program keeps the port of IPv4 to itself: the node says so, and hears by it once it is free.
func TestNodeWaitsForThePort(t *testing.T) {
	l := newLab(t)
	ours := l.Subnet("ours", "10.98.1.0/24")
	gate := l.Host("gate").Join(ours)
	device := l.Host("device").Join(ours)
	gate.Run("sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1")
	old := open(t, gate, "0.0.0.0:21025")
	node := gate.Up(lab.Node{})
	becomes(t, node, "syncthing", "who holds its port", func(p part) bool {
		return p.State == "running" && strings.HasPrefix(p.Detail, "waits for its port") && strings.Contains(p.Detail, fmt.Sprintf("pid %d", os.Getpid()))
	})
	if r := gate.Lanfolk("doctor", "--json").Run(); !strings.Contains(r.Stdout, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("the doctor doesn't say who holds 21025: %s%s", r.Stdout, r.Stderr)
	}
	if err := old.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	speak(device, "alpha")
	becomes(t, node, "syncthing", "the device", func(p part) bool { return p.Detail == "hears 1 devices" })
}
