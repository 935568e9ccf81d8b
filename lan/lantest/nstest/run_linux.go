package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// partEnv says in the started process which part of which test to run.
	partEnv = "LANFOLK_NSTEST"
	// requireEnv set to 1 makes a test that can't run here fail instead of skip.
	requireEnv = "LANFOLK_REQUIRE_ALL"
	// childLimit ends a test that hangs long before go test's ten minutes.
	childLimit = time.Minute
	// ordinaryUser is the user id of RunAsUser's body.
	ordinaryUser = 1000
)

// Run runs body as the root of a new network namespace, with the loopback up.
// The test that calls it does nothing else. Where the system allows no user namespaces,
// it skips, or fails if LANFOLK_REQUIRE_ALL is 1.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(partEnv) == t.Name() {
		prepare(t)
		body(t)
		return
	}
	startInNamespace(t)
}

// RunAsUser runs setup as Run does, and then body in the same namespace as an
// ordinary user without any capability, in a process of its own.
func RunAsUser(t *testing.T, setup, body func(t *testing.T)) {
	t.Helper()
	userPart := t.Name() + " as user"
	switch os.Getenv(partEnv) {
	case userPart:
		body(t)
	case t.Name():
		prepare(t)
		setup(t)
		start(t, userPart, &syscall.SysProcAttr{
			// A new user namespace in which we are no longer root: the capabilities
			// end with the exec. The network namespace stays.
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: ordinaryUser, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: ordinaryUser, HostID: os.Getgid(), Size: 1}},
		})
	default:
		startInNamespace(t)
	}
}

func startInNamespace(t *testing.T) {
	t.Helper()
	start(t, t.Name(), &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
}

// prepare makes the new namespace fit for use. Some systems let anyone make a user
// namespace, but give no rights in it.
func prepare(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		Missing(t, fmt.Sprintf("no rights in a new network namespace: %v", err))
	}
}

// Missing skips a test because the machine lacks something, or fails it if LANFOLK_REQUIRE_ALL is 1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// start runs this test binary again for the same test, and takes over its result.
func start(t *testing.T, part string, attr *syscall.SysProcAttr) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(t.Name(), "/")
	for i, name := range names {
		names[i] = "^" + regexp.QuoteMeta(name) + "$"
	}
	limit := childLimit
	if d, ok := t.Deadline(); ok {
		limit = max(min(limit, time.Until(d)-time.Second), time.Second)
	}
	args := []string{"-test.v", "-test.count=1", "-test.timeout=" + limit.String(), "-test.run=" + strings.Join(names, "/")}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	// The race detector would wait a second at the exit of each process.
	race := strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=20")
	cmd.Env = append(os.Environ(), partEnv+"="+part, "GORACE="+race)
	cmd.SysProcAttr = attr
	// The signal comes when the thread ends that started the process.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		Missing(t, fmt.Sprintf("a new user and network namespace: %v", err))
	}
	err = cmd.Wait()
	switch text := out.String(); {
	case err != nil:
		t.Fatalf("in its namespace (%v):\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()+" "):
		t.Skipf("in its namespace:\n%s", text)
	case !strings.Contains(text, "--- PASS: "+t.Name()+" "):
		t.Fatalf("the test didn't run in its namespace:\n%s", text)
	case testing.Verbose():
		t.Log(text)
	}
}
