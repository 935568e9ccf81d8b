package doctor

import (
	"path/filepath"
	"syscall"
)

// writable says whether this process may make files in a folder, without
// making one.
func writable(dir string) error {
	const writeAndSearch = 2 | 1
	return syscall.Access(dir, writeAndSearch)
}

// connectable says whether this process may connect to a unix socket.
func connectable(path string) error {
	const write = 2
	return syscall.Access(path, write)
}

// freeSpace returns how many bytes an ordinary user may still write there.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

func parentOf(path string) string { return filepath.Dir(filepath.Clean(path)) }
