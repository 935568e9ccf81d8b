package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
)

// settleWait is how long a reader waits at most for what waits to be written.
const settleWait = 500 * time.Millisecond

// Latest returns the row heard last of those that f asks for, and whether there is
// one: out of memory and the database together, so that it is never late. Where the
// database can't be read it is what memory knows.
func (r *Recorder) Latest(ctx context.Context, f ObservationFilter) (lanfolk.Observation, bool, error) {
	if f.Query == "" || f.Alias != "" || strings.Contains(f.Query, "*") || !f.Until.IsZero() || f.After.set {
		f.Limit = 1
		rows, _, err := r.ObservationPage(ctx, f)
		if err != nil || len(rows) == 0 {
			return lanfolk.Observation{}, false, err
		}
		return rows[0], true, nil
	}
	name := foldName(f.Query)
	match := f.matches()
	r.mu.Lock()
	here, ok := r.pending.newest(name, match)
	r.mu.Unlock()
	if ok = ok && !here.Last.Before(f.Since); ok {
		// A database that is away isn't waited for: what memory has is newer anyhow.
		limited, cancel := context.WithTimeout(ctx, settleWait)
		defer cancel()
		ctx = limited
	}
	there, known, err := r.store.Latest(ctx, f)
	switch {
	case err != nil && ok:
		return here, true, nil // the newest in any case; only its past is missing
	case err != nil || (!ok && !known):
		return lanfolk.Observation{}, false, err
	case !ok || (known && there.Last.After(here.Last)):
		return r.join(there), true, nil
	case known && there.ObservationKey == here.ObservationKey:
		return joined(there, here), true, nil
	}
	if before, known, err := r.store.Observation(ctx, here.ObservationKey); err == nil && known {
		here = joined(before, here)
	}
	return here, true, nil
}

// join adds to a row of the database what memory has for it.
func (r *Recorder) join(row lanfolk.Observation) lanfolk.Observation {
	r.mu.Lock()
	here, ok := r.pending.whole(row.ObservationKey)
	r.mu.Unlock()
	if !ok {
		return row
	}
	return joined(row, here)
}

// joined adds to a row of the database one of memory, which was looked at first. If
// it was written in the meantime the database's row holds it: then that is heard last
// when the other is, or later.
func joined(there, here lanfolk.Observation) lanfolk.Observation {
	if there.Last.Before(here.Last) {
		there.Merge(here)
	}
	return there
}

// ObservationPage returns the rows that f asks for, the one heard last first, and
// where they go on. What waits in memory is written first. Where that can't be
// done, all of it stands on the first page, which is longer for it, in its place among
// the database's rows; where these can't be read either it is all that there is.
func (r *Recorder) ObservationPage(ctx context.Context, f ObservationFilter) ([]lanfolk.Observation, Cursor, error) {
	wait, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	if r.Stats().Err == nil && r.Flush(wait) == nil {
		return r.store.ObservationPage(ctx, f)
	}
	var here map[lanfolk.ObservationKey]lanfolk.Observation
	if !f.After.set { // what waits is newer than nearly all: it stands on the first page
		match := f.matches()
		r.mu.Lock()
		here = r.pending.matching(match)
		r.mu.Unlock()
	}
	rows, next, err := r.store.ObservationPage(ctx, f)
	if err != nil && (len(here) == 0 || ctx.Err() != nil) {
		return nil, Cursor{}, err
	}
	for i, row := range rows {
		if x, ok := here[row.ObservationKey]; ok {
			rows[i] = joined(row, x)
			delete(here, row.ObservationKey)
		}
	}
	for _, row := range here {
		if row.Last.Before(f.Since) {
			continue
		}
		if err == nil {
			if before, known, err := r.store.Observation(ctx, row.ObservationKey); err == nil && known {
				row = joined(before, row)
			}
		}
		if f.Until.IsZero() || row.Last.Before(f.Until) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b lanfolk.Observation) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Query, b.Query))
	})
	return rows, next, nil
}
