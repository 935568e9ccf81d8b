package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a SQLite file as lanfolk's (PRAGMA application_id):
// "lanf" in ASCII.
const applicationID = 0x6c616e66

// How much SQLite may take for itself.
const (
	writerCacheKiB = 8 << 10  // pages that the writing connection keeps
	readerCacheKiB = 2 << 10  // the same for each reading one
	maxReaders     = 4        // connections
	pageBytes      = 4 << 10  // SQLite's default, which no database of ours departs from
	walKeptBytes   = 16 << 20 // at which size the write-ahead log is emptied
)

// access says how a connection may use the file.
type access int

const (
	readWrite  access = iota
	readBeside        // query only, beside the writing connection of this process
	readOnly          // never writes, perhaps beside a writer in another process
	immutable         // as readOnly, where not even the -shm file can be made
)

// dsn returns the name by which the driver opens path. Every value is made
// here: the driver would run what stands in a pragma as SQL.
func dsn(path string, how access, o Options) string {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10))
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Set("_error_rc", "1")
	q.Set("_foreign_keys", "on")
	q.Add("_pragma", "trusted_schema(0)")
	switch how {
	case readWrite:
		q.Set("mode", "rw") // the file is made by create, with the right mode
		q.Set("_txlock", "immediate")
		q.Set("_journal_mode", "WAL")
		q.Set("_auto_vacuum", "INCREMENTAL") // works for a file in which nothing is yet
		// FULL and not NORMAL: in WAL mode NORMAL syncs at checkpoints only, so
		// that a power cut could take minutes. One sync a second, when there is
		// something to write, is what this costs.
		q.Set("_synchronous", "FULL")
		q.Add("_pragma", fmt.Sprintf("cache_size(-%d)", writerCacheKiB))
		q.Add("_pragma", fmt.Sprintf("journal_size_limit(%d)", walKeptBytes))
		q.Add("_pragma", fmt.Sprintf("wal_autocheckpoint(%d)", walKeptBytes/pageBytes))
		if o.MaxBytes > 0 {
			q.Add("_pragma", fmt.Sprintf("max_page_count(%d)", max(1, o.MaxBytes/pageBytes)))
		}
	case readOnly, immutable:
		q.Set("mode", "ro")
		q.Set("_query_only", "on")
		q.Add("_pragma", fmt.Sprintf("cache_size(-%d)", readerCacheKiB))
		if how == immutable {
			q.Set("immutable", "1")
		}
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// openSQLite returns a pool of at most conns connections to path. It opens
// none yet. path is absolute.
func openSQLite(path string, how access, o Options, conns int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(dsn(path, how, o))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// classifySQLite says which of the package's errors one of the driver's stands
// for, nil if none.
func classifySQLite(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_SHMSIZE: // no room for the -shm file
		return ErrFull
	case sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_SNAPSHOT:
		return ErrLocked
	}
	switch e.Code() & 0xff { // the primary result code
	case sqlite3.SQLITE_FULL:
		return ErrFull
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return ErrLocked
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ErrDamaged
	case sqlite3.SQLITE_READONLY:
		return ErrReadOnly
	}
	return nil
}

// cantOpen says whether SQLite could not open a file that it needs beside the
// database.
func cantOpen(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CANTOPEN
}
