package passive_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// What isn't this version of the protocol is nothing; a bad packet, and one of which the
// capture has a part, is counted.
func TestSyncthingDrops(t *testing.T) {
	var local golden
	for _, g := range goldens(t) {
		if g.name == "syncthing-local" {
			local = g
		}
	}
	whole := local.frames[1]
	payload := string(whole[14+20+8:])
	frame := func(payload string) []byte {
		return eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 21025, []byte(payload))))
	}
	for what, c := range map[string]struct{ payload, drop string }{
		"another version": {"\x2e\xa7\xd9\x0b" + payload[4:], ""},
		"empty":           {"", ""},
		"cut short":       {payload[:len(payload)-1], "syncthing: malformed"},
		"a short ID":      {payload[:7] + "\x1f" + payload[8:], "syncthing: malformed"},
	} {
		got, stats := decode(passive.Options{}, ethernet(frame(c.payload)))
		if got != "" || len(stats.Drops) > 1 || c.drop != "" && stats.Drops[c.drop] != 1 || c.drop == "" && len(stats.Drops) > 0 {
			t.Errorf("%s: %q, dropped %v; want %q", what, got, stats.Drops, c.drop)
		}
	}
	cut := ethernet(whole[:len(whole)-8])
	cut.Length = len(whole)
	if got, stats := decode(passive.Options{}, cut); got != "" || stats.Drops["syncthing: cut off"] != 1 {
		t.Errorf("a part: %q, dropped %v", got, stats.Drops)
	}
	if got, _ := decode(passive.Options{}, ethernet(frame(payload+"more"))); !strings.Contains(got, `"message":"announcement"`) {
		t.Errorf("with bytes behind it: %q", got)
	}
}
