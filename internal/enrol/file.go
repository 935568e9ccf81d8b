package enrol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxFile bounds what is read of a file with a secret, in bytes.
const maxFile = 256 << 10

// ReadSecret reads a file that its owner alone may open. It refuses one that others
// may read, and what is no file.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("enrol: %s is no file", path)
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Errorf("enrol: %s: mode %04o lets others reach the key; chmod 600 it", path, mode.Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("enrol: %s has more than %d bytes", path, maxFile)
	}
	return b, nil
}

// ReplaceSecret writes a file that its owner alone may open, or replaces it, in one
// step: whoever opens it finds the old content or the new. When it returns, it is on
// the disk.
func ReplaceSecret(path string, b []byte) error { return writeSecret(path, b, os.Rename) }

// CreateSecret does the same where there is no file yet; else the error is
// fs.ErrExist.
func CreateSecret(path string, b []byte) error {
	return writeSecret(path, b, func(temp, path string) error {
		err := os.Link(temp, path)
		return errors.Join(err, os.Remove(temp))
	})
}

func writeSecret(path string, b []byte, place func(temp, path string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // for its owner alone
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("enrol: %w", err)
	}
	return syncFolder(dir)
}

// syncFolder makes what was placed in a folder outlast a power cut.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	return nil
}

// alone makes the caller the only one, of all processes, who talks to a hub about
// this identity's certificates, and takes over what others have written. Done ends
// that.
func (i *Identity) alone(ctx context.Context) (done func(), err error) {
	i.joining.Lock()
	dir, err := lockFolder(ctx, filepath.Dir(i.path))
	if err == nil {
		if _, err = i.Reload(); err != nil {
			dir.Close()
		}
	}
	if err != nil {
		i.joining.Unlock()
		return nil, err
	}
	return func() { dir.Close(); i.joining.Unlock() }, nil
}

// lockEvery is how often it is tried to get a lock that another process has.
const lockEvery = 50 * time.Millisecond

// lockFolder locks a folder until the file is closed. A file for it would have to be
// one that each user can open who may use the folder.
func lockFolder(ctx context.Context, path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	for {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			dir.Close()
			return nil, fmt.Errorf("enrol: lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			dir.Close()
			return nil, fmt.Errorf("enrol: another process talks to a hub for this gateway: %w", context.Cause(ctx))
		case <-time.After(lockEvery):
		}
	}
}
