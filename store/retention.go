package store

import (
	"context"
	"database/sql"
	"time"
)

// Retention bounds what is kept of the observations.
type Retention struct {
	MaxAge  time.Duration // since a row was heard last; 0 for no bound
	MaxRows int64         // 0 for no bound
	// MaxBytes bounds the database's size, which is nearly all observations'; 0
	// for no bound. See DB.Size.
	MaxBytes int64
	// MaxShare bounds the rows on account of one MAC; 0 for no bound. See
	// lanfolk.ObservationKey.Owner.
	MaxShare int64
}

// Forgotten is how many rows were removed, by why.
type Forgotten struct {
	Age   uint64 `json:"age"`   // they weren't heard for too long
	Share uint64 `json:"share"` // their MAC had too many
	Room  uint64 `json:"room"`  // there were too many, or too many bytes
}

func (f *Forgotten) add(x Forgotten) {
	f.Age += x.Age
	f.Share += x.Share
	f.Room += x.Room
}

// Sum is how many rows were removed.
func (f Forgotten) Sum() uint64 { return f.Age + f.Share + f.Room }

const (
	// passing is for how long a MAC must have been heard to be more than one that
	// passed by, as all are that somebody makes up.
	passing = time.Hour
	// slack is the part, one of so many, by which more goes than must, so that not
	// each round has to search.
	slack = 20
	// leastRows stay however large the rest of the database is.
	leastRows = 10_000
)

// ForgetObservations removes the rows that keep leaves no room for, and counts
// them. now is the present time. Rows too old go first, then the worst of a MAC
// that has too many: those heard just once before the others, the oldest first. Where
// there are still too many, MACs that were heard for less than an hour in all lose
// theirs down to half of the room; then the oldest go, whoever's they are.
func (d *DB) ForgetObservations(ctx context.Context, now time.Time, keep Retention) (Forgotten, error) {
	var gone Forgotten
	if keep.MaxAge > 0 {
		before := toNanos(now.Add(-keep.MaxAge))
		if err := d.forgetWhile(ctx, &gone.Age, d.sql.forgetBefore, before); err != nil {
			return gone, err
		}
	}
	if err := d.forgetShares(ctx, &gone.Share, keep.MaxShare); err != nil {
		return gone, err
	}
	if err := d.forgetExcess(ctx, &gone.Room, keep); err != nil {
		return gone, err
	}
	if gone.Sum() == 0 {
		return gone, nil
	}
	return gone, d.giveBack(ctx, d)
}

// forgetWhile runs query, which takes args and how many rows may go, until fewer go.
func (d *DB) forgetWhile(ctx context.Context, removed *uint64, query string, args ...any) error {
	for {
		n, err := d.forget(ctx, query, append(args[:len(args):len(args)], d.forgetRows())...)
		*removed += uint64(n)
		if err != nil || n < d.forgetRows() {
			return err
		}
	}
}

// forgetShares removes what MACs have beyond their share.
func (d *DB) forgetShares(ctx context.Context, removed *uint64, share int64) error {
	if share <= 0 {
		return nil
	}
	// Counting is much cheaper than counting by MAC.
	if count, err := d.CountObservations(ctx); err != nil || count <= share {
		return err
	}
	over, err := d.owners(ctx, sqlOwnersOver, share)
	if err != nil {
		return err
	}
	for _, o := range over {
		if err := d.forgetSome(ctx, removed, o.rows-share+share/slack, d.sql.forgetOwned, o.mac); err != nil {
			return err
		}
	}
	return nil
}

// forgetExcess removes rows until there are no more than keep allows.
func (d *DB) forgetExcess(ctx context.Context, removed *uint64, keep Retention) error {
	count, err := d.CountObservations(ctx)
	if err != nil {
		return err
	}
	room := keep.MaxRows
	if keep.MaxBytes > 0 {
		used, err := d.Size(ctx)
		if err != nil {
			return err
		}
		if used > keep.MaxBytes {
			fit := int64(float64(count) * float64(keep.MaxBytes) / float64(used))
			if room <= 0 || fit < room {
				room = fit
			}
			room = max(room, leastRows) // the inventory alone may be as large
		}
	}
	if room <= 0 || count <= room {
		return nil
	}
	excess := count - room
	if room >= leastRows {
		excess += room / slack
	}
	return d.forgetRoom(ctx, removed, excess, room/2)
}

// forgetRoom removes rows, of MACs that passed by first, as long as these have more
// than some.
func (d *DB) forgetRoom(ctx context.Context, removed *uint64, excess, some int64) error {
	var theirs int64
	err := d.reading(ctx, "forget observations", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, sqlCountPassing, passing.Nanoseconds()).Scan(&theirs)
	})
	if err != nil {
		return err
	}
	if n := min(excess, theirs-some); n > 0 {
		passed, err := d.owners(ctx, sqlOwnersPassing, passing.Nanoseconds(), n)
		if err != nil {
			return err
		}
		for len(passed) > 0 && n > 0 {
			var macs []string
			var rows int64
			for len(passed) > 0 && rows < min(n, d.forgetRows()) {
				macs, rows, passed = append(macs, passed[0].mac), rows+passed[0].rows, passed[1:]
			}
			before := *removed
			if err := d.forgetOwners(ctx, removed, macs, n); err != nil {
				return err
			}
			gone := int64(*removed - before)
			n, excess = n-gone, excess-gone
		}
	}
	return d.forgetSome(ctx, removed, excess, d.sql.forgetOldest)
}

// forgetSome removes n rows by a query that takes args and how many.
func (d *DB) forgetSome(ctx context.Context, removed *uint64, n int64, query string, args ...any) error {
	for n > 0 {
		gone, err := d.forget(ctx, query, append(args[:len(args):len(args)], min(n, d.forgetRows()))...)
		*removed += uint64(gone)
		if err != nil || gone == 0 {
			return err
		}
		n -= gone
	}
	return nil
}

// forgetOwners removes the rows on account of some MACs, at most n.
func (d *DB) forgetOwners(ctx context.Context, removed *uint64, macs []string, n int64) error {
	var gone int64
	err := d.inTx(ctx, "forget observations", func(ctx context.Context, tx *sql.Tx) error {
		gone = 0
		s, err := tx.PrepareContext(ctx, d.sql.forgetOwned)
		if err != nil {
			return err
		}
		defer s.Close()
		for _, mac := range macs {
			r, err := s.ExecContext(ctx, mac, n-gone)
			if err != nil {
				return err
			}
			k, err := r.RowsAffected()
			if err != nil {
				return err
			}
			gone += k
		}
		return nil
	})
	if err == nil {
		*removed += uint64(gone)
	}
	return err
}

// owned is how many rows are on account of a MAC.
type owned struct {
	mac  string
	rows int64
}

func (d *DB) owners(ctx context.Context, query string, args ...any) (list []owned, err error) {
	err = d.reading(ctx, "forget observations", func(ctx context.Context) error {
		rows, err := d.read.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o owned
			if err := rows.Scan(&o.mac, &o.rows); err != nil {
				return err
			}
			list = append(list, o)
		}
		return rows.Err()
	})
	return list, err
}

func (d *DB) forget(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = d.inTx(ctx, "forget observations", func(ctx context.Context, tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	if err != nil {
		n = 0
	}
	return n, err
}

// CountObservations returns how many rows there are.
func (d *DB) CountObservations(ctx context.Context) (n int64, err error) {
	err = d.reading(ctx, "count observations", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, sqlCountObservations).Scan(&n)
	})
	return n, err
}

// Size returns how many bytes are in use: of a SQLite file those of the whole, of
// PostgreSQL about those of the observations and their indexes. What rows left that
// went is used again, or goes back to the disk.
func (d *DB) Size(ctx context.Context) (used int64, err error) {
	err = d.reading(ctx, "measure the database", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, d.sql.size).Scan(&used)
	})
	return used, err
}
