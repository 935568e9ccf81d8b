package syncthing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// peersVariable names the folder that testdata/peers/build.sh filled with real old programs.
const peersVariable = "LANFOLK_SYNCTHING_PEERS"

// program returns the path of a real old program.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv(peersVariable), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v", peersVariable, err)
	}
	return path
}

// withPeers makes a lab for a test with old programs; nil if there are none.
func withPeers(t *testing.T) *lab.Lab {
	t.Helper()
	if os.Getenv(peersVariable) == "" {
		t.Logf("left out: real old programs; %s names no folder", peersVariable)
		return nil
	}
	return newLab(t)
}

// versions are those of the old clients.
func versions() []string { return []string{"v0.9.4", "v0.10.31", "v0.11.26"} }

// peer is a real old client.
type peer struct {
	*lab.Process
	t    *testing.T
	in   io.WriteCloser
	seen int
}

// startPeer starts an old client that announces a device.
func startPeer(t *testing.T, h *lab.Host, version, name string, args ...string) *peer {
	t.Helper()
	p := &peer{t: t}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = out
	t.Cleanup(func() { in.Close(); out.Close() })
	// It reads orders from the pipe by its place in this process.
	c := h.Command("/bin/sh", "-c", `exec "$@" <"$0"`, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), in.Fd()), program(t, "peer-"+version), "-id", hexID(name))
	c.Args = append(c.Args, args...)
	p.Process = c.Start()
	p.WaitLine(20*time.Second, "ready", func(line string) bool { return line == "ready" })
	return p
}

// globally are the arguments to announce addresses to servers, and to ask them.
func globally(version, addresses string, servers ...netip.AddrPort) []string {
	var urls []string
	for _, s := range servers {
		switch {
		case version == "v0.9.4":
			urls = append(urls, s.String())
		case s.Addr().Is4():
			urls = append(urls, "udp4://"+s.String())
		default:
			urls = append(urls, "udp6://"+s.String())
		}
	}
	return []string{"-listen", addresses, "-servers", strings.Join(urls, ",")}
}

// locally are the arguments to announce addresses on the local network.
func locally(version, addresses string) []string {
	args := []string{"-listen", addresses, "-local", "21025"}
	if version != "v0.9.4" {
		args = append(args, "-group", "[ff32::5222]:21026")
	}
	return args
}

// order sends an order and reads the line of JSON that it is answered with.
func (p *peer) order(v any, text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, text+"\n"); err != nil {
		p.t.Fatal(err)
	}
	p.seen++
	lab.Eventually(p.t, 15*time.Second, text, func() error {
		var lines []string
		for line := range strings.Lines(p.Stdout()) {
			if strings.HasSuffix(line, "\n") && (line[0] == '[' || line[0] == '{') {
				lines = append(lines, line)
			}
		}
		if len(lines) < p.seen {
			return errors.New("no answer")
		}
		return json.Unmarshal([]byte(lines[p.seen-1]), v)
	})
}

// lookup asks the client for a device.
func (p *peer) lookup(name string) (addresses []string) {
	p.t.Helper()
	p.order(&addresses, "lookup "+hexID(name))
	slices.Sort(addresses)
	return addresses
}

// confirmed waits until every server knew the device after it was announced.
func (p *peer) confirmed() {
	p.t.Helper()
	lab.Eventually(p.t, 20*time.Second, "confirmation", func() error {
		var ok map[string]bool
		p.order(&ok, "ok")
		for server, ok := range ok {
			if !ok {
				return errors.New(server)
			}
		}
		if len(ok) == 0 {
			return errors.New("no servers")
		}
		return nil
	})
}

// hears waits until a device was heard at those addresses; in any order, and maybe more.
func (p *peer) hears(name string, addresses ...string) {
	p.t.Helper()
	lab.Eventually(p.t, 20*time.Second, name, func() error {
		var all map[string][]string
		p.order(&all, "heard")
		for _, a := range addresses {
			if !slices.Contains(all[hexID(name)], a) {
				return fmt.Errorf("no %s in %v", a, all)
			}
		}
		return nil
	})
}

// TestOldClientsAndOurServer: each version announces, by IPv4 and IPv6, has that confirmed, and finds
// the others.
func TestOldClientsAndOurServer(t *testing.T) {
	l := withPeers(t)
	if l == nil {
		return
	}
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	s := l.Host("server").Join(net)
	serve(s, "--state", l.Dir()+"/state")
	var addresses [][]string
	for i, version := range versions() {
		h := l.Host("c" + fmt.Sprint(i)).Join(net)
		servers := []netip.AddrPort{at(s.Link(net).V4)}
		want := []string{"192.0.2.1:22001", "[2001:db8::1]:22002", netip.AddrPortFrom(h.Link(net).V4, 22000).String()}
		if version != "v0.9.4" { // it has one server
			servers = append(servers, at(s.Link(net).V6))
			want = append(want, netip.AddrPortFrom(h.Link(net).V6, 22000).String())
		}
		startPeer(t, h, version, version, globally(version, ":22000,192.0.2.1:22001,[2001:db8::1]:22002", servers...)...).confirmed()
		slices.Sort(want)
		addresses = append(addresses, want)
	}
	for _, by := range versions() {
		h := l.Host("by" + by).Join(net)
		p := startPeer(t, h, by, "asker "+by, globally(by, ":1", at(s.Link(net).V4))...)
		for i, version := range versions() {
			want := addresses[i]
			if by == "v0.9.4" { // it writes IPv6 without brackets
				want = slices.Clone(want)
				for i := range want {
					want[i] = strings.NewReplacer("[", "", "]", "").Replace(want[i])
				}
				slices.Sort(want)
			}
			if got := p.lookup(version); !slices.Equal(got, want) {
				t.Errorf("%s asks for %s: %v, want %v", by, version, got, want)
			}
		}
		if got := p.lookup("nobody"); len(got) > 0 {
			t.Errorf("nobody: %v", got)
		}
	}
	for i, version := range versions() {
		if got, exit, r := ask(t, l.Host("q"+fmt.Sprint(i)).Join(net), version, "--server", s.Link(net).V6.String()); !slices.Equal(got, addresses[i]) || exit != 0 {
			t.Errorf("ours asks for %s: %v, exit %d: %s", version, got, exit, r.Stderr)
		}
	}
}

// TestOurClientAndOldServers: both old servers take our announcements and answer our questions,
// and old clients find there what we announced.
func TestOurClientAndOldServers(t *testing.T) {
	l := withPeers(t)
	if l == nil {
		return
	}
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h := l.Host("device").Join(net)
	args := []string{"--id", hexID("alpha"), "--address", ":22000", "--address", "192.0.2.1:22001", "--address", "[2001:db8::1]:22002"}
	var servers []*lab.Host
	for i, name := range []string{"discosrv", "discosrv-f1a3d52"} {
		s := l.Host(fmt.Sprintf("server%d", i)).Join(net)
		dir := filepath.Join(l.Dir(), name)
		s.Start(program(t, name), "-listen", ":22026", "-db-dir", dir+"/db", "-stats-file", dir+"-stats")
		servers = append(servers, s)
		waitBound(t, s, globalPort)
		args = append(args, "--server", s.Link(net).V4.String(), "--server", s.Link(net).V6.String())
	}
	p := announce(h, args...)
	want := []string{"192.0.2.1:22001", "[2001:db8::1]:22002", netip.AddrPortFrom(h.Link(net).V4, 22000).String(), netip.AddrPortFrom(h.Link(net).V6, 22000).String()}
	slices.Sort(want)
	for i, s := range servers {
		lab.Eventually(t, 20*time.Second, "our announcement on server "+fmt.Sprint(i), func() error {
			got, exit, r := ask(t, l.Host("q").Join(net), "alpha", "--server", s.Link(net).V4.String(), "--timeout", "2s")
			if !slices.Equal(got, want) || exit != 0 {
				return fmt.Errorf("%v, want %v, exit %d: %s %s", got, want, exit, r.Stderr, p.Stderr())
			}
			return nil
		})
		old := l.Host("old").Join(net)
		asker := startPeer(t, old, "v0.11.26", "asker", globally("v0.11.26", ":1", at(s.Link(net).V4))...)
		if got := asker.lookup("alpha"); !slices.Equal(got, want) {
			t.Errorf("an old client finds us at %v, want %v", got, want)
		}
	}
	// A device that only one server has, and one that both have with other addresses: merged.
	one := startPeer(t, l.Host("one").Join(net), "v0.10.31", "beta", globally("v0.10.31", ":1111", at(servers[0].Link(net).V4))...)
	two := startPeer(t, l.Host("two").Join(net), "v0.11.26", "beta", globally("v0.11.26", ":2222", at(servers[1].Link(net).V4))...)
	one.confirmed()
	two.confirmed()
	got, exit, r := ask(t, l.Host("q").Join(net), "beta", "--server", servers[0].Link(net).V4.String(), "--server", servers[1].Link(net).V4.String())
	if len(got) != 2 || exit != 0 {
		t.Errorf("merged: %v, exit %d: %s", got, exit, r.Stderr)
	}
}

// TestOldClientsOnTheLocalNetwork: we hear each version, by IPv4 and (but for the oldest) by IPv6,
// and each hears us, on both subnets.
func TestOldClientsOnTheLocalNetwork(t *testing.T) {
	l := withPeers(t)
	if l == nil {
		return
	}
	a, b := l.Subnet("a", "10.77.1.0/24", "fd77:1::/64"), l.Subnet("b", "10.77.2.0/24")
	us := l.Host("us").Join(a).Join(b)
	x := listen(t, us)
	announce(us, "--id", hexID("ours"), "--local", "--address", ":22000", "--address", "192.0.2.1:22001")
	var sixteen []string
	for i := range 16 {
		sixteen = append(sixteen, fmt.Sprintf("192.0.2.%d:%d", i+1, 22000+i))
	}
	for i, version := range versions() {
		on, link := a, us.Link(a)
		if i == 1 {
			on, link = b, us.Link(b)
		}
		h := l.Host("c" + fmt.Sprint(i)).Join(on)
		many := append([]string{":22000"}, sixteen[:15]...)
		p := startPeer(t, h, version, version, locally(version, strings.Join(many, ","))...)
		v4 := h.Link(on).V4
		x.want(version+" by IPv4", named(version, v4.String(), link.Name, append([]string{netip.AddrPortFrom(v4, 22000).String()}, sixteen[:15]...)...))
		// It hears us at once, although we announced ourselves before: it is new to us.
		p.hears("ours", netip.AddrPortFrom(link.V4, 22000).String(), "192.0.2.1:22001")
		if version == "v0.9.4" {
			continue
		}
		v6 := h.Link(on).LinkLocal()
		x.want(version+" by IPv6", named(version, v6.String(), link.Name, append([]string{fmt.Sprintf("[%s%%%s]:22000", v6, link.Name)}, sixteen[:15]...)...))
		p.hears("ours", fmt.Sprintf("[%s%%%s]:22000", link.LinkLocal(), h.Link(on).Name))
	}
	// Sixteen addresses of ours.
	args := []string{"--id", hexID("sixteen"), "--local"}
	for _, a := range sixteen {
		args = append(args, "--address", a)
	}
	other := l.Host("other").Join(a)
	announce(other, args...)
	p := startPeer(t, l.Host("late").Join(a), "v0.10.31", "late", locally("v0.10.31", ":1")...)
	p.hears("sixteen", sixteen...)
	p.hears("ours", netip.AddrPortFrom(us.Link(a).V4, 22000).String())
}

// TestOldClientOnTheSameHost: it holds port 21025 for itself. Our announcements reach others, and
// it, all the same; what it says, and others, is heard by IPv6.
func TestOldClientOnTheSameHost(t *testing.T) {
	l := withPeers(t)
	if l == nil {
		return
	}
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	for i, version := range versions()[1:] {
		h, other := l.Host("both"+fmt.Sprint(i)).Join(net), l.Host("other"+fmt.Sprint(i)).Join(net)
		same := startPeer(t, h, version, "same"+version, locally(version, ":22000")...)
		far := startPeer(t, other, version, "far"+version, locally(version, ":22000")...)
		x := listen(t, h)
		p := announce(h, "--id", hexID("ours"+version), "--local", "--address", ":22001")
		p.WaitText(20*time.Second, "address already in use")
		x.WaitText(20*time.Second, "address already in use")
		ours := netip.AddrPortFrom(h.Link(net).V4, 22001).String()
		far.hears("ours"+version, ours, fmt.Sprintf("[%s%%eth0]:22001", h.Link(net).LinkLocal()))
		same.hears("ours"+version, ours)
		v6 := other.Link(net).LinkLocal()
		lab.Eventually(t, 40*time.Second, "the other by IPv6", func() error {
			for _, one := range x.all() {
				if one.Hex == hexID("far"+version) && one.Source == v6.String() {
					return nil
				}
			}
			return fmt.Errorf("%+v", x.all())
		})
	}
}

// TestOldClientsAndANode: a node has each version in its inventory, is heard by each, is
// the global server of theirs, and has its own device at an old server.
func TestOldClientsAndANode(t *testing.T) {
	l := withPeers(t)
	if l == nil {
		return
	}
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	gate, old := l.Host("gate").Join(net), l.Host("old").Join(net)
	dir := filepath.Join(l.Dir(), "old")
	old.Start(program(t, "discosrv"), "-listen", ":22026", "-db-dir", dir+"/db", "-stats-file", dir+"-stats")
	waitBound(t, old, globalPort)
	node := gate.Up(lab.Node{Config: `
[syncthing]
servers = ["` + old.Link(net).V4.String() + `"]
[syncthing.announce]
id = "` + hexID("ours") + `"
servers = ["` + old.Link(net).V4.String() + `"]
[syncthing.server]
listen = [":22026"]
`})
	us := gate.Link(net)
	for i, version := range versions() {
		h := l.Host("c" + fmt.Sprint(i)).Join(net)
		args := append(locally(version, ":22000"), globally(version, ":22000", at(us.V4))...)
		p := startPeer(t, h, version, version, args...)
		p.hears("ours", netip.AddrPortFrom(us.V4, 22000).String())
		p.confirmed()
		v4 := h.Link(net).V4.String()
		lab.Eventually(t, 20*time.Second, version+" in the inventory", func() error {
			for _, d := range list(t, node, "devices", "--protocol", "syncthing") {
				if slices.Contains(d.Addresses, v4) && slices.Contains(d.Names, shortID(version)) {
					return nil
				}
			}
			return fmt.Errorf("%+v", list(t, node, "devices"))
		})
		found, exit := find(t, node.Run, textID(version), "--first")
		if exit != 0 || len(found) != 1 || found[0].Port != 22000 {
			t.Errorf("find %s: exit %d, %+v", version, exit, found)
		}
	}
	asker := startPeer(t, l.Host("asker").Join(net), "v0.11.26", "asker", globally("v0.11.26", ":1", at(us.V4))...)
	for i, version := range versions() {
		want := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(12 + i)}), 22000).String()
		if got := asker.lookup(version); !slices.Equal(got, []string{want}) {
			t.Errorf("%s at the node's server: %v, want %s", version, got, want)
		}
	}
	if got, exit, r := ask(t, gate, "ours", "--server", old.Link(net).V4.String()); !slices.Equal(got, []string{netip.AddrPortFrom(us.V4, 22000).String()}) {
		t.Errorf("ours at the old server: %v, exit %d: %s", got, exit, r.Stderr)
	}
	// One whom only the old server knows.
	far := startPeer(t, l.Host("far").Join(net), "v0.10.31", "far", globally("v0.10.31", "192.0.2.1:22000", at(old.Link(net).V4))...)
	far.confirmed()
	if found, exit := find(t, node.Run, textID("far"), "--first"); exit != 0 || len(found) != 1 || !slices.Equal(found[0].Addresses, []string{"192.0.2.1"}) {
		t.Errorf("find what only the old server knows: exit %d, %+v", exit, found)
	}
}
