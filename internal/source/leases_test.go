package source_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hostapd"
	"github.com/lanfolk/lanfolk/internal/leases"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/packet"
)

var leaseNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// heard writes what matters of sightings, a line each.
func heard(all []lanfolk.Sighting) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s %s", s.Key, s.Origin.Link)
		if s.Gone {
			b.WriteString(" gone\n")
			continue
		}
		fmt.Fprintf(&b, " %s %v for %v:", s.State, s.Time.Sub(leaseNow), s.Lifetime)
		for _, id := range s.Identifiers {
			fmt.Fprintf(&b, " %s;", id)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func rig() *source.Leases {
	return &source.Leases{Kind: leases.Dnsmasq, Link: func(a netip.Addr) (string, bool) {
		switch {
		case netip.MustParsePrefix("10.0.0.0/24").Contains(a):
			return "eth0", true
		case netip.MustParsePrefix("10.9.0.0/16").Contains(a):
			return "eth9", false
		}
		return "", true
	}}
}

func dnsmasq(lines ...string) leases.Table {
	return leases.ParseDnsmasq([]byte(strings.Join(lines, "\n") + "\n"))
}

func TestLeasesBecomeSightings(t *testing.T) {
	in := func(d time.Duration) int64 { return leaseNow.Add(d).Unix() }
	for _, c := range []struct{ name, line, want string }{
		{"a lease", fmt.Sprintf("%d 00:00:5e:10:00:01 10.0.0.5 nas 01:02:03:04:05:06:07", in(time.Hour)),
			"10.0.0.5 eth0 unknown -1m0s for 1h1m0s: mac 00:00:5e:10:00:01; host nas on eth0; ip 10.0.0.5 on eth0;\n"},
		{"with a DUID", fmt.Sprintf("%d 02:00:5e:10:00:01 10.0.0.5 * ff:00:00:00:01:00:03:00:01:02:00:5e:10:00:01", in(time.Hour)),
			"10.0.0.5 eth0 unknown -1m0s for 1h1m0s: mac 02:00:5e:10:00:01 on eth0; id duid:0003000102005e100001; ip 10.0.0.5 on eth0;\n"},
		{"IPv6, of a link that isn't known", fmt.Sprintf("%d 1 fd00::5 nas 00:03:00:01:02:00:5e:10:00:01", in(time.Hour)),
			"fd00::5  unknown -1m0s for 1h1m0s: id duid:0003000102005e100001; host nas; ip fd00::5;\n"},
		{"a DUID that many have", fmt.Sprintf("%d 1 fd00::5 nas 00:02:00:00:00:00:00:00", in(time.Hour)), "fd00::5  unknown -1m0s for 1h1m0s: host nas; ip fd00::5;\n"},
		{"for ever", "0 00:00:5e:10:00:01 10.0.0.5 * *", "10.0.0.5 eth0 unknown -1m0s for 1392h0m0s: mac 00:00:5e:10:00:01; ip 10.0.0.5 on eth0;\n"},
		{"run out", fmt.Sprintf("%d 00:00:5e:10:00:01 10.0.0.5 * *", in(-time.Second)), ""},
		{"of a link that isn't used", "0 00:00:5e:10:00:01 10.9.0.5 * *", ""},
		{"of nobody", "0 00- 10.0.0.5 * *", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := rig().Sightings(leaseNow, dnsmasq(c.line), leaseNow.Add(-time.Minute))
			if d := cmp.Diff(c.want, heard(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is in the inventory is seen as a whole there, one step after the other.
func TestLeasesChange(t *testing.T) {
	x := rig()
	end := leaseNow.Add(time.Hour).Unix()
	line := func(host, mac byte, more int64) string {
		return fmt.Sprintf("%d 00:00:5e:10:00:%02x 10.0.0.%d h%d *", end+more, mac, host, host)
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		table leases.Table
		want  string // each sighting's key, gone or when heard
	}{
		{"two", 0, dnsmasq(line(1, 1, 0), line(2, 2, 0)), "10.0.0.1 at 0s, 10.0.0.2 at 0s"},
		{"read again: that is no news", time.Minute, dnsmasq(line(1, 1, 0), line(2, 2, 0)), ""},
		{"one is renewed", 2 * time.Minute, dnsmasq(line(1, 1, 4000), line(2, 2, 0)), "10.0.0.1 at 2m0s"},
		{"one is somebody else's", 3 * time.Minute, dnsmasq(line(1, 1, 4000), line(2, 3, 4000)), "10.0.0.2 at 3m0s"},
		{"one line is broken", 4 * time.Minute, dnsmasq(line(1, 1, 4000), "10.0.0.2"), ""},
		{"one is released", 5 * time.Minute, dnsmasq(line(2, 3, 4000)), "10.0.0.1 gone"},
		{"told again after an hour: nobody spoke", 65 * time.Minute, dnsmasq(line(2, 3, 4000)), "10.0.0.2 at 3m0s"},
		{"all run out", 3 * time.Hour, dnsmasq(line(2, 3, 4000), "x"), "10.0.0.2 gone"},
		{"nothing more to take back", 4 * time.Hour, dnsmasq(), ""},
	} {
		var got []string
		now := leaseNow.Add(step.after)
		for _, s := range x.Sightings(now, step.table, now) {
			if s.Gone {
				got = append(got, s.Key+" gone")
			} else {
				got = append(got, fmt.Sprintf("%s at %v", s.Key, s.Time.Sub(leaseNow)))
			}
		}
		if s := strings.Join(got, ", "); s != step.want {
			t.Errorf("%s: %s, want %s", step.name, s, step.want)
		}
	}
}

func TestKeaSaysWhenAClientSpoke(t *testing.T) {
	x := rig()
	x.Kind = leases.Kea
	table, err := leases.ParseKea(leases.Part{Data: []byte("address,hwaddr,duid,valid_lifetime,expire,hostname,lease_type,prefix_len\n" +
		fmt.Sprintf("10.0.0.5,00:00:5e:10:00:01,,3600,%d,nas.example.,0,0\n", leaseNow.Add(10*time.Minute).Unix()) +
		fmt.Sprintf("10.0.0.6,00:00:5e:10:00:02,,8640000,%d,,0,0\n", leaseNow.Add(time.Hour).Unix()) +
		fmt.Sprintf("fd00:1::,,00:03:00:01:02:00:5e:10:00:01,3600,%d,,2,56\n", leaseNow.Add(10*time.Minute).Unix()))})
	if err != nil {
		t.Fatal(err)
	}
	got := x.Sightings(leaseNow, table, leaseNow)
	want := "10.0.0.5 eth0 unknown -50m0s for 1h0m0s: mac 00:00:5e:10:00:01; host nas.example on eth0; ip 10.0.0.5 on eth0;\n" +
		"10.0.0.6 eth0 unknown -696h0m0s for 697h0m0s: mac 00:00:5e:10:00:02; ip 10.0.0.6 on eth0;\n" +
		"fd00:1::/56  unknown -50m0s for 1h0m0s: id duid:0003000102005e100001;\n"
	if d := cmp.Diff(want, heard(got)); d != "" {
		t.Error(d)
	}
	if s := got[0]; s.Name != "nas.example" || s.Host != "nas.example" {
		t.Errorf("%+v", s)
	}
	if a := got[2].Attributes["prefix"]; a != "fd00:1::/56" || len(got[2].Addresses) != 0 {
		t.Errorf("%+v", got[2])
	}
}

func TestALeaseWhoseNameIsNoText(t *testing.T) {
	x := rig()
	s := x.Sightings(leaseNow, dnsmasq(fmt.Sprintf("%d 00:00:5e:10:00:01 10.0.0.5 nas\xff *", leaseNow.Add(time.Hour).Unix())), leaseNow)
	if len(s) != 1 || s[0].Name != `nas\xff` || s[0].Origin.Protocol != "dnsmasq" || s[0].State != lanfolk.Unknown {
		t.Fatalf("%+v", s)
	}
}

func TestALeaseThatMovesToAnotherLink(t *testing.T) {
	x := rig()
	table := dnsmasq("0 00:00:5e:10:00:01 192.0.2.5 * *")
	x.Sightings(leaseNow, table, leaseNow)
	x.Link = func(netip.Addr) (string, bool) { return "eth7", true }
	got := heard(x.Sightings(leaseNow, table, leaseNow))
	if want := "192.0.2.5  gone\n192.0.2.5 eth7 unknown 0s for 1392h0m0s: mac 00:00:5e:10:00:01; ip 192.0.2.5 on eth7;\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	x.Link = func(netip.Addr) (string, bool) { return "eth7", false }
	if got := heard(x.Sightings(leaseNow, table, leaseNow)); got != "192.0.2.5 eth7 gone\n" {
		t.Error(got)
	}
}

func TestLinkOf(t *testing.T) {
	all := []packet.Link{
		{Name: "wide", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
		{Name: "narrow", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("fd00::1/64")}},
	}
	for a, want := range map[string]string{"10.1.0.7": "narrow", "10.2.0.7": "wide", "fd00::7": "narrow", "fd01::7": "", "192.0.2.1": ""} {
		if l, ok := source.LinkOf(all, netip.MustParseAddr(a)); l.Name != want || ok != (want != "") {
			t.Errorf("%s: %q %v", a, l.Name, ok)
		}
	}
}

func TestStationsBecomeSightings(t *testing.T) {
	x := source.Hostapd{Gateway: "gw", Link: func(iface string) (string, bool) { return "br0", iface == "wlan0" }}
	r := hostapd.Report{
		Interface: "wlan0", Radio: hostapd.Radio{Enabled: true, SSID: `caf\xe9`, BSSID: "02:00:5e:20:00:00"},
		Station: hostapd.Station{MAC: [6]byte{2, 0, 0x5e, 0x10, 0, 1}, Authorized: true, Signal: -52, Connected: time.Hour, Idle: -1, RxBytes: 1},
	}
	s, ok := x.Sighting(leaseNow, r)
	want := map[string]string{"interface": "wlan0", "ssid": `caf\xe9`, "bssid": "02:00:5e:20:00:00", "signal": "-52 dBm", "connected": "1h0m0s", "rx_bytes": "1", "tx_bytes": "0"}
	if !ok || s.State != lanfolk.Reachable || s.Lifetime != 90*time.Second || s.Origin.Link != "br0" || len(s.Identifiers) != 1 || s.Identifiers[0].String() != "mac 02:00:5e:10:00:01 on br0 at gw" {
		t.Errorf("%v %+v", ok, s)
	}
	if d := cmp.Diff(want, s.Attributes); d != "" {
		t.Error(d)
	}
	r.Gone = true
	if g, ok := x.Sighting(leaseNow, r); !ok || !g.Gone || g.ID() != s.ID() {
		t.Errorf("%v %+v", ok, g)
	}
	r.Interface = "wlan1"
	if _, ok := x.Sighting(leaseNow, r); ok {
		t.Error("a link that isn't used is told of")
	}
}
