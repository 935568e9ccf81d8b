package guard

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	endFor   = 30 * time.Second // for what doesn't end though it was killed
	mostWait = 50 * time.Millisecond
	everyone = 0x40000000 // __WALL of wait4(2): children of any kind
)

// reap takes leave of the children that have ended. It returns false when there are
// no others.
func (g *guardian) reap() (others bool) {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG|everyone, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		case status.Stopped(): // it has made this process its tracer, by PTRACE_TRACEME, and waits
		case pid == g.program:
			g.ended, g.status = true, status
		}
	}
}

// endAll kills all that descends from this process, and returns whether it all ended.
// Who was killed leaves its children here, so that none is missed in the end.
func (g *guardian) endAll() bool {
	began := time.Now()
	for wait := time.Millisecond; g.reap(); wait = min(2*wait, mostWait) {
		if time.Since(began) > endFor {
			return false
		}
		for _, pid := range stopAll(os.Getpid()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if !g.ended { // even if /proc doesn't show it
			_ = syscall.Kill(-g.program, syscall.SIGKILL)
		}
		select {
		case <-g.signals:
		case <-time.After(wait):
		}
	}
	return true
}

// maxLooks bounds how often stopAll looks for more.
const maxLooks = 100

// stopAll stops all that descends from a process, and returns it. Who is stopped has
// no more children, and waits for none, so that the numbers stay theirs: what forks
// faster than it can be killed one by one ends, too.
func stopAll(root int) (all []int) {
	ours := map[int]bool{root: true}
	for range maxLooks {
		before := len(all)
		for _, pid := range descendants(root, processes()) {
			if !ours[pid] && stop(pid, ours) {
				ours[pid] = true
				all = append(all, pid)
			}
		}
		if len(all) == before {
			break
		}
	}
	return all
}

// stop stops a process whose parent is one of ours. It returns false when there is none
// by that number any more, or it has become a stranger's since it was looked up.
func stop(pid int, ours map[int]bool) bool {
	// Where the kernel has pidfds (5.3) p is one process, whoever gets its number.
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	if parent, ok := parentIn(b); !ok || !ours[parent] {
		return false
	}
	// What may not be stopped may have children that can.
	return !errors.Is(p.Signal(syscall.SIGSTOP), os.ErrProcessDone)
}

// descendants returns the processes below root, given the children of each.
func descendants(root int, children map[int][]int) (all []int) {
	all = append(all, children[root]...)
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// processes returns the children of each process that has any. Those that have ended
// and haven't been waited for are among them: other threads of them may go on.
func processes() map[int][]int {
	children := make(map[int][]int)
	proc, err := os.Open("/proc")
	if err != nil {
		return children
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it is gone
		}
		if parent, ok := parentIn(b); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	return children
}

// parentIn reads a process's parent from its proc_pid_stat(5).
func parentIn(stat []byte) (pid int, ok bool) {
	// 123 (name) S 1 …, and a name may have anything in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	pid, err := strconv.Atoi(string(fields[1]))
	return pid, err == nil && pid > 0
}
