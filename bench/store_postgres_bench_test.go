package bench

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/test/lab"
)

// BenchmarkStoreMillion sets PostgreSQL beside SQLite: a million observations over 50,000
// keys through a Recorder, which writes a hundred thousand at a time as it would in a
// second of that many. The floor is PostgreSQL's own quickest way for the same rows: COPY
// into a table without any index, which merges nothing. Both sync what they commit.
func BenchmarkStoreMillion(b *testing.B) {
	const observations, keys, second = 1_000_000, 50_000, 100_000
	ctx := context.Background()
	server := lab.New(b).Host("db").Postgres("fsync=on", "shared_buffers=128MB", "autovacuum=on")
	all := make([]lanfolk.Observation, keys)
	for n := range all {
		all[n] = seen(n)
	}
	through := func(b *testing.B, db *store.DB) {
		order := rand.New(rand.NewPCG(1, 2))
		var rows uint64
		for b.Loop() {
			r := store.NewRecorder(db, store.RecorderOptions{})
			for n := range observations {
				o := all[order.IntN(keys)]
				o.Last = o.Last.Add(time.Duration(n) * time.Microsecond)
				r.Record(o)
				if n%second == second-1 {
					if err := r.Flush(ctx); err != nil {
						b.Fatal(err)
					}
				}
			}
			rows += r.Stats().Written
		}
		b.ReportMetric(observations*float64(b.N)/b.Elapsed().Seconds(), "observations/s")
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	}
	b.Run("sqlite", func(b *testing.B) { through(b, openStore(b)) })
	db, err := store.Open(ctx, server.Socket(), store.Options{Node: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.Run("postgres", func(b *testing.B) { through(b, db) })
	b.Run("floor=copy", func(b *testing.B) {
		c, err := pgx.Connect(ctx, server.Socket())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, "CREATE TABLE bare (a text, b text, c text, d text, e text, f text, g text, h bigint, i bigint, j bigint)"); err != nil {
			b.Fatal(err)
		}
		rows := 0
		for b.Loop() {
			from := pgx.CopyFromSlice(keys, func(n int) ([]any, error) {
				o := &all[n]
				return []any{o.Link, o.Protocol, o.Query, o.SrcMAC.String(), o.DstMAC.String(), o.SrcIP.String(), o.DstIP.String(),
					o.First.UnixNano(), o.Last.UnixNano(), int64(o.Count)}, nil
			})
			if _, err := c.CopyFrom(ctx, pgx.Identifier{"bare"}, []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}, from); err != nil {
				b.Fatal(err)
			}
			rows += keys
		}
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("postgres/latest-by-name", func(b *testing.B) {
		for b.Loop() {
			n := rand.IntN(keys)
			if o, ok, err := db.Latest(ctx, store.ObservationFilter{Query: all[n].Query}); err != nil || !ok || o.SrcMAC != all[n].SrcMAC {
				b.Fatal(o, ok, err)
			}
		}
	})
	b.Run("postgres/newest-thousand", func(b *testing.B) {
		for b.Loop() {
			if rows, err := db.Observations(ctx, store.ObservationFilter{Limit: 1000}); err != nil || len(rows) != 1000 {
				b.Fatal(len(rows), err)
			}
		}
	})
}
