package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

// secretBytes is the size of a secret: the key of HMAC-SHA-256.
const secretBytes = 32

// Secret returns the 32 random bytes that are kept under name. The first call
// for a name makes them; when it returns they are on the disk.
func (d *DB) Secret(ctx context.Context, name string) ([]byte, error) {
	value, err := d.secret(ctx, name)
	if !errors.Is(err, sql.ErrNoRows) {
		return value, err
	}
	fresh := make([]byte, secretBytes)
	rand.Read(fresh) // never fails
	err = d.inTx(ctx, "make secret", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.sql.makeSecret, append([]any{text.Encode(name), fresh, toNanos(time.Now())}, d.scope...)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.secret(ctx, name) // another caller's, if that was first
}

// PutSecret keeps value under name, in place of what was there.
func (d *DB) PutSecret(ctx context.Context, name string, value []byte) error {
	return d.inTx(ctx, "put secret", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.sql.putSecret, append([]any{text.Encode(name), value, toNanos(time.Now())}, d.scope...)...)
		return err
	})
}

func (d *DB) secret(ctx context.Context, name string) (value []byte, err error) {
	err = d.reading(ctx, "read secret", func(ctx context.Context) error {
		return d.read.QueryRowContext(ctx, d.sql.secret, append([]any{text.Encode(name)}, d.scope...)...).Scan(&value)
	})
	return value, err
}
