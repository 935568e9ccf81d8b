package guard

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// argument is what makes this binary a guardian. Any other program, a test's too, takes
// it for a flag that it doesn't know, and ends.
const argument = "--guardian-of"

// The guardian's files beside its streams.
const (
	leashFD  = 3
	reportFD = 4
)

// Asked says whether a process with these arguments, its name first, was started to be
// a guardian. Its main function then calls Main before all else.
func Asked(args []string) bool { return len(args) == 3 && args[1] == argument }

// Main is what a guardian does. It returns the exit code.
func Main() int {
	// The kernel kills the program when the thread ends that started it, and gives it
	// the rights of that one.
	runtime.LockOSThread()
	// Whoever means the gateway signals the gateway: here all signals are but a reason
	// to look for children that have ended. Those that are caught, and not ignored, are
	// the program's again.
	g := guardian{signals: make(chan os.Signal, 1)}
	signal.Notify(g.signals)
	syscall.CloseOnExec(leashFD)
	syscall.CloseOnExec(reportFD)
	leash, reports := bufio.NewReader(os.NewFile(leashFD, "leash")), os.NewFile(reportFD, "report")
	order, err := leash.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return 1 // the gateway is gone already
	}
	var p Program
	if err == nil {
		err = json.Unmarshal(order, &p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guard: only lanfolk itself starts this:", err)
		return 2
	}
	calls := make(chan struct{})
	go func() {
		defer close(calls)
		for {
			if _, err := leash.ReadByte(); err != nil {
				return
			}
			calls <- struct{}{}
		}
	}()
	if err := json.NewEncoder(reports).Encode(g.run(p, calls)); err != nil {
		return 1
	}
	return 0
}

// guardian is the state of a guardian.
type guardian struct {
	signals chan os.Signal
	program int // its process id
	ended   bool
	status  syscall.WaitStatus
}

// run runs the program to its end and that of all that it began. Calls brings a value
// when the program is to end, and is closed when all is to end at once.
func (g *guardian) run(p Program, calls <-chan struct{}) report {
	if err := prepare(); err != nil {
		return report{Error: err.Error()}
	}
	var errno syscall.Errno
	var err error
	if g.program, err = p.start(); errors.As(err, &errno) {
		return report{Errno: errno}
	} else if err != nil {
		return report{Error: err.Error()}
	}
	var told bool
	var over <-chan time.Time
	for enough := false; !enough && !g.ended; {
		select {
		case <-g.signals:
			g.reap()
		case _, more := <-calls:
			if g.reap(); g.ended {
				break
			}
			if enough = !more; enough {
				break
			}
			told, over = true, time.After(p.Grace)
			// Its number is still its own: it hasn't been waited for.
			_ = syscall.Kill(-g.program, syscall.SIGTERM)
		case <-over:
			enough = true
		}
	}
	left := !g.endAll()
	if !g.ended {
		return report{Error: "the program can't be killed"}
	}
	return report{Ending: Ending{Status: g.status, Told: told, Left: left}}
}

// start starts the program.
func (p Program) start() (pid int, err error) {
	attr := &syscall.ProcAttr{
		Dir: p.Dir, Env: p.Env,
		Files: []uintptr{0, 1, 1}, // both streams are the output
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if p.User != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.Groups}
	}
	return syscall.ForkExec(p.Path, append([]string{p.Path}, p.Args...), attr)
}

// Of prctl(2).
const (
	subreaper = 36 // PR_SET_CHILD_SUBREAPER
	ambient   = 47 // PR_CAP_AMBIENT
	clearAll  = 4  // PR_CAP_AMBIENT_CLEAR_ALL
)

// prepare makes this process the parent of its descendants that lose their own, and
// keeps what this thread starts from having the capabilities that the service manager
// gave to the gateway, as that to capture.
func prepare() error {
	if _, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, subreaper, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("keep what the program begins: %w", errno)
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, ambient, clearAll, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.EINVAL { // a kernel before 4.3 has none
		return fmt.Errorf("drop the gateway's capabilities: %w", errno)
	}
	return nil
}
