package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// maxInsecure bounds the gateways for which nobody vouches: each who reaches the
// listener without TLS can make one up.
const maxInsecure = 10_000

const (
	sessionColumns  = `g.epoch, g.hub, g.run, g.session_address, g.session_version, g.since, g.ended, g.why`
	standingColumns = `g.id, g.name, g.labels, g.key, g.version, g.address, g.enrolled, g.revoked, g.last_seen, ` + sessionColumns + `, h.until`
	// With the lease of the run under which the session began; 0 if it is over.
	standingTables = ` FROM fleet_gateway AS g LEFT JOIN fleet_hub AS h ON h.name = g.hub AND h.run = g.run`
)

// sessions is the Sessions in a database.
type sessions struct {
	db    *store.DB
	group *group
}

func scanSession(gateway string, row func(into ...any) error, more ...any) (s Session, err error) {
	var epoch, run, since, ended int64
	err = row(append([]any{&epoch, &s.Hub, &run, &s.Address, &s.Version, &since, &ended, &s.Why}, more...)...)
	for _, x := range []*string{&s.Hub, &s.Address, &s.Version, &s.Why} {
		*x = text.Decode(*x)
	}
	s.Gateway, s.Epoch, s.Run, s.Since, s.Ended = gateway, uint64(epoch), uint64(run), fromNanos(since), fromNanos(ended)
	return s, err
}

// scanStanding returns what makes a Standing of a row at the time now.
func scanStanding(now time.Time) func(scanner) (Standing, error) {
	return func(row scanner) (g Standing, err error) {
		var labels string
		var key []byte
		var enrolled, revoked, seen int64
		var until sql.NullInt64
		g.Session, err = scanSession("", func(into ...any) error {
			return row.Scan(append([]any{&g.ID, &g.Name, &labels, &key, &g.Version, &g.Address, &enrolled, &revoked, &seen}, into...)...)
		}, &until)
		if err != nil {
			return Standing{}, err
		}
		for _, x := range []*string{&g.ID, &g.Name, &g.Version, &g.Address} {
			*x = text.Decode(*x)
		}
		g.Key, g.Enrolled, g.Revoked, g.LastSeen = toSum(key), fromNanos(enrolled), fromNanos(revoked), fromNanos(seen)
		if g.Session.Epoch > 0 {
			g.Session.Gateway = g.ID
			g.Online = g.Session.Ended.IsZero() && until.Int64 > nanos(now)
		}
		g.Labels, err = toLabels(labels)
		return g, err
	}
}

func (s *sessions) Enrol(ctx context.Context, g Gateway) (Gateway, error) {
	if g.ID == "" || g.Insecure() {
		return Gateway{}, fmt.Errorf("fleet: enrol: %w: id %q", ErrInvalid, g.ID)
	}
	var made Standing
	err := s.group.do(ctx, "enrol "+g.ID, func(ctx context.Context, tx *txn) error {
		if err := addGateway(ctx, tx, g); err != nil {
			return err
		}
		if err := change(ctx, tx, ErrFenced, `
UPDATE fleet_gateway SET key = $2, name = CASE WHEN $3 = '' THEN name ELSE $3 END, enrolled = CASE WHEN enrolled = 0 THEN $4 ELSE enrolled END
WHERE id = $1 AND revoked = 0`, text.Encode(g.ID), sum(g.Key), text.Encode(g.Name), nanos(g.Enrolled)); err != nil {
			return err
		}
		var err error
		made, err = scanStanding(time.Time{})(tx.QueryRowContext(ctx, `SELECT `+standingColumns+standingTables+` WHERE g.id = $1`, text.Encode(g.ID)))
		return err
	})
	return made.Gateway, err
}

// addGateway makes a record, if there is none.
func addGateway(ctx context.Context, tx *txn, g Gateway) error {
	_, err := tx.ExecContext(ctx, `
INSERT INTO fleet_gateway (id, name, labels, key, version, address, enrolled, revoked, last_seen,
    epoch, hub, run, session_address, session_version, since, ended, why)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, 0, '', 0, '', '', 0, 0, '')
ON CONFLICT (id) DO NOTHING`, text.Encode(g.ID), text.Encode(g.Name), labelsText(g.Labels), sum(g.Key),
		text.Encode(g.Version), text.Encode(g.Address), nanos(g.Enrolled), nanos(g.LastSeen))
	return err
}

func (s *sessions) Gateways(ctx context.Context, f GatewayFilter, now time.Time) ([]Standing, error) {
	var c conditions
	if f.ID != "" {
		c.add("g.id = ?", text.Encode(f.ID))
	}
	if f.After != "" {
		c.add("g.id > ?", text.Encode(f.After))
	}
	limit := math.MaxInt32
	if f.Limit > 0 && len(f.Selector) == 0 {
		limit = f.Limit
	}
	c.args = append(c.args, int64(limit))
	all, err := list(ctx, s.db, "read gateways", scanStanding(now),
		`SELECT `+standingColumns+standingTables+c.where()+` ORDER BY g.id LIMIT $`+strconv.Itoa(len(c.args)), c.args...)
	if err != nil || len(f.Selector) == 0 {
		return all, err
	}
	matching := []Standing{}
	for _, g := range all {
		if Matches(f.Selector, g.Labels) && (f.Limit <= 0 || len(matching) < f.Limit) {
			matching = append(matching, g)
		}
	}
	return matching, nil
}

func (s *sessions) Gateway(ctx context.Context, id string, now time.Time) (Standing, error) {
	return one(ctx, s.db, "read gateway "+strconv.Quote(id), scanStanding(now), `SELECT `+standingColumns+standingTables+` WHERE g.id = $1`, text.Encode(id))
}

func (s *sessions) GatewayOf(ctx context.Context, key [32]byte, now time.Time) (Standing, error) {
	if key == [32]byte{} {
		return Standing{}, fmt.Errorf("fleet: read the gateway of a key: %w", ErrUnknown)
	}
	return one(ctx, s.db, "read the gateway of a key", scanStanding(now),
		`SELECT `+standingColumns+standingTables+` WHERE g.key = $1 AND g.revoked = 0 ORDER BY g.id LIMIT 1`, sum(key))
}

// change changes the record of a gateway.
func (s *sessions) change(ctx context.Context, doing, id, statement string, args ...any) error {
	return s.group.do(ctx, doing+" "+strconv.Quote(id), func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrUnknown, statement, append([]any{text.Encode(id)}, args...)...)
	})
}

func (s *sessions) Rename(ctx context.Context, id, name string) error {
	return s.change(ctx, "rename gateway", id, `UPDATE fleet_gateway SET name = $2 WHERE id = $1`, text.Encode(name))
}

func (s *sessions) SetLabels(ctx context.Context, id string, labels map[string]string) error {
	return s.change(ctx, "label gateway", id, `UPDATE fleet_gateway SET labels = $2 WHERE id = $1`, labelsText(labels))
}

func (s *sessions) MarkRevoked(ctx context.Context, id string, when time.Time) error {
	return s.change(ctx, "revoke gateway", id, `UPDATE fleet_gateway SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE id = $1`, nanos(when))
}

func (s *sessions) Forget(ctx context.Context, id string) error {
	return s.change(ctx, "forget gateway", id, `DELETE FROM fleet_gateway WHERE id = $1`)
}

func (s *sessions) Attend(ctx context.Context, hub string, now, until time.Time) (uint64, error) {
	var run int64
	err := s.group.do(ctx, "attend", func(ctx context.Context, tx *txn) (err error) {
		if run, err = next(ctx, tx, "run", 1); err != nil {
			return err
		}
		// The sessions that the run before left behind ended when it was last there.
		if _, err = tx.ExecContext(ctx, `
UPDATE fleet_gateway SET ended = CASE WHEN last_seen > since THEN last_seen ELSE since END, why = 'the hub started anew'
WHERE hub = $1 AND ended = 0 AND epoch > 0`, text.Encode(hub)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
INSERT INTO fleet_hub (name, run, until) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET run = excluded.run, until = excluded.until`, text.Encode(hub), run, nanos(until))
		return err
	})
	return uint64(run), err
}

func (s *sessions) Extend(ctx context.Context, hub string, run uint64, until time.Time) error {
	return s.group.do(ctx, "extend the hub's lease", func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrFenced, `UPDATE fleet_hub SET until = $3 WHERE name = $1 AND run = $2`, text.Encode(hub), int64(run), nanos(until))
	})
}

func (s *sessions) Leave(ctx context.Context, hub string, run uint64, now time.Time) error {
	return s.group.do(ctx, "leave", func(ctx context.Context, tx *txn) error {
		if err := change(ctx, tx, ErrFenced, `UPDATE fleet_hub SET until = $3 WHERE name = $1 AND run = $2`, text.Encode(hub), int64(run), nanos(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE fleet_gateway SET ended = $3, why = 'the hub went down' WHERE hub = $1 AND run = $2 AND ended = 0`,
			text.Encode(hub), int64(run), nanos(now))
		return err
	})
}

func (s *sessions) Begin(ctx context.Context, n Session) (begun, replaced Session, err error) {
	err = s.group.do(ctx, "begin the session of "+n.Gateway, func(ctx context.Context, tx *txn) error {
		begun, replaced, err = begin(ctx, tx, n)
		return err
	})
	return begun, replaced, err
}

func begin(ctx context.Context, tx *txn, n Session) (begun, replaced Session, err error) {
	var run int64
	err = tx.QueryRowContext(ctx, `SELECT run FROM fleet_hub WHERE name = $1`, text.Encode(n.Hub)).Scan(&run)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && uint64(run) != n.Run:
		return Session{}, Session{}, fmt.Errorf("%w as hub %s", ErrFenced, n.Hub)
	case err != nil:
		return Session{}, Session{}, err
	}
	id := text.Encode(n.Gateway)
	if strings.HasPrefix(n.Gateway, InsecurePrefix) {
		if err := addInsecure(ctx, tx, n); err != nil {
			return Session{}, Session{}, err
		}
	}
	// The update keeps others away from the row; the session before stands in it still.
	replaced, err = scanSession(n.Gateway, tx.QueryRowContext(ctx, `
UPDATE fleet_gateway SET last_seen = CASE WHEN last_seen > $2 THEN last_seen ELSE $2 END WHERE id = $1 AND revoked = 0
RETURNING `+strings.ReplaceAll(sessionColumns, "g.", ""), id, nanos(n.Since)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, Session{}, whyNone(ctx, tx, id)
	}
	if err != nil {
		return Session{}, Session{}, err
	}
	if goesOn, err := goesOn(ctx, tx, replaced, n.Since); err != nil {
		return Session{}, Session{}, err
	} else if !goesOn {
		replaced = Session{}
	}
	epoch, err := next(ctx, tx, "epoch", 1)
	if err != nil {
		return Session{}, Session{}, err
	}
	begun = n
	begun.Epoch, begun.Ended, begun.Why = uint64(epoch), time.Time{}, ""
	_, err = tx.ExecContext(ctx, `
UPDATE fleet_gateway SET epoch = $2, hub = $3, run = $4, session_address = $5, session_version = $6, since = $7, ended = 0, why = '',
    address = $5, version = CASE WHEN $6 = '' THEN version ELSE $6 END
WHERE id = $1`, id, epoch, text.Encode(n.Hub), int64(n.Run), text.Encode(n.Address), text.Encode(n.Version), nanos(n.Since))
	return begun, replaced, err
}

// whyNone says why there is no gateway that may listen.
func whyNone(ctx context.Context, tx *txn, id string) error {
	var revoked int64
	if err := tx.QueryRowContext(ctx, `SELECT revoked FROM fleet_gateway WHERE id = $1`, id).Scan(&revoked); err != nil {
		return unknown(err)
	}
	return fmt.Errorf("%w: the gateway is revoked", ErrFenced)
}

// goesOn says whether a session has not ended, nor the lease of its hub.
func goesOn(ctx context.Context, tx *txn, s Session, now time.Time) (bool, error) {
	if s.Epoch == 0 || !s.Ended.IsZero() {
		return false, nil
	}
	var until int64
	err := tx.QueryRowContext(ctx, `SELECT until FROM fleet_hub WHERE name = $1 AND run = $2`, text.Encode(s.Hub), int64(s.Run)).Scan(&until)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return until > nanos(now), err
}

// addInsecure makes the record of a gateway for which nobody vouches.
func addInsecure(ctx context.Context, tx *txn, n Session) error {
	var known, all int64
	const count = `SELECT coalesce(sum(CASE WHEN id = $1 THEN 1 ELSE 0 END), 0), count(*) FROM fleet_gateway WHERE id >= 'insecure/' AND id < 'insecure0'`
	if err := tx.QueryRowContext(ctx, count, text.Encode(n.Gateway)).Scan(&known, &all); err != nil || known > 0 {
		return err
	}
	if all >= maxInsecure {
		return fmt.Errorf("%w: %d gateways without a certificate", ErrQuota, all)
	}
	return addGateway(ctx, tx, Gateway{ID: n.Gateway, Name: strings.TrimPrefix(n.Gateway, InsecurePrefix), LastSeen: n.Since})
}

func (s *sessions) Seen(ctx context.Context, gateway string, epoch uint64, when time.Time) error {
	return s.group.do(ctx, "see "+gateway, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrFenced, `
UPDATE fleet_gateway SET last_seen = CASE WHEN last_seen > $3 THEN last_seen ELSE $3 END
WHERE id = $1 AND epoch = $2 AND ended = 0`, text.Encode(gateway), int64(epoch), nanos(when))
	})
}

func (s *sessions) End(ctx context.Context, gateway string, epoch uint64, when time.Time, why string) (bool, error) {
	var n int64
	err := s.group.do(ctx, "end the session of "+gateway, func(ctx context.Context, tx *txn) (err error) {
		n, err = changed(ctx, tx, `
UPDATE fleet_gateway SET ended = $3, why = $4, last_seen = CASE WHEN last_seen > $3 THEN last_seen ELSE $3 END
WHERE id = $1 AND epoch = $2 AND ended = 0`, text.Encode(gateway), int64(epoch), nanos(when), text.Encode(why))
		return err
	})
	return n > 0, err
}
