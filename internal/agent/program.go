package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/lanfolk/lanfolk/reverse"
)

// A Program is what exec runs by its name, and how. No shell is involved.
type Program struct {
	Path string    // absolute
	Args []Pattern // one for each argument; there are as many as patterns
	User *User     // nil is the gateway's own
	Dir  string    // where it runs; "" is /
	Env  []string  // KEY=value; all that it has besides PATH, LANG and LANFOLK_GATEWAY
	// Timeout bounds how long it runs; 0 is an hour. The hub may grant less.
	Timeout time.Duration
	Broken  error // why it can't be run here; nil if it can
}

// User is the user that a program runs as. It has no other groups than these.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

const (
	maxArguments = 64
	runFor       = time.Hour
	tidyFor      = 2 * time.Second // between SIGTERM and SIGKILL
	pipesFor     = time.Second     // for output that is still in the pipe when the program has ended
)

// A Pattern says what an argument may be, all of it. Its zero value fits nothing.
type Pattern struct{ all *regexp.Regexp }

// NewPattern returns the pattern of a regular expression (syntax of package
// regexp). It must fit the whole argument, whether it is anchored or not.
func NewPattern(expression string) (Pattern, error) {
	// By itself first, so that no parenthesis in it closes ours.
	if _, err := regexp.Compile(expression); err != nil {
		return Pattern{}, fmt.Errorf("agent: pattern: %w", err)
	}
	all, err := regexp.Compile(`\A(?:` + expression + `)\z`)
	if err != nil {
		return Pattern{}, fmt.Errorf("agent: pattern: %w", err)
	}
	return Pattern{all}, nil
}

// Fits says whether an argument may be s.
func (p Pattern) Fits(s string) bool {
	return p.all != nil && p.all.MatchString(s) && !strings.ContainsRune(s, 0)
}

func (p Program) check() error {
	switch {
	case !filepath.IsAbs(p.Path) || filepath.Clean(p.Path) != p.Path:
		return fmt.Errorf("path %q: want an absolute one", p.Path)
	case p.Dir != "" && !filepath.IsAbs(p.Dir):
		return fmt.Errorf("folder %q: want an absolute path", p.Dir)
	case len(p.Args) > maxArguments:
		return fmt.Errorf("%d arguments, more than %d", len(p.Args), maxArguments)
	case p.Timeout < 0:
		return fmt.Errorf("timeout %v: want more than 0", p.Timeout)
	}
	for _, v := range p.Env {
		if k, _, ok := strings.Cut(v, "="); !ok || k == "" || strings.ContainsRune(v, 0) {
			return fmt.Errorf("environment %q: want KEY=value", v)
		}
	}
	return nil
}

// execute runs a program that the config names.
func execute(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	name, args := args[0], args[1:]
	p, ok := a.config.Programs[name]
	if !ok {
		return ending{}, fmt.Errorf("%w: there is no program %q; there are %s", errDenied, name,
			strings.Join(slices.Sorted(maps.Keys(a.config.Programs)), ", "))
	}
	if p.Broken != nil {
		return ending{}, fmt.Errorf("%w: %s can't run: %w", errDenied, name, p.Broken)
	}
	if len(args) != len(p.Args) {
		return ending{}, fmt.Errorf("%w: %s takes %d arguments, not %d", errDenied, name, len(p.Args), len(args))
	}
	for i, arg := range args {
		if !p.Args[i].Fits(arg) {
			return ending{}, fmt.Errorf("%w: argument %d of %s can't be %q", errDenied, i+1, name, arg)
		}
	}
	p.Env = append(slices.Clone(p.Env), markOf(a.config.Folder))
	ctx, cancel := context.WithTimeoutCause(ctx, orElse(p.Timeout, runFor), reverse.ErrTimeout)
	defer cancel()
	e, err := p.run(ctx, args, w)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, errKilled) {
		return ending{}, &endedError{cause}
	}
	return e, err
}

// errKilled is returned by run for a program that was ended before its time.
var errKilled = errors.New("killed")

// run runs the program to its end, and ends what it left behind in its process
// group.
func (p Program) run(ctx context.Context, args []string, w io.Writer) (ending, error) {
	// The kernel kills the program when the thread ends that started it: this
	// goroutine keeps it until the program has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := dropAmbient(); err != nil {
		return ending{}, fmt.Errorf("drop the gateway's capabilities: %w", err)
	}
	cmd := &exec.Cmd{
		Path: p.Path, Args: append([]string{p.Path}, args...), Dir: p.Dir,
		Env:    append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, p.Env...),
		Stdout: w, Stderr: w,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		WaitDelay:   pipesFor,
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	if p.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.Groups}
	}
	if err := context.Cause(ctx); err != nil {
		return ending{}, errKilled
	}
	if err := cmd.Start(); err != nil {
		return ending{}, err
	}
	group := -cmd.Process.Pid
	ended, watched := make(chan struct{}), make(chan bool)
	go func() { watched <- killAt(ctx, group, ended) }()
	err := untilEnded(cmd.Process.Pid)
	close(ended)
	killed := <-watched
	// The program isn't waited for yet, so that no other group can have its number.
	_ = syscall.Kill(group, syscall.SIGKILL)
	waitErr := cmd.Wait()
	switch {
	case err != nil:
		return ending{}, fmt.Errorf("wait for the program: %w", err)
	case killed:
		return ending{}, errKilled
	}
	return exitOf(cmd.ProcessState, waitErr)
}

// killAt ends a process group when ctx is done, kindly at first. It returns
// whether it had to, once ended is closed.
func killAt(ctx context.Context, group int, ended <-chan struct{}) bool {
	select {
	case <-ended:
		return false
	case <-ctx.Done():
	}
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(tidyFor):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-ended
	}
	return true
}

// Of prctl(2).
const (
	ambient  = 47 // PR_CAP_AMBIENT
	clearAll = 4  // PR_CAP_AMBIENT_CLEAR_ALL
)

// dropAmbient keeps what this thread starts from having the capabilities that the
// service manager gave to the gateway, as that to capture. The thread's own stay.
func dropAmbient() error {
	_, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, ambient, clearAll, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.EINVAL { // a kernel before 4.3 has none
		return errno
	}
	return nil
}

// Of waitid(2): what os doesn't name.
const (
	idPID    = 1
	hasEnded = 0x4       // WEXITED
	noReap   = 0x1000000 // WNOWAIT
)

// untilEnded waits until a child has ended, and leaves it to be waited for.
func untilEnded(pid int) error {
	var info [128]byte // siginfo_t
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idPID, uintptr(pid), uintptr(unsafe.Pointer(&info)), hasEnded|noReap, 0, 0)
		switch {
		case errno == 0:
			return nil
		case errno != syscall.EINTR:
			return errno
		}
	}
}

// exitOf says how a program ended by itself.
func exitOf(s *os.ProcessState, err error) (ending, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return ending{}, err // its output could not be kept
	}
	w, ok := s.Sys().(syscall.WaitStatus)
	switch {
	case ok && w.Signaled():
		return ending{exit: 128 + int(w.Signal()), note: fmt.Sprintf("the program was ended by signal %d, %s", w.Signal(), w.Signal())}, nil
	case s.ExitCode() != 0:
		return ending{exit: s.ExitCode(), note: fmt.Sprintf("the program ended with exit code %d", s.ExitCode())}, nil
	}
	return ending{}, nil
}
