package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/agent/guard"
	"github.com/lanfolk/lanfolk/reverse"
)

// TestMain may be a gateway that is killed: see TestProgramDiesWithGateway.
func TestMain(m *testing.M) {
	if guard.Asked(os.Args) {
		syscall.Exit(guard.Main()) // os.Exit takes a second under the race detector
	}
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
		t.Run(fmt.Sprint(c.cause), func(t *testing.T) {
			t.Parallel()
			mark := newMark(i)
			p := sleeper(t, mark)
			if c.cause == nil {
				p.Timeout = 8 * time.Second // time enough to begin
			}
			a := open(t, Config{Programs: map[string]Program{"sleep": p}}, Sources{})
			out, cancel := begin(t, a, "exec sleep")
			if c.cause != nil {
				expectRunning(t, mark, 3)
				cancel(c.cause)
			}
			if got := take(t, out); got.text != "begun\n" || got.end.Status != c.want {
				t.Errorf("%q, %+v", got.text, got.end)
			}
			expectRunning(t, mark, 0)
		})
	}
}

// begin begins a command, and returns when the first of its output has come.
func begin(t *testing.T, a *Agent, line string) (*reverse.Outgoing, context.CancelCauseFunc) {
	t.Helper()
	id := newIDs(1)[0]
	if _, err := a.Accept(id, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	out := a.Run(ctx, id, line, reverse.Terms{})
	if n, err := out.Content.ReadAt(make([]byte, 100), 0); n == 0 || err != nil {
		t.Fatalf("%d bytes came while it ran: %v", n, err)
	}
	return out, cancel
}

// What a program leaves behind when it ends by itself doesn't go on, and doesn't
// hold up its result.
func TestProgramLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	mark := newMark(10)
	a := open(t, Config{Programs: map[string]Program{"fork": shell(t, "sleep "+mark+" &\n(setsid sleep "+mark+" &)\necho begun\n", "")}}, Sources{})
	if got := ask(t, t.Context(), a, "exec fork", reverse.Terms{}); got.text != "begun\n" || got.end.Status != reverse.StatusOK {
		t.Errorf("%q, %+v", got.text, got.end)
	}
	expectRunning(t, mark, 0)
}

// gateway is a process that runs a script until it is killed.
func gateway(dir string) int {
	p, err := NewPattern("(?s).*")
	if err != nil {
		return 1
	}
	a, err := Open(Config{Folder: dir, Programs: map[string]Program{"sh": {Path: "/bin/sh", Args: []Pattern{p, p}}}}, Sources{}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	id := os.Getenv("LANFOLK_TEST_ID")
	if _, err := a.Accept(id, ""); err != nil {
		return 1
	}
	_ = a.Run(context.Background(), id, "exec sh -c '"+os.Getenv("LANFOLK_TEST_SCRIPT")+"'", reverse.Terms{})
	select {}
}

// family has five processes: the program, a child, one of a parent that has ended, in a
// session of its own, and two below a session's leader, of which one heeds no signal.
const family = `sleep MARK & (setsid sleep MARK &); setsid sh -c "sleep MARK & (trap \"\" INT HUP TERM; sleep MARK) & wait" & exec sleep MARK`

// When the gateway is killed its programs are, and all that they began; the next life
// says that the command was interrupted, and doesn't run it.
func TestProgramDiesWithGateway(t *testing.T) {
	t.Parallel()
	dir, mark, id := t.TempDir(), newMark(20), newIDs(1)[0]
	_, kill := startGateway(t, dir, id, mark, family, 5)
	began := time.Now()
	kill()
	expectRunning(t, mark, 0)
	t.Logf("all are gone after %v", time.Since(began))
	a := open(t, Config{Folder: dir}, Sources{})
	if run, err := a.Accept(id, ""); run || err != nil {
		t.Errorf("it would run again: %v", err)
	}
	if e, _ := a.journal.entry(id); e.state != done || e.result.Status != reverse.StatusInterrupted {
		t.Errorf("%+v", e)
	}
}

// hopper is never the same process for long: each writes a line, begins the next one, in
// a session of its own, and ends. Who looks for processes may well miss them.
const hopper = `if [ "$1" = hop ]; then echo >>"$2"; setsid "$0" hop "$2" & exit; fi
"$0" hop "$1" & "$0" hop "$1" &
exec sleep 1000
`

// What begins others faster than it can be looked for ends with its command, and with
// the gateway.
func TestWhatForksAwayIsCaught(t *testing.T) {
	t.Parallel()
	p := shell(t, hopper, ".*")
	lines := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	hop := func(path string) {
		t.Helper()
		for range 6000 {
			if lines(path) > 5 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("they don't run")
	}
	rest := func(path string) {
		t.Helper()
		before := lines(path)
		time.Sleep(200 * time.Millisecond)
		if after := lines(path); after > before {
			t.Errorf("%d lines when all should have ended, and then %d", before, after)
		}
	}

	path := filepath.Join(t.TempDir(), "lines")
	a := open(t, Config{Programs: map[string]Program{"hop": p}}, Sources{})
	ctx, cancel := context.WithCancelCause(t.Context())
	id := newIDs(1)[0]
	if _, err := a.Accept(id, ""); err != nil {
		t.Fatal(err)
	}
	out := a.Run(ctx, id, "exec hop "+path, reverse.Terms{})
	hop(path)
	cancel(reverse.ErrCancelled)
	if got := take(t, out); got.end.Status != reverse.StatusCancelled {
		t.Errorf("%+v", got.end)
	}
	rest(path)

	path = filepath.Join(t.TempDir(), "lines")
	pid, kill := startGateway(t, t.TempDir(), id, newMark(31), p.Path+" "+path+" & exec sleep MARK", 1)
	hop(path)
	guardian := guardianOf(t, pid)
	kill()
	expectGone(t, guardian)
	rest(path)
}

// guardianOf returns the guardian of a gateway that runs one program.
func guardianOf(t *testing.T, gateway int) (pid int) {
	t.Helper()
	for _, pid := range running(t, "--guardian-of") {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.Contains(string(b), fmt.Sprintf("\nPPid:\t%d\n", gateway)) {
			return pid
		}
	}
	t.Fatal("there is no guardian")
	return 0
}

// expectGone waits until a process has ended.
func expectGone(t *testing.T, pid int) {
	t.Helper()
	for range 6000 {
		// Who waits for it may not have done so yet.
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(b) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d goes on", pid)
}

// What fills each place that is free with more of itself ends, too.
func TestForkBombIsEnded(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const limit, script = "--nproc=20", `$| = 1; print "begun\n"; fork while 1`
	p := Program{Path: "/usr/bin/prlimit", User: &User{UID: 4299, GID: 4299}}
	for _, arg := range []string{limit, "/usr/bin/perl", "-e", script} {
		p.Args = append(p.Args, pattern(t, regexp.QuoteMeta(arg)))
	}
	a := open(t, Config{Programs: map[string]Program{"bomb": p}}, Sources{})
	ctx, cancel := context.WithCancelCause(t.Context())
	id := newIDs(1)[0]
	if _, err := a.Accept(id, ""); err != nil {
		t.Fatal(err)
	}
	out := a.Run(ctx, id, fmt.Sprintf("exec bomb %s /usr/bin/perl -e '%s'", limit, script), reverse.Terms{})
	if _, err := out.Content.ReadAt(make([]byte, 100), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	cancel(reverse.ErrCancelled)
	if got := take(t, out); got.end.Status != reverse.StatusCancelled || got.end.Error != "it was called off" {
		t.Errorf("%+v", got.end)
	}
	owned := func() (pids []string) {
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if info, err := os.Stat(path); err == nil && info.Sys().(*syscall.Stat_t).Uid == p.User.UID {
				pids = append(pids, path)
			}
		}
		return pids
	}
	if pids := owned(); len(pids) > 0 {
		t.Errorf("%v are left", pids)
	}
}

// A guardian that is killed takes its program along; what that began is ended by the
// gateway's next life, at the latest.
func TestWhatAProgramBeganDiesWithTheNextGateway(t *testing.T) {
	t.Parallel()
	dir, mark := t.TempDir(), newMark(21)
	pid, kill := startGateway(t, dir, newIDs(1)[0], mark, family, 5)
	if err := syscall.Kill(guardianOf(t, pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	expectRunning(t, mark, 4)
	kill()
	// Whether the command was reported as failed before or is now as interrupted.
	programs := map[string]Program{"true": {Path: "/bin/true"}}
	open(t, Config{Folder: t.TempDir(), Programs: programs}, Sources{}) // another gateway's they aren't
	expectRunning(t, mark, 4)
	open(t, Config{Folder: dir, Programs: programs}, Sources{})
	expectRunning(t, mark, 0)
}

// startGateway lets a process be a gateway that runs a script, in which MARK stands for
// a mark, and returns when n processes have that. Kill kills the gateway alone, and
// waits for its end.
func startGateway(t *testing.T, dir, id, mark, script string, n int) (pid int, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "LANFOLK_TEST_GATEWAY="+dir, "LANFOLK_TEST_ID="+id, "LANFOLK_TEST_SCRIPT="+strings.ReplaceAll(script, "MARK", mark))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(kill)
	expectRunning(t, mark, n)
	return cmd.Process.Pid, kill
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

// A program that has a user of its own can't kill its guardian.
func TestGuardianIsSafeFromItsProgram(t *testing.T) {
	t.Parallel()
	needRoot(t)
	p := Program{Path: "/bin/sh", Args: []Pattern{pattern(t, "-c"), pattern(t, ".*")}, User: &User{UID: 4242, GID: 4243}}
	a := open(t, Config{Programs: map[string]Program{"sh": p}}, Sources{})
	if got := ask(t, t.Context(), a, "exec sh -c 'kill -9 $PPID || echo it lives'", reverse.Terms{}); !strings.HasSuffix(got.text, "it lives\n") || got.end.Status != reverse.StatusOK {
		t.Errorf("%q, %+v", got.text, got.end)
	}
}

// One that has the gateway's user can, and dies of it.
func TestProgramDiesWithItsGuardian(t *testing.T) {
	t.Parallel()
	mark := newMark(22)
	a := open(t, Config{Programs: map[string]Program{"rebel": shell(t, "echo begun; kill -9 $PPID; exec sleep "+mark, "")}}, Sources{})
	got := ask(t, t.Context(), a, "exec rebel", reverse.Terms{})
	if got.text != "begun\n" || got.end.Status != reverse.StatusError || !strings.Contains(got.end.Error, "guardian was killed") {
		t.Errorf("%q, %+v", got.text, got.end)
	}
	expectRunning(t, mark, 0)
}

// A guardian that the program stops goes on when it is to end the program.
func TestAGuardianThatIsStoppedGoesOn(t *testing.T) {
	t.Parallel()
	mark := newMark(23)
	a := open(t, Config{Programs: map[string]Program{"rebel": shell(t, "kill -STOP $PPID; echo begun; exec sleep "+mark, "")}}, Sources{})
	out, cancel := begin(t, a, "exec rebel")
	cancel(reverse.ErrCancelled)
	if got := take(t, out); got.text != "begun\n" || got.end.Status != reverse.StatusCancelled {
		t.Errorf("%q, %+v", got.text, got.end)
	}
	expectRunning(t, mark, 0)
}

// A program that has its parent trace it hasn't ended when it is stopped for that.
func TestATracedProgramHasNotEnded(t *testing.T) {
	t.Parallel()
	mark := newMark(24)
	script := fmt.Sprintf("$| = 1; print syscall(%d, 0, 0, 0, 0) == 0 ? \"traced\" : \"refused\"; kill USR1 => $$; sleep 1000", syscall.SYS_PTRACE)
	p := Program{Path: "/usr/bin/perl"}
	for _, arg := range []string{"-e", script, mark} {
		p.Args = append(p.Args, pattern(t, regexp.QuoteMeta(arg)))
	}
	a := open(t, Config{Programs: map[string]Program{"perl": p}}, Sources{})
	out, cancel := begin(t, a, fmt.Sprintf("exec perl -e '%s' %s", script, mark))
	state := func() string {
		for _, pid := range running(t, mark) {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, rest, _ := strings.Cut(string(b), ") ")
			return rest[:min(1, len(rest))]
		}
		return ""
	}
	for end := time.Now().Add(time.Minute); state() != "t"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) || len(running(t, mark)) == 0 {
			t.Fatalf("it isn't stopped: %+v", take(t, out))
		}
	}
	time.Sleep(200 * time.Millisecond)
	cancel(reverse.ErrCancelled)
	if got := take(t, out); got.text != "traced" || got.end.Status != reverse.StatusCancelled {
		t.Errorf("%q, %+v", got.text, got.end)
	}
}

// Output that somebody else has got hold of doesn't hold the result up for long, and what
// may be missing of it is told.
func TestOutputThatSomebodyElseHoldsOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	end := filepath.Join(dir, "end")
	if err := syscall.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, Config{Programs: map[string]Program{"talk": shell(t, "echo $$; read x <"+end+"; exit 3", "")}}, Sources{})
	out, _ := begin(t, a, "exec talk")
	pid := make([]byte, 100)
	n, _ := out.Content.ReadAt(pid, 0)
	held, err := os.OpenFile("/proc/"+strings.TrimSpace(string(pid[:n]))+"/fd/1", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.WriteFile(end, []byte("\n"), 0); err != nil { // who waits for it reads it
		t.Fatal(err)
	}
	if got := take(t, out); got.text != string(pid[:n]) || got.end.Exit != 3 || !strings.Contains(got.end.Error, "somebody else held it open") {
		t.Errorf("%q, %+v", got.text, got.end)
	}
}

func BenchmarkExec(b *testing.B) {
	for b.Loop() {
		if _, err := (Program{Path: "/bin/true"}).run(b.Context(), nil, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
