package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

// TestMain may be a gateway that is killed: see TestProgramDiesWithGateway.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LANFOLK_TEST_GATEWAY"); dir != "" {
		os.Exit(gateway(dir))
	}
	if os.Getenv("LANFOLK_TEST_CAPABILITIES") != "" {
		_, err := Program{Path: "/bin/grep", Args: make([]Pattern, 2)}.run(context.Background(), []string{"CapAmb", "/proc/self/status"}, os.Stdout)
		if err != nil {
			fmt.Println(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func pattern(t testing.TB, expression string) Pattern {
	t.Helper()
	p, err := NewPattern(expression)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shell is a program that runs a script with one argument: the tests' own choice,
// nothing that exec does.
func shell(t testing.TB, script, argument string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := Program{Path: path}
	if argument != "" {
		p.Args = []Pattern{pattern(t, argument)}
	}
	return p
}

func TestExec(t *testing.T) {
	t.Setenv("LANFOLK_SECRET", "1")
	dir := t.TempDir()
	a := open(t, Config{Folder: dir, MaxOutput: 20_000, Programs: map[string]Program{
		"echo":   {Path: "/bin/echo", Args: []Pattern{pattern(t, `[a-z$;]+|\*`), pattern(t, `.*`)}},
		"env":    {Path: "/usr/bin/env", Env: []string{"COLOUR=red"}},
		"fail":   shell(t, "echo it failed >&2\nexit 3\n", ""),
		"signal": shell(t, "kill -9 $$\n", ""),
		"much":   shell(t, "head -c 30000 /dev/zero\necho done >"+filepath.Join(t.TempDir(), "done")+"\n", ""),
		"pwd":    {Path: "/bin/pwd"},
		"stdin":  {Path: "/bin/cat"},
		"gone":   {Path: "/nonexistent/program"},
		"never":  {Path: "/bin/echo", Args: []Pattern{{}}},
	}}, Sources{})
	for _, c := range []struct {
		line   string
		status reverse.Status
		exit   int
		text   string
		err    string
	}{
		{"exec echo a '$(id); b'", "ok", 0, "a $(id); b\n", ""},
		{"exec echo '*' ''", "ok", 0, "* \n", ""},
		{"exec env", "ok", 0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C.UTF-8\nCOLOUR=red\nLANFOLK_GATEWAY=" + dir + "\n", ""},
		{"exec pwd", "ok", 0, "/\n", ""},
		{"exec stdin", "ok", 0, "", ""},
		{"exec fail", "error", 3, "it failed\n", "the program ended with exit code 3"},
		{"exec signal", "error", 137, "", "the program was ended by signal 9, killed"},
		{"exec much", "ok", 0, strings.Repeat("\x00", 20_000), "the output was cut after 20000 bytes"},
		{"exec echo A b", "denied", 0, "", `argument 1 of echo can't be "A"`},
		{"exec echo ab1 b", "denied", 0, "", `argument 1 of echo can't be "ab1"`},
		{"exec echo a", "denied", 0, "", "echo takes 2 arguments, not 1"},
		{"exec echo a b c", "denied", 0, "", "echo takes 2 arguments, not 3"},
		{"exec never ''", "denied", 0, "", "argument 1 of never can't be"},
		{"exec sh", "denied", 0, "", `there is no program "sh"; there are echo, env, fail, gone, `},
		{"exec /bin/echo a b", "denied", 0, "", `there is no program "/bin/echo"`},
		{"exec gone", "error", 0, "", "no such file or directory"},
		{"exec", "error", 0, "", "usage: exec NAME"},
	} {
		got := ask(t, t.Context(), a, c.line, reverse.Terms{})
		if got.end.Status != c.status || got.end.Exit != c.exit || got.text != c.text || !strings.Contains(got.end.Error, c.err) || (c.err == "") != (got.end.Error == "") {
			t.Errorf("%s: %q and %+v, want %s, %d, %q, %q", c.line, got.text, got.end, c.status, c.exit, c.text, c.err)
		}
	}
	if n := a.room.used.Load(); n != 0 {
		t.Errorf("%d bytes are left on the disk", n)
	}
}

func TestBadPrograms(t *testing.T) {
	for want, p := range map[string]Program{
		`path "date": want an absolute one`:             {Path: "date"},
		`path "/bin/../bin/date": want an absolute one`: {Path: "/bin/../bin/date"},
		`folder "x": want an absolute path`:             {Path: "/bin/date", Dir: "x"},
		`timeout -1s: want more than 0`:                 {Path: "/bin/date", Timeout: -time.Second},
		`environment "X": want KEY=value`:               {Path: "/bin/date", Env: []string{"X"}},
	} {
		if _, err := Open(Config{Folder: t.TempDir(), Programs: map[string]Program{"x": p}}, Sources{}, nil); err == nil || err.Error() != `agent: program "x": `+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, s := range []string{"a)|(b", "(", "[z-a]"} {
		if _, err := NewPattern(s); err == nil {
			t.Errorf("%q is a pattern", s)
		}
	}
	if p := pattern(t, "a|b"); p.Fits("ab") || p.Fits("ax") || p.Fits("a\n") || !p.Fits("a") || !p.Fits("b") {
		t.Error("a|b isn't anchored at both ends")
	}
}

// running returns the processes that have mark among their arguments.
func running(t testing.TB, mark string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.Contains("\x00"+string(b), "\x00"+mark+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// expectRunning waits until n processes have the mark.
func expectRunning(t testing.TB, mark string, n int) {
	t.Helper()
	var pids []int
	for range 6000 {
		if pids = running(t, mark); len(pids) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("processes %v, want %d", pids, n)
}

// sleeper starts children that sleep, one of which heeds no SIGTERM, and has a mark
// of its own.
func sleeper(t testing.TB, mark string) Program {
	t.Helper()
	return shell(t, "sleep "+mark+" &\n(trap '' TERM; sleep "+mark+") &\necho begun\nsleep "+mark+"\n", "")
}

// newMark is a number of seconds that no other process sleeps for.
func newMark(n int) string { return fmt.Sprintf("%d.%d", 1000+n, os.Getpid()) }

// When a program's time is over, or it is called off, its children end, too.
func TestProgramIsEndedWithItsChildren(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		cause error
		want  reverse.Status
	}{{reverse.ErrTimeout, "timeout"}, {reverse.ErrCancelled, "cancelled"}, {context.Canceled, "interrupted"}, {nil, "timeout"}} {
		mark := newMark(i)
		p := sleeper(t, mark)
		if c.cause == nil {
			p.Timeout = 2 * time.Second
		}
		a := open(t, Config{Programs: map[string]Program{"sleep": p}}, Sources{})
		id := newIDs(1)[0]
		if _, err := a.Accept(id, ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		out := a.Run(ctx, id, "exec sleep", reverse.Terms{})
		if n, err := out.Content.ReadAt(make([]byte, 100), 0); n != 6 || err != nil {
			t.Fatalf("%d bytes came while it ran: %v", n, err)
		}
		if c.cause != nil {
			expectRunning(t, mark, 3)
			cancel(c.cause)
		}
		if got := take(t, out); got.text != "begun\n" || got.end.Status != c.want {
			t.Errorf("%v: %q, %+v", c.cause, got.text, got.end)
		}
		expectRunning(t, mark, 0)
		cancel(nil)
		a.Delivered(id, nil)
	}
}

// What a program leaves behind when it ends by itself doesn't go on, and doesn't
// hold up its result.
func TestProgramLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	mark := newMark(10)
	a := open(t, Config{Programs: map[string]Program{"fork": shell(t, "sleep "+mark+" &\necho begun\n", "")}}, Sources{})
	if got := ask(t, t.Context(), a, "exec fork", reverse.Terms{}); got.text != "begun\n" || got.end.Status != reverse.StatusOK {
		t.Errorf("%q, %+v", got.text, got.end)
	}
	expectRunning(t, mark, 0)
}

// gateway is a process that runs a program until it is killed.
func gateway(dir string) int {
	mark := os.Getenv("LANFOLK_TEST_MARK")
	p, err := NewPattern(".*")
	if err != nil {
		return 1
	}
	a, err := Open(Config{Folder: dir, Programs: map[string]Program{
		"sleep": {Path: "/bin/sleep", Args: []Pattern{p}}, "sh": {Path: "/bin/sh", Args: []Pattern{p, p}},
	}}, Sources{}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	id := os.Getenv("LANFOLK_TEST_ID")
	if _, err := a.Accept(id, ""); err != nil {
		return 1
	}
	line := "exec sleep " + mark
	if os.Getenv("LANFOLK_TEST_FAMILY") != "" {
		line = fmt.Sprintf("exec sh -c 'sleep %s & exec sleep %s'", mark, mark)
	}
	_ = a.Run(context.Background(), id, line, reverse.Terms{})
	select {}
}

// When the gateway is killed its programs are; the next life says that the command
// was interrupted, and doesn't run it.
func TestProgramDiesWithGateway(t *testing.T) {
	t.Parallel()
	dir, mark, id := t.TempDir(), newMark(20), newIDs(1)[0]
	killedGateway(t, dir, mark, id, 1)
	expectRunning(t, mark, 0)
	a := open(t, Config{Folder: dir}, Sources{})
	if run, err := a.Accept(id, ""); run || err != nil {
		t.Errorf("it would run again: %v", err)
	}
	if e, _ := a.journal.entry(id); e.state != done || e.result.Status != reverse.StatusInterrupted {
		t.Errorf("%+v", e)
	}
}

// What the program had begun is ended by the next life.
func TestWhatAProgramBeganDiesWithTheNextGateway(t *testing.T) {
	t.Parallel()
	dir, mark := t.TempDir(), newMark(21)
	killedGateway(t, dir, mark, newIDs(1)[0], 2, "LANFOLK_TEST_FAMILY=1")
	expectRunning(t, mark, 1)
	open(t, Config{Folder: t.TempDir()}, Sources{}) // another gateway's it isn't
	expectRunning(t, mark, 1)
	open(t, Config{Folder: dir}, Sources{})
	expectRunning(t, mark, 0)
}

// killedGateway lets a process be a gateway, and kills it when n processes have a mark.
func killedGateway(t *testing.T, dir, mark, id string, n int, env ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "LANFOLK_TEST_GATEWAY="+dir, "LANFOLK_TEST_MARK="+mark, "LANFOLK_TEST_ID="+id)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	expectRunning(t, mark, n)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		const what = "only root can run programs as another user, or with other capabilities"
		if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
}

// What systemd grants the gateway, its programs don't have.
func TestProgramHasNoCapabilitiesOfTheGateway(t *testing.T) {
	t.Parallel()
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "LANFOLK_TEST_CAPABILITIES=1")
	const netRaw = 13
	cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{netRaw}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "CapAmb:\t0000000000000000\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// A program runs as the user of the config, with no other groups.
func TestProgramHasAUserOfItsOwn(t *testing.T) {
	t.Parallel()
	needRoot(t)
	a := open(t, Config{Programs: map[string]Program{"id": {Path: "/usr/bin/id", User: &User{UID: 4242, GID: 4243}}}}, Sources{})
	if got := ask(t, t.Context(), a, "exec id", reverse.Terms{}); got.text != "uid=4242 gid=4243 groups=4243\n" {
		t.Errorf("%q, %+v", got.text, got.end)
	}
}
