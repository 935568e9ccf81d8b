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

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// SaveObservations adds observations to the rows that are there, as
// lanfolk.Observation's Merge does: all of them or, with an error, none.
func (d *DB) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	if len(rows) == 0 {
		return nil
	}
	return d.inTx(ctx, "save observations", func(ctx context.Context, tx *sql.Tx) error {
		return d.AddObservations(ctx, tx, rows)
	})
}

// rowKey is what tells a row from all others.
func rowKey(k *lanfolk.ObservationKey) []byte {
	return keyOf(k.Gateway, k.Link, strconv.Itoa(int(k.VLAN)), k.Protocol, strconv.FormatInt(truth(k.Response), 10),
		k.Query, k.Fingerprint, k.SrcMAC.String(), k.DstMAC.String(), string(k.DstClass))
}

func observationArgs(o *lanfolk.Observation) []any {
	return []any{
		rowKey(&o.ObservationKey), text.Encode(o.Gateway), text.Encode(o.Link), int64(o.VLAN), text.Encode(o.Protocol), truth(o.Response),
		text.Encode(o.Query), text.Encode(o.Fingerprint), hashOf(o.Fingerprint), o.SrcMAC.String(), o.DstMAC.String(), text.Encode(string(o.DstClass)),
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

// ObservationPage is Observations that also says where the rows go on: after the
// Cursor it returns, which is zero where there are no more.
func (d *DB) ObservationPage(ctx context.Context, f ObservationFilter) ([]lanfolk.Observation, Cursor, error) {
	rows := []lanfolk.Observation{}
	for {
		n := pageRows
		if f.Limit > 0 {
			n = min(n, f.Limit-len(rows))
		}
		page, err := d.page(ctx, f, n+1) // one more shows whether there is more
		if err != nil {
			return nil, Cursor{}, err
		}
		for _, x := range page[:min(n, len(page))] {
			rows, f.After = append(rows, x.Observation), x.place
		}
		switch {
		case len(page) <= n:
			return rows, Cursor{}, nil
		case len(rows) == f.Limit:
			return rows, f.After, nil
		}
	}
}

// Latest returns the row heard last of those that f asks for, and whether
// there is one. For a name that is one step into an index: so discovery learns
// the MACs that a name belongs to.
func (d *DB) Latest(ctx context.Context, f ObservationFilter) (lanfolk.Observation, bool, error) {
	if f.Query != "" && !strings.Contains(f.Query, "*") {
		ctx = d.step(ctx)
	}
	page, err := d.page(ctx, f, 1)
	if err != nil || len(page) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return page[0].Observation, true, nil
}

// Observation returns the row with a key, and whether there is one.
func (d *DB) Observation(ctx context.Context, key lanfolk.ObservationKey) (lanfolk.Observation, bool, error) {
	page, err := d.query(d.step(ctx), sqlObservationColumns+"key = $1", rowKey(&key))
	if err != nil || len(page) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return page[0].Observation, true, nil
}

// pageRows is how many rows are read in one go: it bounds the memory that a
// reader of millions needs, and how long a snapshot keeps the -wal file from
// being emptied.
const pageRows = 1000

// AllObservations is Observations for more rows than should be in memory at
// once. A row that is heard again meanwhile may be missed or come with its newer
// content. An error ends the sequence.
func (d *DB) AllObservations(ctx context.Context, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	return d.all(ctx, d, f)
}

// pages reads page by page.
func (d *DB) pages(ctx context.Context, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	return func(yield func(lanfolk.Observation, error) bool) {
		for left := f.Limit; ; left -= pageRows {
			n := pageRows
			if f.Limit > 0 {
				n = min(n, left)
			}
			page, err := d.page(ctx, f, n)
			if err != nil {
				yield(lanfolk.Observation{}, err)
				return
			}
			for _, x := range page {
				if !yield(x.Observation, nil) {
					return
				}
				f.After = x.place
			}
			if len(page) < n || (f.Limit > 0 && left <= n) {
				return
			}
		}
	}
}

// placed is a row and its place among the rows.
type placed struct {
	lanfolk.Observation
	place Cursor
}

// page returns at most n rows that f asks for, whatever its limit.
func (d *DB) page(ctx context.Context, f ObservationFilter, n int) ([]placed, error) {
	query, args := d.sql.observations(f, n)
	return d.query(ctx, query, args...)
}

func (d *DB) query(ctx context.Context, query string, args ...any) (page []placed, err error) {
	err = d.reading(ctx, "read observations", func(ctx context.Context) error {
		rows, err := d.ask(ctx, query, args)
		if err != nil {
			return err
		}
		page, err = scanObservations(rows)
		return err
	})
	return page, err
}

func (d *DB) ask(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	if !d.keepsReady() {
		return d.read.QueryContext(ctx, query, args...)
	}
	return d.ready.query(ctx, d.read, query, args)
}

// scanObservations reads rows to their end.
func scanObservations(rows *sql.Rows) (page []placed, err error) {
	defer rows.Close()
	for rows.Next() {
		x, err := scanObservation(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, x)
	}
	return page, rows.Err()
}

func scanObservation(rows *sql.Rows) (placed, error) {
	var (
		o                    placed
		response, count      int64
		first                int64
		class                string
		src, dst, from, into string
	)
	o.place.set = true
	err := rows.Scan(&o.place.id, &o.Gateway, &o.Link, &o.VLAN, &o.Protocol, &response, &o.Query, &o.Fingerprint,
		&src, &dst, &class, &from, &into, &first, &o.place.last, &count)
	if err != nil {
		return o, err
	}
	for _, kept := range []*string{&o.Gateway, &o.Link, &o.Protocol, &o.Query, &o.Fingerprint, &class} {
		*kept = text.Decode(*kept)
	}
	o.Response, o.DstClass, o.Count = response != 0, lanfolk.DstClass(class), uint64(count)
	o.First, o.Last = fromNanos(first), fromNanos(o.place.last)
	err = errors.Join(
		o.SrcMAC.UnmarshalText([]byte(src)), o.DstMAC.UnmarshalText([]byte(dst)),
		o.SrcIP.UnmarshalText([]byte(from)), o.DstIP.UnmarshalText([]byte(into)),
	)
	if err != nil {
		return o, fmt.Errorf("%w: observation %d: %w", ErrDamaged, o.place.id, err)
	}
	return o, nil
}
