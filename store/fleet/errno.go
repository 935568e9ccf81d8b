package fleet

import (
	"errors"
	"syscall"
)

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// disk returns how many bytes the disk of a folder has, and how many of them we may
// still take.
func disk(folder string) (all, free int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, 0, err
	}
	block := int64(s.Bsize) //nolint:unconvert // an int32 on some machines
	return int64(s.Blocks) * block, int64(s.Bavail) * block, nil
}
