package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

// diskVariable names a folder on which the test, run again, mounts a small disk.
const diskVariable = "LANFOLK_AGENT_TEST_DISK"

// On a full disk commands are refused, clearly, and run again when there is room. So
// it is for an agent that is opened then.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv(diskVariable)
	if dir != "" {
		onSmallDisk(t, dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestFullDisk$")
	cmd.Env = append(os.Environ(), diskVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) {
		if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no mount namespace can be made here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, dir string) {
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k")); err != nil {
		t.Fatal(err)
	}
	c := Config{Folder: filepath.Join(dir, "gateway"), Programs: map[string]Program{"say": {Path: "/bin/echo"}}}
	a, err := Open(c, sources(&fake{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, t.Context(), a, "status", reverse.Terms{}); got.end.Status != reverse.StatusOK {
		t.Errorf("while there is room: %+v", got.end)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	refused := func(a *Agent) {
		t.Helper()
		// What is left of the last block may take a line or two.
		ids := reverse.IDs{Random: rand.Reader}
		for range 100 {
			id, err := ids.Next(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if run, err := a.Accept(id, "exec say"); err != nil {
				if run || !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "agent: it is not run: ") {
					t.Errorf("on a full disk: %v, %v", run, err)
				}
				if a.Stats().Failures == 0 {
					t.Error("no failure is counted")
				}
				return
			}
		}
		t.Error("a hundred commands were accepted on a full disk")
	}
	refused(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = Open(c, sources(&fake{}), nil); err != nil {
		t.Fatalf("on a full disk it isn't even opened: %v", err)
	}
	defer a.Close()
	refused(a)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, t.Context(), a, "exec say", reverse.Terms{}); got.end.Status != reverse.StatusOK || got.text != "\n" {
		t.Errorf("when there is room again: %+v", got.end)
	}
	// A result for which there is no room is cut, and says so.
	fill(t, ballast)
	if info, err := os.Stat(ballast); err != nil || os.Truncate(ballast, info.Size()-12<<10) != nil {
		t.Fatal("no room for a part of it", err)
	}
	before := a.room.used.Load()
	id := newIDs(1)[0]
	sp := newSpool(filepath.Join(c.Folder, resultFolder, id), 1<<20, &a.room, true)
	if n, err := sp.Write(make([]byte, 100_000)); n != 100_000 || err != nil {
		t.Errorf("a spool that cuts: %d, %v", n, err)
	}
	if _, cut := sp.wasCut(); !cut {
		t.Error("nothing was cut")
	}
	if info, err := os.Stat(sp.path); err != nil || info.Size() != a.room.used.Load()-before {
		t.Errorf("%+v, %v; %d bytes of it count", info, err, a.room.used.Load()-before)
	}
	_ = sp.Close()
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

// A journal of which no line can be read is kept, and nothing runs that it may have
// held.
func TestUnreadableJournalIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, journalFile)
	if err := os.WriteFile(path, []byte("somebody's letters\nand more of them\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	earlier := newIDs(1)[0]
	var log strings.Builder
	a, err := Open(Config{Folder: dir}, sources(&fake{}), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	kept, err := filepath.Glob(path + ".unreadable-*")
	if err != nil || len(kept) != 1 || !strings.Contains(log.String(), kept[0]) {
		t.Fatalf("kept as %v, %v; said %s", kept, err, log.String())
	}
	if b, err := os.ReadFile(kept[0]); err != nil || string(b) != "somebody's letters\nand more of them\n" {
		t.Errorf("what was kept is %q, %v", b, err)
	}
	if run, err := a.Accept(earlier, "status"); !run || err != nil {
		t.Fatal(run, err)
	}
	if out := a.Run(t.Context(), earlier, "status", reverse.Terms{}); out.End().Status != reverse.StatusInterrupted {
		t.Errorf("a command of before: %+v", out.End())
	}
}

// What find and browse come by goes to the hub at once.
func TestAnswersComeAsTheyAreFound(t *testing.T) {
	more := make(chan struct{})
	a := open(t, Config{}, Sources{Browser: browser(func(seen func(any) error) error {
		if err := seen("first"); err != nil {
			return err
		}
		<-more
		return seen("second")
	})})
	id := newIDs(1)[0]
	if run, err := a.Accept(id, "browse"); !run || err != nil {
		t.Fatal(run, err)
	}
	out := a.Run(t.Context(), id, "browse", reverse.Terms{})
	b := make([]byte, 100)
	if n, err := out.Content.ReadAt(b, 0); string(b[:n]) != "\"first\"\n" || err != nil {
		t.Errorf("at first there is %q, %v", b[:n], err)
	}
	close(more)
	if n, err := out.Content.ReadAt(b, 8); string(b[:n]) != "\"second\"\n" || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("then there is %q, %v", b[:n], err)
	}
	if got := take(t, out); got.end.Status != reverse.StatusOK {
		t.Errorf("in the end: %+v", got.end)
	}
}

type browser func(seen func(any) error) error

func (b browser) Browse(_ context.Context, _ string, _ bool, seen func(any) error) error {
	return b(seen)
}

// A program's output is on its way when the gateway dies; what the hub has of it may be
// more than what the gateway has left.
func TestDeathInTheMiddleOfAnOutput(t *testing.T) {
	dir, id := t.TempDir(), newIDs(1)[0]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := Config{Folder: dir, Programs: map[string]Program{"talk": {Path: "/bin/sh", Args: []Pattern{pattern(t, ".*"), pattern(t, ".*")}}}}
	a, err := Open(c, Sources{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := `exec talk -c "echo something; sleep 60"`
	if run, err := a.Accept(id, line); !run || err != nil {
		t.Fatal(run, err)
	}
	out := a.Run(ctx, id, line, reverse.Terms{})
	b := make([]byte, 100)
	if n, err := out.Content.ReadAt(b, 0); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	next := filepath.Join(t.TempDir(), "next")
	if err := os.CopyFS(next, os.DirFS(dir)); err != nil { // this is what is left
		t.Fatal(err)
	}
	cancel()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	c.Folder = next
	a = open(t, c, Sources{})
	a.Welcome(nil)
	a.Resend(t.Context(), deliver(func(got *reverse.Outgoing) error {
		n, err := got.Content.ReadAt(b, 10) // from where the hub is
		if end := got.End(); n != 0 || !errors.Is(err, io.EOF) || end.Status != reverse.StatusInterrupted || end.Total != 0 {
			t.Errorf("%d, %v; %+v", n, err, end)
		}
		return nil
	}))
	if run, _ := a.Accept(id, line); run {
		t.Error("it would run again")
	}
}
