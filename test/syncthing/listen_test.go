package syncthing

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

// heard is what `syncthing listen` prints of a device.
type heard struct {
	ID        string   `json:"device_id"`
	Hex       string   `json:"device_id_hex"`
	Addresses []string `json:"addresses"`
	Source    string   `json:"source"`
	Interface string   `json:"interface"`
	Extra     bool     `json:"extra"`
}

// listener is a running `syncthing listen`.
type listener struct {
	*lab.Process
	t *testing.T
}

// listen starts one and waits until it has sockets of both families.
func listen(t *testing.T, h *lab.Host, args ...string) *listener {
	t.Helper()
	x := &listener{h.Lanfolk(append([]string{"syncthing", "listen", "-o", "jsonl"}, args...)...).Start(), t}
	waitBound(t, h, localPort, 21026)
	return x
}

// waitBound waits until programs of the host have UDP sockets on ports.
func waitBound(t *testing.T, h *lab.Host, ports ...int) {
	t.Helper()
	for _, p := range ports {
		waitSockets(t, h, p, 1)
	}
}

// waitSockets waits until there are so many UDP sockets on a port, of both families together.
func waitSockets(t *testing.T, h *lab.Host, port, n int) {
	t.Helper()
	lab.Eventually(t, 20*time.Second, fmt.Sprintf("%d sockets on port %d", n, port), func() error {
		have := 0
		err := h.Do(func() error {
			for _, file := range []string{"udp", "udp6"} {
				b, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil {
					return err
				}
				have += strings.Count(string(b), fmt.Sprintf(":%04X ", port))
			}
			return nil
		})
		if err == nil && have < n {
			err = fmt.Errorf("%d", have)
		}
		return err
	})
}

// all returns what was printed so far.
func (x *listener) all() (all []heard) {
	x.t.Helper()
	for line := range strings.Lines(x.Stdout()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var h heard
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			x.t.Fatalf("%v in %s", err, line)
		}
		all = append(all, h)
	}
	return all
}

// want waits for a device to be heard.
func (x *listener) want(what string, want heard) {
	x.t.Helper()
	lab.Eventually(x.t, 20*time.Second, what, func() error {
		all := x.all()
		if slices.ContainsFunc(all, func(h heard) bool { return cmp.Equal(want, h, cmpopts.EquateEmpty()) }) {
			return nil
		}
		return fmt.Errorf("want %+v, have %+v", want, all)
	})
}

func named(name, source, link string, addresses ...string) heard {
	return heard{textID(name), hexID(name), addresses, source, link, false}
}

func (h heard) hearsay() heard {
	h.Extra = true
	return h
}

// replay puts a captured packet on the wire, from the addresses and ports that it had.
func replay(t *testing.T, k *lab.Link, src, dst netip.AddrPort, b []byte) {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	if src.Addr().Is4() {
		k.Send(
			&layers.Ethernet{SrcMAC: k.MAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()},
			udp, gopacket.Payload(b))
		return
	}
	group := dst.Addr().As16()
	k.Send(
		&layers.Ethernet{SrcMAC: k.MAC, DstMAC: append([]byte{0x33, 0x33}, group[12:]...), EthernetType: layers.EthernetTypeIPv6},
		&layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()},
		udp, gopacket.Payload(b))
}

// TestListenHearsCapturedPackets: what real clients sent, on the wire as it was.
func TestListenHearsCapturedPackets(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, they := l.Host("us").Join(net), l.Host("they").Join(net)
	x := listen(t, h)
	eth := h.Link(net).Name
	for _, c := range readVectors(t).Captured {
		if c.Mode == "local" {
			replay(t, they.Link(net), endpoint(t, c.Src), endpoint(t, c.Dst), c.Hex)
		}
	}
	const local = "fe80::70d7:95ff:fe78:3ebf"
	x.want("l01", named("alpha", local, eth, "["+local+"%"+eth+"]:22000", "10.77.0.1:22001"))
	x.want("l02", named("alpha", "10.77.0.1", eth, "10.77.0.1:22000", "10.77.0.1:22001"))
	x.want("l03", named("beta", "10.77.0.2", eth, "10.77.0.2:22000", "[fd77::2]:22002"))
	x.want("l05", named("gamma", "10.77.0.3", eth, "10.77.0.3:22000"))
	x.want("l05", named("kappa", "10.77.0.3", eth, "192.0.2.9:22009").hearsay())
	x.want("l05", named("lambda", "10.77.0.3", eth, "198.51.100.3:22011").hearsay())
	x.want("l06", named("beta", "10.77.0.3", eth, "10.77.0.2:22000").hearsay())
	x.want("l07", named("alpha", "10.77.0.3", eth, "10.77.0.1:22000", "10.77.0.1:22001").hearsay())
	for _, sig := range []string{"l01", "l02"} { // again: no news
		for _, c := range readVectors(t).Captured {
			if c.ID == sig {
				replay(t, they.Link(net), endpoint(t, c.Src), endpoint(t, c.Dst), c.Hex)
			}
		}
	}
	// What comes last by each family tells that all before it was heard.
	v4, v6 := netip.MustParseAddrPort("10.77.0.1:4000"), netip.AddrPortFrom(they.Link(net).LinkLocal(), 4000)
	replay(t, they.Link(net), v4, netip.MustParseAddrPort("10.77.0.255:21025"), announcement(deviceID("last"), ":1"))
	replay(t, they.Link(net), v6, netip.MustParseAddrPort("[ff32::5222]:21026"), announcement(deviceID("last of IPv6"), "192.0.2.1:1"))
	x.want("the last", named("last", "10.77.0.1", eth, "10.77.0.1:1"))
	x.want("the last by IPv6", named("last of IPv6", v6.Addr().String(), eth, "192.0.2.1:1"))
	if n := len(x.all()); n != 8+2 {
		t.Errorf("%d lines:\n%s", n, x.Stdout())
	}
	if exit := x.Stop(); exit != 0 {
		t.Errorf("exit %d: %s", exit, x.Stderr())
	}
}

// TestListenHearsMadeUpPackets: what old clients made of them; the rules are stricter about
// some. Limited broadcast and unicast are heard, too, and what can't be from that link isn't.
func TestListenHearsMadeUpPackets(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, they := l.Host("us").Join(net), l.Host("they").Join(net)
	x := listen(t, h)
	eth := h.Link(net).Name
	all := netip.MustParseAddrPort("10.77.0.255:21025")
	src := netip.AddrPortFrom(they.Link(net).V4, 40000)
	ip := src.Addr().String()
	names := map[string]string{}
	for _, c := range readVectors(t).Local {
		replay(t, they.Link(net), src, all, c.Hex)
		names[c.Name] = fmt.Sprintf("%x", c.Hex[8:40])
	}
	replay(t, they.Link(net), src, netip.MustParseAddrPort("255.255.255.255:21025"), announcement(deviceID("limited"), ":22000"))
	replay(t, they.Link(net), netip.MustParseAddrPort("192.0.2.99:21025"), all, announcement(deviceID("beta"), ":22000"))
	replay(t, they.Link(net), netip.MustParseAddrPort("255.255.255.255:21025"), all, announcement(deviceID("delta"), ":22000"))
	replay(t, they.Link(net), src, all, announcement(deviceID("last"), "[::ffff:10.77.0.77]:22000"))
	x.want("the last", named("last", ip, eth, "10.77.0.77:22000"))
	x.want("to 255.255.255.255", named("limited", ip, eth, ip+":22000"))
	got := map[string][]heard{}
	for _, one := range x.all() {
		got[one.Hex] = append(got[one.Hex], one)
	}
	for name, want := range map[string][]string{
		"ok": {ip + ":22000"}, "trailing": {ip + ":22000"}, "extras": {ip + ":22000"},
		"16addr": nil, "noaddr": {}, "port0": {}, "ip0000": nil, "ip224": nil,
	} {
		all := got[names[name]]
		if len(all) != 1 || all[0].Source != ip || all[0].Extra || want != nil && !slices.Equal(all[0].Addresses, want) {
			t.Errorf("%s: %+v, want %v", name, all, want)
		}
	}
	if one := got[names["16addr"]]; len(one) == 1 && len(one[0].Addresses) != 16 {
		t.Errorf("16 addresses: %v", one)
	}
	for _, name := range []string{"magic-0", "id-len-31"} {
		if all := got[names[name]]; all != nil {
			t.Errorf("%s: %+v", name, all)
		}
	}
	if all := got[hexID("delta")]; all != nil {
		t.Errorf("from a broadcast address: %+v", all)
	}
}

// TestListenOnItsLinks: each device with the link that it was heard on, and -i leaves the
// others out.
func TestListenOnItsLinks(t *testing.T) {
	l := newLab(t)
	a, b := l.Subnet("a", "10.77.1.0/24", "fd77:1::/64"), l.Subnet("b", "10.77.2.0/24")
	h := l.Host("us").Join(a).Join(b)
	one, two := l.Host("one").Join(a), l.Host("two").Join(b)
	x := listen(t, h)
	only := h.Lanfolk("syncthing", "listen", "-o", "jsonl", "-i", h.Link(b).Name).Start()
	waitSockets(t, h, localPort, 3)
	v4 := netip.AddrPortFrom(one.Link(a).V4, 40000)
	replay(t, one.Link(a), v4, netip.MustParseAddrPort("10.77.1.255:21025"), announcement(deviceID("alpha"), ":1"))
	v6 := netip.AddrPortFrom(one.Link(a).LinkLocal(), 40000)
	replay(t, one.Link(a), v6, netip.MustParseAddrPort("[ff32::5222]:21026"), announcement(deviceID("beta"), ":2", "[fe80::9]:3"))
	v4 = netip.AddrPortFrom(two.Link(b).V4, 40000)
	replay(t, two.Link(b), v4, netip.MustParseAddrPort("10.77.2.255:21025"), announcement(deviceID("gamma"), ":3"))
	x.want("by IPv4", named("alpha", one.Link(a).V4.String(), "eth0", one.Link(a).V4.String()+":1"))
	local := one.Link(a).LinkLocal().String()
	x.want("by IPv6", named("beta", local, "eth0", "["+local+"%eth0]:2", "[fe80::9%eth0]:3"))
	x.want("on the other", named("gamma", two.Link(b).V4.String(), "eth1", two.Link(b).V4.String()+":3"))
	if n := len(x.all()); n != 3 {
		t.Errorf("%d lines:\n%s", n, x.Stdout())
	}
	y := &listener{only, t}
	y.want("on the only one", named("gamma", two.Link(b).V4.String(), "eth1", two.Link(b).V4.String()+":3"))
	if n := len(y.all()); n != 1 {
		t.Errorf("%d lines:\n%s", n, y.Stdout())
	}
}

// TestListenBesideAnOldProgram: where one holds port 21025 for itself IPv6 is heard all the
// same, and it is said why no more. Once that program is gone IPv4 is heard, too.
func TestListenBesideAnOldProgram(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, they := l.Host("us").Join(net), l.Host("they").Join(net)
	old := open(t, h, "0.0.0.0:21025")
	x := listen(t, h)
	x.WaitText(20*time.Second, "address already in use")
	v6 := netip.AddrPortFrom(they.Link(net).LinkLocal(), 40000)
	replay(t, they.Link(net), v6, netip.MustParseAddrPort("[ff32::5222]:21026"), announcement(deviceID("beta"), "192.0.2.1:1"))
	x.want("by IPv6", named("beta", v6.Addr().String(), "eth0", "192.0.2.1:1"))
	old.Close()
	lab.Eventually(t, 30*time.Second, "IPv4", func() error {
		v4 := netip.AddrPortFrom(they.Link(net).V4, 40000)
		replay(t, they.Link(net), v4, netip.MustParseAddrPort("10.77.0.255:21025"), announcement(deviceID("alpha"), "192.0.2.1:1"))
		if all := x.all(); len(all) < 2 {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}
