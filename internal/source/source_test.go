package source_test

import (
	"maps"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

var (
	noon    = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	address = netip.MustParseAddr("192.0.2.7")
	printer = passive.MAC{0x00, 0x00, 0x5e, 0x00, 0x53, 0x07}
	phone   = passive.MAC{0x02, 0x00, 0x00, 0x00, 0x00, 0x09}
	all     = passive.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	group   = passive.MAC{0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb}
)

func identifierTexts(s lanfolk.Sighting) []string {
	out := []string{}
	for _, id := range s.Identifiers {
		out = append(out, id.String())
	}
	return out
}

func TestServiceBecomesASighting(t *testing.T) {
	ev := dnssd.Event{Op: dnssd.Add, Service: dnssd.Service{
		Instance: dnssd.Instance{Name: "Office Printer", Service: "_ipp._tcp", Domain: "local"},
		Host:     "Printer.local", Port: 631, Addresses: []netip.Addr{address},
		TXT: dnssd.TXT{"rp=ipp/print", "flag", "bin=\xff", "RP=again"}, Resolved: true,
		Interface: "eth0", Source: address, Expires: noon.Add(2 * time.Minute),
	}}
	s, ok := source.MDNS{}.Service(noon, ev)
	if !ok {
		t.Fatal("no sighting")
	}
	want := lanfolk.Sighting{
		Origin: lanfolk.Origin{Protocol: "mdns", Link: "eth0", Source: "192.0.2.7"},
		Key:    "office printer._ipp._tcp.local", Kind: lanfolk.KindService,
		Name: "Office Printer", Type: "_ipp._tcp", Host: "Printer.local",
		Addresses: []netip.Addr{address}, Port: 631,
		Attributes: map[string]string{"rp": "ipp/print", "flag": "", "bin": `\xff`},
		What:       "Office Printer offers _ipp._tcp at Printer.local",
		State:      lanfolk.Reachable, Time: noon, Lifetime: 2 * time.Minute,
	}
	if got := identifierTexts(s); !reflect.DeepEqual(got, []string{"host printer.local on eth0", "ip 192.0.2.7 on eth0"}) {
		t.Errorf("identifiers %q", got)
	}
	s.Identifiers = nil
	if !reflect.DeepEqual(s, want) {
		t.Errorf("sighting\n%+v\nwant\n%+v", s, want)
	}
}

func TestServiceStates(t *testing.T) {
	in := dnssd.Instance{Name: "nas", Service: "_http._tcp", Domain: "local"}
	for _, c := range []struct {
		name    string
		ev      dnssd.Event
		sighted bool
		state   lanfolk.State
		gone    bool
	}{
		{"not resolved yet", dnssd.Event{Op: dnssd.Add, Service: dnssd.Service{Instance: in}}, true, lanfolk.Unknown, false},
		{"resolved", dnssd.Event{Op: dnssd.Add, Service: dnssd.Service{Instance: in, Host: "nas.local", Resolved: true}}, true, lanfolk.Reachable, false},
		{"its records ran out", dnssd.Event{Op: dnssd.Update, Service: dnssd.Service{Instance: in, Host: "nas.local"}}, true, lanfolk.Unreachable, false},
		{"it said goodbye", dnssd.Event{Op: dnssd.Remove, Service: dnssd.Service{Instance: in, Host: "nas.local", Resolved: true}}, true, lanfolk.Reachable, true},
		{"a type alone", dnssd.Event{Op: dnssd.Add, Service: dnssd.Service{Instance: dnssd.Instance{Service: "_http._tcp", Domain: "local"}}}, false, "", false},
		{"settled", dnssd.Event{Op: dnssd.Settled}, false, "", false},
	} {
		s, ok := source.MDNS{}.Service(noon, c.ev)
		if ok != c.sighted || s.State != c.state || s.Gone != c.gone {
			t.Errorf("%s: sighting %v, state %q, gone %v; want %v, %q, %v", c.name, ok, s.State, s.Gone, c.sighted, c.state, c.gone)
		}
		if ok && s.Lifetime < time.Second {
			t.Errorf("%s: lifetime %v is no end", c.name, s.Lifetime)
		}
	}
}

func TestFactBecomesARow(t *testing.T) {
	p := &source.Passive{Gateway: "gw", Link: packet.Link{Name: "eth0", MAC: net.HardwareAddr(phone[:])}}
	f := &passive.Fact{
		Time: noon, Interface: "eth0", VLAN: 7, Protocol: passive.ProtoMDNS, Response: true,
		SrcMAC: printer, DstMAC: group, SrcIP: address, DstIP: netip.MustParseAddr("224.0.0.251"),
		Query: "printer.local", Fingerprint: "mdns1:a=…",
	}
	o, ok := p.Observation(f)
	want := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Gateway: "gw", Link: "eth0", VLAN: 7, Protocol: "mdns", Response: true, Query: "printer.local",
			Fingerprint: "mdns1:a=…", SrcMAC: lanfolk.MAC(printer), DstMAC: lanfolk.MAC(group), DstClass: lanfolk.Multicast,
		},
		SrcIP: address, DstIP: netip.MustParseAddr("224.0.0.251"), First: noon, Last: noon, Count: 1,
	}
	if !ok || o != want {
		t.Errorf("row %+v, %v\nwant %+v", o, ok, want)
	}
	f.Record, f.Number = &passive.Record{Name: "printer.local", Type: 28}, 1
	if _, ok := p.Observation(f); ok {
		t.Error("a second record for the name made the packet count twice")
	}
	f.Query, f.Number = "other.local", 2
	if _, ok := p.Observation(f); !ok {
		t.Error("another name in the same packet counts for no row")
	}
	f.Query, f.QType, f.Record, f.Number = ".", 41, &passive.Record{Name: ".", Type: 41}, 3
	if _, ok := p.Observation(f); ok {
		t.Error("EDNS options became a row, as a name that somebody asks for")
	}
	f.Query, f.QType, f.Record, f.Number = "printer.local", 0, nil, 0
	if _, ok := p.Observation(f); !ok {
		t.Error("the next packet, which bears the same time, counts for no row")
	}
	f.Time = noon.Add(time.Second)
	if _, ok := p.Observation(f); !ok {
		t.Error("the next packet counts for no row")
	}
	f.DstMAC = all
	if o, _ := p.Observation(f); o.DstClass != lanfolk.Broadcast {
		t.Errorf("to %v: class %s; want broadcast", all, o.DstClass)
	}
	f.DstMAC = phone
	if o, _ := p.Observation(f); o.DstClass != lanfolk.Unicast {
		t.Errorf("to %v: class %s; want unicast", phone, o.DstClass)
	}
	f.SrcMAC, f.Response = phone, false
	if _, ok := p.Observation(f); ok {
		t.Error("a question that lanfolk itself asked became a row")
	}
}

func TestRowsFoldTheCaseOfDNSAlone(t *testing.T) {
	for _, c := range []struct{ protocol, query, want string }{
		{passive.ProtoDNS, "wWw.ExAmPlE.org", "www.example.org"},
		{passive.ProtoLLMNR, "NAS", "nas"},
		{passive.ProtoMDNS, "Office Printer._ipp._tcp.local", "Office Printer._ipp._tcp.local"},
	} {
		o, _ := new(source.Passive).Observation(&passive.Fact{Protocol: c.protocol, Query: c.query, QType: 1, SrcMAC: printer})
		if o.Query != c.want {
			t.Errorf("%s %s: row of %s; want %s", c.protocol, c.query, o.Query, c.want)
		}
	}
}

func TestClaimsBecomeSightings(t *testing.T) {
	for _, c := range []struct {
		name string
		fact passive.Fact
		key  string
		ids  []string
		what string
		life time.Duration
		st   lanfolk.State
	}{
		{
			"arp", passive.Fact{Protocol: passive.ProtoARP, SrcMAC: printer, Claims: []passive.Claim{{MAC: printer, IP: address}}},
			"00:00:5e:00:53:07  192.0.2.7 ", []string{"mac 00:00:5e:00:53:07", "ip 192.0.2.7 on eth0"},
			"192.0.2.7 is at 00:00:5e:00:53:07", 30 * time.Minute, lanfolk.Reachable,
		},
		{
			"a random MAC counts on its link only", passive.Fact{Protocol: passive.ProtoARP, SrcMAC: phone, Claims: []passive.Claim{{MAC: phone, IP: address}}},
			"02:00:00:00:00:09  192.0.2.7 ", []string{"mac 02:00:00:00:00:09 on eth0", "ip 192.0.2.7 on eth0"},
			"192.0.2.7 is at 02:00:00:00:00:09", 30 * time.Minute, lanfolk.Reachable,
		},
		{
			"a lease replaces the one before", passive.Fact{
				Protocol: passive.ProtoDHCP, SrcMAC: printer, Fingerprint: "dhcp1:type=3", Fields: []passive.Field{{Key: "message", Value: "request"}},
				Claims: []passive.Claim{{MAC: printer, ID: "duid:0001", IP: address, Host: "printer", Lifetime: time.Minute}},
			},
			"00:00:5e:00:53:07 duid:0001", []string{"mac 00:00:5e:00:53:07", "id duid:0001", "host printer on eth0", "ip 192.0.2.7 on eth0"},
			"request: 192.0.2.7 is at 00:00:5e:00:53:07, named printer", time.Minute, lanfolk.Reachable,
		},
		{
			"hearsay is no sign of life", passive.Fact{
				Protocol: passive.ProtoDHCP, SrcMAC: phone,
				Claims: []passive.Claim{{MAC: printer, IP: address, Hearsay: true, Lifetime: time.Hour}},
			},
			"00:00:5e:00:53:07  hearsay", []string{"mac 00:00:5e:00:53:07", "ip 192.0.2.7 on eth0"},
			"192.0.2.7 is at 00:00:5e:00:53:07", time.Hour, lanfolk.Unknown,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fact.Interface, c.fact.Time = "eth0", noon
			var got []lanfolk.Sighting
			new(source.Passive).Sightings(&c.fact, func(s lanfolk.Sighting) { got = append(got, s) })
			if len(got) == 0 {
				t.Fatal("no sighting")
			}
			s := got[0] // what follows it outlives it
			if s.Key != c.key || s.What != c.what || s.Lifetime != c.life || s.State != c.st || !s.Time.Equal(noon) {
				t.Errorf("key %q, what %q, lifetime %v, state %s\nwant %q, %q, %v, %s", s.Key, s.What, s.Lifetime, s.State, c.key, c.what, c.life, c.st)
			}
			if ids := identifierTexts(s); !reflect.DeepEqual(ids, c.ids) {
				t.Errorf("identifiers %q; want %q", ids, c.ids)
			}
		})
	}
}

// TestServersTellWhatTheyAre: what a device's HTTP server says of itself describes
// the device; what a client says comes and goes with its programs.
func TestServersTellWhatTheyAre(t *testing.T) {
	for _, response := range []bool{true, false} {
		f := passive.Fact{
			Protocol: passive.ProtoHTTP, Response: response, Interface: "eth0", SrcMAC: printer, Claims: []passive.Claim{{MAC: printer, IP: address}},
			Fields: []passive.Field{{Key: "server", Value: "printer/1.0"}},
		}
		var got map[string]string
		new(source.Passive).Sightings(&f, func(s lanfolk.Sighting) { got = s.Attributes })
		if told := got["server"] == "printer/1.0"; told != response || len(got) > 1 {
			t.Errorf("response %v: %v", response, got)
		}
	}
}

func TestClaimThatNamesNobodyIsNoSighting(t *testing.T) {
	f := passive.Fact{Protocol: passive.ProtoARP, Interface: "eth0", Time: noon, Claims: []passive.Claim{{MAC: all}, {}}}
	new(source.Passive).Sightings(&f, func(s lanfolk.Sighting) { t.Errorf("sighting %+v", s) })
}

func TestNeighbourRows(t *testing.T) {
	ns := source.Neighbours{Interface: func(i int) string { return map[int]string{2: "eth0"}[i] }}
	row := lan.Neighbour{IP: address, MAC: net.HardwareAddr(printer[:]), Link: 2, State: lan.NeighbourReachable}
	for _, c := range []struct {
		name    string
		change  func(*lan.Neighbour)
		sighted bool
		state   lanfolk.State
		gone    bool
		by      string
	}{
		{"confirmed", func(*lan.Neighbour) {}, true, lanfolk.Reachable, false, "arp"},
		{"by IPv6", func(n *lan.Neighbour) { n.IP = netip.MustParseAddr("fe80::7") }, true, lanfolk.Reachable, false, "ndp"},
		{"stale", func(n *lan.Neighbour) { n.State = lan.NeighbourStale }, true, lanfolk.Unknown, false, "arp"},
		{"gone", func(n *lan.Neighbour) { n.State = lan.NeighbourGone }, true, lanfolk.Unknown, true, "arp"},
		{"never answered", func(n *lan.Neighbour) { n.MAC, n.State = nil, lan.NeighbourFailed }, false, "", false, ""},
		{"on a link that isn't used", func(n *lan.Neighbour) { n.Link = 3 }, false, "", false, ""},
		{"a group", func(n *lan.Neighbour) { n.MAC = net.HardwareAddr(group[:]) }, false, "", false, ""},
	} {
		n := row
		c.change(&n)
		s, ok := ns.Sighting(noon, n)
		if ok != c.sighted || s.State != c.state || s.Gone != c.gone || s.Origin.Protocol != c.by {
			t.Errorf("%s: %v, state %q, gone %v, by %q; want %v, %q, %v, %q", c.name, ok, s.State, s.Gone, s.Origin.Protocol, c.sighted, c.state, c.gone, c.by)
		}
	}
}

func TestSelfJoinsItsLinks(t *testing.T) {
	self := source.Self{Name: "gateway", ID: "0011223344556677"}
	wired := packet.Link{Name: "eth0", MAC: net.HardwareAddr(printer[:]), Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}
	wireless, tunnel := packet.Link{Name: "wlan0", MAC: net.HardwareAddr(phone[:])}, packet.Link{Name: "tun0"}
	all := []packet.Link{wired, wireless, tunnel}
	for _, c := range []struct {
		link packet.Link
		want []string
	}{
		{wired, []string{"mac 00:00:5e:00:53:07", "id lanfolk:0011223344556677", "ip 192.0.2.7 on eth0"}},
		// A made-up MAC means one device on its own link only; this one is ours
		// wherever we hear it.
		{wireless, []string{
			"mac 02:00:00:00:00:09 on wlan0", "id lanfolk:0011223344556677",
			"mac 02:00:00:00:00:09 on eth0", "mac 02:00:00:00:00:09 on tun0",
		}},
		{tunnel, []string{"id lanfolk:0011223344556677"}},
	} {
		if ids := identifierTexts(self.Link(noon, c.link, all)); !reflect.DeepEqual(ids, c.want) {
			t.Errorf("%s: identifiers %q; want %q", c.link.Name, ids, c.want)
		}
	}
	a, b := self.Link(noon, wired, all), self.Link(noon, wireless, all)
	if a.ID() == b.ID() {
		t.Error("two links are one fact")
	}
}

// TestTGEDCountsOnce: a request that the node's own socket heard, too, counts
// there, whatever else the capture shows.
func TestTGEDCountsOnce(t *testing.T) {
	request := passive.Fact{Time: noon, Interface: "eth0", Protocol: passive.ProtoTGED, SrcMAC: printer, DstMAC: all, SrcIP: address, Query: "sql"}
	link := packet.Link{Name: "eth0", MAC: net.HardwareAddr(phone[:])}
	for what, c := range map[string]struct {
		dst             passive.MAC
		response, heard bool
		want            bool
	}{
		"a broadcast":            {all, false, true, false},
		"to this host":           {phone, false, true, false},
		"to another host":        {printer, false, true, true},
		"a reply":                {phone, true, true, true},
		"without the own socket": {all, false, false, true},
	} {
		p := &source.Passive{Link: link, TGED: c.heard}
		f := request
		f.DstMAC, f.Response = c.dst, c.response
		o, ok := p.Observation(&f)
		if ok != c.want || ok && o.Query != "SQL" {
			t.Errorf("%s: %v, %q", what, ok, o.Query)
		}
	}
}

// TestAnnouncementsDescribe: what a device says in one of many announcements
// doesn't change what it said in another.
func TestAnnouncementsDescribe(t *testing.T) {
	p := &source.Passive{}
	var first map[string]string
	for _, usn := range []string{"uuid:1", "uuid:1::upnp:rootdevice"} {
		f := &passive.Fact{
			Time: noon, Interface: "eth0", Protocol: passive.ProtoSSDP, Response: true, SrcMAC: printer, SrcIP: address, Fingerprint: "ssdp1:" + usn,
			Fields: []passive.Field{{Key: "usn", Value: usn}, {Key: "server", Value: "nas/1"}},
			Claims: []passive.Claim{{MAC: printer, IP: address, ID: "uuid:1"}},
		}
		n := 0
		p.Sightings(f, func(s lanfolk.Sighting) {
			n++
			if first == nil {
				first = s.Attributes
			}
			if !maps.Equal(s.Attributes, first) || s.Attributes["server"] != "nas/1" {
				t.Errorf("%s: %v", usn, s.Attributes)
			}
		})
		if n != 1 {
			t.Errorf("%s: %d sightings", usn, n)
		}
	}
}
