package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/store"
)

// kept is a database of fingerprints that remembers what it was asked for last.
type kept struct {
	rows  []lanfolk.Observation
	asked store.ObservationFilter
}

func keeps(rows ...lanfolk.Observation) *kept { return &kept{rows: rows} }

func (k *kept) Latest(_ context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	k.asked = f
	if len(k.rows) == 0 {
		return lanfolk.Observation{}, false, nil
	}
	return k.rows[0], true, nil
}

func (k *kept) ObservationPage(_ context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	k.asked = f
	return k.rows, store.Cursor{}, nil
}

func TestEveryFilterOfFingerprintsArrives(t *testing.T) {
	row := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{Protocol: "dhcp", Query: "printer", Fingerprint: "dhcp1:type=1", SrcMAC: mac(1)},
		First:          noon(), Last: noon(), Count: 3,
	}
	k := keeps(row)
	n := serve(t, newInventory(), func(o *api.Options) { o.Fingerprints = k })
	c := client.Unix(n.socket)
	defer c.Close()
	after, err := store.ParseCursor("z-1")
	if err != nil {
		t.Fatal(err)
	}
	vlan, response := uint16(0), false
	want := store.ObservationFilter{
		Protocol: "dhcp", Query: "prin*&x=1", Fingerprint: "dhcp1:type=1;opts=53,61", MAC: mac(1), SrcMAC: mac(2), DstMAC: mac(3),
		IP: netip.MustParseAddr("fe80::1%eth0"), Link: "eth0", Gateway: "cellar", VLAN: &vlan, Response: &response,
		Since: noon(), Until: noon().Add(time.Nanosecond), After: after, Limit: 7,
	}
	same := cmp.Options{sameAddr(), cmp.Comparer(func(a, b store.Cursor) bool { return a == b })}
	if _, _, err := c.Fingerprints(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, k.asked, same); diff != "" {
		t.Error(diff)
	}
	got, ok, err := c.LatestFingerprint(t.Context(), want)
	if diff := cmp.Diff(row, got, same); !ok || err != nil || diff != "" {
		t.Error(ok, err, diff)
	}
	if diff := cmp.Diff(want, k.asked, same); diff != "" {
		t.Error(diff)
	}
	// The fingerprint's key is told, too.
	_, body := n.call(t, http.MethodGet, "/api/v1/fingerprints", "")
	if want := `"fingerprint_hash":"` + store.FingerprintHash("dhcp1:type=1") + `"`; !strings.Contains(body, want) {
		t.Errorf("%s; want %s in it", body, want)
	}
	k.rows = nil
	if _, ok, err := c.LatestFingerprint(t.Context(), store.ObservationFilter{}); ok || err != nil {
		t.Errorf("of none: %v, %v", ok, err)
	}
}

func TestFingerprintsThatCantBeAskedFor(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.Fingerprints = keeps() })
	for query, want := range map[string]string{
		"mac=xyz":                "query.mac",
		"src_mac=1":              "query.src_mac",
		"dst_mac=02:00:00:00:00": "query.dst_mac",
		"ip=192.0.2":             "query.ip",
		"vlan=4096":              "query.vlan",
		"vlan=-1":                "query.vlan",
		"response=maybe":         "query.response",
		"since=yesterday":        "query.since",
		"limit=-1":               "query.limit",
		"after=1":                "query.after",
		"after=--1":              "query.after",
		"after=1-zzzzzzzzzzzzzz": "query.after",
	} {
		resp, body := n.call(t, http.MethodGet, "/api/v1/fingerprints?"+query, "")
		var problem struct{ Errors []struct{ Location string } }
		if err := json.Unmarshal([]byte(body), &problem); err != nil || resp.StatusCode != http.StatusUnprocessableEntity || len(problem.Errors) != 1 || problem.Errors[0].Location != want {
			t.Errorf("%s: %d %s; want 422 for %s", query, resp.StatusCode, body, want)
		}
	}
}

func TestFingerprintsComeInPages(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "rows.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := store.NewRecorder(db, store.RecorderOptions{})
	for i := range 25 {
		at := noon().Add(time.Duration(i/10) * time.Second)
		r.Record(lanfolk.Observation{
			ObservationKey: lanfolk.ObservationKey{Protocol: "mdns", Query: "a&b=*.local", SrcMAC: mac(byte(i))}, First: at, Last: at, Count: 1,
		})
	}
	n := serve(t, newInventory(), func(o *api.Options) { o.Fingerprints = r })
	c := client.Unix(n.socket)
	defer c.Close()
	f := store.ObservationFilter{Protocol: "mdns", Query: "a&b=**", Limit: 10}
	seen := make(map[lanfolk.MAC]bool)
	var sizes []int
	for {
		rows, next, err := c.Fingerprints(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range rows {
			seen[o.SrcMAC] = true
		}
		sizes = append(sizes, len(rows))
		if f.After = next; next.IsZero() {
			break
		}
	}
	if diff := cmp.Diff([]int{10, 10, 5}, sizes); diff != "" || len(seen) != 25 {
		t.Errorf("%d rows: %s", len(seen), diff)
	}
	// The header names the next page whole.
	resp, _ := n.call(t, http.MethodGet, "/api/v1/fingerprints?limit=10&query="+url.QueryEscape("a&b=**"), "")
	link, ok := strings.CutSuffix(resp.Header.Get("Link"), `>; rel="next"`)
	if link = strings.TrimPrefix(link, "<"); !ok {
		t.Fatalf("Link: %q", resp.Header.Get("Link"))
	}
	var rows []lanfolk.Observation
	resp, body := n.call(t, http.MethodGet, link, "")
	if err := json.Unmarshal([]byte(body), &rows); err != nil || resp.StatusCode != http.StatusOK || len(rows) != 10 {
		t.Errorf("%s: %d %s", link, resp.StatusCode, body)
	}
}
