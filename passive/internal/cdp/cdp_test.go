package cdp_test

import (
	"fmt"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/cdp"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

func tlv(t byte, v string) string { return string([]byte{0, t, 0, byte(4 + len(v))}) + v }

const head = "\x02\xb4\x00\x00"

func TestParse(t *testing.T) {
	for what, c := range map[string]struct {
		payload string
		ok      bool
		addrs   string
	}{
		"a name":                 {head + tlv(1, "r1"), true, "[]"},
		"no name":                {head + tlv(3, "eth0"), false, "[]"},
		"another version":        {"\x03\xb4\x00\x00" + tlv(1, "r1"), false, "[]"},
		"a length below its own": {head + "\x00\x01\x00\x03", false, "[]"},
		"cut off":                {head + tlv(1, "r1")[:5], false, "[]"},
		"two addresses": {
			head + tlv(1, "r1") + tlv(2, "\x00\x00\x00\x02\x01\x01\xcc\x00\x04\x0a\x00\x00\x01\x01\x01\xcc\x00\x04\x0a\x00\x00\x02"),
			true, "[10.0.0.1 10.0.0.2]",
		},
		"an address cut off": {head + tlv(1, "r1") + tlv(2, "\x00\x00\x00\x01\x01\x01\xcc\x00\x04\x0a\x00\x00"), true, "[]"},
	} {
		var m cdp.Message
		if ok := m.Parse([]byte(c.payload)); ok != c.ok || fmt.Sprint(m.Addresses()) != c.addrs {
			t.Errorf("%s: %v, %v", what, ok, m.Addresses())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + tlv(1, "r1") + tlv(2, "\x00\x00\x00\x01\x01\x01\xcc\x00\x04\x0a\x00\x00\x01") + tlv(4, "\x00\x00\x00\x29") + tlv(10, "\x00\x05")))
	seeds.Add(f, func(p seeds.Packet) bool { return p.EtherType < 1536 && len(p.Payload) > 8 && p.Payload[6] == 0x20 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m cdp.Message
		if m.Parse(b) && (m.Device == nil || len(m.Types()) == 0) {
			t.Fatal("no device")
		}
	})
}
