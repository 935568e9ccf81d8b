package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// ObservationFilter says which observations are asked for. The zero filter
// asks for all.
type ObservationFilter struct {
	Protocol string // "mdns"; "" for every one
	// Query is the name asked for or announced, with no regard to case or to a
	// last dot; * stands for any run of characters.
	Query string
	MAC   lanfolk.MAC // on either side; the zero MAC for any
	Since time.Time   // heard at this time or later; the zero time for any
	Limit int         // rows; 0 for all
}

// SaveObservations adds observations to the rows that are there, as
// lanfolk.Observation's Merge does: all of them or, with an error, none.
func (d *DB) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	if len(rows) == 0 {
		return nil
	}
	return d.inTx(ctx, "save observations", func(ctx context.Context, tx *sql.Tx) error {
		return d.each(ctx, tx, d.sql.putObservation, argsOf(d.oneEach(rows), func(o lanfolk.Observation) ([]any, error) {
			return observationArgs(&o), nil
		}))
	})
}

func observationArgs(o *lanfolk.Observation) []any {
	var response int64
	if o.Response {
		response = 1
	}
	src, dst := o.SrcMAC.String(), o.DstMAC.String()
	key := keyOf(o.Gateway, o.Link, strconv.Itoa(int(o.VLAN)), o.Protocol, strconv.FormatInt(response, 10),
		o.Query, o.Fingerprint, src, dst, string(o.DstClass))
	return []any{
		key, text.Encode(o.Gateway), text.Encode(o.Link), int64(o.VLAN), text.Encode(o.Protocol), response,
		text.Encode(o.Query), text.Encode(o.Fingerprint), src, dst, text.Encode(string(o.DstClass)),
		addrText(o.SrcIP), addrText(o.DstIP), toNanos(o.First), toNanos(o.Last), int64(min(o.Count, math.MaxInt64)),
	}
}

// Observations returns the rows that f asks for, the one heard last first.
func (d *DB) Observations(ctx context.Context, f ObservationFilter) ([]lanfolk.Observation, error) {
	rows := []lanfolk.Observation{}
	for o, err := range d.AllObservations(ctx, f) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, o)
	}
	return rows, nil
}

// Latest returns the row heard last of those that f asks for, and whether
// there is one. For a name that is one step into an index: so discovery learns
// the MACs that a name belongs to.
func (d *DB) Latest(ctx context.Context, f ObservationFilter) (lanfolk.Observation, bool, error) {
	f.Limit = 1
	rows, err := d.Observations(ctx, f)
	if err != nil || len(rows) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return rows[0], true, nil
}

// pageRows is how many rows are read in one go: it bounds the memory that a
// reader of millions needs, and how long a snapshot keeps the -wal file from
// being emptied.
const pageRows = 1000

// AllObservations is Observations for more rows than should be in memory at
// once. A row that is heard again meanwhile may be missed or come with its newer
// content. An error ends the sequence.
func (d *DB) AllObservations(ctx context.Context, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	return d.all(d, ctx, f)
}

// pages reads page by page.
func (d *DB) pages(ctx context.Context, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	return func(yield func(lanfolk.Observation, error) bool) {
		after := place{last: math.MaxInt64, id: math.MaxInt64}
		for left := f.Limit; ; left -= pageRows {
			n := pageRows
			if f.Limit > 0 {
				n = min(n, left)
			}
			page, end, err := d.page(ctx, f, after, n)
			if err != nil {
				yield(lanfolk.Observation{}, err)
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < n || (f.Limit > 0 && left <= n) {
				return
			}
			after = end
		}
	}
}

// place is where a page ended.
type place struct{ last, id int64 }

// page returns at most n rows that come after a place, and where it ended.
func (d *DB) page(ctx context.Context, f ObservationFilter, after place, n int) ([]lanfolk.Observation, place, error) {
	var page []lanfolk.Observation
	err := d.reading(ctx, "read observations", func(ctx context.Context) error {
		query, args := d.sql.observations(f, after, n)
		rows, err := d.read.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		page, after, err = scanObservations(rows, after)
		return err
	})
	return page, after, err
}

// scanObservations reads rows to their end, and returns the place of the last.
func scanObservations(rows *sql.Rows, at place) (page []lanfolk.Observation, _ place, err error) {
	defer rows.Close()
	for rows.Next() {
		var o lanfolk.Observation
		if o, at, err = scanObservation(rows); err != nil {
			return nil, at, err
		}
		page = append(page, o)
	}
	return page, at, rows.Err()
}

// observations returns the query that has the best index for f, with its arguments.
func (s *statements) observations(f ObservationFilter, after place, n int) (string, []any) {
	args := []any{text.Encode(f.Protocol), f.MAC.String(), toNanos(f.Since), after.last, after.id, n}
	name := text.Encode(foldName(f.Query))
	switch {
	case f.Query == "" && f.MAC != lanfolk.MAC{}:
		return s.observationsByMAC, args
	case f.Query == "":
		return s.observationsByTime, args
	case strings.Contains(name, "*"):
		// What LIKE takes for a pattern is taken literally, but for our *.
		like := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(name)
		return s.observationsByPattern, append(args, like)
	default:
		return s.observationsByName, append(args, name)
	}
}

func scanObservation(rows *sql.Rows) (lanfolk.Observation, place, error) {
	var (
		o                    lanfolk.Observation
		at                   place
		response, count      int64
		first                int64
		class                string
		src, dst, from, into string
	)
	err := rows.Scan(&at.id, &o.Gateway, &o.Link, &o.VLAN, &o.Protocol, &response, &o.Query, &o.Fingerprint,
		&src, &dst, &class, &from, &into, &first, &at.last, &count)
	if err != nil {
		return o, at, err
	}
	for _, kept := range []*string{&o.Gateway, &o.Link, &o.Protocol, &o.Query, &o.Fingerprint, &class} {
		*kept = text.Decode(*kept)
	}
	o.Response, o.DstClass, o.Count = response != 0, lanfolk.DstClass(class), uint64(count)
	o.First, o.Last = fromNanos(first), fromNanos(at.last)
	err = errors.Join(
		o.SrcMAC.UnmarshalText([]byte(src)), o.DstMAC.UnmarshalText([]byte(dst)),
		o.SrcIP.UnmarshalText([]byte(from)), o.DstIP.UnmarshalText([]byte(into)),
	)
	if err != nil {
		return o, at, fmt.Errorf("%w: observation %d: %w", ErrDamaged, at.id, err)
	}
	return o, at, nil
}

// Retention bounds what is kept of the observations.
type Retention struct {
	MaxAge  time.Duration // since a row was heard last; 0 for no bound
	MaxRows int64         // 0 for no bound
}

// ForgetObservations removes the rows that keep leaves no room for, the ones
// not heard for longest first, and returns how many it removed. now is the
// present time.
func (d *DB) ForgetObservations(ctx context.Context, now time.Time, keep Retention) (removed int64, err error) {
	step := d.forgetRows()
	if keep.MaxAge > 0 {
		before := toNanos(now.Add(-keep.MaxAge))
		for {
			n, err := d.forget(ctx, d.sql.forgetBefore, before, step)
			removed += n
			if err != nil {
				return removed, err
			}
			if n < step {
				break
			}
		}
	}
	if keep.MaxRows <= 0 {
		return removed, nil
	}
	count, err := d.CountObservations(ctx)
	if err != nil {
		return removed, err
	}
	for excess := count - keep.MaxRows; excess > 0; {
		n, err := d.forget(ctx, d.sql.forgetOldest, min(excess, step))
		removed += n
		if err != nil {
			return removed, err
		}
		if n == 0 {
			break
		}
		excess -= n
	}
	return removed, nil
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
