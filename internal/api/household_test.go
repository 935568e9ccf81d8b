package api_test

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk"
)

// made is a made-up device: what it is called, who made it, and what it offers
// ("type port name").
type made struct {
	name, vendor string
	state        lanfolk.State
	age, quiet   time.Duration
	protocols    []string
	tags         []string
	services     [][3]string
	txt          map[string]string
	random       bool
}

// household is a made-up home of some rooms and a studio.
func household(now time.Time) *inventory {
	const day = 24 * time.Hour
	on, off := lanfolk.Reachable, lanfolk.Unreachable
	v := newInventory()
	for i, m := range []made{
		{name: "Living room TV", vendor: "Example Displays", state: on, age: 200 * day, quiet: 4 * time.Second, protocols: []string{"arp", "mdns", "ssdp"}, tags: []string{"living room"},
			services: [][3]string{{"_googlecast._tcp", "8009", "Living room TV"}, {"_airplay._tcp", "7000", "Living room TV"}, {"_http._tcp", "8080", "Settings"}}},
		{name: "Kitchen speaker", vendor: "Example Audio", state: on, age: 180 * day, quiet: 12 * time.Second, protocols: []string{"arp", "mdns"},
			services: [][3]string{{"_raop._tcp", "7000", "Kitchen speaker"}, {"_spotify-connect._tcp", "4070", "Kitchen speaker"}}},
		{name: "Office printer", vendor: "Example Printers", state: on, age: 400 * day, quiet: 41 * time.Second, protocols: []string{"arp", "dhcp", "mdns"}, tags: []string{"office"},
			services: [][3]string{{"_ipp._tcp", "631", "Office printer"}, {"_pdl-datastream._tcp", "9100", "Office printer"}, {"_uscan._tcp", "443", "Office printer"}, {"_http._tcp", "80", "Office printer"}},
			txt:      map[string]string{"pdl": "application/pdf,image/urf", "rp": "ipp/print", "note": "Upstairs, by the window", "Color": "T", "Duplex": "T"}},
		{name: "vault", vendor: "Example Storage", state: on, age: 700 * day, quiet: 2 * time.Second, protocols: []string{"arp", "mdns", "syncthing"}, tags: []string{"backup"},
			services: [][3]string{{"_smb._tcp", "445", "vault"}, {"_adisk._tcp", "9", "vault"}, {"_ssh._tcp", "22", "vault"}, {"_http._tcp", "5000", "vault"}}},
		{name: "Ada’s laptop", vendor: "Example Computers", state: on, age: 90 * day, quiet: 1 * time.Second, protocols: []string{"arp", "dhcp", "mdns"},
			services: [][3]string{{"_ssh._tcp", "22", "ada"}, {"_sftp-ssh._tcp", "22", "ada"}}},
		{name: "Phone", vendor: "", state: on, age: 3 * time.Hour, quiet: 55 * time.Second, protocols: []string{"arp", "dhcp", "mdns"}, random: true,
			services: [][3]string{{"_companion-link._tcp", "49152", "Phone"}}},
		{name: "Hall light", vendor: "Example Lighting", state: on, age: 60 * day, quiet: 20 * time.Second, protocols: []string{"mdns"},
			services: [][3]string{{"_hap._tcp", "80", "Hall light"}, {"_matter._tcp", "5540", "A1B2C3D4"}}},
		{name: "Front door camera", vendor: "Example Optics", state: on, age: 50 * day, quiet: 8 * time.Second, protocols: []string{"arp", "mdns", "wsd"},
			services: [][3]string{{"_rtsp._tcp", "554", "Front door"}, {"_onvif._tcp", "80", "Front door"}}},
		{name: "router", vendor: "Example Networks", state: on, age: 900 * day, quiet: 3 * time.Second, protocols: []string{"arp", "dhcp", "ndp"},
			services: [][3]string{{"_domain._udp", "53", "router"}}},
		{name: "Studio encoder 1", vendor: "Example Broadcast", state: on, age: 30 * day, quiet: 6 * time.Second, protocols: []string{"mdns"}, tags: []string{"studio"},
			services: [][3]string{{"_nmos-node._tcp", "3212", "encoder-1"}}},
		{name: "Studio registry", vendor: "Example Broadcast", state: on, age: 30 * day, quiet: 5 * time.Second, protocols: []string{"mdns"}, tags: []string{"studio"},
			services: [][3]string{{"_nmos-register._tcp", "3210", "registry"}, {"_nmos-query._tcp", "3211", "registry"}}},
		{name: "Guest tablet", vendor: "", state: off, age: 9 * day, quiet: 26 * time.Hour, protocols: []string{"arp"}, random: true},
		{name: "Greenhouse sensor", vendor: "Example Sensors", state: on, age: 5 * time.Hour, quiet: 31 * time.Second, protocols: []string{"mdns", "mqtt"},
			services: [][3]string{{"_esphomelib._tcp", "6053", "greenhouse"}}},
		{name: "", vendor: "Example Chips", state: on, age: 2 * day, quiet: 3 * time.Minute, protocols: []string{"arp"}},
		{name: "Old desktop", vendor: "Example Computers", state: off, age: 300 * day, quiet: 40 * day, protocols: []string{"arp", "mdns"},
			services: [][3]string{{"_workstation._tcp", "9", "old-desktop"}}},
	} {
		d := m.device(i+1, now)
		v.devices[d.ID] = d
		v.evidence[d.ID] = m.evidence(d)
	}
	return v
}

func (m made) device(n int, now time.Time) *lanfolk.Device {
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n * 7)})
	d := &lanfolk.Device{
		ID: fmt.Sprintf("d%015x", n), Aliases: []string{}, Names: []string{}, MACs: []lanfolk.MAC{mac(byte(n))},
		Addresses: []netip.Addr{addr, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n))}, Vendor: m.vendor, State: m.state,
		Protocols: m.protocols, Tags: append([]string{}, m.tags...), Separated: []lanfolk.Identifier{}, RandomMAC: m.random,
		FirstSeen: now.Add(-m.age), LastSeen: now.Add(-m.quiet), Services: []*lanfolk.Service{},
	}
	if m.random {
		d.MACs[0] = lanfolk.MAC{0x02, 0x00, 0x5e, 0x10, 0x00, byte(n)}
	}
	host := fmt.Sprintf("host-%d.local", n)
	if m.name != "" {
		d.Names = []string{m.name, host}
	}
	for i, s := range m.services {
		var port uint16
		fmt.Sscan(s[1], &port)
		txt := m.txt
		if txt == nil || i > 0 {
			txt = map[string]string{}
		}
		d.Services = append(d.Services, &lanfolk.Service{
			ID: fmt.Sprintf("s%s-%d", d.ID, i), Name: s[2], Type: s[0], Protocol: "mdns", Host: host, Addresses: []netip.Addr{addr},
			Port: port, Attributes: txt, State: m.state, Device: d.ID, Interface: "eth0",
			FirstSeen: d.FirstSeen, LastSeen: d.LastSeen, Expires: d.LastSeen.Add(75 * time.Minute),
		})
	}
	return d
}

func (m made) evidence(d *lanfolk.Device) []lanfolk.Evidence {
	id := lanfolk.Identifier{Kind: lanfolk.IDMAC, Value: d.MACs[0].String()}
	host := lanfolk.Identifier{Kind: lanfolk.IDHost, Value: fmt.Sprintf("host-%d.local", d.Addresses[0].As4()[3]/7), Link: "eth0"}
	ip := lanfolk.Identifier{Kind: lanfolk.IDIP, Value: d.Addresses[0].String(), Link: "eth0"}
	out := []lanfolk.Evidence{{
		Time: d.LastSeen, Protocol: m.protocols[0], Interface: "eth0", What: fmt.Sprintf("%s is at %s", d.Addresses[0], d.MACs[0]),
		Identifiers: []lanfolk.Identifier{id, ip}, WhyJoined: "first evidence",
	}}
	if slices.Contains(m.protocols, "mdns") {
		out = append(out, lanfolk.Evidence{
			Time: d.LastSeen.Add(-3 * time.Second), Protocol: "mdns", Interface: "eth0", What: fmt.Sprintf("answer A %s %s", host.Value, d.Addresses[0]),
			Identifiers: []lanfolk.Identifier{host, ip}, WhyJoined: fmt.Sprintf("shares ip %s on eth0 with the evidence by %s", d.Addresses[0], m.protocols[0]),
		})
	}
	for _, s := range d.Services {
		out = append(out, lanfolk.Evidence{
			Time: d.LastSeen.Add(-9 * time.Second), Protocol: "mdns", Interface: "eth0", What: fmt.Sprintf("service %s %s at %s:%d", s.Type, s.Name, s.Host, s.Port),
			Identifiers: []lanfolk.Identifier{host}, WhyJoined: fmt.Sprintf("shares host %s on eth0 with the answer of that name", s.Host),
		})
	}
	return out
}
