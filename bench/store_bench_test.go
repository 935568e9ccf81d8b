package bench

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	_ "modernc.org/sqlite"
)

// seen returns the n-th of a row of distinct mDNS announcements.
func seen(n int) lanfolk.Observation {
	at := time.Unix(1_700_000_000, int64(n)*1000).UTC()
	mac := lanfolk.MAC{2}
	binary.BigEndian.PutUint32(mac[2:], uint32(n))
	return lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Link: "eth0", Protocol: "mdns", Response: true, Query: fmt.Sprintf("Host-%d.local", n),
			SrcMAC: mac, DstMAC: lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}, DstClass: lanfolk.Multicast,
		},
		SrcIP: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), DstIP: netip.AddrFrom4([4]byte{224, 0, 0, 251}),
		First: at, Last: at, Count: 1,
	}
}

func openStore(b *testing.B) *store.DB {
	b.Helper()
	db, err := store.Open(context.Background(), filepath.Join(b.TempDir(), "lanfolk.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// BenchmarkStoreObservations sets what a Recorder writes, with the merging,
// the indexes and a sync, beside a floor: bare prepared inserts of as many
// bytes in one transaction, into a table with no index.
func BenchmarkStoreObservations(b *testing.B) {
	const batch = 20_000
	perSecond := func(b *testing.B) {
		b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "observations/s")
	}
	b.Run("floor=bare-inserts", func(b *testing.B) {
		db, err := sql.Open("sqlite", filepath.Join(b.TempDir(), "floor.db")+"?_journal_mode=WAL&_synchronous=FULL")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		if _, err := db.Exec("CREATE TABLE t (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)"); err != nil {
			b.Fatal(err)
		}
		n := 0
		for b.Loop() {
			tx, err := db.Begin()
			if err != nil {
				b.Fatal(err)
			}
			s, err := tx.Prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
			if err != nil {
				b.Fatal(err)
			}
			for range batch {
				o := seen(n)
				n++
				if _, err := s.Exec(o.Gateway, o.Link, o.VLAN, o.Protocol, o.Response, o.Query, o.Fingerprint, o.SrcMAC.String(), o.DstMAC.String(),
					string(o.DstClass), o.SrcIP.String(), o.DstIP.String(), o.First.UnixNano(), o.Last.UnixNano(), int64(o.Count)); err != nil {
					b.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
	b.Run("recorder/new-rows", func(b *testing.B) {
		r := store.NewRecorder(openStore(b), store.RecorderOptions{})
		n := 0
		for b.Loop() {
			for range batch {
				r.Record(seen(n))
				n++
			}
			if err := r.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
	b.Run("recorder/known-rows", func(b *testing.B) {
		r := store.NewRecorder(openStore(b), store.RecorderOptions{})
		for b.Loop() {
			for n := range batch {
				r.Record(seen(n))
			}
			if err := r.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
	b.Run("recorder/a-hundred-hosts-chatting", func(b *testing.B) {
		r := store.NewRecorder(openStore(b), store.RecorderOptions{})
		rows := make([]lanfolk.Observation, 100)
		for i := range rows {
			rows[i] = seen(i)
		}
		for b.Loop() {
			for n := range batch {
				r.Record(rows[n%100])
			}
			if err := r.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b)
	})
}

// BenchmarkStoreLatest asks who spoke of a name last, among a million rows.
func BenchmarkStoreLatest(b *testing.B) {
	const rows = 1_000_000
	ctx := context.Background()
	db := openStore(b)
	batch := make([]lanfolk.Observation, 0, 10_000)
	for n := range rows {
		if batch = append(batch, seen(n)); len(batch) == cap(batch) {
			if err := db.SaveObservations(ctx, batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	for name, f := range map[string]func(n int) store.ObservationFilter{
		"name": func(n int) store.ObservationFilter { return store.ObservationFilter{Query: seen(n).Query} },
		"protocol": func(n int) store.ObservationFilter {
			return store.ObservationFilter{Query: seen(n).Query, Protocol: "mdns"}
		},
		"mac": func(n int) store.ObservationFilter { return store.ObservationFilter{MAC: seen(n).SrcMAC} },
	} {
		b.Run("by="+name, func(b *testing.B) {
			for b.Loop() {
				n := rand.IntN(rows)
				o, ok, err := db.Latest(ctx, f(n))
				if err != nil || !ok || o.SrcMAC != seen(n).SrcMAC {
					b.Fatal(o, ok, err)
				}
			}
		})
	}
}

// BenchmarkStoreOpen is the store's part of the node's start.
func BenchmarkStoreOpen(b *testing.B) {
	b.Run("empty-state", func(b *testing.B) {
		dir := b.TempDir()
		for n := 0; b.Loop(); n++ {
			db, err := store.Open(context.Background(), filepath.Join(dir, fmt.Sprint(n)), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			db.Close()
			b.StartTimer()
		}
	})
	b.Run("100000-sightings-restored", func(b *testing.B) {
		ctx := context.Background()
		path := filepath.Join(b.TempDir(), "lanfolk.db")
		db, err := store.Open(ctx, path, store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		var all lanfolk.Batch
		for n := range 100_000 {
			o := seen(n)
			origin := lanfolk.Origin{Protocol: "mdns", Link: "eth0", Source: o.SrcIP.String()}
			all.Sightings = append(all.Sightings, lanfolk.StoredSighting{
				Sighting: lanfolk.Sighting{
					Origin: origin, Key: o.Query, Kind: lanfolk.KindService, Name: o.Query, Type: "_http._tcp", Host: o.Query,
					Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(o.SrcMAC, origin), lanfolk.IPIdentifier(o.SrcIP, origin)},
					Addresses:   []netip.Addr{o.SrcIP}, Port: 80, Attributes: map[string]string{"path": "/", "model": "x"}, Time: o.Last,
				},
				Device: o.Query, FirstSeen: o.First,
			})
		}
		if err := db.Save(ctx, all); err != nil {
			b.Fatal(err)
		}
		db.Close()
		for b.Loop() {
			db, err := store.Open(ctx, path, store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s, err := db.Snapshot(ctx)
			if err != nil || len(s.Sightings) != 100_000 {
				b.Fatal(len(s.Sightings), err)
			}
			b.StopTimer()
			db.Close()
			b.StartTimer()
		}
	})
}
