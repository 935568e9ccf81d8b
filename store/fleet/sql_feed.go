package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// What one gateway may keep in its inventory, gone items included.
const (
	maxItems   = 500_000
	maxDoc     = 64 << 10 // bytes
	maxItemKey = 1 << 10
)

// feed is the Feed in a database.
type feed struct {
	db    *store.DB
	group *group
}

func scanMark(row scanner) (m Mark, err error) {
	var n int64
	err = row.Scan(&m.Epoch, &n)
	m.Epoch, m.Next = text.Decode(m.Epoch), uint64(n)
	return m, err
}

func (f *feed) Mark(ctx context.Context, gateway string, kind Kind) (Mark, error) {
	m, err := one(ctx, f.db, "read a feed's mark", scanMark, `SELECT epoch, next FROM fleet_feed WHERE gateway = $1 AND kind = $2`, text.Encode(gateway), text.Encode(string(kind)))
	if errors.Is(err, ErrUnknown) {
		return Mark{}, nil
	}
	return m, err
}

func (b *Batch) check() error {
	switch {
	case b.Gateway == "" || b.Epoch == "" || b.Kind != Inventory && b.Kind != Fingerprints:
		return fmt.Errorf("%w: feed %q of %q, epoch %q", ErrInvalid, b.Kind, b.Gateway, b.Epoch)
	case b.Kind == Inventory && len(b.Observations) > 0, b.Kind == Fingerprints && (len(b.Items) > 0 || b.Snapshot || b.Complete):
		return fmt.Errorf("%w: a batch of %s with other content", ErrInvalid, b.Kind)
	case b.Snapshot && b.Seq != 0:
		return fmt.Errorf("%w: a snapshot that begins with batch %d", ErrInvalid, b.Seq)
	}
	for _, i := range b.Items {
		if i.Key == "" || len(i.Key) > maxItemKey || len(i.Doc) > maxDoc {
			return fmt.Errorf("%w: an item with a key of %d and content of %d bytes; want 1 to %d and at most %d", ErrInvalid, len(i.Key), len(i.Doc), maxItemKey, maxDoc)
		}
	}
	return nil
}

// place says what becomes of a batch where a feed has come to m.
func (b *Batch) place(m Mark) (fresh bool, err error) {
	switch {
	case b.Epoch == m.Epoch && b.Seq < m.Next:
		return false, nil // again
	case b.Epoch == m.Epoch && b.Seq > m.Next:
		return false, fmt.Errorf("%w: batch %d came, %d is wanted", ErrGap, b.Seq, m.Next)
	case b.Epoch == m.Epoch:
		return true, nil
	case b.Seq != 0 || b.Kind == Inventory && !b.Snapshot:
		return false, fmt.Errorf("%w: %q", ErrEpoch, b.Epoch)
	}
	return true, nil
}

func (f *feed) Take(ctx context.Context, b Batch) (mark Mark, fresh bool, err error) {
	if err := b.check(); err != nil {
		return Mark{}, false, fmt.Errorf("fleet: take a batch: %w", err)
	}
	err = f.group.do(ctx, "take a batch of "+b.Gateway, func(ctx context.Context, tx *txn) error {
		mark, fresh, err = f.take(ctx, tx, &b)
		return err
	})
	if err != nil {
		fresh = false
	}
	return mark, fresh, err
}

func (f *feed) take(ctx context.Context, tx *txn, b *Batch) (Mark, bool, error) {
	where := []any{text.Encode(b.Gateway), text.Encode(string(b.Kind))}
	if _, err := tx.ExecContext(ctx, `INSERT INTO fleet_feed (gateway, kind, epoch, next) VALUES ($1, $2, '', 0) ON CONFLICT (gateway, kind) DO NOTHING`, where...); err != nil {
		return Mark{}, false, err
	}
	// An update that changes nothing, so that no other hub takes a batch meanwhile.
	mark, err := scanMark(tx.QueryRowContext(ctx, `UPDATE fleet_feed SET next = next WHERE gateway = $1 AND kind = $2 RETURNING epoch, next`, where...))
	if err != nil {
		return Mark{}, false, err
	}
	if fresh, err := b.place(mark); !fresh {
		return mark, false, err
	}
	if b.Kind == Fingerprints {
		err = f.addRows(ctx, tx, b)
	} else {
		err = f.addItems(ctx, tx, b)
	}
	if err != nil {
		return mark, false, err
	}
	mark = Mark{b.Epoch, b.Seq + 1}
	_, err = tx.ExecContext(ctx, `UPDATE fleet_feed SET epoch = $3, next = $4 WHERE gateway = $1 AND kind = $2`, append(where, text.Encode(mark.Epoch), int64(mark.Next))...)
	return mark, true, err
}

func (f *feed) addRows(ctx context.Context, tx *txn, b *Batch) error {
	if len(b.Observations) == 0 {
		return nil
	}
	rows := make([]lanfolk.Observation, len(b.Observations))
	for i, o := range b.Observations {
		o.Gateway = b.Gateway
		rows[i] = o
	}
	return f.db.AddObservations(ctx, tx.Tx.Tx, rows)
}

func (f *feed) addItems(ctx context.Context, tx *txn, b *Batch) error {
	// The last word on a key counts: one statement can't say two.
	at := make(map[string]int, len(b.Items))
	rows := make([][]any, 0, len(b.Items))
	for _, i := range b.Items {
		row := []any{text.Encode(b.Gateway), text.Encode(i.Key), text.Encode(b.Epoch), i.Doc, int64(0)}
		if i.Doc == nil {
			row[3] = nil
		}
		if n, again := at[i.Key]; again {
			rows[n] = row
			continue
		}
		at[i.Key] = len(rows)
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		last, err := next(ctx, tx, "item", len(rows))
		if err != nil {
			return err
		}
		for n, row := range rows {
			row[4] = last - int64(len(rows)-1-n)
		}
		if _, err := insert(ctx, tx, `INSERT INTO fleet_item (gateway, key, epoch, doc, position) VALUES `,
			` ON CONFLICT (gateway, key) DO UPDATE SET epoch = excluded.epoch, doc = excluded.doc, position = excluded.position`, rows); err != nil {
			return err
		}
	}
	if b.Complete {
		if err := f.drop(ctx, tx, ` AND epoch <> $2`, text.Encode(b.Gateway), text.Encode(b.Epoch)); err != nil {
			return err
		}
	}
	var have int64
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM fleet_item WHERE gateway = $1`, text.Encode(b.Gateway)).Scan(&have); err != nil {
		return err
	}
	if have > maxItems {
		return undo{fmt.Errorf("%w: %d items of one gateway, at most %d", ErrQuota, have, maxItems)}
	}
	return nil
}

// drop marks items of a gateway, $1, as gone, each with a position of its own.
func (f *feed) drop(ctx context.Context, tx *txn, which string, args ...any) error {
	keys, err := collect(ctx, tx, func(row scanner) (key string, err error) { return key, row.Scan(&key) },
		`SELECT key FROM fleet_item WHERE gateway = $1 AND doc IS NOT NULL`+which+` ORDER BY key`, args...)
	if err != nil || len(keys) == 0 {
		return err
	}
	last, err := next(ctx, tx, "item", len(keys))
	if err != nil {
		return err
	}
	for n, key := range keys {
		if _, err := tx.ExecContext(ctx, `UPDATE fleet_item SET doc = NULL, position = $3 WHERE gateway = $1 AND key = $2`,
			args[0], key, last-int64(len(keys)-1-n)); err != nil {
			return err
		}
	}
	return nil
}

const itemColumns = `SELECT gateway, key, doc, position, epoch FROM fleet_item WHERE `

func scanItem(row scanner) (i Item, err error) {
	var position int64
	err = row.Scan(&i.Gateway, &i.Key, &i.Doc, &position, &i.Epoch)
	i.Gateway, i.Key, i.Epoch, i.Position = text.Decode(i.Gateway), text.Decode(i.Key), text.Decode(i.Epoch), uint64(position)
	return i, err
}

func (f *feed) Changes(ctx context.Context, after uint64, limit int) ([]Item, error) {
	return list(ctx, f.db, "read changes", scanItem, itemColumns+`position > $1 ORDER BY position LIMIT $2`, int64(after), int64(limit))
}

func (f *feed) Item(ctx context.Context, gateway, key string) (Item, error) {
	return one(ctx, f.db, "read an item", scanItem, itemColumns+`gateway = $1 AND key = $2 AND doc IS NOT NULL`, text.Encode(gateway), text.Encode(key))
}

func (f *feed) Forget(ctx context.Context, gateway string) error {
	return f.group.do(ctx, "forget the feeds of "+gateway, func(ctx context.Context, tx *txn) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM fleet_feed WHERE gateway = $1`, text.Encode(gateway)); err != nil {
			return err
		}
		return f.drop(ctx, tx, "", text.Encode(gateway))
	})
}

func (f *feed) Compact(ctx context.Context, position uint64) error {
	return f.group.do(ctx, "compact the inventory", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM fleet_item WHERE position <= $1 AND doc IS NULL`, int64(position))
		return err
	})
}
