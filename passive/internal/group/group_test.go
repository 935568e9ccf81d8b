package group_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/group"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

const mdns = "\xe0\x00\x00\xfb"

func TestParseIGMP(t *testing.T) {
	record := "\x04\x00\x00\x00" + mdns
	for what, c := range map[string]struct{ payload, want string }{
		"version 1's query":     {"\x11\x00\x00\x00\x00\x00\x00\x00", "query 1 [{0.0.0.0 0 0}]"},
		"version 2's query":     {"\x11\x64\x00\x00" + mdns, "query 2 [{224.0.0.251 0 0}]"},
		"version 3's query":     {"\x11\x64\x00\x00" + mdns + "\x02\x7d\x00\x05", "query 3 [{224.0.0.251 0 5}]"},
		"a leave":               {"\x17\x00\x00\x00" + mdns, "leave 2 [{224.0.0.251 0 0}]"},
		"no records":            {"\x22\x00\x00\x00\x00\x00\x00\x00", "report 3 []"},
		"data behind a record":  {"\x22\x00\x00\x00\x00\x00\x00\x02\x04\x01\x00\x00" + mdns + "data" + record, "report 3 [{224.0.0.251 4 0} {224.0.0.251 4 0}]"},
		"fewer records than it": {"\x22\x00\x00\x00\x00\x00\x00\x02" + record, "malformed"},
		"sources cut off":       {"\x22\x00\x00\x00\x00\x00\x00\x01\x04\x00\xff\xff" + mdns, "malformed"},
		"cut off":               {"\x16\x00\x00\x00" + mdns[:3], "malformed"},
		"another protocol":      {"\x13\x00\x00\x00\x00\x00\x00\x00", "unknown"},
	} {
		var m group.Message
		known, ok := m.ParseIGMP([]byte(c.payload))
		got := fmt.Sprintf("%v %d %v", m.Kind, m.Version, m.Records())
		if !known {
			got = "unknown"
		} else if !ok {
			got = "malformed"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
	var m group.Message
	if _, ok := m.ParseIGMP([]byte("\x22\x00\x00\x00\x00\x00\x00\xff" + strings.Repeat(record, 255))); !ok || len(m.Records()) != 48 {
		t.Errorf("%d of many records", len(m.Records()))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x22\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x01" + mdns + "\x0a\x00\x00\x01"))
	f.Add([]byte("\x8f\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\xff\x02" + strings.Repeat("\x00", 13) + "\xfb"))
	f.Add([]byte("\x82\x00\x00\x00\x27\x10\x00\x00" + strings.Repeat("\x00", 16) + "\x02\x7d\x00\x00"))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Proto == 2 || p.Proto == 58 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m group.Message
		if _, ok := m.ParseIGMP(b); ok {
			for _, r := range m.Records() {
				if !r.Group.Is4() {
					t.Fatal(r)
				}
			}
		}
		if m.ParseMLD(b) {
			for _, r := range m.Records() {
				if !r.Group.Is6() {
					t.Fatal(r)
				}
			}
		}
	})
}
