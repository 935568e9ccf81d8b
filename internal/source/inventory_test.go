package source_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/test/captures"
)

// sightingsIn returns what a capture file says, as if it began with the year 2001 and
// nobody had been silent for more than an hour: some were pieced together of years.
func sightingsIn(t *testing.T, file string) []lanfolk.Sighting {
	t.Helper()
	var p source.Passive
	var all []lanfolk.Sighting
	_, _ = capture.File{Path: file}.Read(t.Context(), func(f *passive.Fact) error { // some are cut off
		p.Sightings(f, func(s lanfolk.Sighting) { all = append(all, s) })
		return nil
	})
	slices.SortStableFunc(all, func(a, b lanfolk.Sighting) int { return a.Time.Compare(b.Time) })
	now := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	var last time.Time
	for n := range all {
		at := all[n].Time
		if n > 0 {
			now = now.Add(min(at.Sub(last), time.Hour))
		}
		last, all[n].Time = at, now
	}
	return all
}

// inventory returns a registry that heard sightings as they came, in order. It must
// be called in a bubble, whose clock runs as theirs did.
func inventory(t *testing.T, all []lanfolk.Sighting) *lanfolk.Registry {
	t.Helper()
	n := 0
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{NewID: func() string { n++; return fmt.Sprint("d", n) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for len(all) > 0 {
		k := 1
		for k < len(all) && k < 512 && all[k].Time.Before(all[0].Time.Add(time.Second)) {
			k++
		}
		time.Sleep(time.Until(all[k-1].Time))
		r.Observe(all[:k]...)
		synctest.Wait()
		all = all[k:]
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

// captureFiles lists the captures that LANFOLK_PCAPS names, nil where there are none.
func captureFiles(t *testing.T, pattern string) []string {
	t.Helper()
	dir := captures.Folder(t, "LANFOLK_PCAPS")
	if dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures %s: %v", pattern, err)
	}
	return files
}

// TestInventoryOfACapture: each MAC of a capture is in one device, and that has no
// other: none of them shows a host with two.
func TestInventoryOfACapture(t *testing.T) {
	t.Parallel()
	for _, file := range captureFiles(t, "*.pcap*") {
		if strings.HasSuffix(file, ".tsv") {
			continue
		}
		name := filepath.Base(file)
		synctest.Test(t, func(t *testing.T) {
			heard := sightingsIn(t, file)
			macs := map[string]bool{} // with the link, for those that are made up
			for _, s := range heard {
				for _, id := range s.Identifiers {
					if id.Kind == lanfolk.IDMAC {
						macs[id.String()] = true
					}
				}
			}
			all := 0
			for _, d := range inventory(t, heard).Devices(lanfolk.Filter{}) {
				if len(d.MACs) > 1 {
					t.Errorf("%s: %v are one device, %v", name, d.MACs, d.Names)
				}
				all += len(d.MACs)
			}
			if all != len(macs) {
				t.Errorf("%s: the devices have %d MACs of %d", name, all, len(macs))
			}
		})
	}
}

// TestInventoryOfAHome: the IoT SENTINEL captures, heard as if they were of one
// day, are of one home: each device of the data set's table that speaks in them is one,
// with no name of another's, and the gateway is nobody else.
func TestInventoryOfAHome(t *testing.T) {
	t.Parallel()
	files := captureFiles(t, "iotsentinel__*.pcap")
	if files == nil {
		return // the log says so
	}
	var all []lanfolk.Sighting
	for _, file := range files {
		all = append(all, sightingsIn(t, file)...)
	}
	slices.SortStableFunc(all, func(a, b lanfolk.Sighting) int { return a.Time.Compare(b.Time) })
	table, err := os.ReadFile(filepath.Join(os.Getenv("LANFOLK_PCAPS"), "iotsentinel-macs.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := inventory(t, all)
		found := map[string]string{} // id by MAC
		for line := range strings.Lines(string(table)) {
			device, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
			mac, err := lanfolk.ParseMAC(text)
			if err != nil {
				continue // the head of the table
			}
			d, err := r.Device(mac.String())
			if err != nil {
				continue // it isn't in the folder
			}
			if len(d.MACs) != 1 {
				t.Errorf("%s: %v are one device", device, d.MACs)
			}
			found[mac.String()] = d.ID
		}
		if len(found) < 22 {
			t.Errorf("%d devices of the table are known", len(found))
		}
		ids := map[string]bool{}
		for _, id := range found {
			ids[id] = true
		}
		if len(ids) != len(found) {
			t.Errorf("%d MACs of the table are %d devices", len(found), len(ids))
		}
		gateway, err := r.Device("00:b5:6d:06:08:ba")
		if err != nil {
			t.Fatal(err)
		}
		if len(gateway.Names) > 0 || !slices.Equal(gateway.Addresses, []netip.Addr{netip.MustParseAddr("10.10.10.1")}) {
			t.Errorf("the gateway is %v at %v", gateway.Names, gateway.Addresses)
		}
		t.Logf("%d devices, %d of them in the table", len(r.Devices(lanfolk.Filter{})), len(found))
	})
}

// TestOneHostOnTwoLinks: a host that a capture hears on two links is one device by
// an id of a service and its name, two if either is missing or the names differ; and
// what is heard of the id alone is a part of it.
func TestOneHostOnTwoLinks(t *testing.T) {
	id := "uuid:8d2f1c3e5a7b4c6d9e0f112233445566"
	for _, c := range []struct {
		name     string
		id       string
		names    [2]string
		one      bool
		wireless passive.MAC
	}{
		{"the same id and name", id, [2]string{"nas", "nas.local"}, true, phone},
		{"no id", "", [2]string{"nas", "nas.local"}, false, phone},
		{"no name", id, [2]string{"", ""}, false, phone},
		{"another name", id, [2]string{"nas", "pc"}, false, phone},
		{"an iPhone that made up another MAC", "", [2]string{"iPhone", "iPhone"}, false, passive.MAC{2, 0, 0, 0, 0, 8}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var all []lanfolk.Sighting
			for n, mac := range []passive.MAC{printer, c.wireless} {
				ip := netip.AddrFrom4([4]byte{10, 0, byte(n), 5})
				link := fmt.Sprint("eth", n)
				for _, f := range []passive.Fact{
					{Protocol: passive.ProtoDHCP, Claims: []passive.Claim{{MAC: mac, Host: c.names[n]}}},
					{Protocol: passive.ProtoSSDP, Response: true, SrcIP: ip, Claims: []passive.Claim{{MAC: mac, IP: ip, ID: c.id}}},
				} {
					f.Interface, f.Time, f.SrcMAC = link, time.Now(), mac
					new(source.Passive).Sightings(&f, func(s lanfolk.Sighting) { all = append(all, s) })
				}
				if c.id != "" {
					o := lanfolk.Origin{Protocol: "ssdp", Link: link, Source: ip.String()}
					all = append(all, lanfolk.Sighting{
						Origin: o, Kind: lanfolk.KindDevice, Key: fmt.Sprint("heard by ", ip), Time: time.Now(),
						Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDProtocol, Value: c.id}, lanfolk.IPIdentifier(ip, o)},
					})
				}
			}
			devices := inventory(t, all).Devices(lanfolk.Filter{})
			if one := len(devices) == 1; one != c.one || !one && len(devices) != 2 {
				t.Errorf("%s: %d devices", c.name, len(devices))
			}
		})
	}
}

// TestAddressMadeOfAMAC: a host that is heard of on another link by an IPv6 address
// which it made of its MAC is the device with that MAC; a proxy that speaks for the address
// isn't.
func TestAddressMadeOfAMAC(t *testing.T) {
	home, far := netip.MustParseAddr("fe80::200:5eff:fe00:5307"), netip.MustParseAddr("2001:db8::200:5eff:fe00:5307")
	synctest.Test(t, func(t *testing.T) {
		var all []lanfolk.Sighting
		hear := func(link string, protocol string, c passive.Claim) {
			f := passive.Fact{Interface: link, Time: time.Now(), Protocol: protocol, SrcMAC: c.MAC, SrcIP: c.IP, Claims: []passive.Claim{c}}
			new(source.Passive).Sightings(&f, func(s lanfolk.Sighting) { all = append(all, s) })
		}
		hear("eth0", passive.ProtoNDP, passive.Claim{MAC: printer, IP: home})
		hear("eth1", passive.ProtoMDNS, passive.Claim{IP: far, Host: "printer.local", Hearsay: true})
		hear("eth1", passive.ProtoNDP, passive.Claim{MAC: passive.MAC{2, 0, 0, 0, 0, 1}, IP: netip.MustParseAddr("fd00::200:5eff:fe00:5307"), Hearsay: true})
		r := inventory(t, all)
		d, err := r.Device("printer.local")
		if err != nil || !slices.Equal(d.MACs, []lanfolk.MAC{lanfolk.MAC(printer)}) || len(r.Devices(lanfolk.Filter{})) != 2 {
			t.Errorf("%+v, %v, %d devices", d, err, len(r.Devices(lanfolk.Filter{})))
		}
	})
}

// TestIDsOutliveLeases: what joins a phone's MACs holds longer than its lease may.
func TestIDsOutliveLeases(t *testing.T) {
	f := passive.Fact{
		Protocol: passive.ProtoDHCP, Interface: "eth0", Time: noon, SrcMAC: phone,
		Claims: []passive.Claim{{MAC: phone, ID: "duid:00020000ab11", IP: address, Host: "Pixel"}},
	}
	var got []string
	new(source.Passive).Sightings(&f, func(s lanfolk.Sighting) {
		got = append(got, fmt.Sprint(s.Lifetime, s.State, identifierTexts(s)))
	})
	want := []string{
		"1h0m0sreachable[mac 02:00:00:00:00:09 on eth0 id duid:00020000ab11 host Pixel on eth0 ip 192.0.2.7 on eth0]",
		"24h0m0sunreachable[mac 02:00:00:00:00:09 on eth0 id duid:00020000ab11]",
	}
	if len(got) != 2 || !slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, got[0]) }) || got[1] != want[1] {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
