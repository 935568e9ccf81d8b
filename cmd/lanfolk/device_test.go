package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
)

// explained is a device of two facts, with one identifier separated that they
// hold and one that nothing holds any more.
func explained() client.Explanation {
	o := lanfolk.Origin{Protocol: "arp", Link: "eth0"}
	m := lanfolk.MAC{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	ip := func(link string) lanfolk.Identifier {
		return lanfolk.Identifier{Kind: lanfolk.IDIP, Value: "192.0.2.7", Link: link}
	}
	old := lanfolk.HostIdentifier("old\x1b.local", o)
	return client.Explanation{
		Device: &lanfolk.Device{ID: "d1", Separated: []lanfolk.Identifier{old, ip("eth0")}},
		Evidence: []lanfolk.Evidence{
			{Protocol: "arp", Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(m, o), ip("eth0")}},
			{Protocol: "arp", Identifiers: []lanfolk.Identifier{lanfolk.ProtocolIdentifier("syncthing", "P56IOI7"), ip("eth1")}},
		},
	}
}

func TestIdentifierOf(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(explained()); err != nil {
			t.Error(err)
		}
	}))
	defer node.Close()
	c, err := client.HTTP(node.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		text      string
		separated bool
		want      string // the identifier, or the end of the error
	}{
		{"00:00:5E:00:53:01", false, "mac 00:00:5e:00:53:01"},
		{"syncthing:P56IOI7", false, "id syncthing:P56IOI7"},
		{"ip 192.0.2.7 on eth0", false, "ip 192.0.2.7 on eth0"},
		{"192.0.2.7", false, "192.0.2.7: 2 identifiers have this value; name one as lanfolk explain prints it"},
		{"192.0.2.7", true, "ip 192.0.2.7 on eth0"}, // the one that is separated
		{"old\x1b.local", true, "host old\x1b.local on eth0"},
		{"old\x1b.local", false, "no evidence for the device has this identifier; see lanfolk explain"},
		{"00:00:5e:00:53:01", true, "mac 00:00:5e:00:53:01"}, // the node says that it isn't separated
	} {
		id, err := identifierOf(t.Context(), c, "d1", tt.text, tt.separated)
		switch {
		case err == nil && id.String() != tt.want:
			t.Errorf("%q, %v: got %q, want %q", tt.text, tt.separated, id, tt.want)
		case err != nil && !strings.HasSuffix(err.Error(), tt.want):
			t.Errorf("%q, %v: %v, want %q", tt.text, tt.separated, err, tt.want)
		}
	}
	if _, err := identifierOf(t.Context(), c, "d1", "nobody", true); !errors.As(err, new(outcome)) {
		t.Errorf("got %v", err)
	}
}

func TestExplainShowsWhatIsSeparated(t *testing.T) {
	var out strings.Builder
	e := explained()
	if err := explain(&out, e, time.Now()); err != nil {
		t.Fatal(err)
	}
	if want := "separated  host old\\u001b.local on eth0; ip 192.0.2.7 on eth0\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant a line\n%s", out.String(), want)
	}
	out.Reset()
	e.Device.Separated = []lanfolk.Identifier{}
	if err := explain(&out, e, time.Now()); err != nil || strings.Contains(out.String(), "separated") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
