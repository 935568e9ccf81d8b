package store

import (
	"context"
	"errors"
	"fmt"
)

// What can be wrong with a database, for errors.Is.
var (
	// ErrFull: the disk, or the size that Options.MaxBytes allows, is full.
	ErrFull = errors.New("disk full")
	// ErrLocked: another process held the database, or a table of it, for longer
	// than Options.BusyTimeout.
	ErrLocked = errors.New("database locked by another process")
	// ErrDamaged: the file is no database, or one that can't be read any more.
	ErrDamaged = errors.New("database damaged")
	// ErrForeign: the file is a database of another program.
	ErrForeign = errors.New("database of another program")
	// ErrNewer: a newer lanfolk made the database.
	ErrNewer = errors.New("database made by a newer lanfolk")
	// ErrOlder: an older lanfolk made the database, and it was opened read-only,
	// so that it can't be brought up to date.
	ErrOlder = errors.New("database made by an older lanfolk")
	// ErrReadOnly: the database was opened read-only, or the file system is.
	ErrReadOnly = errors.New("database is read-only")
	// ErrRefused: a database's server is there and refuses: the user, the password,
	// the database or its table isn't as it was told.
	ErrRefused = errors.New("refused by the database's server")
	// ErrTaken: another process writes as the node that Options.Node names.
	ErrTaken = errors.New("another node of this name writes into the database")
	// ErrAway: a database's server can't be reached, doesn't answer, or takes nobody
	// at present.
	ErrAway = errors.New("no answer from the database's server")
	// ErrSuspended: DB.Suspend said that nothing is to be written for now.
	ErrSuspended = errors.New("nothing is written at present")
)

// fail wraps err with what was being done, and with the sentinel above that
// it stands for. nil stays nil.
func fail(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("store: %s: %w", doing, err)
	}
	if kind := classify(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("store: %s: %w: %w", doing, kind, oneLine{err})
	}
	return fmt.Errorf("store: %s: %w", doing, oneLine{err})
}

// classify says which of the package's errors a driver's error stands for, nil
// if none.
func classify(err error) error {
	if kind := classifySQLite(err); kind != nil {
		return kind
	}
	return classifyPostgres(err)
}
