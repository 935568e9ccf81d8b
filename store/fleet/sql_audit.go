package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

const entryColumns = `seq, time, who, what, gateway, ref, detail, outcome, hash`

// audit is the Audit in a database.
type audit struct {
	db    *store.DB
	group *group
}

func scanEntry(row scanner) (e Entry, err error) {
	var seq, at int64
	var hash []byte
	err = row.Scan(&seq, &at, &e.Who, &e.What, &e.Gateway, &e.Ref, &e.Detail, &e.Outcome, &hash)
	for _, s := range []*string{&e.Who, &e.What, &e.Gateway, &e.Ref, &e.Detail, &e.Outcome} {
		*s = text.Decode(*s)
	}
	e.Seq, e.Time, e.Hash = uint64(seq), fromNanos(at), toSum(hash)
	return e, err
}

func scanHead(row scanner) (h Head, err error) {
	var seq, at int64
	var hash []byte
	err = row.Scan(&seq, &hash, &at)
	return Head{uint64(seq), toSum(hash), fromNanos(at)}, err
}

func (a *audit) Append(ctx context.Context, entries ...Entry) (Head, error) {
	if len(entries) == 0 {
		return a.Head(ctx)
	}
	var head Head
	err := a.group.do(ctx, "append to the audit", func(ctx context.Context, tx *txn) (err error) {
		head, err = tx.record(ctx, entries...)
		return err
	})
	return head, err
}

// A tail is what a transaction adds to the audit.
type tail struct {
	head Head
	rows [][]any
}

// record puts entries on record when the transaction is committed, and returns the head
// that the audit has then.
func (tx *txn) record(ctx context.Context, entries ...Entry) (Head, error) {
	if tx.tail == nil {
		// An update that changes nothing, so that no other hub appends meanwhile.
		head, err := scanHead(tx.QueryRowContext(ctx, `UPDATE fleet_audit_head SET seq = seq WHERE id = 1 RETURNING seq, hash, time`))
		if err != nil {
			return Head{}, err
		}
		tx.tail = &tail{head: head}
	}
	t := tx.tail
	for _, e := range entries {
		e.Seq, e.Time = t.head.Seq+1, fromNanos(nanos(e.Time))
		t.head = Head{e.Seq, e.chain(t.head.Hash), e.Time}
		hash := t.head.Hash
		t.rows = append(t.rows, []any{int64(e.Seq), nanos(e.Time), text.Encode(e.Who), text.Encode(e.What), text.Encode(e.Gateway), text.Encode(e.Ref),
			text.Encode(e.Detail), text.Encode(e.Outcome), hash[:]})
	}
	return t.head, nil
}

// recordAll writes what the transaction adds to the audit.
func (tx *txn) recordAll(ctx context.Context) error {
	t := tx.tail
	if t == nil || len(t.rows) == 0 {
		return nil
	}
	if _, err := insert(ctx, tx, `INSERT INTO fleet_audit (`+entryColumns+`) VALUES `, "", t.rows); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE fleet_audit_head SET seq = $1, hash = $2, time = $3 WHERE id = 1`, int64(t.head.Seq), t.head.Hash[:], nanos(t.head.Time))
	return err
}

func (a *audit) Head(ctx context.Context) (Head, error) {
	return one(ctx, a.db, "read the audit's head", scanHead, `SELECT seq, hash, time FROM fleet_audit_head WHERE id = 1`)
}

func (a *audit) Entries(ctx context.Context, f AuditFilter) ([]Entry, error) {
	var c conditions
	for column, value := range map[string]string{"gateway": f.Gateway, "who": f.Who, "what": f.What, "ref": f.Ref} {
		if value != "" {
			c.add(column+" = ?", text.Encode(value))
		}
	}
	if f.Before > 0 {
		c.add("seq < ?", int64(f.Before))
	}
	c.args = append(c.args, int64(pageLimit(f.Limit)))
	return list(ctx, a.db, "read the audit", scanEntry,
		`SELECT `+entryColumns+` FROM fleet_audit`+c.where()+` ORDER BY seq DESC LIMIT $`+strconv.Itoa(len(c.args)), c.args...)
}

func (a *audit) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		const page = 1000
		for after := int64(-1); ; {
			entries, err := list(ctx, a.db, "read the audit", scanEntry, `SELECT `+entryColumns+` FROM fleet_audit WHERE seq > $1 ORDER BY seq LIMIT $2`, after, int64(page))
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
				after = int64(e.Seq)
			}
			if len(entries) < page {
				return
			}
		}
	}
}

const startQuery = `SELECT checkpoint FROM fleet_audit_start WHERE id = 1`

func scanStart(row scanner) (c Checkpoint, err error) {
	var text string
	if err = row.Scan(&text); err == nil && json.Unmarshal([]byte(text), &c) != nil {
		err = fmt.Errorf("fleet: the audit's checkpoint: %w: it can't be read", ErrTampered)
	}
	return c, err
}

func (a *audit) Start(ctx context.Context) (Checkpoint, error) {
	c, err := one(ctx, a.db, "read the audit's start", scanStart, startQuery)
	if errors.Is(err, ErrUnknown) {
		return Checkpoint{}, nil
	}
	return c, err
}

func (a *audit) Cut(ctx context.Context, before time.Time, limit int, let func(start Checkpoint, gone []Head) (Checkpoint, Entry, error)) (n int, err error) {
	err = a.group.do(ctx, "let old entries of the audit go", func(ctx context.Context, tx *txn) (err error) {
		n, err = cut(ctx, tx, before, limit, let)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func cut(ctx context.Context, tx *txn, before time.Time, limit int, let func(start Checkpoint, gone []Head) (Checkpoint, Entry, error)) (int, error) {
	end, err := tx.record(ctx) // nobody appends or cuts meanwhile
	if err != nil {
		return 0, err
	}
	start, err := scanStart(tx.QueryRowContext(ctx, startQuery))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	oldest, err := collect(ctx, tx, scanEntry, `SELECT `+entryColumns+` FROM fleet_audit ORDER BY seq LIMIT $1`, int64(limit))
	if err != nil {
		return 0, err
	}
	last := start.last()
	var gone []Head
	for _, e := range oldest {
		if !e.Time.Before(before) || e.Seq >= end.Seq {
			break
		}
		// Who could change a row could make it old, so that it goes with our signature.
		if err := e.follows(&last); err != nil {
			return 0, err
		}
		last = e
		gone = append(gone, Head{e.Seq, e.Hash, e.Time})
	}
	if len(gone) == 0 {
		return 0, nil
	}
	c, entry, err := let(start, gone)
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM fleet_audit WHERE seq <= $1`, int64(last.Seq)); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `
INSERT INTO fleet_audit_start (id, seq, checkpoint) VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, checkpoint = excluded.checkpoint`,
		int64(last.Seq), string(text)); err != nil {
		return 0, err
	}
	_, err = tx.record(ctx, entry)
	return len(gone), err
}

// A Chain is what Verify reads of an Audit.
type Chain interface {
	Start(ctx context.Context) (Checkpoint, error)
	Head(ctx context.Context) (Head, error)
	All(ctx context.Context) iter.Seq2[Entry, error]
}

// Verify is VerifyAudit of an audit as it stands, while others append to it and cut it.
// It returns where the audit starts, too.
func Verify(ctx context.Context, a Chain, seals ...Seal) (last uint64, start Checkpoint, err error) {
	for {
		if start, err = a.Start(ctx); err != nil {
			return 0, start, err
		}
		last, err = verifyFrom(ctx, a, start, seals)
		if !errors.Is(err, ErrTampered) {
			return last, start, err
		}
		// Or entries went while they were read.
		if now, again := a.Start(ctx); again != nil || now.Seq <= start.Seq {
			return last, start, err
		}
	}
}

func verifyFrom(ctx context.Context, a Chain, start Checkpoint, seals []Seal) (uint64, error) {
	head, err := a.Head(ctx)
	if err != nil {
		return 0, err
	}
	upTo := func(yield func(Entry, error) bool) {
		for e, err := range a.All(ctx) {
			if err == nil && e.Seq > head.Seq {
				if now, err := a.Head(ctx); err != nil || now.Seq >= e.Seq {
					return // appended since
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
	verified, err := VerifyAudit(start, upTo, head, seals...)
	if err != nil {
		return verified, fmt.Errorf("verify: %w", err)
	}
	return verified, nil
}
