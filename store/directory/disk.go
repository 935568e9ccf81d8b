package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked says that another process uses the folder.
var ErrLocked = errors.New("another process keeps its state there")

// disk is a folder as a keeper needs it.
type disk interface {
	create(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	sync() error          // what create, rename and remove did
	free() (int64, error) // bytes that there is room for
}

type file interface {
	io.WriterAt
	io.Closer
	Sync() error
}

// folder is one of the operating system's.
type folder string

func (d folder) create(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d folder) rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}

func (d folder) remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d folder) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d folder) free() (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(string(d), &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", string(d), err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // an int32 on some machines
}

// open opens the state for writing, and makes an empty one if there is none.
func (d folder) open(name string) (*os.File, error) {
	path := filepath.Join(string(d), name)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// lock makes the folder this process's own until unlock, or until the process ends, however it ends.
func (d folder) lock(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w; stop it, or name another folder", string(d), ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", string(d), err)
	}
	return f, nil
}

// unlock gives the folder free. (To close the file isn't enough while another goroutine starts a program:
// that has it open, too, for a moment.)
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}
