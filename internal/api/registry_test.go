package api_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
)

// TestOverARegistry holds that the real inventory fits, from a sighting to the
// client and back.
func TestOverARegistry(t *testing.T) {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	go r.Run(t.Context())
	n := serveInventory(t, r)
	c := client.Unix(n.socket)
	o := lanfolk.Origin{Protocol: "mdns", Link: "eth0"}
	id := lanfolk.MACIdentifier(mac(7), o)

	step := 0
	for e, err := range c.Watch(t.Context(), lanfolk.Filter{Kind: lanfolk.KindDevice}) {
		if err != nil {
			t.Fatal(err)
		}
		switch step++; {
		case e.Op == lanfolk.OpSynced:
			r.Observe(lanfolk.Sighting{
				Origin: o, Kind: lanfolk.KindDevice, Key: "nas.local", Name: "nas", Host: "nas.local", What: "answer A nas.local 192.0.2.7",
				Identifiers: []lanfolk.Identifier{id, lanfolk.HostIdentifier("nas.local", o)}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
				State: lanfolk.Reachable, Time: time.Now(), Lifetime: time.Minute,
			})
			continue
		case e.Op == lanfolk.OpAdd && e.Device.MACs[0] == mac(7):
			if _, err := c.SetNames(t.Context(), mac(7).String(), []string{"Store room"}); err != nil {
				t.Fatal(err)
			}
			continue
		case e.Op == lanfolk.OpUpdate && e.Device.Names[0] == "Store room":
		default:
			t.Fatalf("step %d: %s", step, eventText(e))
		}
		break
	}
	x, err := c.Explain(t.Context(), "store room")
	if err != nil || len(x.Evidence) != 1 || x.Evidence[0].What != "answer A nas.local 192.0.2.7" {
		t.Errorf("explain: %+v, %v", x, err)
	}
	if d, err := c.Separate(t.Context(), "nas", id); err != nil || len(d.Separated) != 1 || d.Separated[0] != id {
		t.Errorf("separate: %+v, %v", d, err)
	}
	if d, err := c.Rejoin(t.Context(), "nas", id); err != nil || d.Separated == nil || len(d.Separated) > 0 {
		t.Errorf("rejoin: %+v, %v", d, err)
	}
	n.stop()
}

func serveInventory(t *testing.T, v api.Inventory) *node {
	return serve(t, nil, func(o *api.Options) { o.Inventory = v })
}
