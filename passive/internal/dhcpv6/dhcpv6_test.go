package dhcpv6_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/dhcpv6"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

func opt(code byte, v string) string { return string([]byte{0, code, 0, byte(len(v))}) + v }

var (
	id      = opt(1, "\x00\x03\x00\x01\x02\x00\x5e\x10\x00\x01")
	solicit = "\x01\x00\x00\x01" + id
	address = strings.Repeat("\x00", 15) + "\x05\x00\x00\x00\x01\x00\x00\x00\x02"
)

func relay(inner string) string { return "\x0c\x00" + strings.Repeat("\x00", 32) + inner }

func TestParse(t *testing.T) {
	for what, c := range map[string]struct{ payload, want string }{
		"a solicit":              {solicit, "true 1 0 0"},
		"in a relay's message":   {relay(opt(18, "eth1") + opt(9, solicit)), "true 1 1 0"},
		"an address":             {solicit + opt(3, strings.Repeat("\x00", 12)+opt(5, address)), "true 1 0 1"},
		"a temporary address":    {solicit + opt(4, "\x00\x00\x00\x01"+opt(5, address)), "true 1 0 1"},
		"more than are kept":     {solicit + strings.Repeat(opt(4, "\x00\x00\x00\x01"+opt(5, address)), 20), "true 1 0 16"},
		"an address cut off":     {solicit + opt(4, "\x00\x00\x00\x01"+opt(5, address[:20])), "true 1 0 0"},
		"an association cut off": {solicit + opt(3, "\x00\x00"), "false"},
		"an option cut off":      {solicit[:len(solicit)-1], "false"},
		"an empty relay":         {relay(""), "false"},
		"nine relays": {func() string {
			s := solicit
			for range 9 {
				s = relay("\x00\x09" + string([]byte{byte(len(s) >> 8), byte(len(s))}) + s)
			}
			return s
		}(), "false"},
		"too many options": {solicit + strings.Repeat(opt(99, ""), 128), "false"},
		"nothing":          {"", "false"},
	} {
		var m dhcpv6.Message
		got := "false"
		if m.Parse([]byte(c.payload)) {
			got = fmt.Sprint(true, m.Type, m.Relays, len(m.Leases()))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(solicit + opt(3, strings.Repeat("\x00", 12)+opt(5, address)) + opt(6, "\x00\x17\x00\x18")))
	f.Add([]byte(relay(opt(9, solicit))))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 546 || p.Dst == 547 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dhcpv6.Message
		if m.Parse(b) && (m.Type == 0 || m.Relays > 8) {
			t.Fatalf("type %d through %d relays", m.Type, m.Relays)
		}
	})
}
