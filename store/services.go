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

// Services reads a table services(service, key, value) in another program's database,
// which it never writes to. OpenServices opens one of SQLite, OpenPostgresServices one
// of PostgreSQL. Its methods may be called from any goroutine.
type Services struct {
	name string // what errors call the database
	db   servicesDB
	wrap func(doing string, err error) error
}

// servicesDB is a database of one kind, or of another.
type servicesDB interface {
	// check runs a query that gives no row.
	check(ctx context.Context) error
	fields(ctx context.Context, service string) ([][2]string, error)
	Close() error
}

// OpenServices opens the SQLite database at path. It fails if there is none or it has
// no such table.
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
	s := &Services{name: path, db: &sqlServices{pool, sqlServiceFields}, wrap: fail}
	if err := s.Check(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Check says whether the table is there and can be read, without reading any of it.
func (s *Services) Check(ctx context.Context) error {
	return s.wrap("read services "+s.name, s.db.check(ctx))
}

// Fields returns the keys and values of a service, none if there is no such
// service. The name is in capitals; that of a row is compared without regard to the case of ASCII
// letters. A value may be of any type; NULL is "".
func (s *Services) Fields(ctx context.Context, service string) ([][2]string, error) {
	fields, err := s.db.fields(ctx, service)
	return fields, s.wrap("read services "+s.name, err)
}

// Close closes the database.
func (s *Services) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close services %s: %w", s.name, err)
	}
	return nil
}

// sqlServices is a database, and the query for the fields of a service in its SQL.
type sqlServices struct {
	*sql.DB
	selectFields string
}

func (s *sqlServices) check(ctx context.Context) error {
	rows, err := s.QueryContext(ctx, sqlCheckServices)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // there is none
	}
	return rows.Err()
}

func (s *sqlServices) fields(ctx context.Context, service string) ([][2]string, error) {
	rows, err := s.QueryContext(ctx, s.selectFields, service, maxServiceFields)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var fields [][2]string
	for rows.Next() {
		var key, value sql.NullString
		if err := rows.Scan(&key, &value); err != nil {
			return nil, err
		}
		fields = append(fields, [2]string{key.String, value.String})
	}
	return fields, rows.Err()
}
