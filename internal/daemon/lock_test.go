package daemon

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestOneNodeForAStateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := Lock(dir, "node.lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, "node.lock"); !errors.Is(err, ErrTaken) {
		t.Errorf("second lock: %v; want ErrTaken", err)
	}
	first.Close()
	again, err := Lock(dir, "node.lock")
	if err != nil {
		t.Fatalf("lock after the first node ended: %v", err)
	}
	again.Close()
}
