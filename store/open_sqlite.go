package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// openFile opens the SQLite database at path.
func openFile(ctx context.Context, path string, o Options) (*DB, error) {
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
	d := newDB(sqliteDialect{}, path, read)
	if d.write, err = openSQLite(path, readWrite, o, 1); err == nil {
		err = migrateFile(ctx, d.write, version, o.Log)
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
	if version < target(sqliteMigrations) {
		pool.Close()
		return nil, fmt.Errorf("%w (schema %d, this one reads %d)", ErrOlder, version, target(sqliteMigrations))
	}
	return newDB(sqliteDialect{}, path, pool), nil
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
	if err == nil && version > target(sqliteMigrations) {
		err = fmt.Errorf("%w (schema %d, this one knows up to %d)", ErrNewer, version, target(sqliteMigrations))
	}
	if err != nil {
		pool.Close()
		return nil, 0, err
	}
	return pool, version, nil
}

// identify returns the version of a database's tables, 0 if it has none, or
// ErrForeign if it holds another program's tables. It asks SQLite for the mark
// and doesn't read the file's head: after a crash it may stand in the -wal
// file alone.
func identify(ctx context.Context, db *sql.DB) (version int64, err error) {
	var foreign, versioned bool
	// One statement, and so one moment: another process may be making the tables.
	err = db.QueryRowContext(ctx, `
SELECT (SELECT application_id FROM pragma_application_id) <> $1
    AND EXISTS (SELECT 1 FROM sqlite_schema WHERE name <> 'goose_db_version' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'),
    EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'goose_db_version')`, applicationID).Scan(&foreign, &versioned)
	switch {
	case err != nil:
		return 0, err
	case foreign:
		return 0, ErrForeign
	case !versioned:
		return 0, nil
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	return version, err
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
