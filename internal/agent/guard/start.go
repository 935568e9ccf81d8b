package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Program is what is to run, and how.
type Program struct {
	Path  string   // absolute
	Args  []string // without the program's name
	Dir   string
	Env   []string      // KEY=value, all of it
	User  *User         // nil is the gateway's own
	Grace time.Duration // between SIGTERM and SIGKILL when it is told to end
}

// User is the user that a program runs as. It has no other groups than these.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// An Ending is how a program ended.
type Ending struct {
	Status syscall.WaitStatus
	Told   bool // to end, before it did
	Held   bool // the end of its output may be missing: somebody else held that open
	Left   bool // something that it began couldn't be ended
}

// ErrGone says that the guardian ended before its program: somebody killed it. The
// program is killed then, what it began is not.
var ErrGone = errors.New("the program's guardian was killed, and the program with it")

const (
	// pipesFor is how long is waited for output that is still in the pipe when all has
	// ended: somebody else may have got hold of it, and we may be late to read it.
	pipesFor = 5 * time.Second
	// lateFor is how much later than it must a guardian may say that all has ended.
	lateFor = 10 * time.Second
)

// Running is a program that runs.
type Running struct {
	cmd    *exec.Cmd // the guardian
	grace  time.Duration
	leash  *os.File
	report *os.File
}

// A report is what the guardian says in the end: an object of JSON.
type report struct {
	Ending
	Errno syscall.Errno // of execve(2), which failed
	Error string        // what else kept the program from running
}

// Start starts a program whose output, both streams, goes to out, and whose input is
// empty. Whether it could be started is what Wait says. The program is killed when this
// process ends.
func Start(p Program, out io.Writer) (*Running, error) {
	order, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	// Of all four ends this process's children get none but those named below.
	leashEnd, leash, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	defer leashEnd.Close()
	reports, reportEnd, err := os.Pipe()
	if err != nil {
		leash.Close()
		return nil, fmt.Errorf("guard: %w", err)
	}
	defer reportEnd.Close()
	r := &Running{leash: leash, report: reports, grace: p.Grace, cmd: &exec.Cmd{
		// Not by its name: that may be another version's by now.
		Path: "/proc/self/exe", Args: []string{os.Args[0], argument, p.Path}, Dir: "/",
		Env:    []string{"GOMAXPROCS=1"}, // it has little to do
		Stdout: out, Stderr: os.Stderr,
		ExtraFiles: []*os.File{leashEnd, reportEnd}, // leashFD, reportFD
		// In a group of its own it isn't interrupted where the gateway is, by a terminal.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		WaitDelay:   pipesFor,
	}}
	if err := r.cmd.Start(); err != nil {
		leash.Close()
		reports.Close()
		return nil, fmt.Errorf("guard: start a guardian: %w", err)
	}
	_, _ = leash.Write(append(order, '\n')) // Wait tells if the guardian is gone
	return r, nil
}

// End has the program end: SIGTERM to its process group, SIGKILL to all that is left
// after its grace.
func (r *Running) End() {
	_, _ = r.leash.Write([]byte{'\n'})
	// A program with the same user may have stopped it.
	_ = r.cmd.Process.Signal(syscall.SIGCONT)
	time.AfterFunc(r.grace+endFor+lateFor, func() { _ = r.cmd.Process.Kill() })
}

// Wait waits until the program has ended, and all that it began. The error says that
// it couldn't be started, that its output couldn't be written, or is ErrGone.
func (r *Running) Wait() (Ending, error) {
	defer r.leash.Close()
	defer r.report.Close()
	said, _ := io.ReadAll(r.report) // as much as there is
	err := r.cmd.Wait()
	var rep report
	if json.Unmarshal(said, &rep) != nil {
		return Ending{}, fmt.Errorf("guard: %w: %w", ErrGone, err)
	}
	switch {
	case rep.Errno != 0:
		return Ending{}, fmt.Errorf("%s: %w", r.cmd.Args[2], rep.Errno)
	case rep.Error != "":
		return Ending{}, errors.New("guard: " + rep.Error)
	case errors.Is(err, exec.ErrWaitDelay):
		rep.Held = true
	case err != nil:
		return rep.Ending, fmt.Errorf("guard: the program's output: %w", err)
	}
	return rep.Ending, nil
}
