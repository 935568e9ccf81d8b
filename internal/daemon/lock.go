package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrTaken says that another daemon runs with the same state folder or database.
var ErrTaken = errors.New("another lanfolk runs there")

// Lock makes the state folder, or what in it has a name of its own ("node.lock"),
// this process's own until the file is closed. The kernel drops the lock when the
// process ends, however it ends.
func Lock(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("daemon: state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("daemon: state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("daemon: state folder %s: %w; stop it, or choose another folder with --state", dir, ErrTaken)
		}
		return nil, fmt.Errorf("daemon: lock the state folder %s: %w", dir, err)
	}
	return f, nil
}

// LockFile keeps other daemons out of a SQLite file, which is one's, until it is
// closed. SQLite's own locks are of another kind; commands that read or add rows don't ask.
func LockFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("daemon: lock the database: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("daemon: database %s: %w; name another file", path, ErrTaken)
		}
		return nil, fmt.Errorf("daemon: lock the database %s: %w", path, err)
	}
	return f, nil
}

// SameFile says whether path still leads to an open file.
func SameFile(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}
