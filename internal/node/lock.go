package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrTaken says that another node runs with the same state folder.
var ErrTaken = errors.New("another lanfolk runs there")

// lock makes the state folder this process's own until the file is closed.
// The kernel drops the lock when the process ends, however it ends.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("node: state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "node.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("node: state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("node: state folder %s: %w; stop it, or choose another folder with --state", dir, ErrTaken)
		}
		return nil, fmt.Errorf("node: lock the state folder %s: %w", dir, err)
	}
	return f, nil
}

// lockFile keeps other nodes out of a SQLite file, which is one node's, until it is
// closed. SQLite's own locks are of another kind; commands that read or add rows don't ask.
func lockFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("node: lock the database: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("node: database %s: %w; name another file", path, ErrTaken)
		}
		return nil, fmt.Errorf("node: lock the database %s: %w", path, err)
	}
	return f, nil
}

// sameFile says whether path still leads to an open file.
func sameFile(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}
