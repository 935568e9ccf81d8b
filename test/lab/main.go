package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Main runs a package's tests and removes what they shared: the program that
// Binary built. Call it from TestMain.
func Main(m *testing.M) int {
	sweepOnce()
	defer os.RemoveAll(binaryDir())
	return m.Run()
}

// binaryDir is where this process keeps the program, gone with Main or the
// next test's sweep.
func binaryDir() string { return filepath.Join(os.TempDir(), processPrefix()+"bin") }

// buildOnce builds the program once for all tests of this process.
var buildOnce = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := binaryDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // an ordinary user runs it, too
		return "", err
	}
	path := filepath.Join(dir, "lanfolk")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/lanfolk")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return path, nil
})

// Binary builds the real program, as `make build` does, once for all tests of
// the process, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

// moduleRoot finds the folder with go.mod above the test's own.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the test's folder")
		}
		dir = up
	}
}
