package leases

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Changes are told by the kernel, of each file that matters, and don't wait for a look.
func TestTheWatcherHears(t *testing.T) {
	dir, far := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "leases")
	w := newWatcher(path)
	defer w.close()
	if len(w.folders) != 1 || w.poll() != pollWatched {
		t.Fatalf("it watches %v", w.folders)
	}
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(what string) {
		t.Helper()
		for limit := time.After(2 * time.Minute); ; {
			select {
			case e := <-w.events():
				if w.concerned(e) {
					return
				}
			case <-limit:
				t.Fatalf("nothing is heard of %s", what)
			}
		}
	}
	write(filepath.Join(dir, "other"))
	write(path)
	hears("a new file")
	write(path + ".2")
	hears("a file of the clean-up")
	if err := os.Rename(path+".2", path); err != nil {
		t.Fatal(err)
	}
	hears("a rename")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	hears("a removal")
	write(filepath.Join(far, "real"))
	if err := os.Symlink(filepath.Join(far, "real"), path); err != nil {
		t.Fatal(err)
	}
	hears("a symbolic link")
	w.follow()
	for quiet := false; !quiet; {
		select {
		case <-w.events():
		case <-time.After(100 * time.Millisecond):
			quiet = true
		}
	}
	write(filepath.Join(far, "real"))
	hears("what is behind a symbolic link")
}
