package store

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
)

// The queries are asked for how they would be run. A scan of the whole table
// is no answer where there are a million rows.
func TestQueriesUseTheirIndex(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "lanfolk.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mac := lanfolk.MAC{2, 0, 0, 0, 0, 1}
	for _, c := range []struct {
		f    ObservationFilter
		want string
	}{
		{ObservationFilter{Query: "nas.local"}, "SEARCH observation USING INDEX observation_name (<expr>=? AND last_seen"},
		{ObservationFilter{Query: "nas.local", Protocol: "mdns"}, "SEARCH observation USING INDEX observation_name (<expr>=? AND last_seen"},
		{ObservationFilter{Query: "nas.local", MAC: mac, Since: time.Now()}, "SEARCH observation USING INDEX observation_name (<expr>=? AND last_seen"},
		{ObservationFilter{}, "SEARCH observation USING INDEX observation_last (last_seen"},
		{ObservationFilter{Protocol: "mdns", Since: time.Now()}, "SEARCH observation USING INDEX observation_last (last_seen"},
		{ObservationFilter{Query: "n*"}, "SEARCH observation USING INDEX observation_last (last_seen"},
		{ObservationFilter{MAC: mac}, "SEARCH observation USING INDEX observation_src (src_mac=?)"},
		{ObservationFilter{MAC: mac, Protocol: "mdns"}, "SEARCH observation USING INDEX observation_dst (dst_mac=?)"},
		{ObservationFilter{SrcMAC: mac}, "SEARCH observation USING INDEX observation_src (src_mac=?)"},
		{ObservationFilter{DstMAC: mac, Query: "n*"}, "SEARCH observation USING INDEX observation_dst (dst_mac=?)"},
		{ObservationFilter{DstMAC: lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}}, "SEARCH observation USING INDEX observation_last (last_seen"},
		{ObservationFilter{SrcMAC: mac, Query: "nas.local"}, "SEARCH observation USING INDEX observation_name (<expr>=? AND last_seen"},
		{ObservationFilter{
			Until: time.Now(), IP: netip.MustParseAddr("10.0.0.1"), Fingerprint: "x", Link: "eth0", Gateway: "g", VLAN: new(uint16), Response: new(bool),
		}, "SEARCH observation USING INDEX observation_last (last_seen"},
	} {
		query, args := db.sql.observations(c.f, 10)
		plan := explain(t, db, query, args...)
		if !strings.Contains(plan, c.want) || strings.Contains(plan, "SCAN") {
			t.Errorf("%+v: %s", c.f, plan)
		}
		if sorts := strings.Contains(plan, "B-TREE FOR ORDER BY"); sorts != strings.Contains(c.want, "_mac=?") {
			t.Errorf("%+v sorts: %v: %s", c.f, sorts, plan)
		}
	}
	key := lanfolk.ObservationKey{Query: "nas.local"}
	if plan := explain(t, db, sqlObservationColumns+"key = $1", rowKey(&key)); !strings.Contains(plan, "USING INDEX sqlite_autoindex_observation_1 (key=?)") {
		t.Errorf("one row: %s", plan)
	}
	plan := explain(t, db, db.sql.forgetOwned, mac.String(), 1)
	if !strings.Contains(plan, "observation_src (src_mac=?)") || !strings.Contains(plan, "observation_dst (dst_mac=?)") {
		t.Errorf("a MAC's worst rows: %s", plan)
	}
	for query, args := range map[string][]any{db.sql.forgetBefore: {1, 2}, db.sql.forgetOldest: {1}} {
		if plan := explain(t, db, query, args...); !strings.Contains(plan, "USING COVERING INDEX observation_last") {
			t.Errorf("%s: %s", query, plan)
		}
	}
}

func explain(t *testing.T, db *DB, query string, args ...any) string {
	t.Helper()
	rows, err := db.read.Query("EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "; ")
}

// Each connection must have what it needs; SQLite takes an unknown pragma in
// silence.
func TestConnectionsAreSetUp(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "lanfolk.db"), Options{BusyTimeout: 1234 * time.Millisecond, MaxBytes: 10 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "1234", "trusted_schema": "0",
		"application_id": "1818324582", "cache_size": "-8192", "journal_size_limit": "16777216", "page_size": "4096", "max_page_count": "2560",
		"auto_vacuum": "2",
	} {
		var got string
		if err := db.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("writer: %s is %s, want %s (%v)", pragma, got, want, err)
		}
	}
	for pragma, want := range map[string]string{"query_only": "1", "busy_timeout": "1234", "trusted_schema": "0", "cache_size": "-2048"} {
		var got string
		if err := db.read.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("reader: %s is %s, want %s (%v)", pragma, got, want, err)
		}
	}
}

func TestMigrationsAreNumberedWithoutAGap(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{sqliteMigrations, postgresMigrations} {
		files, err := migrations.ReadDir(folder)
		if err != nil || len(files) == 0 {
			t.Fatal(err)
		}
		for i, f := range files {
			if want := string([]byte{'0', '0', '0', '0' + byte((i+1)/10), '0' + byte((i+1)%10), '_'}); !strings.HasPrefix(f.Name(), want) {
				t.Errorf("%s/%s: want %s…", folder, f.Name(), want)
			}
		}
	}
}

func TestNanos(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(1_700_000_000, 123456789), time.Unix(1_700_000_000, 123456789).UTC()},
		{time.Unix(-1, 0), time.Time{}},
		{time.Unix(1<<60, 0), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got := fromNanos(toNanos(c.in)); !got.Equal(c.want) {
			t.Errorf("%v becomes %v, want %v", c.in, got, c.want)
		}
	}
}

// TestNewcomersInAFlood: where memory is full of what made-up MACs say, what stays is of the whole
// flood and not of its end, and a MAC that has been here for a while is always heard.
func TestNewcomersInAFlood(t *testing.T) {
	const rows, flood = 1000, 20_000
	p := newPending(rows, 1<<30)
	at := time.Unix(1_700_000_000, 0)
	row := func(mac lanfolk.MAC, query string, at time.Time) *lanfolk.Observation {
		return &lanfolk.Observation{
			ObservationKey: lanfolk.ObservationKey{Protocol: "mdns", Query: query, SrcMAC: mac, DstClass: lanfolk.Multicast}, First: at, Last: at, Count: 1,
		}
	}
	known := lanfolk.MAC{2, 9}
	p.add(row(known, "printer.local", at))
	at = at.Add(2 * settledAfter)
	p.add(row(known, "printer.local", at))
	var gone uint64
	for i := range flood {
		gone += p.add(row(lanfolk.MAC{2, 1, byte(i >> 16), byte(i >> 8), byte(i)}, fmt.Sprintf("flood-%d.local", i), at)).room
	}
	for i := range 50 {
		name := fmt.Sprintf("service-%d.local", i)
		if lost := p.add(row(known, name, at)); p.rows[row(known, name, at).ObservationKey] == nil {
			t.Errorf("%s of a MAC that is known isn't there: %+v", name, lost)
		}
	}
	early := 0
	for _, w := range p.rows {
		var i int
		if n, _ := fmt.Sscanf(w.Query, "flood-%d.local", &i); n == 1 && i < flood/2 {
			early++
		}
	}
	if p.len() != rows || gone != flood+1-rows || early < rows/2 {
		t.Errorf("%d rows, %d gone, %d of the flood's first half", p.len(), gone, early)
	}
}
