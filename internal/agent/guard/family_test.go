package guard

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzParentIn(f *testing.F) {
	for _, s := range []struct {
		stat string
		want int
	}{
		{"1 (systemd) S 0 1 1 0 -1 4194560", 0},
		{"4711 (sh) S 4710 4711 4711 0 -1 4194560", 4710},
		{"4711 (a) S 1 (b) R 4710 4711", 4710}, // a name may be anything
		{"4711 (two\nlines) Z 4710 4711", 4710},
		{"4711 (sh) S", 0},
		{"4711 (sh) S -1 0", 0},
		{"4711 (sh", 0},
		{"", 0},
	} {
		f.Add([]byte(s.stat))
		if got, ok := parentIn([]byte(s.stat)); ok != (s.want > 0) || ok && got != s.want {
			f.Errorf("%q: %d, %v; want %d", s.stat, got, ok, s.want)
		}
	}
	f.Fuzz(func(t *testing.T, stat []byte) {
		if pid, ok := parentIn(stat); ok && pid <= 0 {
			t.Errorf("the parent is %d", pid)
		}
	})
}

func TestDescendants(t *testing.T) {
	children := map[int][]int{1: {2, 10}, 10: {11, 12}, 12: {13}, 2: {3}}
	if got := descendants(10, children); !slices.Equal(got, []int{11, 12, 13}) {
		t.Errorf("%v", got)
	}
	if !slices.Contains(processes()[os.Getppid()], os.Getpid()) {
		t.Error("this process isn't found")
	}
}

// A number that has become a stranger's is left alone.
func TestOnlyItsOwnAreStopped(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	stopped := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(b), "\nState:\tT")
	}
	if stop(pid, map[int]bool{pid: true}) || stop(1<<30, map[int]bool{os.Getpid(): true}) {
		t.Error("a stranger is taken for one of ours")
	}
	time.Sleep(50 * time.Millisecond)
	if stopped() {
		t.Error("a stranger is stopped")
	}
	if !stop(pid, map[int]bool{os.Getpid(): true}) {
		t.Error("our child isn't found")
	}
	for end := time.Now().Add(time.Minute); !stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("our child goes on")
		}
	}
}
