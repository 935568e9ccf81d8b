// Package lab makes small networks for tests: hosts are network namespaces,
// subnets are bridges, and the programs that run on the hosts are real ones.
//
//	          printer          nas      desk
//	            eth0           eth0     eth0
//	             |               |        |
//	subnet a  ===+=======+=======+===  ===+======  subnet b
//	                     |                |
//	                   eth0  router r   eth1
//
// A test writes:
//
//	l := lab.New(t)
//	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
//	b := l.Subnet("b", "10.99.2.0/24")
//	l.Router("r", a, b)
//	nas := l.Host("nas").Join(a)
//	nas.Avahi(lab.Avahi{Services: []lab.Service{{Name: "Files", Type: "_smb._tcp", Port: 445}}})
//	out := nas.Run("ip", "-brief", "addr").Stdout
//
// Nothing of this touches the machine's own network: each subnet's bridge lies
// in a namespace of its own, and the namespace that the test itself runs in
// gets no link at all. Names carry the process id of the test, so that packages tested at the
// same time don't meet, and what a killed run left behind is removed by the
// next one.
//
// A lab needs root and Debian's iproute2. Without them its test is skipped,
// and fails under LANFOLK_REQUIRE_ALL=1; see Require. Methods that can fail end
// the test, so call them from its goroutine.
package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Lab is one network, alive until its test ends.
type Lab struct {
	t       testing.TB
	prefix  string // of the names of namespaces
	dir     string // for the files of programs, readable to every user
	hosts   []*Host
	subnets []*Subnet
	all     []*namespace
	procs   []*Process
	caps    []*Capture
	spawn   chan func()
}

// labs counts the labs of this process, so that their names differ.
var labs atomic.Int64

// New makes an empty lab that is taken down when the test ends.
func New(t testing.TB) *Lab {
	t.Helper()
	Require(t, "root", "ip")
	sweepOnce()
	l := &Lab{
		t:      t,
		prefix: fmt.Sprintf("%s%d-", processPrefix(), labs.Add(1)),
		dir:    t.TempDir(),
		spawn:  make(chan func()),
	}
	// The folder and the one above it, which t.TempDir made: programs that run
	// as another user read them.
	for _, d := range []string{filepath.Dir(l.dir), l.dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatalf("lab: %v", err)
		}
	}
	go spawner(l.spawn)
	t.Cleanup(l.close)
	return l
}

// Subnet makes a bridge. The prefixes, IPv4 and IPv6, are those from which
// hosts that join get their addresses; with none a host has only its
// link-local IPv6 address.
func (l *Lab) Subnet(name string, prefixes ...string) *Subnet {
	l.t.Helper()
	s := &Subnet{lab: l, Name: name, ns: l.namespace("net-" + name), nextHost: 10}
	for _, p := range prefixes {
		pfx, err := netip.ParsePrefix(p)
		if err != nil {
			l.t.Fatalf("lab: subnet %s: %v", name, err)
		}
		s.Prefixes = append(s.Prefixes, pfx.Masked())
	}
	// Promiscuous, so that Subnet.Capture sees what passes from port to port.
	s.ns.ip(l.t,
		"link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
		"link set br0 promisc on up")
	l.subnets = append(l.subnets, s)
	return s
}

// Host makes a host with no link but lo.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h := &Host{lab: l, Name: name, ns: l.namespace(name)}
	l.hosts = append(l.hosts, h)
	return h
}

// Router makes a host that forwards between the subnets. It has the first
// address of each, and is the default route of all hosts that join them.
func (l *Lab) Router(name string, subnets ...*Subnet) *Host {
	l.t.Helper()
	r := l.Host(name)
	r.sysctl("net/ipv4/ip_forward", "1")
	r.sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, s := range subnets {
		r.join(s, joinOptions{host: 1})
	}
	for _, s := range subnets {
		s.router = r
		for _, h := range l.hosts {
			if h != r && h.linkTo(s) != nil {
				h.defaultRoutes(s)
			}
		}
	}
	return r
}

// Dir returns a folder of the lab's own for files that programs read, gone
// when the test ends.
func (l *Lab) Dir() string { return l.dir }

// tempDir makes a new folder under Dir.
func (l *Lab) tempDir(name string) string {
	l.t.Helper()
	dir, err := os.MkdirTemp(l.dir, name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return dir
}

// writeFile writes a file that every user may read, and returns its path.
func (l *Lab) writeFile(dir, name, content string) string {
	l.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return path
}

func (l *Lab) close() {
	if l.t.Failed() {
		// Programs that run on, nodes that should perhaps, and the last ones that have ended.
		for i, p := range l.procs {
			if p.Running() || p.daemon || i >= len(l.procs)-6 {
				l.t.Logf("lab: %s", p.describe())
			}
		}
	}
	for _, p := range l.procs {
		p.kill()
	}
	for _, p := range l.procs {
		p.await(30 * time.Second)
	}
	for _, c := range l.caps {
		c.close()
	}
	close(l.spawn)
	if err := removeNamespaces(l.all...); err != nil {
		l.t.Errorf("lab: %v", err)
	}
}

// command runs a program of the lab's own, outside all hosts, and returns its
// stdout.
func command(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	path, err := lookPath(args[0])
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// lookPath finds a program as root does, also where PATH is an ordinary
// user's.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	dirs := []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}
	// Debian keeps each version of PostgreSQL's own programs apart.
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err == nil {
		dirs = append(dirs, versions...)
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}
