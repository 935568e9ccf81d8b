package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The limits of programs, unless a Command says otherwise.
const (
	runLimit    = 30 * time.Second // of one that is run to its end
	startLimit  = 10 * time.Minute // of one that is started
	outputLimit = 8 << 20          // of what is kept of stdout and of stderr, in bytes
)

// Command is a program to run in a host. Its zero fields are useful.
type Command struct {
	Args  []string
	Env   []string // added to the test's own, KEY=value
	Dir   string
	Stdin string
	// User is the numeric user that the program runs as, with no capability,
	// 0 for root.
	User int
	// Mounts are made for this program alone.
	Mounts []Mount
	// Limit ends the program with SIGKILL; for one that is run this fails the test.
	Limit time.Duration

	host *Host
}

// Nobody is the user that a Command runs as when it must have no rights.
const Nobody = 65534

// Mount is a change to the file system that one program sees.
type Mount struct {
	// Source is a folder or file that is put over Target, "" for an empty
	// tmpfs.
	Source, Target string
	// Options are those of a tmpfs, beside its mode: "size=8m,uid=65534".
	Options string
}

// Command prepares a program; set its fields, then Start or Run it.
func (h *Host) Command(args ...string) *Command { return &Command{Args: args, host: h} }

// Run runs a program to its end. The test fails if it exceeds its limit; what
// it exits with is for the caller to judge.
func (h *Host) Run(args ...string) Result {
	h.lab.t.Helper()
	return h.Command(args...).Run()
}

// Start starts a program, which is killed when the test ends.
func (h *Host) Start(args ...string) *Process {
	h.lab.t.Helper()
	return h.Command(args...).Start()
}

// Result is what a program left behind. Exit is 128 plus the signal's number
// for one that was killed.
type Result struct {
	Stdout, Stderr string
	Exit           int
	Took           time.Duration
	// Alone is about as long as it would have taken on a machine that has nothing
	// else to do: what bounds from above are for.
	Alone time.Duration
}

// Run runs the program to its end.
func (c *Command) Run() Result {
	c.host.lab.t.Helper()
	limit := c.Limit
	if limit == 0 {
		limit = runLimit
	}
	p := c.start(mostCrowd * limit)
	wait := newPatience(limit)
	if !p.awaitFor(wait) {
		p.Kill()
		c.host.lab.t.Fatalf("lab: killed after %v: %s", limit, p.describe())
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return Result{Stdout: p.out.stdout.String(), Stderr: p.out.stderr.String(), Exit: p.exit, Took: p.took, Alone: min(limit-wait.left, p.took)}
}

// Start starts the program.
func (c *Command) Start() *Process {
	c.host.lab.t.Helper()
	if c.Limit == 0 {
		return c.start(startLimit)
	}
	return c.start(c.Limit)
}

func (c *Command) start(limit time.Duration) *Process {
	l := c.host.lab
	l.t.Helper()
	argv, err := c.argv()
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	p := &Process{
		name:    c.host.Name + ": " + strings.Join(c.Args, " "),
		t:       l.t,
		done:    make(chan struct{}),
		started: time.Now(),
	}
	p.out.changed = make(chan struct{})
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	if c.Stdin != "" {
		p.cmd.Stdin = strings.NewReader(c.Stdin)
	}
	p.cmd.Stdout = &stream{out: &p.out, keep: &p.out.stdout}
	p.cmd.Stderr = &stream{out: &p.out, keep: &p.out.stderr}
	// Should the test be killed, its programs die with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = 5 * time.Second // for what reads its output; not for children that hold it
	started := make(chan error, 1)
	l.spawn <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		l.t.Fatalf("lab: start %s: %v", p.name, err)
	}
	l.procs = append(l.procs, p)
	end := time.AfterFunc(limit, func() {
		p.out.mu.Lock()
		p.out.overrun = true
		p.out.mu.Unlock()
		p.kill()
	})
	go func() {
		err := p.cmd.Wait()
		end.Stop()
		p.took = time.Since(p.started)
		p.exit = exitCode(p.cmd.ProcessState, err)
		close(p.done)
		p.out.wake()
	}()
	return p
}

// argv returns what is run to have the program in its host, with its mounts
// and its user.
func (c *Command) argv() ([]string, error) {
	ip, err := lookPath("ip")
	if err != nil {
		return nil, err
	}
	program, err := lookPath(c.Args[0])
	if err != nil {
		return nil, err
	}
	// `ip netns exec` makes a mount namespace, too, and replaces itself by the
	// program, so that signals and exit codes are the program's.
	argv := []string{ip, "netns", "exec", c.host.ns.name}
	if len(c.Mounts) > 0 {
		var script strings.Builder
		script.WriteString("set -e\n")
		for _, m := range c.Mounts {
			if m.Source == "" {
				options := "mode=755"
				if m.Options != "" {
					options += "," + m.Options
				}
				fmt.Fprintf(&script, "mount -t tmpfs -o '%s' tmpfs '%s'\n", options, m.Target)
			} else {
				fmt.Fprintf(&script, "mount --bind '%s' '%s'\n", m.Source, m.Target)
			}
		}
		script.WriteString(`exec "$@"`)
		argv = append(argv, "/bin/sh", "-c", script.String(), "sh")
	}
	if c.User != 0 {
		setpriv, err := lookPath("setpriv")
		if err != nil {
			return nil, err
		}
		argv = append(argv, setpriv, fmt.Sprintf("--reuid=%d", c.User), fmt.Sprintf("--regid=%d", c.User),
			"--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")
	}
	return append(append(argv, program), c.Args[1:]...), nil
}

// Process is a program that runs in a host.
type Process struct {
	name    string
	t       testing.TB
	cmd     *exec.Cmd
	out     output
	started time.Time
	daemon  bool // a failed test's log has it, though it has ended long ago

	done chan struct{} // closed when it has ended; then the rest is set
	exit int
	took time.Duration
}

// Pid returns the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Started returns the time just before the program started.
func (p *Process) Started() time.Time { return p.started }

// Stdout returns what the program has written to stdout so far.
func (p *Process) Stdout() string {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.stdout.String()
}

// Stderr returns what the program has written to stderr so far.
func (p *Process) Stderr() string {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.stderr.String()
}

// WaitLine waits for a whole line of stdout or stderr of which ok is true, and
// returns the first one. The test fails when the program ends without one, or
// after d.
func (p *Process) WaitLine(d time.Duration, what string, ok func(line string) bool) string {
	p.t.Helper()
	limit, tick := newPatience(d), time.NewTicker(look)
	defer tick.Stop()
	seen := 0
	for {
		p.out.mu.Lock()
		lines, changed := p.out.lines[seen:], p.out.changed
		seen += len(lines)
		p.out.mu.Unlock()
		for _, line := range lines {
			if ok(line) {
				return line
			}
		}
		if len(lines) > 0 {
			continue
		}
		select {
		case <-p.done:
			p.out.mu.Lock()
			more := len(p.out.lines) > seen
			p.out.mu.Unlock()
			if !more {
				p.t.Fatalf("lab: ended before %s: %s", what, p.describe())
			}
		case <-changed:
		case <-tick.C:
			if limit.ends() {
				p.t.Fatalf("lab: no %s within %v: %s", what, d, p.describe())
			}
		}
	}
}

// WaitText waits for a line that contains the text.
func (p *Process) WaitText(d time.Duration, text string) string {
	p.t.Helper()
	return p.WaitLine(d, fmt.Sprintf("%q", text), func(line string) bool { return strings.Contains(line, text) })
}

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("lab: signal %v to %s: %v", sig, p.name, err)
	}
}

// Kill ends the program and its children with SIGKILL, and waits for that.
func (p *Process) Kill() {
	p.t.Helper()
	p.kill()
	if !p.await(30 * time.Second) {
		p.t.Fatalf("lab: doesn't die: %s", p.name)
	}
}

// Stop ends the program with SIGTERM and returns what it exits with. The test
// fails if it takes longer than half a minute.
func (p *Process) Stop() int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(30 * time.Second)
}

// Wait waits for the program's end and returns what it exits with.
func (p *Process) Wait(d time.Duration) int {
	p.t.Helper()
	if !p.await(d) {
		p.t.Fatalf("lab: hasn't ended within %v: %s", d, p.describe())
	}
	return p.exit
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the program hasn't ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *Process) await(d time.Duration) bool { return p.awaitFor(newPatience(d)) }

func (p *Process) awaitFor(limit *patience) bool {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			limit.ends()
			return true
		case <-tick.C:
			if limit.ends() {
				return false
			}
		}
	}
}

// kill sends SIGKILL to the program's process group.
func (p *Process) kill() {
	if p.Running() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may just have ended
	}
}

// describe says what the program did, for failures.
func (p *Process) describe() string {
	state := "running"
	if !p.Running() {
		state = fmt.Sprintf("exit %d after %v", p.exit, p.took.Round(time.Millisecond))
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	if p.out.overrun {
		state += ", killed at its limit"
	}
	return fmt.Sprintf("%s (%s)\n%s", p.name, state, p.out.tail())
}

func exitCode(state *os.ProcessState, err error) int {
	if state == nil {
		return -1
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	if code := state.ExitCode(); code != 0 || err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return code
	}
	return -1
}

// output keeps what a program writes.
type output struct {
	mu             sync.Mutex
	stdout, stderr bytes.Buffer
	lines          []string      // whole lines of both, as they came
	changed        chan struct{} // closed and renewed at each change
	overrun        bool          // the program was killed at its limit
}

func (o *output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
}

// tail returns the last lines, for failures. o.mu is held.
func (o *output) tail() string {
	const most = 60
	lines := o.lines
	cut := ""
	if len(lines) > most {
		cut = fmt.Sprintf("    … %d lines before\n", len(lines)-most)
		lines = lines[len(lines)-most:]
	}
	if len(lines) == 0 {
		return "    (it said nothing)"
	}
	short := make([]string, len(lines))
	for i, line := range lines {
		if short[i] = line; len(line) > 400 {
			short[i] = line[:400] + "…"
		}
	}
	return cut + "    " + strings.Join(short, "\n    ")
}

// stream is a program's stdout or stderr.
type stream struct {
	out  *output
	keep *bytes.Buffer
	part []byte // of a line that hasn't ended
}

func (s *stream) Write(b []byte) (int, error) {
	n := len(b)
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.keep.Len()+n > outputLimit {
		return n, nil // a program that talks this much is not worth a failure of its own
	}
	s.keep.Write(b)
	s.part = append(s.part, b...)
	for {
		line, rest, ok := bytes.Cut(s.part, []byte("\n"))
		if !ok {
			break
		}
		s.out.lines = append(s.out.lines, string(line))
		s.part = rest
	}
	close(s.out.changed)
	s.out.changed = make(chan struct{})
	return n, nil
}

// spawner runs what it is sent on one thread that lives as long as the lab: a
// child with a parent-death signal is killed when the thread that made it ends,
// not just when the process does.
func spawner(work <-chan func()) {
	runtime.LockOSThread()
	for f := range work {
		f()
	}
}
