package syncthing_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

const (
	magicA  = "9d79bc39"
	magicQ  = "2ca856f5"
	length  = "00000020"
	anID    = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
	theirID = "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"
	one     = "00000001"
	none    = "00000000"
	port    = "000055f0" // 22000
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addresses(all ...string) (out []netip.AddrPort) {
	for _, s := range all {
		if p, ok := strings.CutPrefix(s, "sender:"); ok {
			out = append(out, netip.AddrPortFrom(netip.Addr{}, netip.MustParseAddrPort("0.0.0.0:"+p).Port()))
			continue
		}
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestParse(t *testing.T) {
	start := magicA + length + anID
	for name, c := range map[string]struct {
		in   string
		want []netip.AddrPort
		err  string
	}{
		"IPv4":                         {start + one + "00000004c0000207" + port + none, addresses("192.0.2.7:22000"), ""},
		"IPv4 in IPv6 form":            {start + one + "0000001000000000000000000000ffffc0000207" + port + none, addresses("192.0.2.7:22000"), ""},
		"no IP":                        {start + one + none + port + none, addresses("sender:22000"), ""},
		"port 0 costs one address":     {start + "00000002" + "00000004c0000207" + none + "00000004c0000208" + port + none, addresses("192.0.2.8:22000"), ""},
		"port 65536 costs one address": {start + "00000002" + "00000004c0000207" + "00010000" + "00000004c0000208" + port + none, addresses("192.0.2.8:22000"), ""},
		"bytes behind it":              {start + one + none + port + none + "616263", addresses("sender:22000"), ""},
		"an IP of 5 bytes":             {start + one + "000000050102030405000000" + port + none, nil, "invalid packet: an IP of 5 bytes"},
		"an IP of 2³²-1 bytes":         {start + one + "ffffffff01020304" + port + none, nil, "invalid packet: an IP of 4294967295 bytes"},
		"17 addresses":                 {start + "00000011" + strings.Repeat(none+port, 17) + none, nil, "invalid packet: 17 addresses, more than 16"},
		"17 extras":                    {start + none + "00000011" + strings.Repeat(length+anID+none, 17), nil, "invalid packet: 17 extras, more than 16"},
		"an ID of 33 bytes":            {magicA + "00000021" + anID + "00000000" + none + none, nil, "invalid packet: a device ID of 33 bytes, not 32"},
		"an extra's ID of 0 bytes":     {start + none + one + none + none, nil, "invalid packet: a device ID of 0 bytes, not 32"},
		"no count of extras":           {start + one + none + port, nil, "invalid packet: cut short"},
		"nothing":                      {"", nil, "neither an announcement nor a query"},
		"another version":              {"9d79bc40" + length + anID + none + none, nil, "neither an announcement nor a query"},
	} {
		m, err := syncthing.Parse(unhex(t, c.in))
		if c.err != "" {
			if m != nil || err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v", name, m, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, name, &syncthing.Announcement{Device: syncthing.Device{ID: id(anID), Addresses: c.want}}, m)
	}
}

// Each prefix of a packet is cut short, and nothing else.
func TestParseWhatIsCutShort(t *testing.T) {
	for _, c := range readVectors(t).Captured {
		for n := range len(c.Hex) {
			_, err := syncthing.Parse(c.Hex[:n])
			if n < 4 && !errors.Is(err, syncthing.ErrMagic) || n >= 4 && !errors.Is(err, syncthing.ErrInvalid) {
				t.Fatalf("%s, %d of %d bytes: %v", c.ID, n, len(c.Hex), err)
			}
		}
	}
}

func TestExtrasAddressWithoutIP(t *testing.T) {
	m, err := syncthing.Parse(unhex(t, magicA+length+anID+none+one+length+theirID+"00000002"+none+port+"00000004c0000207"+port))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "read", &syncthing.Announcement{
		Device: syncthing.Device{ID: id(anID)},
		Extra:  []syncthing.Device{{ID: id(theirID), Addresses: addresses("192.0.2.7:22000")}},
	}, m)
}

func TestAppendLeavesOutWhatAPacketCannotHave(t *testing.T) {
	a := syncthing.Announcement{Device: syncthing.Device{ID: id(anID), Addresses: addresses("192.0.2.7:0")}}
	for n := range 20 {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		a.Addresses = append(a.Addresses, netip.AddrPortFrom(ip, 22000))
		a.Extra = append(a.Extra, syncthing.Device{ID: id(theirID), Addresses: addresses("sender:1")})
	}
	m, err := syncthing.Parse(a.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := &syncthing.Announcement{Device: syncthing.Device{ID: a.ID, Addresses: a.Addresses[1:17]}}
	for range 16 {
		want.Extra = append(want.Extra, syncthing.Device{ID: id(theirID)})
	}
	same(t, "read again", want, m)
}

// The longest answer isn't worth more than 11 of the shortest packet that gets one.
func TestSizes(t *testing.T) {
	if n := len(syncthing.Query{}.Append(nil)); n != syncthing.QuerySize {
		t.Errorf("a query of %d bytes", n)
	}
	var a syncthing.Announcement
	for n := range 16 {
		a.Addresses = append(a.Addresses, netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(n+1)))
	}
	if n := len(a.Append(nil)); n != syncthing.MaxAnswer || n > 11*syncthing.QuerySize {
		t.Errorf("an answer of %d bytes", n)
	}
}

func TestParseReusesMemory(t *testing.T) {
	v := readVectors(t)
	var a syncthing.Announcement
	long := v.Captured[len(v.Captured)-1].Hex // with extras
	if err := a.Parse(long); err != nil || len(a.Extra) < 3 {
		t.Fatal(a, err)
	}
	n := testing.AllocsPerRun(100, func() {
		for _, c := range []raw{v.Captured[0].Hex, long} {
			if a.Parse(c) != nil || len(a.Addresses) != 1 {
				t.Fatal("not read")
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func genDevice(sender bool) *rapid.Generator[syncthing.Device] {
	return rapid.Custom(func(t *rapid.T) syncthing.Device {
		var d syncthing.Device
		copy(d.ID[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id"))
		for range rapid.IntRange(0, 16).Draw(t, "addresses") {
			sizes := []int{4, 16}
			if sender {
				sizes = append(sizes, 0)
			}
			n := rapid.SampledFrom(sizes).Draw(t, "length")
			ip, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "ip"))
			d.Addresses = append(d.Addresses, netip.AddrPortFrom(ip.Unmap(), rapid.Uint16Min(1).Draw(t, "port")))
		}
		return d
	})
}

// What is written is read as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := &syncthing.Announcement{Device: genDevice(true).Draw(rt, "device")}
		a.Extra = rapid.SliceOfN(genDevice(false), 0, 16).Draw(rt, "extra")
		m, err := syncthing.Parse(a.Append(nil))
		if err != nil {
			rt.Fatal(err)
		}
		same(t, "announcement", a, m)
		q := syncthing.Query{ID: a.ID}
		if m, err := syncthing.Parse(q.Append(nil)); err != nil || m != q {
			rt.Fatal(m, err)
		}
	})
}

// Whatever comes in: it is read without fault, keeps to the bounds, and means the
// same when it is written and read again.
func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m, err := syncthing.Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if m != nil || !errors.Is(err, syncthing.ErrMagic) && !errors.Is(err, syncthing.ErrInvalid) {
				t.Fatal(m, err)
			}
			return
		}
		out := m.Append(nil)
		if len(out) > len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(out))
		}
		again, err := syncthing.Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "read again", m, again)
		if a, ok := m.(*syncthing.Announcement); ok && (len(a.Addresses) > syncthing.MaxAddresses || len(a.Extra) > syncthing.MaxExtras) {
			t.Fatal("too many")
		}
	})
}
