package netbios_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/netbios"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

// encoded is a name as it goes over the wire, without a scope.
func encoded(name string, suffix byte) string {
	raw := name + strings.Repeat(" ", 15-len(name)) + string([]byte{suffix})
	b := []byte{32}
	for i := range len(raw) {
		b = append(b, 'A'+raw[i]>>4, 'A'+raw[i]&15)
	}
	return string(b) + "\x00"
}

func header(flags string, questions, records byte) string {
	return "\x00\x01" + flags + string([]byte{0, questions, 0, 0, 0, 0, 0, records})
}

func TestParse(t *testing.T) {
	name, nb := encoded("NAS", 0x20), "\x00\x20\x00\x01"
	record := nb + "\x00\x00\x00\x05\x00\x06\x00\x00\x0a\x00\x00\x01"
	for what, c := range map[string]struct {
		payload, name string
	}{
		"a query":              {header("\x01\x10", 1, 0) + name + nb, "NAS<20>"},
		"a scope":              {header("\x01\x10", 1, 0) + name[:33] + "\x03lab\x00" + nb, "NAS<20>"},
		"a pointer":            {header("\x29\x10", 1, 1) + name + nb + "\xc0\x0c" + record, "NAS<20>"},
		"a control character":  {header("\x01\x10", 1, 0) + encoded("\x01\x02__MSBROWSE__\x02", 1) + nb, "<01><02>__MSBROWSE__<02><01>"},
		"nothing":              {header("\x01\x10", 0, 0), ""},
		"a pointer to itself":  {header("\x29\x10", 0, 1) + "\xc0\x0c" + record, ""},
		"a pointer ahead":      {header("\x29\x10", 0, 1) + "\xc0\xff" + record, ""},
		"a letter of no use":   {header("\x01\x10", 1, 0) + strings.Replace(name, "E", "Q", 1) + nb, ""},
		"no end of the name":   {header("\x01\x10", 1, 0) + name[:33], ""},
		"a label too long":     {header("\x01\x10", 1, 0) + name[:33] + "\x40" + strings.Repeat("a", 99), ""},
		"a record cut off":     {header("\x29\x10", 1, 1) + name + nb + "\xc0\x0c" + record[:14], ""},
		"a status cut off":     {header("\x84\x00", 0, 1) + name + "\x00\x21\x00\x01\x00\x00\x00\x00\x00\x02\x01\x00", ""},
		"a header cut off":     {header("\x01\x10", 1, 0)[:11], ""},
		"a status with no one": {header("\x84\x00", 0, 1) + name + "\x00\x21\x00\x01\x00\x00\x00\x00\x00\x01\x00", "NAS<20>"},
	} {
		var m netbios.Message
		got := ""
		if m.Parse([]byte(c.payload)) {
			got = string(m.Name.AppendText(nil))
		}
		if got != c.name {
			t.Errorf("%s: %q, want %q", what, got, c.name)
		}
	}
}

// TestAppendHost: only what may name a machine is taken for a host name.
func TestAppendHost(t *testing.T) {
	for name, want := range map[string]string{"NAS": "NAS", "MARTIN R": "", "\x01\x02__MSBROWSE__\x02": "", "*": "", "N\xc4S": "", "": ""} {
		var n netbios.Name
		copy(n[:], name+strings.Repeat(" ", 15-len(name)))
		if got := string(n.AppendHost(nil)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	name := encoded("NAS", 0)
	f.Add([]byte(header("\x29\x10", 1, 1) + name + "\x00\x20\x00\x01\xc0\x0c\x00\x20\x00\x01\x00\x00\x00\x05\x00\x06\x00\x00\x0a\x00\x00\x01"))
	f.Add([]byte(header("\x84\x00", 0, 1) + name + "\x00\x21\x00\x01\x00\x00\x00\x00\x00\x19\x01NAS            \x00\x04\x00\x02\x00\x5e\x10\x00\x01"))
	f.Add([]byte("\x11\x02\x00\x01\x0a\x00\x00\x01\x00\x8a\x00\x44\x00\x00" + name + name + "\xffSMB\x25"))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 137 || p.Dst == 138 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m netbios.Message
		if m.Parse(b) && len(m.Name.AppendText(nil)) > 64 {
			t.Fatal("a long name")
		}
		var d netbios.Datagram
		if d.Parse(b) && len(d.Browser.Comment) > len(b) {
			t.Fatal("a comment out of nothing")
		}
	})
}
