package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// verdict is a test that records how it ends.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper() {}

func (v *verdict) Fatalf(format string, args ...any) {
	v.said = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Skipf(format string, args ...any) {
	v.said = "skipped: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func ends(t *testing.T, f func(testing.TB)) string {
	v := &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(v)
	}()
	<-done
	return v.said
}

func TestRequireSkipsAndFailsWhereNothingMayBeMissing(t *testing.T) {
	need := func(t testing.TB) { lab.Require(t, "sh", "no-such-program") }
	t.Setenv("LANFOLK_REQUIRE_ALL", "")
	if got := ends(t, need); got != "skipped: missing: no-such-program" {
		t.Errorf("without the variable: %q", got)
	}
	t.Setenv("LANFOLK_REQUIRE_ALL", "1")
	if got := ends(t, need); got != "failed: LANFOLK_REQUIRE_ALL is set and this is missing: no-such-program" {
		t.Errorf("with the variable: %q", got)
	}
	if got := ends(t, func(t testing.TB) { lab.Require(t, "sh") }); got != "" {
		t.Errorf("with nothing missing: %q", got)
	}
}

func TestWaitsFailWithWhatTheProgramSaid(t *testing.T) {
	lab.Require(t, "root", "ip")
	for _, c := range []struct {
		want string
		f    func(*lab.Host)
	}{
		{"killed after 100ms: h: sleep 60", func(h *lab.Host) {
			c := h.Command("sleep", "60")
			c.Limit = 100 * time.Millisecond
			c.Run()
		}},
		{`ended before "never"`, func(h *lab.Host) { h.Start("echo", "something").WaitText(5*time.Second, "never") }},
		{"something", func(h *lab.Host) { h.Start("echo", "something").WaitText(5*time.Second, "never") }},
		{`no "never" within 100ms`, func(h *lab.Host) { h.Start("sleep", "60").WaitText(100*time.Millisecond, "never") }},
		{"no frame among 0 frames within 50ms", func(h *lab.Host) {
			h.Links[0].Down()
			h.Links[0].Capture().Wait(50*time.Millisecond, "frame", func(lab.Frame) bool { return false })
		}},
		{"no-such-program", func(h *lab.Host) { h.Run("no-such-program") }},
	} {
		got := ends(t, func(v testing.TB) {
			l := lab.New(v)
			c.f(l.Host("h").Join(l.Subnet("a", "10.99.1.0/24")))
		})
		if !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestLeftOversOfDeadRunsAreSwept(t *testing.T) {
	lab.Require(t, "root", "ip")
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	mine := lab.StartTime(os.Getpid())
	if mine == "" {
		t.Fatal("this process has no start time")
	}
	// Tests of other packages that begin now sweep, too, but not by this prefix.
	prefix := fmt.Sprintf("lanswept%d-", os.Getpid())
	// A process id that was given again, and one that nobody has.
	dead := fmt.Sprintf("%s%d.%s9-1-0-x", prefix, os.Getpid(), mine)
	gone := prefix + "99999999.5-1-0-y"
	live := fmt.Sprintf("%s%d.%s-999-0-z", prefix, os.Getpid(), mine)
	other := prefix + "nothing-of-ours"
	for _, n := range []string{dead, gone, live, other} {
		ip("netns", "add", n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
	}
	orphan := exec.Command("ip", "netns", "exec", dead, "sleep", "300")
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	for _, n := range []string{dead, live, other} {
		if err := os.Mkdir(filepath.Join(tmp, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// ip has to be in the namespace before the sweep looks for it.
	lab.Eventually(t, 5*time.Second, "orphan in its namespace", func() error {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", orphan.Process.Pid))
		if err == nil && string(comm) != "sleep\n" {
			err = fmt.Errorf("it is %s", comm)
		}
		return err
	})
	lab.Sweep(lab.NetnsDir, tmp, prefix)
	for path, want := range map[string]bool{
		filepath.Join(lab.NetnsDir, dead): false, filepath.Join(lab.NetnsDir, gone): false,
		filepath.Join(lab.NetnsDir, live): true, filepath.Join(lab.NetnsDir, other): true,
		filepath.Join(tmp, dead): false, filepath.Join(tmp, live): true, filepath.Join(tmp, other): true,
	} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
	done := make(chan error, 1)
	go func() { done <- orphan.Wait() }()
	select {
	case <-done:
		if ws, ok := orphan.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
			t.Errorf("the orphan ends with %v", orphan.ProcessState)
		}
	case <-time.After(time.Minute):
		t.Error("the orphan lives on")
		_ = orphan.Process.Kill()
	}
}

func TestLimitsHoldForLongerWhereManyWantToRun(t *testing.T) {
	for load, want := range map[string]float64{
		"0.50 9.00 9.00 1/129 27729": 1, "7.00 1.00 1.00 2/129 27729": 3.5, "1.00 1.00 1.00 9/129 27729": 4.5, "300.00 1.00 1.00 2/129 27729": 10,
		"": 1, "what is this": 1, "a b c d/e f": 1,
	} {
		if got := lab.Crowded(load, 2); got != want {
			t.Errorf("%q on two processors: %v, want %v", load, got, want)
		}
	}
}
