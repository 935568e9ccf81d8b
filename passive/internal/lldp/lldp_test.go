package lldp_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/lldp"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

func tlv(t byte, v string) string { return string([]byte{t<<1 | byte(len(v)>>8), byte(len(v))}) + v }

var first = tlv(1, "\x07host") + tlv(2, "\x07eth0") + tlv(3, "\x00\x78")

func TestParse(t *testing.T) {
	for what, c := range map[string]struct {
		payload string
		ok      bool
	}{
		"the first three":    {first, true},
		"behind the end":     {first + tlv(0, "") + "\xff", true},
		"wrong order":        {tlv(2, "\x07eth0") + tlv(1, "\x07host") + tlv(3, "\x00\x78"), false},
		"too few":            {tlv(1, "\x07host") + tlv(2, "\x07eth0"), false},
		"cut off":            {first + tlv(5, "name")[:4], false},
		"an empty id":        {tlv(1, "\x07") + tlv(2, "\x07eth0") + tlv(3, "\x00\x78"), false},
		"a short OUI":        {first + tlv(127, "\x00\x80\xc2"), false},
		"an address too far": {first + tlv(8, "\x05\x01\x0a"), false},
		"too many":           {first + strings.Repeat(tlv(9, ""), 62), false},
		"as many as may be":  {first + strings.Repeat(tlv(9, ""), 61), true},
		"an unknown family":  {first + tlv(8, "\x03\x09\x01\x02"), true},
	} {
		var m lldp.Message
		if ok := m.Parse([]byte(c.payload)); ok != c.ok {
			t.Errorf("%s: %v", what, ok)
		}
		if len(m.Addresses()) > 0 {
			t.Errorf("%s: %v", what, m.Addresses())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(first + tlv(7, "\x00\x14\x00\x04") + tlv(8, "\x05\x01\x0a\x4d\x00\x01\x02") + tlv(127, "\x00\x80\xc2\x01\x00\x05") + tlv(0, "")))
	f.Add([]byte(first + tlv(127, "\x00\x12\xbb\x0aPhone")))
	seeds.Add(f, func(p seeds.Packet) bool { return p.EtherType == 0x88cc })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m lldp.Message
		if m.Parse(b) && len(m.TLVs()) < 3 {
			t.Fatal("too few TLVs")
		}
	})
}
