package syncthing_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	xdr "github.com/stellar/go-xdr/xdr3"
	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

// The packets as another implementation of XDR (RFC 4506) reads and writes them.
type (
	xdrAnnouncement struct {
		Magic  uint32
		Device xdrDevice
		Extra  []xdrDevice `xdrmaxsize:"16"`
	}
	xdrDevice struct {
		ID        []byte       `xdrmaxsize:"32"`
		Addresses []xdrAddress `xdrmaxsize:"16"`
	}
	xdrAddress struct {
		IP   []byte `xdrmaxsize:"16"`
		Port uint32
	}
	xdrQuery struct {
		Magic uint32
		ID    []byte `xdrmaxsize:"32"`
	}
)

func xdrBytes(t rapid.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := xdr.Marshal(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func xdrOf(d syncthing.Device) xdrDevice {
	x := xdrDevice{ID: d.ID[:]}
	for _, a := range d.Addresses {
		x.Addresses = append(x.Addresses, xdrAddress{a.Addr().AsSlice(), uint32(a.Port())})
	}
	return x
}

// What is written is what XDR makes of the structures.
func TestPacketsAreXDR(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := &syncthing.Announcement{Device: genDevice(true).Draw(rt, "device")}
		a.Extra = rapid.SliceOfN(genDevice(false), 0, 16).Draw(rt, "extra")
		x := xdrAnnouncement{Magic: 0x9D79BC39, Device: xdrOf(a.Device)}
		for _, e := range a.Extra {
			x.Extra = append(x.Extra, xdrOf(e))
		}
		if got, want := a.Append(nil), xdrBytes(rt, &x); !bytes.Equal(got, want) {
			rt.Fatalf("announcement\n got %x\nwant %x", got, want)
		}
		q := xdrQuery{Magic: 0x2CA856F5, ID: a.ID[:]}
		if got, want := (syncthing.Query{ID: a.ID}).Append(nil), xdrBytes(rt, &q); !bytes.Equal(got, want) {
			rt.Fatalf("query\n got %x\nwant %x", got, want)
		}
	})
}

// judge says what a packet that XDR can read is worth to us, false if nothing.
func judge(x *xdrAnnouncement) (*syncthing.Announcement, bool) {
	one := func(x *xdrDevice, sender bool) (d syncthing.Device, ok bool) {
		if len(x.ID) != len(d.ID) {
			return d, false
		}
		copy(d.ID[:], x.ID)
		for _, a := range x.Addresses {
			ip, valid := netip.AddrFromSlice(a.IP)
			switch {
			case !valid && len(a.IP) != 0:
				return d, false
			case a.Port == 0, a.Port > 0xFFFF, !valid && !sender:
				continue
			}
			d.Addresses = append(d.Addresses, netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)))
		}
		return d, true
	}
	a := &syncthing.Announcement{}
	var ok bool
	if a.Device, ok = one(&x.Device, true); !ok || x.Magic != 0x9D79BC39 {
		return nil, false
	}
	for i := range x.Extra {
		e, ok := one(&x.Extra[i], false)
		if !ok {
			return nil, false
		}
		a.Extra = append(a.Extra, e)
	}
	return a, true
}

// agree holds what is read of b against what XDR reads of it.
func agree(t *testing.T, b []byte) {
	t.Helper()
	m, err := syncthing.Parse(b)
	if len(b) >= 4 && binary.BigEndian.Uint32(b) == 0x2CA856F5 {
		var q xdrQuery
		_, xerr := xdr.Unmarshal(bytes.NewReader(b), &q)
		if want := xerr == nil && len(q.ID) == 32; want != (err == nil) || want && m != (syncthing.Query{ID: syncthing.DeviceID(q.ID)}) {
			t.Fatalf("%x: %v, %v; XDR: %x, %v", b, m, err, q, xerr)
		}
		return
	}
	var x xdrAnnouncement
	_, xerr := xdr.Unmarshal(bytes.NewReader(b), &x)
	want, ok := judge(&x)
	if ok = ok && xerr == nil; ok != (err == nil) {
		t.Fatalf("%x: %v, %v; XDR: %+v, %v", b, m, err, x, xerr)
	}
	if ok {
		same(t, "as XDR", syncthing.Message(want), m)
	}
}

// What is read is what XDR reads, but for what the rules are stricter about. The
// packets are right, or nearly so: lengths, ports, magic and counts are off, or the end is.
func TestPacketsAreReadAsXDR(t *testing.T) {
	device := rapid.Custom(func(rt *rapid.T) xdrDevice {
		x := xdrDevice{ID: make([]byte, rapid.SampledFrom([]int{32, 32, 32, 32, 32, 32, 0, 31}).Draw(rt, "ID's length"))}
		for range rapid.IntRange(0, 4).Draw(rt, "addresses") {
			ip := rapid.SampledFrom([]int{4, 4, 16, 16, 0, 4, 16, 0, 4, 16, 0, 3, 8}).Draw(rt, "IP's length")
			x.Addresses = append(x.Addresses, xdrAddress{
				rapid.SliceOfN(rapid.Byte(), ip, ip).Draw(rt, "IP"),
				rapid.SampledFrom([]uint32{1, 22000, 0xFFFF, 0, 0x10000, 0x55f00000}).Draw(rt, "port"),
			})
		}
		return x
	})
	rapid.Check(t, func(rt *rapid.T) {
		b := xdrBytes(rt, &xdrAnnouncement{
			Magic:  rapid.SampledFrom([]uint32{0x9D79BC39, 0x9D79BC39, 0x9D79BC39, 0x9D79BC40}).Draw(rt, "magic"),
			Device: device.Draw(rt, "device"), Extra: rapid.SliceOfN(device, 0, 3).Draw(rt, "extra"),
		})
		switch rapid.IntRange(0, 3).Draw(rt, "what is done to it") {
		case 0:
			b = b[:rapid.IntRange(0, len(b)).Draw(rt, "cut")]
		case 1:
			b = append(b, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(rt, "more")...)
		case 2:
			b[4*rapid.IntRange(0, len(b)/4-1).Draw(rt, "word")+3] = rapid.Byte().Draw(rt, "byte")
		}
		agree(t, b)
	})
	for _, b := range seeds(t) {
		agree(t, b)
	}
}
