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
		return value, fail("read secret", err)
	}
	fresh := make([]byte, secretBytes)
	rand.Read(fresh) // never fails
	err = d.inTx(ctx, "make secret", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, sqlMakeSecret, text.Encode(name), fresh, toNanos(time.Now()))
		return err
	})
	if err != nil {
		return nil, err
	}
	value, err = d.secret(ctx, name) // another caller's, if that was first
	return value, fail("read secret", err)
}

func (d *DB) secret(ctx context.Context, name string) (value []byte, err error) {
	err = d.read.QueryRowContext(ctx, sqlSecret, text.Encode(name)).Scan(&value)
	return value, err
}
