package doctor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestHub(t *testing.T) {
	now := time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ name, status, want string }{
		{"no gateway", `{}`, ""},
		{"fine", `{"gateway":"g1","connected":true,"address":"192.0.2.7:8513","expires":"2026-04-01T00:00:00Z","renew":"2026-03-21T00:00:00Z","clock":"-3s"}`,
			"hub good connected to 192.0.2.7:8513 as g1"},
		{"away", `{"gateway":"g1","error":"connection refused"}`, "hub problem g1 isn't connected: connection refused"},
		{"expired", `{"gateway":"g1","error":"x","expires":"2026-03-20T11:00:00Z","renew":"2026-03-10T11:00:00Z"}`,
			"hub problem g1 isn't connected: x, hub certificate problem it ended 1h0m0s ago"},
		{"about to expire", `{"gateway":"g1","connected":true,"expires":"2026-03-22T12:00:00Z","renew":"2026-03-12T11:00:00Z"}`,
			"hub good connected to  as g1, hub certificate warning it ends in 48h0m0s, and hasn't been renewed though it should have been"},
		{"clocks", `{"gateway":"g1","connected":true,"clock":"-1h0m1s"}`,
			"hub good connected to  as g1, hub clock warning the hub's clock and this one differ by 1h0m1s"},
		{"all at once", `{"gateway":"g1","connected":true,"impostors":2,"insecure":true,"commands":{"failures":3,"result_bytes":100000000,"result_room":104857600},"feeds":{"fingerprints":{"dropped":7}}}`,
			"hub good connected to  as g1, hub impostors warning 2 times somebody else was where the hub should be, hub security warning nobody knows who the server is, and nothing is encrypted, " +
				"hub journal problem the journal of commands could not be written 3 times; commands were refused, hub results warning 95 MiB of results wait for the hub, of 100, hub feeds notice 7 fingerprint rows never went up, for want of room"},
	} {
		var h HubStatus
		if err := json.Unmarshal([]byte(c.status), &h); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range checkHub(h, now) {
			got = append(got, fmt.Sprintf("%s %s %s", f.Check, f.Grade, f.Found))
			if f.Grade != Good && f.Advice == "" {
				t.Errorf("%s: no advice for %s", c.name, f.Check)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, text, c.want)
		}
	}
}
