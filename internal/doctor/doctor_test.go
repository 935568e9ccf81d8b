package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

func up(name string, prefixes ...string) packet.Link {
	l := packet.Link{Index: 2, Name: name, MTU: 1500, Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast | net.FlagBroadcast}
	for _, p := range prefixes {
		l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
	}
	return l
}

func TestLinks(t *testing.T) {
	named := func(names ...string) *config.Config {
		c := config.Default()
		c.Interfaces = names
		return c
	}
	for _, c := range []struct {
		name   string
		config *config.Config
		links  []packet.Link
		err    error
		want   []Finding
	}{
		{"two families", nil, []packet.Link{up("eth0", "192.0.2.1/24", "2001:db8::1/64")}, nil,
			[]Finding{{"interface eth0", Good, "192.0.2.1/24 2001:db8::1/64", ""}}},
		{"no IPv6", nil, []packet.Link{up("eth0", "192.0.2.1/24")}, nil,
			[]Finding{{"interface eth0", Notice, "192.0.2.1/24; no IPv6 address, so what speaks IPv6 alone isn't heard", ""}}},
		{"none usable", nil, []packet.Link{up("eth0")}, nil,
			[]Finding{{"interfaces", Problem, "none is up with an address and multicast", "bring one up, or name it by interfaces in the config"}}},
		{"named and without an address", named("eth0"), []packet.Link{up("eth0")}, nil,
			[]Finding{{"interface eth0", Warning, "it has no address", ""}}},
		{"can't be listed", nil, nil, errors.New("lan: no netlink"),
			[]Finding{{"interfaces", Problem, "lan: no netlink", ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Doctor{Config: c.config}.checkLinks(c.links, c.err)
			if len(got) != len(c.want) || got[0] != c.want[0] {
				t.Errorf("found %+v; want %+v", got, c.want)
			}
		})
	}
}

func TestPortNamesOtherHoldersOnly(t *testing.T) {
	local := netip.MustParseAddrPort("0.0.0.0:5353")
	got := checkPort([]lan.Holder{{Local: local, PID: 1, Program: "lanfolk", Self: true}}, nil)
	if got[0].Grade != Good {
		t.Errorf("held by ourselves: %+v; want good", got)
	}
	got = checkPort([]lan.Holder{{Local: local, PID: 412, Program: "avahi-daemon", UID: 108}}, nil)
	if got[0].Grade != Notice || !strings.Contains(got[0].Found, "avahi-daemon (pid 412, uid 108) holds 0.0.0.0:5353") {
		t.Errorf("held by avahi: %+v; want a notice with its name", got)
	}
}

func TestStateFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Grade{
		dir:                                Good,
		filepath.Join(dir, "not", "there"): Good, // it will be made
		file:                               Problem,
		filepath.Join(file, "below"):       Problem,
	} {
		if got := checkState(path); got[0].Grade != want {
			t.Errorf("state folder %s: %+v; want %s", path, got, want)
		}
	}
}

func TestCaptureSaysWhatToDo(t *testing.T) {
	got := checkCapture(errors.New("lan: capture: it needs the capability CAP_NET_RAW"))
	if got[0].Grade != Warning || got[0].Advice == "" {
		t.Errorf("found %+v; want a warning with advice", got)
	}
}

func TestReflectorNeedsTwoLinks(t *testing.T) {
	with := func(interfaces ...string) *config.Config {
		c := config.Default()
		c.Reflect.Enabled, c.Reflect.Interfaces = true, interfaces
		return c
	}
	eth0, eth1 := up("eth0", "192.0.2.1/24"), up("eth1", "198.51.100.1/24")
	for name, c := range map[string]struct {
		config *config.Config
		links  []packet.Link
		want   string
	}{
		"off":       {config.Default(), []packet.Link{eth0}, "[]"},
		"fine":      {with(), []packet.Link{eth0, eth1}, "[{reflector good between eth0, eth1 }]"},
		"too few":   {with(), []packet.Link{eth0}, "[{reflector problem 1 interface to reflect between bring another up, or correct interfaces in the config}]"},
		"one gone":  {with("eth0", "eth1", "eth2"), []packet.Link{eth0, eth1}, "[{reflector warning between eth0, eth1; not there: eth2 bring them up, or correct reflect.interfaces in the config}]"},
		"one of it": {with("eth0", "eth2"), []packet.Link{eth0, eth1}, "[{reflector problem 1 interface to reflect between bring another up, or correct interfaces in the config}]"},
	} {
		if got := fmt.Sprint(Doctor{Config: c.config}.checkReflect(c.links)); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}

func TestSyncthingPorts(t *testing.T) {
	held := func(port uint16) ([]lan.Holder, error) {
		if port == 21026 {
			return []lan.Holder{{Local: netip.AddrPortFrom(netip.IPv6Unspecified(), port), PID: 7, Program: "lanfolk"}}, nil
		}
		return []lan.Holder{{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), port), PID: 412, Program: "syncthing", UID: 1000}}, nil
	}
	for _, c := range []struct{ config, want string }{
		{"", "21025 notice, 21026 good"},
		{"syncthing.listen = false", ""},
		{"syncthing.listen = false\n[syncthing.announce]\nid = \"P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2\"", "21025 notice, 21026 good"},
		{"[syncthing.server]\nlisten = [\"192.0.2.1\", \"192.0.2.2\", \":443\"]", "21025 notice, 21026 good, 22026 warning, 443 warning"},
	} {
		parsed, err := config.Parse("lanfolk.toml", []byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range (Doctor{Config: parsed}).checkSyncthing(held) {
			got = append(got, strings.TrimPrefix(f.Check, "port ")+" "+string(f.Grade))
			if f.Grade != Good && (f.Advice == "" || !strings.Contains(f.Found, "syncthing (pid 412, uid 1000) holds")) {
				t.Errorf("%q: %+v", c.config, f)
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%q: %q; want %q", c.config, got, c.want)
		}
	}
	got := Doctor{Config: config.Default()}.checkSyncthing(func(uint16) ([]lan.Holder, error) { return nil, errors.New("no /proc") })
	if len(got) != 2 || got[0].Grade != Warning || got[0].Found != "no /proc" {
		t.Errorf("what can't be read: %+v", got)
	}
}
