package fleet

import (
	"context"
	"fmt"
	"iter"
	"strconv"

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

// A Chain is what Verify reads of an Audit.
type Chain interface {
	Head(ctx context.Context) (Head, error)
	All(ctx context.Context) iter.Seq2[Entry, error]
}

// Verify is VerifyAudit of an audit as it stands while others append to it.
func Verify(ctx context.Context, a Chain, seals ...Seal) (uint64, error) {
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
	verified, err := VerifyAudit(upTo, head, seals...)
	if err != nil {
		return verified, fmt.Errorf("verify: %w", err)
	}
	return verified, nil
}
