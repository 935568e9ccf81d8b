package passive_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// TestServicesTellIDs: the id in a service's TXT record is the sender's only if it
// offers the service itself.
func TestServicesTellIDs(t *testing.T) {
	own, other := name(t, "tv.local"), name(t, "other.local")
	txt := func(instance dnswire.Name, ttl uint32, strings ...string) dnswire.RR {
		rr, err := dnswire.NewTXT(instance, ttl, strings...)
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	airplay, raop, hap := name(t, "Den._airplay._tcp.local"), name(t, "AABBCCDDEE01@Den._raop._tcp.local"), name(t, "Lamp._HAP._tcp.local")
	srv := func(instance, target dnswire.Name) dnswire.RR {
		return dnswire.NewSRV(instance, dnswire.SRV{Port: 7000, Target: target}, 120)
	}
	address := dnswire.NewAddr(own, client, 120)
	for _, c := range []struct {
		name string
		rrs  []dnswire.RR
		id   string
	}{
		{"AirPlay", []dnswire.RR{txt(airplay, 4500, "flags=0x4", "DeviceID=AA:BB:CC:DD:EE:01"), srv(airplay, own), address}, "deviceid:aa:bb:cc:dd:ee:01"},
		{"RAOP, by the instance's name", []dnswire.RR{txt(raop, 4500, "ch=2"), srv(raop, own), address}, "deviceid:aa:bb:cc:dd:ee:01"},
		{"HomeKit", []dnswire.RR{address, srv(hap, own), txt(hap, 4500, "id=1a:2B:3c:4d:5e:6f", "id=00:00:00:00:00:01")}, "hap:1a:2b:3c:4d:5e:6f"},
		{"another host's service", []dnswire.RR{txt(airplay, 4500, "deviceid=AA:BB:CC:DD:EE:01"), srv(airplay, other), address}, ""},
		{"a service whose host isn't told", []dnswire.RR{txt(airplay, 4500, "deviceid=AA:BB:CC:DD:EE:01"), address}, ""},
		{"a reflector, or a sleep proxy", []dnswire.RR{txt(airplay, 4500, "deviceid=AA:BB:CC:DD:EE:01"), srv(airplay, own), dnswire.NewAddr(own, server, 120)}, ""},
		{"a goodbye", []dnswire.RR{txt(airplay, 0, "deviceid=AA:BB:CC:DD:EE:01"), srv(airplay, own), address}, ""},
		{"no id at all", []dnswire.RR{txt(airplay, 4500, "deviceid=00:00:00:00:00:00"), srv(airplay, own), address}, ""},
		{"half an id", []dnswire.RR{txt(hap, 4500, "id=AA:BB:CC"), srv(hap, own), address}, ""},
		{"an id of something else", []dnswire.RR{txt(name(t, "x._http._tcp.local"), 4500, "id=AA:BB:CC:DD:EE:01"), srv(name(t, "x._http._tcp.local"), own), address}, ""},
	} {
		f := ethernet(eth(macB, macA, 0x0800, ip4(17, client, netip.MustParseAddr("224.0.0.251"), 255, 1, 0, nil, udp(5353, 5353, announcement(t, c.rrs...)))))
		got := slices.DeleteFunc(claims(t, passive.Options{}, f), func(x passive.Claim) bool { return x.ID == "" })
		var want []passive.Claim
		if c.id != "" {
			want = []passive.Claim{{MAC: passive.MAC(macA), IP: client, ID: c.id, Lifetime: 75 * time.Minute}}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: claims %+v; want %+v", c.name, got, want)
		}
	}
}

// TestClientIDs: which client ids of DHCP tell a device from others.
func TestClientIDs(t *testing.T) {
	other := []byte{1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x77}
	for _, c := range []struct {
		name string
		id   []byte
		want string
	}{
		{"its own MAC", append([]byte{1}, macA...), ""},
		{"another MAC, as a machine tells that has several", other, "client:0100005e005377"},
		{"text", []byte("\x00cisco-0000.5e00.5377"), "client:00636973636f2d303030302e356530302e35333737"},
		{"too short to be one of its own", []byte("\x00ether"), ""},
		{"all zeros", make([]byte, 17), ""},
		{"all ones", []byte{1, 255, 255, 255, 255, 255, 255}, ""},
		{"a DUID", []byte{255, 0, 0, 0, 1, 0, 2, 0, 0, 0xab, 0x11, 7, 8}, "duid:00020000ab110708"},
	} {
		b := bootp(1, opt(53, 1), opt(61, c.id...))
		copy(b[28:], macA)
		got := claims(t, passive.Options{}, dhcpFrame(macA, netip.IPv4Unspecified(), b))
		if len(got) != 1 || got[0].ID != c.want || got[0].MAC != passive.MAC(macA) {
			t.Errorf("%s: claims %+v; want the id %q", c.name, got, c.want)
		}
	}
}

// TestNeighboursOfAFile: where no subnet is known, a frame's source MAC is that of
// its IP source if the host itself said so before, and no router has touched the
// packet.
func TestNeighboursOfAFile(t *testing.T) {
	arp := func(ip netip.Addr) packet.Frame {
		return ethernet(eth(macB, macA, 0x0806, slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, macA, ip.AsSlice(), make([]byte, 6), server.AsSlice())))
	}
	question := func(src netip.Addr, ttl byte) packet.Frame {
		return ethernet(eth(macB, macA, 0x0800, ip4(17, src, server, ttl, 1, 0, nil, udp(4000, 53, query(t, "nas.local")))))
	}
	far := netip.MustParseAddr("192.0.2.7")
	d := passive.NewDecoder(passive.Options{})
	claimed := func(f packet.Frame) (n int) {
		for range 3 { // from the memory of what came before, too
			n = 0
			d.Decode(f, func(f *passive.Fact) { n += len(f.Claims) })
		}
		return n
	}
	for _, c := range []struct {
		name string
		f    packet.Frame
		want int
	}{
		{"before it is known", question(client, 64), 0},
		{"the host's own word", arp(client), 1},
		{"then", question(client, 64), 1},
		{"through a router in between", question(client, 63), 0},
		{"from beyond the router that has this MAC", question(far, 64), 0},
	} {
		if got := claimed(c.f); got != c.want {
			t.Errorf("%s: %d claims, want %d", c.name, got, c.want)
		}
	}
	for n := range byte(9) { // it answers for others
		claimed(arp(netip.AddrFrom4([4]byte{10, 0, 7, n})))
	}
	if got := claimed(question(client, 64)); got != 0 {
		t.Errorf("of a proxy: %d claims", got)
	}
}
