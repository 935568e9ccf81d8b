package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

const commandColumns = `id, gateway, line, asked_by, created, deadline, queue, revision, state, ended,
    cancelled_by, sent, started, exit_code, error, type, size, sha256`

// commands is the CommandLog in a database.
type commands struct {
	db    *store.DB
	group *group
}

func (l *commands) Create(ctx context.Context, entries []Entry, all ...Command) error {
	rows := make([][]any, len(all))
	for i, c := range all {
		if err := c.check(); err != nil {
			return fmt.Errorf("fleet: create commands: %w", err)
		}
		c.Revision, c.State = 1, Queued
		rows[i] = append([]any{c.ID, text.Encode(c.Gateway), text.Encode(c.Line), text.Encode(c.By), nanos(c.Created), nanos(c.Deadline), truth(c.Queue)},
			commandState(&c)...)
	}
	if len(rows) == 0 {
		return nil
	}
	return l.group.do(ctx, "create commands", func(ctx context.Context, tx *txn) error {
		n, err := insert(ctx, tx, `INSERT INTO fleet_command (`+commandColumns+`) VALUES `, ` ON CONFLICT (id) DO NOTHING`, rows)
		if err == nil && n < int64(len(rows)) {
			return undo{ErrExists}
		}
		if err == nil && len(entries) > 0 {
			_, err = tx.record(ctx, entries...)
		}
		return err
	})
}

// commandState is what of a command changes, as the columns from revision on.
func commandState(c *Command) []any {
	return []any{int64(c.Revision), string(c.State), nanos(c.Ended), text.Encode(c.CancelledBy), nanos(c.Sent), nanos(c.Started),
		int64(c.Exit), text.Encode(c.Error), int64(c.Type), c.Size, sum(c.SHA256)}
}

func scanCommand(row scanner) (Command, error) {
	var c Command
	var created, deadline, ended, sent, started, queue, revision, exit, kind int64
	var sha []byte
	if err := row.Scan(&c.ID, &c.Gateway, &c.Line, &c.By, &created, &deadline, &queue, &revision, &c.State, &ended,
		&c.CancelledBy, &sent, &started, &exit, &c.Error, &kind, &c.Size, &sha); err != nil {
		return Command{}, err
	}
	for _, s := range []*string{&c.Gateway, &c.Line, &c.By, &c.CancelledBy, &c.Error} {
		*s = text.Decode(*s)
	}
	c.Created, c.Deadline, c.Ended, c.Sent, c.Started = fromNanos(created), fromNanos(deadline), fromNanos(ended), fromNanos(sent), fromNanos(started)
	c.Queue, c.Revision, c.Exit, c.Type, c.SHA256 = queue != 0, uint64(revision), int(exit), uint32(kind), toSum(sha)
	return c, nil
}

func (l *commands) Command(ctx context.Context, id string) (Command, error) {
	return one(ctx, l.db, "read command "+strconv.Quote(id), scanCommand, `SELECT `+commandColumns+` FROM fleet_command WHERE id = $1`, text.Encode(id))
}

func (l *commands) Update(ctx context.Context, c Command, entries ...Entry) (Command, error) {
	if c.State.Ended() == c.Ended.IsZero() {
		return Command{}, fmt.Errorf("fleet: update command %s: %w: %s, and ended %v", c.ID, ErrInvalid, c.State, c.Ended)
	}
	var after Command
	err := l.group.do(ctx, "update command "+c.ID, func(ctx context.Context, tx *txn) (err error) {
		to := c
		to.Revision++
		args := append([]any{text.Encode(c.ID), int64(c.Revision)}, commandState(&to)...)
		in := ""
		for _, s := range states() {
			if s.Leads(c.State) {
				args = append(args, string(s))
				in += ", $" + strconv.Itoa(len(args))
			}
		}
		if in == "" {
			return l.whyNot(ctx, tx, c)
		}
		after, err = scanCommand(tx.QueryRowContext(ctx, `
UPDATE fleet_command SET revision = $3, state = $4, ended = $5, cancelled_by = $6, sent = $7, started = $8,
    exit_code = $9, error = $10, type = $11, size = $12, sha256 = $13
WHERE id = $1 AND revision = $2 AND state IN (`+in[2:]+`) RETURNING `+commandColumns, args...))
		if errors.Is(err, sql.ErrNoRows) {
			return l.whyNot(ctx, tx, c)
		}
		if err == nil && len(entries) > 0 {
			_, err = tx.record(ctx, entries...)
		}
		return err
	})
	if err != nil {
		return Command{}, err
	}
	return after, nil
}

// whyNot says why a command can't be updated.
func (l *commands) whyNot(ctx context.Context, tx *txn, c Command) error {
	was, err := scanCommand(tx.QueryRowContext(ctx, `SELECT `+commandColumns+` FROM fleet_command WHERE id = $1`, text.Encode(c.ID)))
	switch {
	case err != nil:
		return unknown(err)
	case was.Revision == c.Revision && !was.State.Leads(c.State):
		return fmt.Errorf("%w: from %s to %s", ErrState, was.State, c.State)
	}
	return ErrConflict
}

func (l *commands) Outstanding(ctx context.Context, gateway string) ([]Command, error) {
	c := conditions{text: []string{"ended = 0"}}
	if gateway != "" {
		c.add("gateway = ?", text.Encode(gateway))
	}
	return list(ctx, l.db, "read outstanding commands", scanCommand, `SELECT `+commandColumns+` FROM fleet_command`+c.where()+` ORDER BY id`, c.args...)
}

func (l *commands) Commands(ctx context.Context, f CommandFilter) ([]Command, error) {
	var c conditions
	if f.Gateway != "" {
		c.add("gateway = ?", text.Encode(f.Gateway))
	}
	if f.By != "" {
		c.add("asked_by = ?", text.Encode(f.By))
	}
	if f.Before != "" {
		c.add("id < ?", text.Encode(f.Before))
	}
	if len(f.States) > 0 {
		in := ""
		for _, s := range f.States {
			c.args = append(c.args, text.Encode(string(s)))
			in += ", $" + strconv.Itoa(len(c.args))
		}
		c.text = append(c.text, "state IN ("+in[2:]+")")
	}
	c.args = append(c.args, int64(pageLimit(f.Limit)))
	return list(ctx, l.db, "read commands", scanCommand,
		`SELECT `+commandColumns+` FROM fleet_command`+c.where()+` ORDER BY id DESC LIMIT $`+strconv.Itoa(len(c.args)), c.args...)
}

func (l *commands) Forget(ctx context.Context, before time.Time, limit int) ([]string, error) {
	var ids []string
	err := l.group.do(ctx, "forget commands", func(ctx context.Context, tx *txn) (err error) {
		ids, err = collect(ctx, tx, func(row scanner) (id string, err error) { return id, row.Scan(&id) }, `
DELETE FROM fleet_command WHERE id IN (SELECT id FROM fleet_command WHERE ended <> 0 AND ended < $1 ORDER BY ended, id LIMIT $2)
RETURNING id`, nanos(before), int64(limit))
		return err
	})
	slices.Sort(ids) // a database returns them as it comes upon them
	return ids, err
}

func isConflict(err error) bool { return errors.Is(err, ErrConflict) }
