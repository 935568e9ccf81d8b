package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestHowCommandsEnd: by their time, by a person, by a program's own exit code, by what
// the gateway allows; and no program outlives its command.
func TestHowCommandsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	dir := s.folder("bin")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// It has a child, which must go, too.
	s.gateway("shop", program("sleep", writeScript(t, dir, "sleep.sh", "cd "+dir+"; sleep 100 & echo $! $$ > pids-$1; echo begun; wait\n"), "[a-z]+"))
	gone := func(name string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "pids-"+name))
		if err != nil {
			t.Fatal(err)
		}
		var pids [2]int
		if _, err := fmt.Sscan(string(b), &pids[0], &pids[1]); err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			lab.Eventually(t, patience, "the end of the program", func() error {
				if err := syscall.Kill(pid, 0); err == nil {
					return fmt.Errorf("process %d lives", pid)
				}
				return nil
			})
		}
	}
	run := func(args ...string) *lab.Process {
		return s.at.Lanfolk(append([]string{"run", "shop", "-o", "jsonl", "--state", s.hub.State}, args...)...).Start()
	}
	last := func(p *lab.Process) outcome {
		t.Helper()
		all := outcomes(t, p.Stdout())
		if len(all) == 0 {
			t.Fatalf("run says nothing: %s", p.Stderr())
		}
		return all[len(all)-1]
	}

	late := run("--timeout", "20s", "--", "exec", "sleep", "late") // time enough for it to begin
	stopped := run("--", "exec", "sleep", "stopped")
	var id string
	lab.Eventually(t, patience, "the program", func() error {
		if _, err := os.Stat(filepath.Join(dir, "pids-stopped")); err != nil {
			return err
		}
		for _, o := range s.commands() {
			if o.Status == "running" && strings.HasSuffix(o.Command, " stopped") {
				id = o.CommandID
				return nil
			}
		}
		return errors.New("no command is running")
	})
	s.ok("commands", "cancel", id)
	if exit := stopped.Wait(patience); exit == 0 || last(stopped).Status != "cancelled" {
		t.Errorf("called off: exit %d, %+v", exit, last(stopped))
	}
	gone("stopped")

	if denied := run("--", "exec", "rm", "x"); denied.Wait(patience) != 4 || last(denied).Status != "denied" {
		t.Errorf("not allowed: %+v; want exit 4", last(denied))
	}
	if denied := run("--", "exec", "sleep", "1"); denied.Wait(patience) != 4 || last(denied).Status != "denied" {
		t.Errorf("an argument that isn't allowed: %+v; want exit 4", last(denied))
	}
	if denied := run("--", "capture", "eth0", "1"); denied.Wait(patience) != 4 {
		t.Errorf("capture is off until it is allowed: %+v; want exit 4", last(denied))
	}

	if exit := late.Wait(patience); exit != 6 || last(late).Status != "timeout" || last(late).Output != "begun\n" {
		t.Errorf("past its time: exit %d, %+v; want 6 and what it said before", exit, last(late))
	}
	gone("late")
}

// TestNothingOutlivesItsGateway: a gateway that is killed takes with it what its programs
// began, whoever's child that is by now; and what a program leaves behind when it ends by
// itself doesn't go on.
func TestNothingOutlivesItsGateway(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	// A child, one whose parent has ended, in a session of its own, and two below the leader
	// of another session, of which one heeds no signal.
	const family = `sleep $1 & (setsid sleep $1 &); setsid sh -c "sleep $1 & (trap '' INT HUP TERM; sleep $1) & wait" & `
	dir := s.folder("bin")
	g := s.gateway("shop",
		program("stay", writeScript(t, dir, "stay.sh", family+"exec sleep $1\n"), "[0-9.]+")+
			program("leave", writeScript(t, dir, "leave.sh", family+"sleep 0.1; echo left\n"), "[0-9.]+"))
	expect := func(seconds string, n int) {
		t.Helper()
		lab.Eventually(t, patience, fmt.Sprintf("%d processes", n), func() error {
			if pids := sleeping(t, seconds); len(pids) != n {
				return fmt.Errorf("there are %d: %v", len(pids), pids)
			}
			return nil
		})
	}
	// So that they are found among all processes.
	first, second := fmt.Sprintf("7001.%d", os.Getpid()), fmt.Sprintf("7002.%d", os.Getpid())
	if o := s.run("shop", "exec", "leave", first); o.Status != "ok" || o.Output != "left\n" {
		t.Errorf("a program that leaves others behind: %+v", o)
	}
	if pids := sleeping(t, first); len(pids) > 0 {
		t.Errorf("the command has ended, and processes %v go on", pids)
	}

	s.at.Lanfolk("run", "shop", "--state", s.hub.State, "--", "exec", "stay", second).Start()
	expect(second, 5)
	began := time.Now()
	g.Kill()
	expect(second, 0)
	t.Logf("all are gone %v after the gateway was killed", time.Since(began).Round(time.Millisecond))
}

// sleeping returns the processes that sleep for so many seconds.
func sleeping(t *testing.T, seconds string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && string(b) == "sleep\x00"+seconds+"\x00" {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// TestSlowReaderHoldsUpNobody: who doesn't read a result keeps neither the gateway nor
// others waiting.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	g := s.gateway("shop", "")
	content := noise(24 << 20)
	sum := g.put(t, "large.bin", content)
	s.at.Start("sh", "-c", `"$0" run shop --state "$1" -- get large.bin | sleep 170`, lab.Binary(t), s.hub.State)
	var id string
	lab.Eventually(t, patience, "the whole result at the hub", func() error {
		all := s.commands()
		if len(all) != 1 || all[0].Status != "ok" {
			return fmt.Errorf("%+v", all)
		}
		if id = all[0].CommandID; all[0].SHA256 != sum {
			t.Errorf("%+v; want %s", all[0], sum)
		}
		return nil
	})
	began := time.Now()
	for range 3 {
		if o := s.run("shop", "status"); o.Status != "ok" {
			t.Errorf("%+v", o)
		}
	}
	t.Logf("three commands beside it took %v", time.Since(began).Round(time.Millisecond))
	if r := s.at.Command("sh", "-c", `"$0" commands output "$1" --state "$2" | sha256sum`, lab.Binary(t), id, s.hub.State).Run(); !strings.HasPrefix(r.Stdout, sum) {
		t.Errorf("another reader has %s; want %s", r.Stdout, sum)
	}
}

// TestGatewayDiesWhileItsProgramTalks: what the program said until then is kept, and the
// command is reported as interrupted.
func TestGatewayDiesWhileItsProgramTalks(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	g := s.gateway("shop", program("talk", writeScript(t, s.folder("bin"), "talk.sh", "for i in 1 2 3 4; do echo line $i; sleep 0.2; done; sleep 300; echo line 9\n")))
	run := s.at.Lanfolk("run", "shop", "--state", s.hub.State, "--", "exec", "talk").Start()
	run.WaitText(patience, "line 4")
	g.Kill()
	g.start()
	run.Wait(patience)
	all := s.commands()
	if len(all) != 1 || all[0].Status != "interrupted" {
		t.Fatalf("%+v; want it interrupted", all)
	}
	out := s.ok("commands", "output", all[0].CommandID)
	if !strings.HasPrefix(out, "line 1\nline 2\nline 3\nline 4\n") || strings.Contains(out, "line 9") {
		t.Errorf("its output is %q", out)
	}
	if out != run.Stdout() {
		t.Errorf("who watched saw %q, and %q is kept", run.Stdout(), out)
	}
}
