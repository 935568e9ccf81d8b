package store

import (
	"cmp"
	"slices"

	"github.com/lanfolk/lanfolk"
)

// maxRows bounds how many rows are merged in memory, about half a gigabyte.
const maxRows = 1_000_000

// Rows merges observations in memory, as a database does, for what needs no
// file: a capture that is read once. It is for one goroutine.
type Rows struct {
	rows map[lanfolk.ObservationKey]*lanfolk.Observation
	// Dropped counts observations that would have made one row too many.
	Dropped uint64
}

// Add merges o into its row and says whether it is the row's first.
func (r *Rows) Add(o lanfolk.Observation) (first bool) {
	if row, ok := r.rows[o.ObservationKey]; ok {
		row.Merge(o)
		return false
	}
	if len(r.rows) >= maxRows {
		r.Dropped++
		return false
	}
	if r.rows == nil {
		r.rows = make(map[lanfolk.ObservationKey]*lanfolk.Observation)
	}
	r.rows[o.ObservationKey] = &o
	return true
}

// Sorted returns the rows, the one heard last first.
func (r *Rows) Sorted() []lanfolk.Observation {
	rows := make([]lanfolk.Observation, 0, len(r.rows))
	for _, o := range r.rows {
		rows = append(rows, *o)
	}
	slices.SortFunc(rows, func(a, b lanfolk.Observation) int {
		return cmp.Or(
			b.Last.Compare(a.Last),
			cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.Query, b.Query),
			slices.Compare(a.SrcMAC[:], b.SrcMAC[:]),
			slices.Compare(a.DstMAC[:], b.DstMAC[:]),
			cmp.Compare(a.Fingerprint, b.Fingerprint),
		)
	})
	return rows
}
