package lab

import (
	"os"
	"syscall"
	"testing"
)

// SmallDisk puts a disk of that size, "24m", over a folder until the test ends.
func SmallDisk(t testing.TB, dir, size string) {
	t.Helper()
	Require(t, "root")
	if err := syscall.Mount("lanfolk-test", dir, "tmpfs", 0, "size="+size+",mode=0755"); err != nil {
		t.Fatalf("lab: a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// Fill takes all the room on a small disk by a file, which the caller removes
// when there shall be room again.
func Fill(t testing.TB, path string) {
	t.Helper()
	const most = 64 << 20
	f, err := os.Create(path)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range most / len(block) {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
	t.Fatalf("lab: the disk of %s isn't small", path)
}
