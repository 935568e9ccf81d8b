package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// NewSecret returns a secret that nobody guesses, of 26 characters (130 bits).
func NewSecret() string { return rand.Text() }

// HashSecret returns what is kept of a secret. It is plain SHA-256, as the secret is
// chance and no person's password.
func HashSecret(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

const tokenColumns = `id, hash, name, made_by, gateway, created, expires, used, key, answer`

// once is the Once in a database.
type once struct {
	db    *store.DB
	group *group
}

func scanToken(row scanner) (t Token, err error) {
	var hash, key []byte
	var created, expires, used int64
	err = row.Scan(&t.ID, &hash, &t.Name, &t.By, &t.Gateway, &created, &expires, &used, &key, &t.Answer)
	for _, s := range []*string{&t.ID, &t.Name, &t.By, &t.Gateway} {
		*s = text.Decode(*s)
	}
	t.Hash, t.Key, t.Created, t.Expires, t.Used = toSum(hash), toSum(key), fromNanos(created), fromNanos(expires), fromNanos(used)
	return t, err
}

func (o *once) AddToken(ctx context.Context, t Token) error {
	if t.ID == "" || t.Hash == [32]byte{} || t.Expires.IsZero() {
		return fmt.Errorf("fleet: add a token: %w: it needs an id, a hash and an end", ErrInvalid)
	}
	return o.group.do(ctx, "add token "+t.ID, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrExists, `
INSERT INTO fleet_token (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $8) ON CONFLICT DO NOTHING`,
			text.Encode(t.ID), sum(t.Hash), text.Encode(t.Name), text.Encode(t.By), text.Encode(t.Gateway), nanos(t.Created), nanos(t.Expires), []byte{})
	})
}

func (o *once) Tokens(ctx context.Context) ([]Token, error) {
	return list(ctx, o.db, "read tokens", scanToken, `SELECT `+tokenColumns+` FROM fleet_token ORDER BY created DESC, id`)
}

func (o *once) Token(ctx context.Context, hash [32]byte, now time.Time) (Token, error) {
	t, err := one(ctx, o.db, "read a token", scanToken, `SELECT `+tokenColumns+` FROM fleet_token WHERE hash = $1`, sum(hash))
	if err == nil && !now.Before(t.Expires) {
		return Token{}, fmt.Errorf("fleet: token %s: %w at %s", t.ID, ErrExpired, t.Expires.Format(time.RFC3339))
	}
	return t, err
}

func (o *once) UseToken(ctx context.Context, hash, key [32]byte, answer []byte, now time.Time) (Token, error) {
	if key == [32]byte{} {
		return Token{}, fmt.Errorf("fleet: use a token: %w: no key", ErrInvalid)
	}
	if answer == nil {
		answer = []byte{}
	}
	var t Token
	err := o.group.do(ctx, "use a token", func(ctx context.Context, tx *txn) (err error) {
		if _, err = tx.ExecContext(ctx, `UPDATE fleet_token SET used = $2, key = $3, answer = $4 WHERE hash = $1 AND used = 0 AND expires > $2`,
			sum(hash), nanos(now), sum(key), answer); err != nil {
			return err
		}
		t, err = scanToken(tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM fleet_token WHERE hash = $1`, sum(hash)))
		switch {
		case err != nil:
			return unknown(err)
		case !now.Before(t.Expires):
			return fmt.Errorf("%w at %s", ErrExpired, t.Expires.Format(time.RFC3339))
		case t.Key != key:
			return fmt.Errorf("%w by another key", ErrUsed)
		}
		return nil
	})
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

func (o *once) RemoveToken(ctx context.Context, id string) error {
	return o.group.do(ctx, "remove token "+id, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrUnknown, `DELETE FROM fleet_token WHERE id = $1`, text.Encode(id))
	})
}

func (o *once) ForgetTokens(ctx context.Context, before time.Time) (int, error) {
	var n int64
	err := o.group.do(ctx, "forget tokens", func(ctx context.Context, tx *txn) (err error) {
		n, err = changed(ctx, tx, `DELETE FROM fleet_token WHERE expires < $1`, nanos(before))
		return err
	})
	return int(n), err
}

func (o *once) Revoke(ctx context.Context, r Revocation) error {
	return o.group.do(ctx, "revoke "+r.Subject, func(ctx context.Context, tx *txn) error {
		position, err := next(ctx, tx, "revocation", 1)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
INSERT INTO fleet_revocation (subject, revoked, made_by, why, position) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (subject) DO NOTHING`,
			text.Encode(r.Subject), nanos(r.When), text.Encode(r.By), text.Encode(r.Why), position)
		return err
	})
}

func (o *once) Revoked(ctx context.Context, subject string) (bool, error) {
	n, err := one(ctx, o.db, "read a revocation", func(row scanner) (n int64, err error) { return n, row.Scan(&n) },
		`SELECT count(*) FROM fleet_revocation WHERE subject = $1`, text.Encode(subject))
	return n > 0, err
}

func (o *once) Revocations(ctx context.Context, after uint64) ([]Revocation, error) {
	return list(ctx, o.db, "read revocations", func(row scanner) (r Revocation, err error) {
		var when, position int64
		err = row.Scan(&r.Subject, &when, &r.By, &r.Why, &position)
		r.Subject, r.By, r.Why = text.Decode(r.Subject), text.Decode(r.By), text.Decode(r.Why)
		r.When, r.Position = fromNanos(when), uint64(position)
		return r, err
	}, `SELECT subject, revoked, made_by, why, position FROM fleet_revocation WHERE position > $1 ORDER BY position`, int64(after))
}
