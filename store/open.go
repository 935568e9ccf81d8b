package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Options are what may be chosen for a database. The zero value is good.
type Options struct {
	// ReadOnly opens a database that exists already, without a change to it.
	// Another process may write to it meanwhile.
	ReadOnly bool
	// BusyTimeout is how long a call waits for another process that holds the
	// database. Default 5 s.
	BusyTimeout time.Duration
	// MaxBytes bounds the size of the database file; what would make it larger
	// fails with ErrFull. 0 is no bound.
	MaxBytes int64
	// Log hears of migrations. Default: silent.
	Log *slog.Logger
}

const defaultBusyTimeout = 5 * time.Second

// DB is an open database. Its methods may be called from any goroutine; one
// writes at a time, and readers never wait for it.
type DB struct {
	path  string
	write *sql.DB // one connection; nil if the database is read-only
	read  *sql.DB
}

// Open opens the SQLite database at path, makes it if there is none, and brings
// its tables up to date. The folder must exist. A file that is damaged, that
// belongs to another program, or that a newer lanfolk made is refused with an
// error that says what to do, and is left as it is.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, openError(path, err)
	}
	open := openWriter
	if o.ReadOnly {
		open = openReader
	}
	d, err := open(ctx, abs, o)
	if err != nil {
		return nil, openError(abs, err)
	}
	return d, nil
}

func openWriter(ctx context.Context, path string, o Options) (*DB, error) {
	if err := create(path); err != nil {
		return nil, err
	}
	read, version, err := openToRead(ctx, path, o)
	if err != nil {
		return nil, err
	}
	d := &DB{path: path, read: read}
	if d.write, err = openSQLite(path, readWrite, o, 1); err == nil {
		err = migrate(ctx, d.write, version, o.Log)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func openReader(ctx context.Context, path string, o Options) (*DB, error) {
	pool, version, err := openToRead(ctx, path, o)
	if err != nil {
		return nil, err
	}
	if version < target() {
		pool.Close()
		return nil, fmt.Errorf("%w (schema %d, this one reads %d)", ErrOlder, version, target())
	}
	return &DB{path: path, read: pool}, nil
}

// openToRead opens path for reading and returns the version of its tables. It
// refuses what is no database of this or an older lanfolk's.
func openToRead(ctx context.Context, path string, o Options) (*sql.DB, int64, error) {
	if err := checkMagic(path); err != nil {
		return nil, 0, err
	}
	pool, version, err := look(ctx, path, readOnly, o)
	// In WAL mode a reader needs the -shm file, which it can't make on a full
	// disk, on a medium or in a folder that it may not write to. With nothing in
	// the files of a writer there is none, and the database can be read as one
	// that never changes. (On a full disk the -shm file may be one that another
	// try could not fill.)
	full := errors.Is(classify(err), ErrFull)
	if o.ReadOnly && (full || cantOpen(err)) && empty(path+"-wal") && (full || empty(path+"-shm")) {
		pool, version, err = look(ctx, path, immutable, o)
	}
	return pool, version, err
}

// empty says whether there is no file at path, or nothing in it.
func empty(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0)
}

// look opens path, and closes it again if it isn't ours or too new.
func look(ctx context.Context, path string, how access, o Options) (*sql.DB, int64, error) {
	pool, err := openSQLite(path, how, o, maxReaders)
	if err != nil {
		return nil, 0, err
	}
	version, err := identify(ctx, pool)
	if err == nil && version > target() {
		err = fmt.Errorf("%w (schema %d, this one knows up to %d)", ErrNewer, version, target())
	}
	if err != nil {
		pool.Close()
		return nil, 0, err
	}
	return pool, version, nil
}

// Path returns where the database is.
func (d *DB) Path() string { return d.path }

// Close waits for calls that are under way and closes the database.
func (d *DB) Close() error {
	var errs []error
	for _, pool := range []*sql.DB{d.read, d.write} { // the writer last: it empties the -wal file
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return fail("close", errors.Join(errs...))
}

// Check reads the whole database and returns an error that is ErrDamaged if
// something in it is broken. It takes seconds where there are millions of rows.
func (d *DB) Check(ctx context.Context) error {
	var verdict string
	if err := d.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fail("check", err)
	}
	if verdict != "ok" {
		return openError(d.path, fmt.Errorf("%w: %s", ErrDamaged, verdict))
	}
	return nil
}

// create makes an empty file that only its owner may read: it holds secrets.
// SQLite gives the files beside it the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// checkMagic returns an error if path is neither empty nor begins as a SQLite
// file, before SQLite itself sees it.
func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	const magic = "SQLite format 3\x00" // https://www.sqlite.org/fileformat.html §1.2
	head := make([]byte, len(magic))
	switch n, err := io.ReadFull(f, head); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case string(head[:n]) != magic:
		return fmt.Errorf("%w: it does not begin as a SQLite file", ErrDamaged)
	}
	return nil
}

// openError says of a file what is wrong with it and what a person can do.
func openError(path string, err error) error {
	what := fail("open "+path, err)
	switch {
	case errors.Is(what, ErrDamaged):
		return fmt.Errorf("%w; put back a copy of it, or move it away and lanfolk begins with an empty one", what)
	case errors.Is(what, ErrForeign):
		return fmt.Errorf("%w; name another file or state folder", what)
	case errors.Is(what, ErrNewer):
		return fmt.Errorf("%w; run that version, or name another state folder", what)
	case errors.Is(what, ErrOlder):
		return fmt.Errorf("%w; start the node once to bring it up to date", what)
	case errors.Is(what, ErrLocked):
		return fmt.Errorf("%w; end the other process, or name another state folder", what)
	case errors.Is(what, ErrFull):
		return fmt.Errorf("%w; make room and try again", what)
	}
	return what
}
