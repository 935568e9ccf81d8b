package passive_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

// check holds what is true of every fact.
func check(t *testing.T, f *passive.Fact) {
	t.Helper()
	var line map[string]any
	if err := json.Unmarshal(f.AppendJSON(nil), &line); err != nil {
		t.Fatalf("%v: %s", err, f.AppendJSON(nil))
	}
	if line["query"] != strings.ToValidUTF8(f.Query, "\ufffd") || line["protocol"] != f.Protocol {
		t.Fatalf("%q printed as %q", f.Query, line["query"])
	}
	for _, text := range []string{f.Query, f.Fingerprint} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("control characters in %q", text)
		}
	}
	if len(f.Fingerprint) > 4096 {
		t.Fatalf("fingerprint of %d bytes", len(f.Fingerprint))
	}
	for _, c := range f.Claims {
		if c.MAC.Group() {
			t.Fatalf("claim of %s", c.MAC)
		}
		if c.MAC == (passive.MAC{}) && c.ID == "" && !c.IP.IsValid() {
			t.Fatalf("claim of nothing: %+v", c)
		}
	}
}

// linkTypes are those that the fuzzer's first byte picks from.
var linkTypes = [...]packet.LinkType{
	packet.LinkEthernet, packet.LinkNull, packet.LinkRaw, packet.LinkLoop, packet.LinkSLL, packet.LinkSLL2, packet.LinkIPv4, packet.LinkIPv6,
}

// FuzzDecode reads any bytes as frames of any link, one after the other, so
// that fragments and segments meet.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens(f) {
		for i, b := range g.frames {
			f.Add(byte(0), b, g.frames[min(i+1, len(g.frames)-1)])
			if len(b) > 14 {
				f.Add(byte(2), b[14:], b[14:])
			}
		}
	}
	lengths := map[[3]int]bool{}
	var last []byte
	seeds.Each(f, func(p seeds.Packet) bool {
		kind := [3]int{int(p.EtherType), int(p.Proto)<<16 | int(p.Dst), len(p.Frame) / 64}
		if len(p.Frame) <= 2048 && !lengths[kind] {
			lengths[kind] = true
			f.Add(byte(0), p.Frame, last)
			last = p.Frame
		}
		return len(lengths) < 300
	})
	f.Fuzz(func(t *testing.T, kind byte, first, second []byte) {
		d := passive.NewDecoder(passive.Options{OnLink: func(string, netip.Addr) bool { return true }})
		for _, b := range [][]byte{first, second, first, first} {
			frame := packet.Frame{
				Data: b, Length: len(b) + int(kind>>7), LinkType: linkTypes[int(kind)%len(linkTypes)], VLAN: uint16(kind & 0x40), Time: goldenTime,
			}
			d.Decode(frame, func(x *passive.Fact) { check(t, x) })
		}
		for why := range d.Stats().Drops {
			if why == "" {
				t.Fatal("a drop without a reason")
			}
		}
	})
}

// FuzzReader reads any bytes as a capture file.
func FuzzReader(f *testing.F) {
	le, bige := binary.LittleEndian, binary.BigEndian
	files := [][]byte{
		pcapFile(le, 0xa1b2c3d4, 1, 5, []byte{1, 2, 3}), pcapFile(bige, 0xa1b23c4d, 113, 5, []byte{1}),
		bytes.Join([][]byte{section(le), iface(le, 1, option(le, 2, []byte("eth0")), option(le, 9, []byte{0x83})), enhanced(le, 0, 1<<40, []byte{1, 2, 3})}, nil),
		bytes.Join([][]byte{section(bige), iface(bige, 1), block(bige, 3, bige.AppendUint32(nil, 0)), section(le)}, nil),
		gzipped(pcapFile(le, 0xa1b2c3d4, 1, 5, []byte{1})),
	}
	for _, g := range goldens(f) {
		files = append(files, pcapFile(le, 0xa1b2c3d4, 1, 0, g.frames...))
	}
	for _, s := range files {
		f.Add(s)
	}
	for _, name := range seeds.Files(f) {
		if info, err := os.Stat(name); err != nil || info.Size() > 4096 {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := passive.NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		d := passive.NewDecoder(passive.Options{})
		for n := 0; ; n++ {
			frame, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x00") {
					t.Fatalf("error %q", err)
				}
				return
			}
			if frame.Length < len(frame.Data) || len(frame.Data) > 256<<10 {
				t.Fatalf("frame of %d, %d bytes", frame.Length, len(frame.Data))
			}
			if n > 4*len(file) && len(file) > 0 && file[0] != 0x1f {
				t.Fatalf("%d frames in %d bytes", n, len(file))
			}
			if n > 10000 {
				return
			}
			d.Decode(frame, func(x *passive.Fact) { check(t, x) })
		}
	})
}
