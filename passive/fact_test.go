package passive_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/passive"
)

// TestJSON: the line's fields and their order are fixed, and hostile text is safe.
func TestJSON(t *testing.T) {
	f := passive.Fact{
		Time:      time.Date(2026, 11, 21, 13, 0, 0, 5000, time.FixedZone("", 3600)),
		Interface: "eth0", VLAN: 7, Protocol: passive.ProtoMDNS, Response: true,
		SrcMAC: passive.MAC{2, 0, 0x5e, 0x10, 0, 1}, SrcIP: netip.MustParseAddr("fe80::1"), SrcPort: 5353, DstPort: 5353,
		Query: "a\"\\<b>\x1b[0m\u202e\u0085\xff.local", QType: 16, Fingerprint: "mdns1:a=",
		Record: &passive.Record{Name: "é.local", Type: 16, TTL: 4500, Data: `"x"`},
		Fields: []passive.Field{{Key: "section", Value: "answer"}, {Key: "flush", Value: "true"}},
	}
	want := `{"time":"2026-11-21T12:00:00.000005Z","interface":"eth0","vlan":7,"protocol":"mdns","response":true,` +
		`"src_mac":"02:00:5e:10:00:01","dst_mac":"","src_ip":"fe80::1","dst_ip":"","src_port":5353,"dst_port":5353,` +
		`"query":"a\"\\\u003cb\u003e\u001b[0m` + "\u202e" + `\u0085\ufffd.local","qtype":16,` +
		`"record":{"name":"é.local","type":16,"ttl":4500,"data":"\"x\""},"fingerprint":"mdns1:a=","fields":{"section":"answer","flush":"true"}}`
	if got := string(f.AppendJSON(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if b, err := json.Marshal(&f); err != nil || !json.Valid(b) {
		t.Errorf("%v: %s", err, b)
	}
	empty := passive.Fact{Protocol: passive.ProtoARP}
	want = `{"time":"0001-01-01T00:00:00Z","interface":"","protocol":"arp","response":false,"src_mac":"","dst_mac":"","src_ip":"","dst_ip":"",` +
		`"src_port":0,"dst_port":0,"query":"","qtype":0,"fingerprint":"","fields":{}}`
	if got := string(empty.AppendJSON(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestClone: a clone outlives the fact that the Decoder uses again.
func TestClone(t *testing.T) {
	d := passive.NewDecoder(passive.Options{})
	var kept []*passive.Fact
	var lines []string
	for _, g := range goldens(t) {
		for _, b := range g.frames {
			d.Decode(ethernet(b), func(f *passive.Fact) {
				kept = append(kept, f.Clone())
				lines = append(lines, text(f))
			})
		}
	}
	for i, f := range kept {
		if text(f) != lines[i] {
			t.Fatalf("a clone changed:\n%s\n%s", text(f), lines[i])
		}
	}
}

// TestHash: keys stay the same for ever.
func TestHash(t *testing.T) {
	if got := passive.Hash("dhcp1:type=1;opts=53"); got != "5d93af3da25a3a66" {
		t.Errorf("Hash is %s", got)
	}
	if got := passive.Hash(""); got != "" {
		t.Errorf("Hash of nothing is %s", got)
	}
}
