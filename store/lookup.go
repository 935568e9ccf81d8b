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
	name, match := foldName(f.Query), f.matches()
	r.mu.Lock()
	here := r.pending.newest(name, match)
	r.mu.Unlock()
	var newest lanfolk.Observation
	if len(here) > 0 {
		newest = here.whole()
	}
	ok := len(here) > 0 && !newest.Last.Before(f.Since)
	if ok {
		// A database that is away isn't waited for: what memory has is newer anyhow.
		limited, cancel := context.WithTimeout(ctx, settleWait)
		defer cancel()
		ctx = limited
	}
	there, known, err := r.store.Latest(ctx, f)
	switch {
	case err != nil && ok:
		return newest, true, nil // only its past is missing
	case err != nil || (!ok && !known):
		return lanfolk.Observation{}, false, err
	case known && ok && there.ObservationKey == newest.ObservationKey:
		return here.addTo(there), true, nil
	case known && (!ok || there.Last.After(newest.Last)):
		r.mu.Lock()
		more := r.pending.parts(there.ObservationKey)
		r.mu.Unlock()
		return more.addTo(there), true, nil
	}
	if before, known, err := r.store.Observation(ctx, newest.ObservationKey); err == nil && known {
		newest = here.addTo(before)
	}
	return newest, true, nil
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
	var here map[lanfolk.ObservationKey]parts
	if !f.After.set { // what waits is newer than nearly all: it stands on the first page
		match := f.matches()
		r.mu.Lock()
		here = r.pending.matching(match)
		r.mu.Unlock()
	}
	rows, next, err := r.store.ObservationPage(ctx, f)
	if err != nil {
		if len(here) == 0 || ctx.Err() != nil {
			return nil, Cursor{}, err
		}
		rows, next = nil, Cursor{}
	}
	for i, row := range rows {
		rows[i] = here[row.ObservationKey].addTo(row)
		delete(here, row.ObservationKey)
	}
	for key, parts := range here {
		row := parts.whole()
		if row.Last.Before(f.Since) {
			continue
		}
		if err == nil {
			if before, known, err := r.store.Observation(ctx, key); err == nil && known {
				row = parts.addTo(before)
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
