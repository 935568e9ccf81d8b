package passive_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// What isn't TGED on its port is nothing; what is too long is counted, and a
// message of many fields stays within bounds.
func TestTGEDMessages(t *testing.T) {
	for what, c := range map[string]struct {
		payload, drop string
		facts         int
	}{
		"something else": {"HELLO", "", 0},
		"too long":       {"TGED DISCOVERY 1.0\n" + strings.Repeat("A:1\n", 1100), "tged: malformed", 0},
		"many fields":    {"TGED DISCOVERY 1.0\n" + strings.Repeat("A:1\n", 900), "", 1},
	} {
		got, stats := decode(passive.Options{}, ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 4745, []byte(c.payload))))))
		if strings.Count(got, "\n") != c.facts || c.drop != "" && stats.Drops[c.drop] != 1 || c.drop == "" && len(stats.Drops) > 0 {
			t.Errorf("%s: %q, dropped %v", what, got, stats.Drops)
		}
		if len(got) > 1000 {
			t.Errorf("%s: %d bytes said", what, len(got))
		}
	}
}
