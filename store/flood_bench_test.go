package store_test

import (
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// BenchmarkRecordFlood records rows that nobody has heard before, while the database
// takes none.
func BenchmarkRecordFlood(b *testing.B) {
	for name, manyMACs := range map[string]bool{"one-mac": false, "a-mac-each": true} {
		b.Run(name, func(b *testing.B) {
			now := time.Unix(1_700_000_000, 0)
			rows := make([]lanfolk.Observation, 1<<18)
			for n := range rows {
				rows[n] = invented(n, manyMACs, now)
			}
			r := store.NewRecorder(&memory{err: store.ErrLocked}, store.RecorderOptions{})
			r.Record(rows[:1<<17]...)
			b.ReportAllocs()
			n := 1 << 17
			for b.Loop() {
				r.Record(rows[n : n+64]...)
				if n += 64; n == len(rows) {
					n = 1 << 17
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/row")
		})
	}
}
