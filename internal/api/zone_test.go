package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
)

// zones is an api.Zones with one zone.
type zones struct{}

func (zones) Zones() []find.Zone {
	return []find.Zone{{Domain: "lan.example.com", Serial: 7, Services: 1, Records: 12}}
}

func (zones) ZoneFile(domain string, include bool) ([]byte, error) {
	if domain != "lan.example.com" {
		return nil, fmt.Errorf("zone %s: %w", domain, lanfolk.ErrNotFound)
	}
	return fmt.Appendf(nil, "$ORIGIN %s.\n; include %v\n", domain, include), nil
}

func TestZones(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.Zones = zones{} })
	if resp, body := n.call(t, "GET", "/api/v1/zones", ""); resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != `[{"domain":"lan.example.com","serial":7,"services":1,"records":12}]` {
		t.Errorf("zones: %d %s", resp.StatusCode, body)
	}
	for path, want := range map[string]string{
		"/api/v1/zones/lan.example.com/file":              "$ORIGIN lan.example.com.\n; include false\n",
		"/api/v1/zones/lan.example.com/file?include=true": "$ORIGIN lan.example.com.\n; include true\n",
	} {
		if resp, body := n.call(t, "GET", path, ""); resp.StatusCode != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
	if resp, body := n.call(t, "GET", "/api/v1/zones/example.org/file", ""); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "zone example.org") {
		t.Errorf("another zone: %d %s", resp.StatusCode, body)
	}
	none := serve(t, newInventory())
	for _, path := range []string{"/api/v1/zones", "/api/v1/zones/lan.example.com/file"} {
		if resp, _ := none.call(t, "GET", path, ""); resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s without zones: %d", path, resp.StatusCode)
		}
	}
	var b bytes.Buffer
	c := client.Unix(n.socket)
	if list, err := c.Zones(t.Context()); err != nil || len(list) != 1 || list[0].Serial != 7 {
		t.Errorf("the client's zones: %v %v", list, err)
	}
	if err := c.ZoneFile(t.Context(), "lan.example.com", true, &b); err != nil || !strings.Contains(b.String(), "include true") {
		t.Errorf("the client's file: %q %v", b.String(), err)
	}
}
