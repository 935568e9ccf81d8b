package passive_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// bootp is a message's fixed part and options.
func bootp(op byte, options ...[]byte) []byte {
	b := make([]byte, 236)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[28:], macA)
	b = append(b, 0x63, 0x82, 0x53, 0x63)
	return append(append(b, slices.Concat(options...)...), 255)
}

func opt(code byte, v ...byte) []byte { return append([]byte{code, byte(len(v))}, v...) }

func discover() []byte { return bootp(1, opt(53, 1), opt(12, []byte("cam")...), opt(55, 1, 3, 6)) }

func dhcpFrame(srcMAC []byte, src netip.Addr, b []byte) packet.Frame {
	return ethernet(eth(macB, srcMAC, 0x0800, ip4(17, src, netip.MustParseAddr("255.255.255.255"), 64, 1, 0, nil, udp(67, 67, b))))
}

// claims returns what one frame claims.
func claims(t *testing.T, o passive.Options, f packet.Frame) []passive.Claim {
	t.Helper()
	var all []passive.Claim
	d := passive.NewDecoder(o)
	d.Decode(f, func(x *passive.Fact) { all = append(all, x.Clone().Claims...) })
	if drops := d.Stats().Drops; len(drops) > 0 {
		t.Errorf("dropped: %v", drops)
	}
	return all
}

// TestDHCPRelay: behind a relay the client is who the message names, and the
// relay is nobody.
func TestDHCPRelay(t *testing.T) {
	router := []byte{2, 0, 0x5e, 0x10, 0, 0xfe}
	b := discover()
	copy(b[24:], netip.MustParseAddr("10.9.0.1").AsSlice())
	got := claims(t, passive.Options{}, dhcpFrame(router, netip.MustParseAddr("10.9.0.1"), b))
	if len(got) != 1 || got[0].MAC != passive.MAC(macA) || got[0].Host != "cam" || got[0].IP.IsValid() {
		t.Errorf("a relayed discover claims %+v", got)
	}
	answer := bootp(2, opt(53, 5), opt(54, server.AsSlice()...), opt(51, 0, 0, 1, 0))
	copy(answer[16:], client.AsSlice())
	copy(answer[24:], netip.MustParseAddr("10.9.0.1").AsSlice())
	got = claims(t, passive.Options{}, dhcpFrame(router, server, answer))
	if len(got) != 1 || got[0].MAC != passive.MAC(macA) || got[0].IP != client || !got[0].Hearsay || got[0].Lifetime.Seconds() != 256 {
		t.Errorf("a relayed answer claims %+v", got)
	}
	// To one that has its address the server may answer through routers.
	clear(answer[24:28])
	copy(answer[12:], client.AsSlice())
	if got = claims(t, passive.Options{}, dhcpFrame(router, server, answer)); len(got) != 1 || got[0].MAC != passive.MAC(macA) {
		t.Errorf("a routed answer claims %+v", got)
	}
}

// TestDHCPOptions: overload, options in parts, names in wire form, ids.
func TestDHCPOptions(t *testing.T) {
	duid := []byte{0, 1, 0, 1, 0x2a, 0, 0, 1, 2, 0, 0x5e, 0x10, 0, 1}
	uuid := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	b := bootp(1, opt(53, 3), opt(52, 3), opt(60, []byte("ACME;cam/2\x00")...), opt(61, append([]byte{255, 9, 9, 9, 9}, duid...)...),
		opt(81, append([]byte{4, 0, 0}, "\x03cam\x03lab"...)...), opt(55, 1, 3), opt(77, []byte("a")...), opt(82, 1, 2, 0xab, 0xcd), opt(97, uuid...), opt(93, 0, 7))
	copy(b[108:], slices.Concat(opt(55, 6, 15), opt(57, 5, 0xdc), []byte{255}))
	copy(b[44:], slices.Concat(opt(55, 42), []byte{255}))
	copy(b[12:], client.AsSlice())
	d := passive.NewDecoder(passive.Options{})
	var f *passive.Fact
	d.Decode(dhcpFrame(macA, client, b), func(x *passive.Fact) { f = x.Clone() })
	if f == nil {
		t.Fatalf("no fact: %v", d.Stats().Drops)
	}
	if want := "dhcp1:type=3;opts=53,52,60,61,81,55,77,82,97,93,57;prl=1,3,6,15,42;vendor=ACME%3bcam%2f2;has=57,77,93,97"; f.Fingerprint != want {
		t.Errorf("fingerprint\n%s\nwant\n%s", f.Fingerprint, want)
	}
	for key, want := range map[string]string{
		"message": "request", "fqdn": "cam.lab", "vendor_class": "ACME;cam/2", "parameters": "1,3,6,15,42", "architecture": "7",
		"max_size": "1500", "client_ip": "10.0.0.5", "relay_info": "0102abcd", "user_class": "a", "machine_id": "000102030405060708090a0b0c0d0e0f10",
	} {
		if got := f.Field(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if f.Query != "cam.lab" {
		t.Errorf("query %q", f.Query)
	}
	want := []passive.Claim{
		{MAC: passive.MAC(macA), IP: client, Host: "cam.lab", ID: "duid:000100012a00000102005e100001"},
		{MAC: passive.MAC(macA), ID: "uuid:0102030405060708090a0b0c0d0e0f10"},
	}
	if !slices.Equal(f.Claims, want) {
		t.Errorf("claims %+v\nwant %+v", f.Claims, want)
	}
}

// TestDHCPIdentifiers: ids that many devices share are none.
func TestDHCPIdentifiers(t *testing.T) {
	for name, o := range map[string][]byte{
		"MAC as id":       opt(61, append([]byte{1}, macA...)...),
		"DUID of zeros":   opt(61, append([]byte{255, 0, 0, 0, 0, 0, 3}, make([]byte, 8)...)...),
		"DUID of no type": opt(61, 255, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6),
		"UUID of ones":    opt(97, append([]byte{0}, slices.Repeat([]byte{255}, 16)...)...),
		"UUID of a board": opt(97, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0, 9),
	} {
		for _, c := range claims(t, passive.Options{}, dhcpFrame(macA, client, bootp(1, opt(53, 1), o))) {
			if c.ID != "" {
				t.Errorf("%s: %q", name, c.ID)
			}
		}
	}
}

// TestDHCPRelease: the address is given up, the name isn't.
func TestDHCPRelease(t *testing.T) {
	b := bootp(1, opt(53, 7), opt(12, []byte("cam")...))
	copy(b[12:], client.AsSlice())
	got := claims(t, passive.Options{}, dhcpFrame(macA, client, b))
	if len(got) != 1 || !got[0].Gone || got[0].IP != client || got[0].Host != "" {
		t.Errorf("%+v", got)
	}
}

// FuzzDHCP reads any bytes as a DHCP message.
func FuzzDHCP(f *testing.F) {
	seeds := 0
	for _, g := range goldens(f) {
		for _, b := range g.frames {
			if len(b) > 42+240 && b[23] == 17 && (be.Uint16(b[34:]) == 67 || be.Uint16(b[34:]) == 68) {
				f.Add(b[42:])
				seeds++
			}
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Add(discover())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60000 {
			return
		}
		d := passive.NewDecoder(passive.Options{})
		for range 3 { // the third time it is known
			d.Decode(dhcpFrame(macA, client, b), func(x *passive.Fact) { check(t, x) })
		}
	})
}
