package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// namePrefix begins the names of all that a lab makes outside its own folder.
const namePrefix = "lanfolk-"

// namespace is a network namespace with a name that iproute2 knows.
type namespace struct{ name string }

// namespace makes one with lo up, and without duplicate address detection, so
// that IPv6 addresses work at once.
func (l *Lab) namespace(label string) *namespace {
	l.t.Helper()
	n := &namespace{name: fmt.Sprintf("%s%d-%s", l.prefix, len(l.all), label)}
	if _, err := command("", "ip", "netns", "add", n.name); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	l.all = append(l.all, n)
	err := n.do(func() error {
		for _, conf := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/accept_dad", []byte("0"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatalf("lab: %s: %v", label, err)
	}
	n.ip(l.t, "link set lo up")
	return n
}

// ip runs commands of ip(8) inside the namespace.
func (n *namespace) ip(t testing.TB, commands ...string) {
	t.Helper()
	if _, err := command(strings.Join(commands, "\n")+"\n", "ip", "-n", n.name, "-batch", "-"); err != nil {
		t.Fatalf("lab: %v in\n  %s", err, strings.Join(commands, "\n  "))
	}
}

// do calls f inside the namespace. Sockets that f opens stay there; f must not
// start goroutines that open some.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that no other
		// goroutine can get one that is in the wrong namespace.
		runtime.LockOSThread()
		ns, err := os.Open(filepath.Join(netnsDir, n.name))
		if err != nil {
			result <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("setns: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// processes returns those whose network namespace is one of these, but for this
// process, whose threads visit them.
func processes(all ...*namespace) ([]int, error) {
	type file struct{ dev, ino uint64 }
	want := make(map[file]bool)
	var st unix.Stat_t
	for _, n := range all {
		if err := unix.Stat(filepath.Join(netnsDir, n.name), &st); err != nil {
			return nil, err
		}
		want[file{st.Dev, st.Ino}] = true
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := unix.Stat("/proc/"+e.Name()+"/ns/net", &st); err == nil && want[file{st.Dev, st.Ino}] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// signal sends a signal to every process of the namespaces until done is true of
// all there are: while one looks for them they make others. Each is sent it once at
// least, for what a process looks like before says nothing: one that waits in the kernel
// isn't held yet, or will be by the last signal.
func signal(sig syscall.Signal, done func(pid int) bool, all ...*namespace) error {
	told := make(map[int]bool)
	for limit := newPatience(10 * time.Second); ; time.Sleep(time.Millisecond) {
		pids, err := processes(all...)
		if err != nil {
			return err
		}
		left := 0
		for _, pid := range pids {
			if told[pid] && done(pid) {
				continue
			}
			told[pid] = true
			left++
			if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("signal %v to %d: %w", sig, pid, err)
			}
		}
		if left == 0 {
			return nil
		}
		if limit.ends() {
			return fmt.Errorf("signal %v: %d processes don't heed it", sig, left)
		}
	}
}

// gone is true of a process that has ended, though nobody may have waited for it.
func gone(pid int) bool { return strings.Trim(states(pid), "ZX") == "" }

// stopped is true of a process that SIGSTOP holds, or that will be held when what it
// waits for in the kernel has happened: its child may be held before exec.
func stopped(pid int) bool { return strings.Trim(states(pid), "DTtZX") == "" }

// goesOn is true of a process that nothing holds.
func goesOn(pid int) bool { return !strings.Contains(states(pid), "T") }

// states returns the states of a process' threads, a letter each (proc(5)).
func states(pid int) string {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return ""
	}
	var all strings.Builder
	for _, f := range files {
		if fields := statFields(f); len(fields) > 0 {
			all.WriteString(fields[0])
		}
	}
	return all.String()
}

// removeNamespaces kills what runs in the namespaces and removes them.
func removeNamespaces(all ...*namespace) error {
	if len(all) == 0 {
		return nil
	}
	var script strings.Builder
	for _, n := range all {
		fmt.Fprintf(&script, "netns del %s\n", n.name)
	}
	killed := signal(syscall.SIGKILL, gone, all...)
	_, err := command(script.String(), "ip", "-force", "-batch", "-")
	return errors.Join(killed, err)
}

// processPrefix begins the names of all that this process makes. It holds the
// time at which the process started besides its id, which another may get.
func processPrefix() string {
	pid := os.Getpid()
	return fmt.Sprintf("%s%d.%s-", namePrefix, pid, startTime(pid))
}

// startTime returns the time at which a process started, in the kernel's clock
// ticks, "" if there is no such process.
func startTime(pid int) string {
	fields := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	if len(fields) < 20 {
		return ""
	}
	return fields[19] // field 22 of all
}

// statFields returns the fields of a process' or thread's stat from the third
// on, its state; none if it is gone.
func statFields(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	// The second field, the command, may hold anything, and ends with the last ")".
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// leftOver says whether a name that begins with the prefix was given by a process
// that is gone.
func leftOver(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	owner, _, ok := strings.Cut(rest, "-")
	if !ok {
		return false
	}
	p, start, ok := strings.Cut(owner, ".")
	pid, err := strconv.Atoi(p)
	return ok && err == nil && startTime(pid) != start
}

// sweepOnce removes what earlier runs left behind when they were killed.
var sweepOnce = sync.OnceFunc(func() { sweep(netnsDir, os.TempDir(), namePrefix) })

// sweep removes left-overs: namespaces with what runs in them, and folders.
func sweep(netns, tmp, prefix string) {
	if entries, err := os.ReadDir(netns); err == nil {
		for _, e := range entries {
			if leftOver(e.Name(), prefix) {
				// Another test's sweep may have been faster.
				_ = removeNamespaces(&namespace{name: e.Name()})
			}
		}
	}
	if entries, err := os.ReadDir(tmp); err == nil {
		for _, e := range entries {
			if leftOver(e.Name(), prefix) {
				_ = os.RemoveAll(filepath.Join(tmp, e.Name()))
			}
		}
	}
}
