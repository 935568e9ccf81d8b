package source_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/syncthing"
)

// The ID that Syncthing's own documentation shows.
const device = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"

func deviceID(t testing.TB) syncthing.DeviceID {
	t.Helper()
	id, err := syncthing.ParseID(device)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// said is an event of a listener: "appeared 10.0.0.5 eth0 10.0.0.5:22000 …", the extras of a host with "extra" at the end.
func said(t testing.TB, text string) syncthing.Event {
	t.Helper()
	f := strings.Fields(text)
	e := syncthing.Event{Kind: map[string]syncthing.EventKind{
		"appeared": syncthing.Appeared, "changed": syncthing.Changed, "gone": syncthing.Gone, "refreshed": syncthing.Refreshed,
	}[f[0]]}
	e.Heard = syncthing.Heard{
		ID: deviceID(t), Source: netip.AddrPortFrom(netip.MustParseAddr(f[1]), 21025),
		Link: packet.Link{Name: f[2], Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")}},
	}
	for _, x := range f[3:] {
		if x == "extra" {
			e.Heard.Extra = true
			continue
		}
		e.Heard.Addresses = append(e.Heard.Addresses, netip.MustParseAddrPort(x))
	}
	return e
}

// told writes sightings for comparison.
func told(all []lanfolk.Sighting) []string {
	var out []string
	for _, s := range all {
		line := fmt.Sprintf("%s %s %v:%d %s by %s on %s: %s", s.Kind, s.Name, s.Addresses, s.Port, s.State, s.Origin.Source, s.Origin.Link, s.What)
		if s.Gone {
			line = "gone " + line
		}
		out = append(out, strings.ReplaceAll(line, "  ", " "))
	}
	return out
}

func TestSyncthingSightings(t *testing.T) {
	now := time.Unix(1000, 0)
	x := &source.Syncthing{Gateway: "g"}
	got := x.Event(now, said(t, "appeared 10.0.0.5 eth0 10.0.0.5:22000"))
	origin := lanfolk.Origin{Protocol: "syncthing", Gateway: "g", Link: "eth0", Source: "10.0.0.5"}
	ip := netip.MustParseAddr("10.0.0.5")
	want := []lanfolk.Sighting{{
		Origin: origin, Kind: lanfolk.KindDevice, Key: device + " by 10.0.0.5", Addresses: []netip.Addr{ip},
		Identifiers: []lanfolk.Identifier{lanfolk.ProtocolIdentifier("syncthing", device), lanfolk.IPIdentifier(ip, origin)},
		What:        "10.0.0.5 announces P56IOI7 at 10.0.0.5:22000", State: lanfolk.Reachable, Time: now, Lifetime: 3 * time.Minute,
	}, {
		Origin: origin, Kind: lanfolk.KindService, Key: device + " 22000", Name: "P56IOI7", Type: "syncthing", Port: 22000, Addresses: []netip.Addr{ip},
		Attributes: map[string]string{"device_id": device}, Identifiers: []lanfolk.Identifier{lanfolk.ProtocolIdentifier("syncthing", device)},
		What: "P56IOI7 takes connections on port 22000", State: lanfolk.Reachable, Time: now, Lifetime: 3 * time.Minute,
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSyncthingServicesFollowWhatIsSaid(t *testing.T) {
	x := &source.Syncthing{}
	for i, c := range []struct {
		event string
		want  []string
	}{
		{"appeared 10.0.0.5 eth0 10.0.0.5:22000 192.0.2.5:22001", []string{
			"device [10.0.0.5 192.0.2.5]:0 reachable by 10.0.0.5 on eth0: 10.0.0.5 announces P56IOI7 at 10.0.0.5:22000, 192.0.2.5:22001",
			"service P56IOI7 [10.0.0.5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
			"service P56IOI7 [192.0.2.5]:22001 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22001",
		}},
		// By the other family it is the same service; a port that is no longer announced ends.
		{"appeared fe80::5%eth0 eth0 [fe80::5%eth0]:22000", []string{
			"device [fe80::5]:0 reachable by fe80::5 on eth0: fe80::5 announces P56IOI7 at [fe80::5]:22000",
			"service P56IOI7 [10.0.0.5 fe80::5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
			"service P56IOI7 [192.0.2.5]:22001 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22001",
		}},
		{"changed 10.0.0.5 eth0 10.0.0.5:22000", []string{
			"device [10.0.0.5]:0 reachable by 10.0.0.5 on eth0: 10.0.0.5 announces P56IOI7 at 10.0.0.5:22000",
			"service P56IOI7 [10.0.0.5 fe80::5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
			"gone service P56IOI7 []:22001 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22001",
		}},
		// Another link is another view of it.
		{"appeared 10.0.0.5 eth1 10.0.0.5:22000", []string{
			"device [10.0.0.5]:0 reachable by 10.0.0.5 on eth1: 10.0.0.5 announces P56IOI7 at 10.0.0.5:22000",
			"service P56IOI7 [10.0.0.5]:22000 reachable by 10.0.0.5 on eth1: P56IOI7 takes connections on port 22000",
		}},
		// Hearsay changes no service of a device that is heard itself, and nobody's address is taken for the device's.
		{"appeared 10.0.0.9 eth0 203.0.113.7:1 extra", []string{
			"device [203.0.113.7]:0 unreachable by 10.0.0.9 on eth0: hearsay: 10.0.0.9 says of P56IOI7 that it is at 203.0.113.7:1",
			"service P56IOI7 [10.0.0.5 fe80::5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
		}},
		{"gone fe80::5%eth0 eth0 [fe80::5%eth0]:22000", []string{
			"service P56IOI7 [10.0.0.5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
		}},
		{"gone 10.0.0.5 eth0 10.0.0.5:22000", []string{
			"service P56IOI7 [203.0.113.7]:1 unreachable by 10.0.0.9 on eth0: hearsay: P56IOI7 takes connections on port 1",
			"gone service P56IOI7 []:22000 unreachable by 10.0.0.9 on eth0: hearsay: P56IOI7 takes connections on port 22000",
		}},
		{"gone 10.0.0.9 eth0 203.0.113.7:1 extra", nil},
		{"gone 10.0.0.9 eth0 203.0.113.7:1 extra", nil},
		// Nothing that could be a host's address: it is there all the same.
		{"appeared 10.0.0.7 eth0 0.0.0.0:1 0.1.2.3:1 224.0.0.1:1 255.255.255.255:1 240.0.0.1:1 127.0.0.1:1 10.0.0.255:1 [::]:1 [::1]:1 [ff02::1]:1", []string{
			"device [10.0.0.7]:0 reachable by 10.0.0.7 on eth0: 10.0.0.7 announces P56IOI7 at 0.0.0.0:1, 0.1.2.3:1, 224.0.0.1:1 and 7 more",
			"service P56IOI7 [10.0.0.7]:0 reachable by 10.0.0.7 on eth0: P56IOI7 takes connections, but doesn't say where",
		}},
		{"changed 10.0.0.7 eth0", []string{
			"device [10.0.0.7]:0 reachable by 10.0.0.7 on eth0: 10.0.0.7 announces P56IOI7, nowhere",
			"service P56IOI7 [10.0.0.7]:0 reachable by 10.0.0.7 on eth0: P56IOI7 takes connections, but doesn't say where",
		}},
	} {
		if diff := cmp.Diff(c.want, told(x.Event(time.Unix(int64(i), 0), said(t, c.event)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.event, diff)
		}
	}
}

// Whatever is said of a device, hearsay brings no identifier but its ID, and nothing brings a MAC.
func TestSyncthingIdentifiers(t *testing.T) {
	x := &source.Syncthing{}
	for _, event := range []string{"appeared 10.0.0.5 eth0 10.0.0.66:1", "appeared 10.0.0.9 eth0 10.0.0.66:1 extra", "gone 10.0.0.5 eth0"} {
		e := said(t, event)
		for _, s := range x.Event(time.Unix(1, 0), e) {
			var ids []string
			for _, id := range s.Identifiers {
				ids = append(ids, id.String())
			}
			want := []string{"id syncthing:" + device}
			if s.Kind == lanfolk.KindDevice && !e.Heard.Extra {
				want = append(want, "ip 10.0.0.5 on eth0")
			}
			if !slices.Equal(ids, want) {
				t.Errorf("%s: %q has %q; want %q", event, s.What, ids, want)
			}
		}
	}
}

// In the inventory: one device by both families and on two links, none of whose hardware addresses an
// impostor can join with others'.
func TestSyncthingInTheInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		x := &source.Syncthing{}
		hear := func(events ...string) {
			for _, e := range events {
				r.Observe(x.Event(time.Now(), said(t, e))...)
			}
			synctest.Wait()
		}
		arp := func(mac, ip string) {
			m, err := lanfolk.ParseMAC(mac)
			if err != nil {
				t.Fatal(err)
			}
			o := lanfolk.Origin{Protocol: "arp", Link: "eth0", Source: ip}
			r.Observe(lanfolk.Sighting{
				Origin: o, Kind: lanfolk.KindDevice, Key: mac + ip, Time: time.Now(), State: lanfolk.Reachable, Lifetime: time.Hour,
				Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(m, o), lanfolk.IPIdentifier(netip.MustParseAddr(ip), o)},
			})
			synctest.Wait()
		}
		arp("00:00:5e:00:53:05", "10.0.0.5")
		arp("00:00:5e:00:53:09", "10.0.0.9")
		hear("appeared 10.0.0.5 eth0 10.0.0.5:22000", "appeared fe80::5%eth0 eth0 [fe80::5%eth0]:22000", "appeared 10.1.0.5 eth1 10.1.0.5:22000",
			"appeared 10.0.0.9 eth0 10.0.0.5:22000 extra")
		d, evidence, err := r.Explain("syncthing:" + device)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.Protocols, []string{"arp", "syncthing"}) || len(d.Services) != 2 || len(d.MACs) != 1 || !slices.Equal(d.Names, []string{"P56IOI7"}) {
			t.Errorf("the device: %+v", d)
		}
		if !slices.ContainsFunc(evidence, func(e lanfolk.Evidence) bool {
			return e.What == "hearsay: 10.0.0.9 says of P56IOI7 that it is at 10.0.0.5:22000" && strings.Contains(e.WhyJoined, device)
		}) {
			t.Errorf("the evidence doesn't tell hearsay: %+v", evidence)
		}
		if n := len(r.Devices(lanfolk.Filter{Protocol: "syncthing"})); n != 1 {
			t.Errorf("%d devices speak Syncthing; want 1", n)
		}

		// Somebody else announces the ID from his own address.
		hear("appeared 10.0.0.9 eth0 10.0.0.9:22000")
		for _, mac := range []string{"00:00:5e:00:53:05", "00:00:5e:00:53:09"} {
			if d, err := r.Device(mac); err != nil || len(d.MACs) != 1 {
				t.Errorf("%s: %+v, %v; want it alone", mac, d, err)
			}
		}

		// It falls silent; that others still speak of it is no sign of life.
		time.Sleep(2 * time.Minute)
		hear("gone 10.0.0.5 eth0", "gone fe80::5%eth0 eth0", "gone 10.1.0.5 eth1", "gone 10.0.0.9 eth0", "refreshed 10.0.0.9 eth0 10.0.0.5:22000 extra")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, d := range r.Devices(lanfolk.Filter{Protocol: "syncthing"}) {
			if d.State != lanfolk.Unreachable {
				t.Errorf("silent, and %s: %+v", d.State, d)
			}
			for _, s := range d.Services {
				if s.State != lanfolk.Unreachable {
					t.Errorf("silent, and %s: %+v", s.State, s)
				}
			}
		}
		cancel()
		synctest.Wait()
	})
}

// 100,000 devices of one host are 64 for the listener, and one in the inventory.
func TestSyncthingImpostorsAreOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		x := &source.Syncthing{}
		for i := range 64 {
			e := said(t, "appeared 10.0.0.66 eth0 10.0.0.66:22000")
			e.Heard.ID = syncthing.CertificateID([]byte{byte(i)})
			r.Observe(x.Event(time.Now(), e)...)
		}
		synctest.Wait()
		if n := len(r.Devices(lanfolk.Filter{})); n != 1 {
			t.Errorf("%d devices", n)
		}
		cancel()
		synctest.Wait()
	})
}

// The fingerprint database tells which MAC announced a device on a link, but not what a server said of it, and
// not what this node itself announced.
func TestSyncthingRows(t *testing.T) {
	fact := &passive.Fact{
		Time: noon, Interface: "eth0", Protocol: passive.ProtoSyncthing, Response: true, Query: device,
		SrcMAC: printer, DstMAC: all, SrcIP: address, DstIP: netip.MustParseAddr("10.0.0.255"),
	}
	p := &source.Passive{Link: packet.Link{Name: "eth0", MAC: net.HardwareAddr(printer[:])}}
	row, ok := p.Observation(fact)
	if !ok || row.Query != device || row.DstClass != lanfolk.Broadcast || row.SrcMAC != lanfolk.MAC(printer) {
		t.Errorf("row %+v, %v", row, ok)
	}
	p.Device = device
	fact.Time = noon.Add(time.Second)
	if row, ok := p.Observation(fact); ok {
		t.Errorf("the node's own announcement became %+v", row)
	}

	query, err := find.ParseQuery(strings.ToLower(device))
	if err != nil {
		t.Fatal(err)
	}
	answer := row
	answer.DstClass, answer.SrcMAC = lanfolk.Unicast, lanfolk.MAC(phone)
	var got []lanfolk.Sighting
	a := source.AskFingerprints{Rows: heardRows{answer, row}}
	if err := a.Ask(t.Context(), query, func(s lanfolk.Sighting) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != "" || got[0].Identifiers[0].Value != lanfolk.MAC(printer).String() || got[0].State != lanfolk.Unknown {
		t.Errorf("found %+v; want the announcer", got)
	}
}

func TestAskSyncthing(t *testing.T) {
	query, err := find.ParseQuery(device)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("address already in use")
	never := func(ctx context.Context, _ syncthing.DeviceID) ([]netip.AddrPort, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("look up: %w", ctx.Err())
	}
	knows := func(context.Context, syncthing.DeviceID) ([]netip.AddrPort, error) {
		return []netip.AddrPort{
			netip.MustParseAddrPort("198.51.100.5:22000"), netip.MustParseAddrPort("0.0.0.0:9"), netip.MustParseAddrPort("[2001:db8::5]:22000"),
		}, nil
	}
	for what, c := range map[string]struct {
		before, after string // what is heard before, and a second after, the question
		alone         bool
		listen        error
		lookup        func(context.Context, syncthing.DeviceID) ([]netip.AddrPort, error)
		want          []string
		err           error
		took          time.Duration
	}{
		"nobody": {took: 3 * time.Second},
		"heard before": {before: "appeared 10.0.0.5 eth0 10.0.0.5:22000", want: []string{
			"service P56IOI7 [10.0.0.5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
			"device [10.0.0.5]:0 reachable by 10.0.0.5 on eth0: 10.0.0.5 announces P56IOI7 at 10.0.0.5:22000",
		}, took: 300 * time.Millisecond, lookup: never},
		"heard now, alone": {after: "appeared 10.0.0.5 eth0 10.0.0.5:22000", alone: true, want: []string{
			"service P56IOI7 [10.0.0.5]:22000 reachable by 10.0.0.5 on eth0: P56IOI7 takes connections on port 22000",
		}, took: 1300 * time.Millisecond},
		"hearsay isn't enough": {after: "appeared 10.0.0.9 eth0 10.0.0.5:22000 extra", alone: true, want: []string{
			"service P56IOI7 [10.0.0.5]:22000 unreachable by 10.0.0.9 on eth0: hearsay: P56IOI7 takes connections on port 22000",
		}, took: 3 * time.Second},
		"by a server": {lookup: knows, want: []string{
			"service P56IOI7 [198.51.100.5 2001:db8::5]:22000 unknown by on : a global server says that P56IOI7 takes connections on port 22000",
		}, took: 3 * time.Second},
		"nothing can be opened": {alone: true, listen: broken, err: broken},
		"no server answers": {alone: true, lookup: func(context.Context, syncthing.DeviceID) ([]netip.AddrPort, error) {
			return nil, fmt.Errorf("look up: %w", syncthing.ErrNoAnswer)
		}, took: 3 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &source.Syncthing{}
				a := source.AskSyncthing{Syncthing: x, Lookup: c.lookup}
				hear := func(event string) {
					if event != "" {
						x.Event(time.Now(), said(t, event))
					}
				}
				listen := func(ctx context.Context) error {
					if c.listen != nil {
						return c.listen
					}
					select {
					case <-time.After(time.Second):
						hear(c.after)
						<-ctx.Done()
					case <-ctx.Done():
					}
					return nil
				}
				if c.alone {
					a.Listen = listen
				}
				hear(c.before)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				var got []lanfolk.Sighting
				err := a.Ask(ctx, query, func(s lanfolk.Sighting) { got = append(got, s) })
				if diff := cmp.Diff(c.want, told(got)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if took := time.Since(start); !errors.Is(err, c.err) || took != c.took {
					t.Errorf("ended after %v with %v; want %v, %v", took, err, c.took, c.err)
				}
			})
		})
	}
	if err := (source.AskSyncthing{}).Ask(t.Context(), find.Query{Text: "nas"}, nil); err != nil {
		t.Errorf("asked for another sort of thing: %v", err)
	}
}

// One device that ever more hosts say they are, or know, costs no more and no more: who came first
// counts for its services, and the device itself before hearsay.
func TestSyncthingOfManySources(t *testing.T) {
	now := time.Unix(1000, 0)
	x := &source.Syncthing{}
	for i := range 8 {
		x.Event(now, said(t, fmt.Sprintf("appeared 10.0.0.%d eth0 10.0.1.1:%d extra", i+1, 1000+i)))
	}
	all := x.Event(now, said(t, "appeared 10.0.0.5 eth0 10.0.0.5:22000"))
	if len(all) < 2 || all[1].Port != 22000 || all[1].State != lanfolk.Reachable {
		t.Errorf("the device among hearsay: %q", told(all))
	}
	for i := range 250 {
		text := fmt.Sprintf("appeared 10.0.0.%d eth0", i+5)
		for port := range 16 {
			text += fmt.Sprintf(" 10.0.0.%d:%d", i+5, 2000+16*i+port)
		}
		all = x.Event(now, said(t, text))
		if len(all) > 1+2*8*16 {
			t.Fatalf("the word of %d hosts makes %d sightings", i+2, len(all))
		}
	}
	if len(all) != 1 || all[0].Kind != lanfolk.KindDevice {
		t.Errorf("of the last one: %q", told(all))
	}
	services, itself, _ := x.Known(deviceID(t))
	if n := len(services); n > 8*16+8 || !itself {
		t.Errorf("%d sightings", n)
	}
}

// A host with two links that announces one ID on both is one device if it goes by one name on
// both; one that only repeats the ID is joined with neither. MACs are told of few IDs each, so nobody
// is parted from what he is known by.
func TestSyncthingOfTwoLinksIsOneDevice(t *testing.T) {
	macs := map[string]net.HardwareAddr{"10.0.0.5": {0, 0, 0x5e, 0, 0x53, 5}, "10.1.0.5": {0, 0, 0x5e, 0, 0x53, 6}, "10.0.0.9": {0, 0, 0x5e, 0, 0x53, 9}}
	synctest.Test(t, func(t *testing.T) {
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		var known bool
		x := &source.Syncthing{MAC: func(_ int, a netip.Addr) (net.HardwareAddr, bool) { m, ok := macs[a.String()]; return m, known && ok }}
		hear := func(i int, text string) {
			e := said(t, text)
			if i > 0 {
				e.Heard.ID = syncthing.CertificateID([]byte{byte(i)})
			}
			r.Observe(x.Event(time.Now(), e)...)
			synctest.Wait()
		}
		name := func(ip, link, host string) {
			o := lanfolk.Origin{Protocol: "mdns", Link: link, Source: ip}
			r.Observe(lanfolk.Sighting{
				Origin: o, Kind: lanfolk.KindDevice, Key: ip, Time: time.Now(), State: lanfolk.Reachable, Lifetime: time.Hour,
				Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(lanfolk.MAC(macs[ip]), o), lanfolk.IPIdentifier(netip.MustParseAddr(ip), o), lanfolk.HostIdentifier(host, o)},
			})
			synctest.Wait()
		}
		name("10.0.0.5", "eth0", "nas.local")
		name("10.1.0.5", "eth1", "nas.local")
		name("10.0.0.9", "eth0", "liar.local")
		hear(0, "appeared 10.0.0.5 eth0 10.0.0.5:22000")
		hear(0, "appeared 10.1.0.5 eth1 10.1.0.5:22000")
		known = true // the kernel learns of them later
		hear(0, "refreshed 10.0.0.5 eth0 10.0.0.5:22000")
		hear(0, "refreshed 10.1.0.5 eth1 10.1.0.5:22000")
		one := func(when string) {
			t.Helper()
			d, err := r.Device("00:00:5e:00:53:05")
			if err != nil || len(d.MACs) != 2 || len(r.Devices(lanfolk.Filter{Protocol: "syncthing"})) > 2 {
				t.Errorf("%s: %+v, %v; of %d devices", when, d, err, len(r.Devices(lanfolk.Filter{})))
			}
			if liar, err := r.Device("00:00:5e:00:53:09"); err != nil || len(liar.MACs) != 1 {
				t.Errorf("%s: the liar is %+v, %v", when, liar, err)
			}
		}
		one("both known")
		if n := len(r.Devices(lanfolk.Filter{})); n != 2 {
			t.Errorf("%d devices, want the two-homed one and the liar", n)
		}
		for i := range 64 {
			hear(i+1, "appeared 10.0.0.9 eth0 10.0.0.9:22000")
			hear(i+100, "appeared 10.0.0.5 eth0 10.0.0.5:22000") // in its name, as nothing is signed
		}
		one("thousands of IDs")
		_, evidence, err := r.Explain("00:00:5e:00:53:05")
		tied := 0
		for _, e := range evidence {
			if e.Protocol == "syncthing" && slices.ContainsFunc(e.Identifiers, func(i lanfolk.Identifier) bool { return i.Kind == lanfolk.IDMAC }) {
				tied++
			}
		}
		if err != nil || tied != 5 { // its ID by both MACs, and three that were made up
			t.Errorf("%d announcements tell a MAC: %v", tied, err)
		}
		hear(1, "gone 10.0.0.9 eth0")
		hear(0, "appeared 10.0.0.9 eth0 10.0.0.9:22000")
		for _, mac := range macs {
			if d, err := r.Device(mac.String()); err != nil || len(d.MACs) != 1 {
				t.Errorf("somebody else announces the ID, too: %+v, %v", d, err)
			}
		}
		cancel()
		synctest.Wait()
	})
}
