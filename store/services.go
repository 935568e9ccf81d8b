package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"
)

// maxServiceFields bounds what is read of one service; no reply has room for
// as many.
const maxServiceFields = 1000

// Services reads a table services(service, key, value) in another program's SQLite
// database, which it never writes to.
type Services struct {
	path string
	pool *sql.DB
}

// OpenServices opens the database at path. It fails if there is none or it has no such table.
func OpenServices(ctx context.Context, path string) (*Services, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		err = checkMagic(abs)
	}
	if err != nil {
		return nil, fail("open services "+path, err)
	}
	pool, err := openSQLite(abs, readOnly, Options{BusyTimeout: time.Second}, 2)
	if err != nil {
		return nil, fail("open services "+path, err)
	}
	// An open file stays the one that it is when another takes its name.
	pool.SetConnMaxLifetime(time.Second)
	s := &Services{path: path, pool: pool}
	if _, err := s.Fields(ctx, ""); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Fields returns the keys and values of a service, none if there is no such
// service. The name is in capitals; that of a row is compared without regard to the case of ASCII
// letters. A value may be of any type; NULL is "".
func (s *Services) Fields(ctx context.Context, service string) ([][2]string, error) {
	rows, err := s.pool.QueryContext(ctx, sqlServiceFields, service, maxServiceFields)
	if err != nil {
		return nil, fail("read services "+s.path, err)
	}
	defer rows.Close()
	var fields [][2]string
	for rows.Next() {
		var key, value sql.NullString
		if err := rows.Scan(&key, &value); err != nil {
			return nil, fail("read services "+s.path, err)
		}
		fields = append(fields, [2]string{key.String, value.String})
	}
	return fields, fail("read services "+s.path, rows.Err())
}

// Close closes the database.
func (s *Services) Close() error {
	if err := s.pool.Close(); err != nil {
		return fmt.Errorf("store: close services %s: %w", s.path, err)
	}
	return nil
}
