package conformance

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"pgregory.net/rapid"
)

// same compares values, addresses by their own equality.
func same() cmp.Option {
	return cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
}

// heard returns an mDNS announcement of name by the host with number n, heard
// n seconds after start.
func heard(n int, name string) lanfolk.Observation {
	at := start().Add(time.Duration(n) * time.Second)
	return lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Link: "eth0", Protocol: "mdns", Response: true, Query: name,
			SrcMAC: lanfolk.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}, DstMAC: lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb},
			DstClass: lanfolk.Multicast,
		},
		SrcIP: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), DstIP: netip.MustParseAddr("224.0.0.251"),
		First: at, Last: at, Count: 1,
	}
}

func query(t tb, s Store, f store.ObservationFilter) []lanfolk.Observation {
	t.Helper()
	rows, err := s.Observations(context.Background(), f)
	noErr(t, err)
	return rows
}

func observationRoundTrip(t *testing.T, open Opener) {
	s := opened(t, open)
	if rows := query(t, s, store.ObservationFilter{}); rows == nil || len(rows) > 0 {
		t.Errorf("an empty store answers with %#v, want a list with nothing in it", rows)
	}
	full := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Gateway: "cellar", Link: "br0", VLAN: 4094, Protocol: "dhcp", Response: true,
			Query: "Büro-Drucker", Fingerprint: "1,3,6,15|MSFT 5.0", SrcMAC: lanfolk.MAC{0, 1, 2, 3, 4, 5},
			DstMAC: lanfolk.MAC{255, 255, 255, 255, 255, 255}, DstClass: lanfolk.Broadcast,
		},
		SrcIP: netip.MustParseAddr("fe80::1%br0"), DstIP: netip.MustParseAddr("::ffff:10.0.0.1"),
		First: start(), Last: start().Add(time.Nanosecond), Count: 1 << 40,
	}
	noErr(t, s.SaveObservations(context.Background(), []lanfolk.Observation{full}))
	if diff := cmp.Diff([]lanfolk.Observation{full}, query(t, s, store.ObservationFilter{}), same()); diff != "" {
		t.Error(diff)
	}

	// Each field of the key tells rows apart.
	variants := []lanfolk.Observation{{}}
	for _, change := range []func(k *lanfolk.ObservationKey){
		func(k *lanfolk.ObservationKey) { k.Gateway = "x" },
		func(k *lanfolk.ObservationKey) { k.Link = "x" },
		func(k *lanfolk.ObservationKey) { k.VLAN = 1 },
		func(k *lanfolk.ObservationKey) { k.Protocol = "x" },
		func(k *lanfolk.ObservationKey) { k.Response = true },
		func(k *lanfolk.ObservationKey) { k.Query = "x" },
		func(k *lanfolk.ObservationKey) { k.Query = "X" },
		func(k *lanfolk.ObservationKey) { k.Fingerprint = "x" },
		func(k *lanfolk.ObservationKey) { k.SrcMAC = lanfolk.MAC{5: 1} },
		func(k *lanfolk.ObservationKey) { k.DstMAC = lanfolk.MAC{5: 1} },
		func(k *lanfolk.ObservationKey) { k.DstClass = lanfolk.Unicast },
	} {
		var o lanfolk.Observation
		change(&o.ObservationKey)
		variants = append(variants, o)
	}
	noErr(t, s.SaveObservations(context.Background(), variants))
	if got, want := len(query(t, s, store.ObservationFilter{})), 1+len(variants); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
}

func observationMerge(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	early, late := heard(0, "nas.local"), heard(0, "nas.local")
	late.Last, late.First = late.Last.Add(time.Minute), late.First.Add(time.Minute)
	late.SrcIP, late.Count = netip.MustParseAddr("10.0.0.99"), 5
	want := late
	want.First, want.Count = early.First, 6

	for name, batches := range map[string][][]lanfolk.Observation{
		"in order":        {{early}, {late}},
		"the other order": {{late}, {early}},
		"in one batch":    {{late, early}},
	} {
		s := s
		key := lanfolk.ObservationKey{Gateway: name}
		for _, b := range batches {
			b = slices.Clone(b)
			for i := range b {
				b[i].Gateway = key.Gateway
			}
			noErr(t, s.SaveObservations(ctx, b))
		}
		want := want
		want.Gateway = name
		rows := query(t, s, store.ObservationFilter{})
		rows = slices.DeleteFunc(rows, func(o lanfolk.Observation) bool { return o.Gateway != name })
		if diff := cmp.Diff([]lanfolk.Observation{want}, rows, same()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func observationModel(t *testing.T, open Opener) {
	s := opened(t, open)
	rapid.Check(t, func(t *rapid.T) {
		if _, err := s.ForgetObservations(context.Background(), start().Add(time.Hour), store.Retention{MaxAge: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		model := map[lanfolk.ObservationKey]lanfolk.Observation{}
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			batch := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) lanfolk.Observation {
				o := heard(rapid.IntRange(0, 2).Draw(t, "host"), rapid.SampledFrom([]string{"a.local", "b.local"}).Draw(t, "name"))
				o.First = start().Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "first")))
				o.Last = o.First.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "length")))
				if rapid.Bool().Draw(t, "has no first time") {
					o.First = time.Time{}
				}
				o.SrcIP = netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "address")})
				o.Count = rapid.Uint64Range(1, 9).Draw(t, "count")
				return o
			}), 0, 6).Draw(t, "batch")
			for _, o := range batch {
				row, ok := model[o.ObservationKey]
				if !ok {
					model[o.ObservationKey] = o
					continue
				}
				row.Merge(o)
				model[o.ObservationKey] = row
			}
			if err := s.SaveObservations(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
		}
		got := map[lanfolk.ObservationKey]lanfolk.Observation{}
		rows, err := s.Observations(context.Background(), store.ObservationFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range rows {
			got[o.ObservationKey] = o
		}
		if !maps.Equal(model, got) {
			t.Fatal(cmp.Diff(model, got, same()))
		}
	})
}

func observationFilters(t *testing.T, open Opener) {
	s := opened(t, open)
	ask := heard(6, "nas.local")
	ask.Protocol, ask.Response, ask.DstMAC, ask.DstClass = "dns", false, lanfolk.MAC{2, 0, 0, 0, 0, 1}, lanfolk.Unicast
	rows := []lanfolk.Observation{
		heard(1, "nas.local"), heard(2, "NAS.local"), heard(3, "50%.local"), heard(4, "50x.local"), heard(5, `a\_b.local`), ask,
		heard(7, "x-nas.local"), heard(8, "ÄRGER.local"),
	}
	noErr(t, s.SaveObservations(context.Background(), rows))
	for _, c := range []struct {
		rule string
		f    store.ObservationFilter
		want string
	}{
		{"no filter: newest first", store.ObservationFilter{}, "8 7 6 5 4 3 2 1"},
		{"a limit", store.ObservationFilter{Limit: 3}, "8 7 6"},
		{"a protocol", store.ObservationFilter{Protocol: "dns"}, "6"},
		{"a protocol that nobody spoke", store.ObservationFilter{Protocol: "DNS"}, ""},
		{"a name, in any case", store.ObservationFilter{Query: "Nas.LOCAL"}, "6 2 1"},
		{"a name with its last dot", store.ObservationFilter{Query: "nas.local."}, "6 2 1"},
		{"only ASCII letters fold", store.ObservationFilter{Query: "ärger.local"}, ""},
		{"other letters are as they are", store.ObservationFilter{Query: "Ärger.local"}, "8"},
		{"a name and a protocol", store.ObservationFilter{Query: "nas.local", Protocol: "mdns"}, "2 1"},
		{"a name by another", store.ObservationFilter{Query: "nas.local", Alias: "50X.local"}, "6 4 2 1"},
		{"a name by another, and a protocol", store.ObservationFilter{Query: "nobody.local", Alias: "NAS.local.", Protocol: "mdns"}, "2 1"},
		{"a pattern", store.ObservationFilter{Query: "*NAS*"}, "7 6 2 1"},
		{"% is no pattern", store.ObservationFilter{Query: "50%.local"}, "3"},
		{"% in a pattern is itself", store.ObservationFilter{Query: "50%*"}, "3"},
		{`_ and \ in a pattern are themselves`, store.ObservationFilter{Query: `A\_*`}, "5"},
		{"everything", store.ObservationFilter{Query: "*"}, "8 7 6 5 4 3 2 1"},
		{"a MAC on either side", store.ObservationFilter{MAC: lanfolk.MAC{2, 0, 0, 0, 0, 1}}, "6 1"},
		{"a MAC and a limit", store.ObservationFilter{MAC: lanfolk.MAC{2, 0, 0, 0, 0, 1}, Limit: 1}, "6"},
		{"a MAC and a name", store.ObservationFilter{MAC: lanfolk.MAC{2, 0, 0, 0, 0, 1}, Query: "nas.local", Protocol: "mdns"}, "1"},
		{"a MAC and a protocol", store.ObservationFilter{MAC: lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}, Protocol: "dns"}, ""},
		{"since a moment, that included", store.ObservationFilter{Since: start().Add(6 * time.Second)}, "8 7 6"},
		{"since a moment, of a name", store.ObservationFilter{Since: start().Add(2 * time.Second), Query: "nas.local"}, "6 2"},
		{"since a moment, of a MAC", store.ObservationFilter{Since: start().Add(2 * time.Second), MAC: lanfolk.MAC{2, 0, 0, 0, 0, 1}}, "6"},
		{"SQL is text", store.ObservationFilter{Query: "' OR 1=1 --", Protocol: "'; DROP TABLE observation; --"}, ""},
	} {
		var got []string
		for _, o := range query(t, s, c.f) {
			got = append(got, fmt.Sprint(int(o.Last.Sub(start())/time.Second)))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %+v: rows %q, want %q", c.rule, c.f, got, c.want)
		}
		newest, ok, err := s.Latest(context.Background(), c.f)
		noErr(t, err)
		if first, _, _ := strings.Cut(c.want, " "); ok != (first != "") || (ok && fmt.Sprint(int(newest.Last.Sub(start())/time.Second)) != first) {
			t.Errorf("%s: latest: %v %+v, want %q", c.rule, ok, newest, first)
		}
	}
}

func observationPages(t *testing.T, open Opener) {
	s := opened(t, open)
	const n = 1100
	rows := make([]lanfolk.Observation, n)
	for i := range rows {
		rows[i] = heard(i, "nas.local")
		rows[i].Last = start().Add(time.Duration(i/1050) * time.Second) // more than a page of one time
	}
	noErr(t, s.SaveObservations(context.Background(), rows))
	for _, f := range []store.ObservationFilter{{}, {Query: "nas.local"}, {Query: "n*"}, {MAC: rows[0].DstMAC}} {
		seen := map[lanfolk.MAC]bool{}
		last := start().Add(time.Hour)
		for o, err := range s.AllObservations(context.Background(), f) {
			noErr(t, err)
			if seen[o.SrcMAC] {
				t.Fatalf("%+v: %v twice", f, o.SrcMAC)
			}
			if o.Last.After(last) {
				t.Fatalf("%+v: %v after %v", f, o.Last, last)
			}
			seen[o.SrcMAC], last = true, o.Last
		}
		if len(seen) != n {
			t.Errorf("%+v: %d rows, want %d", f, len(seen), n)
		}
	}
	if got := len(query(t, s, store.ObservationFilter{Limit: 1001})); got != 1001 {
		t.Errorf("%d rows for a limit of 1001", got)
	}
	for range s.AllObservations(context.Background(), store.ObservationFilter{}) {
		break // must leave nothing open: the cleanup closes the store
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Observations(stopped, store.ObservationFilter{}); err == nil {
		t.Error("no error for a context that has ended")
	}
}

func observationBytes(t *testing.T, open Opener) {
	s := opened(t, open)
	names := []string{"a\x00b", "a\uf700b", "a\ufffdb", "a\xffb", "a\xfeb", "a\uf7ffb", "\xf0\x9f", "a\r\n\x1b[2Jb", "\uf7ef\uf79f", "\xed\xa0\x80"}
	for i, name := range names {
		o := heard(i, name)
		o.Fingerprint, o.Link = name, name
		noErr(t, s.SaveObservations(context.Background(), []lanfolk.Observation{o}))
		if diff := cmp.Diff([]lanfolk.Observation{o}, query(t, s, store.ObservationFilter{Query: name}), same()); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
	if got := len(query(t, s, store.ObservationFilter{Query: "a*b"})); got != 7 {
		t.Errorf("%d names begin with a and end with b, want 7", got)
	}
}

func observationBounds(t *testing.T, open Opener) {
	s := opened(t, open)
	o := heard(1, "far.local")
	o.First, o.Last, o.Count = time.Unix(-1<<40, 0), time.Unix(1<<50, 0), math.MaxUint64
	noErr(t, s.SaveObservations(context.Background(), []lanfolk.Observation{o}))
	noErr(t, s.SaveObservations(context.Background(), []lanfolk.Observation{o}))
	got, ok, err := s.Latest(context.Background(), store.ObservationFilter{})
	noErr(t, err)
	if !ok || got.Count < math.MaxInt64 || got.Last.Year() < 2200 || got.Last.Year() > 9999 {
		t.Errorf("%+v", got)
	}
	long := heard(2, strings.Repeat("long-", 100_000))
	noErr(t, s.SaveObservations(context.Background(), []lanfolk.Observation{long}))
	if rows := query(t, s, store.ObservationFilter{Query: long.Query}); len(rows) != 1 || rows[0].Query != long.Query {
		t.Errorf("a long name: %d rows", len(rows))
	}
}

func observationRetention(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	const n = 1200
	rows := make([]lanfolk.Observation, n)
	for i := range rows {
		rows[i] = heard(i, "nas.local")
	}
	noErr(t, s.SaveObservations(ctx, rows))
	now := start().Add(n * time.Second)
	for _, c := range []struct {
		keep         store.Retention
		removed, min int64 // min: the oldest that is left
	}{
		{store.Retention{}, 0, 0},
		{store.Retention{MaxAge: n * time.Second, MaxRows: n}, 0, 0},
		{store.Retention{MaxAge: 600 * time.Second}, 600, 600},
		{store.Retention{MaxRows: 50}, 550, 1150},
		{store.Retention{MaxRows: 10, MaxAge: 40 * time.Second}, 40, 1190},
		{store.Retention{MaxAge: time.Nanosecond}, 10, n},
	} {
		removed, err := s.ForgetObservations(ctx, now, c.keep)
		noErr(t, err)
		left, err := s.CountObservations(ctx)
		noErr(t, err)
		if int64(removed.Sum()) != c.removed || left != n-c.min {
			t.Errorf("%+v: removed %+v, left %d, want %d, %d", c.keep, removed, left, c.removed, n-c.min)
		}
		for _, o := range query(t, s, store.ObservationFilter{}) {
			if o.Last.Before(start().Add(time.Duration(c.min) * time.Second)) {
				t.Fatalf("%+v: a row of %v is left", c.keep, o.Last)
			}
		}
	}
}

func cancelled(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.SaveObservations(ctx, []lanfolk.Observation{heard(1, "nas.local")}); err == nil {
		t.Error("observations were taken")
	}
	if err := s.Save(ctx, lanfolk.Batch{Devices: []lanfolk.DeviceRecord{{ID: "d1"}}}); err == nil {
		t.Error("a batch was taken")
	}
	if err := s.Commit(ctx, []lanfolk.DeviceRecord{{ID: "d1"}}); err == nil {
		t.Error("a record was taken")
	}
	if n, err := s.CountObservations(context.Background()); n != 0 || err != nil {
		t.Errorf("%d observations, %v", n, err)
	}
	if got, err := s.Snapshot(context.Background()); len(got.Devices) != 0 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func observationShares(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	var rows []lanfolk.Observation
	for i := range 100 { // the router answers one host's made-up questions
		o := heard(i, fmt.Sprintf("x%d.example", i))
		o.Protocol, o.SrcMAC, o.DstMAC, o.DstClass = "dns", lanfolk.MAC{2, 1}, lanfolk.MAC{2, 2}, lanfolk.Unicast
		rows = append(rows, o)
	}
	for i := range 10 { // what the host says again and again, longest ago
		o := heard(-i, fmt.Sprintf("real%d.example", i))
		o.Response, o.Protocol, o.SrcMAC, o.DstMAC, o.DstClass, o.Count = false, "dns", lanfolk.MAC{2, 2}, lanfolk.MAC{2, 1}, lanfolk.Unicast, 2
		rows = append(rows, o)
	}
	own := heard(-50, "router.local") // the router's own announcement is none of the host's
	own.SrcMAC = lanfolk.MAC{2, 1}
	rows = append(rows, own, heard(-100, "other.local"))
	noErr(t, s.SaveObservations(ctx, rows))
	gone, err := s.ForgetObservations(ctx, start(), store.Retention{MaxShare: 40})
	noErr(t, err)
	if want := (store.Forgotten{Share: 72}); gone != want { // 110 - 40, and a twentieth more
		t.Errorf("forgotten %+v, want %+v", gone, want)
	}
	if got := len(query(t, s, store.ObservationFilter{Query: "real*"})); got != 10 {
		t.Errorf("%d of 10 rows that were heard more than once are left", got)
	}
	if got := len(query(t, s, store.ObservationFilter{Query: "*.local"})); got != 2 {
		t.Errorf("%d of 2 rows of others are left", got)
	}
	if got := query(t, s, store.ObservationFilter{Query: "x*"}); len(got) != 28 || got[27].Query != "x72.example" {
		t.Errorf("%d rows are left, the oldest %+v", len(got), got[len(got)-1])
	}
}

func observationPassers(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	var rows []lanfolk.Observation
	for i := range 30 { // hosts that are there for long, and not heard lately
		o := heard(i, "host.local")
		o.First = o.First.Add(-2 * time.Hour)
		rows = append(rows, o)
	}
	for i := range 70 {
		rows = append(rows, heard(1000+i, "made.up"))
	}
	noErr(t, s.SaveObservations(ctx, rows))
	gone, err := s.ForgetObservations(ctx, start(), store.Retention{MaxRows: 60})
	noErr(t, err)
	if want := (store.Forgotten{Room: 40}); gone != want {
		t.Errorf("forgotten %+v, want %+v", gone, want)
	}
	if got := len(query(t, s, store.ObservationFilter{Query: "host.local"})); got != 30 {
		t.Errorf("%d of 30 hosts are left", got)
	}
	// They lose none as long as those who passed by have more than half.
	_, err = s.ForgetObservations(ctx, start(), store.Retention{MaxRows: 20})
	noErr(t, err)
	if got := len(query(t, s, store.ObservationFilter{})); got != 20 {
		t.Errorf("%d rows are left, want 20", got)
	}
	if got := len(query(t, s, store.ObservationFilter{Query: "made.up"})); got != 10 {
		t.Errorf("%d of those who passed by are left, want half of 20", got)
	}
}

func observationCursor(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	rows := make([]lanfolk.Observation, 25)
	for i := range rows {
		rows[i] = heard(i, "nas.local")
		rows[i].Last = start().Add(time.Duration(i/10) * time.Second)
		rows[i].Fingerprint = fmt.Sprintf("f%d", i%2)
	}
	noErr(t, s.SaveObservations(ctx, rows))
	for _, f := range []store.ObservationFilter{
		{Limit: 10}, {Limit: 10, Query: "nas.local"}, {Limit: 10, MAC: rows[0].DstMAC}, {Limit: 10, DstMAC: rows[0].DstMAC, Query: "n*"},
	} {
		seen := map[lanfolk.MAC]bool{}
		for pages := 1; ; pages++ {
			page, next, err := s.ObservationPage(ctx, f)
			noErr(t, err)
			for _, o := range page {
				seen[o.SrcMAC] = true
			}
			again, err := store.ParseCursor(next.String())
			if f.After = again; err != nil || again != next {
				t.Fatalf("%v reads back as %v, %v", next, again, err)
			}
			if next.IsZero() {
				if pages != 3 || len(seen) != len(rows) {
					t.Errorf("%+v: %d rows in %d pages", f, len(seen), pages)
				}
				break
			}
		}
	}
	for _, fingerprint := range []string{"f1", store.FingerprintHash("f1")} {
		if got := len(query(t, s, store.ObservationFilter{Fingerprint: fingerprint})); got != 12 {
			t.Errorf("%d rows have the fingerprint %s, want 12", got, fingerprint)
		}
	}
	vlan, yes := uint16(0), true
	for _, f := range []store.ObservationFilter{
		{SrcMAC: rows[3].SrcMAC}, {IP: rows[3].SrcIP}, {IP: rows[3].SrcIP, VLAN: &vlan, Response: &yes, Link: "eth0", DstMAC: rows[3].DstMAC},
	} {
		if got := query(t, s, f); len(got) != 1 || got[0].SrcMAC != rows[3].SrcMAC {
			t.Errorf("%+v: %d rows", f, len(got))
		}
	}
	no, other := false, uint16(7)
	for _, f := range []store.ObservationFilter{
		{Response: &no}, {VLAN: &other}, {Link: "eth1"}, {Gateway: "cellar"}, {Until: start()}, {DstMAC: rows[3].SrcMAC}, {Fingerprint: "f9"},
	} {
		if got := query(t, s, f); len(got) != 0 {
			t.Errorf("%+v: %d rows, want none", f, len(got))
		}
	}
	got, ok, err := s.Observation(ctx, rows[7].ObservationKey)
	noErr(t, err)
	if diff := cmp.Diff(rows[7], got, same()); !ok || diff != "" {
		t.Errorf("one row: %v %s", ok, diff)
	}
	if _, ok, err := s.Observation(ctx, lanfolk.ObservationKey{Query: "nas.local"}); ok || err != nil {
		t.Errorf("a row that isn't there: %v, %v", ok, err)
	}
}
