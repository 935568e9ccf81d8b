package test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
	"github.com/lanfolk/lanfolk/test/registry"
)

const nodeID = "3b8be755-08ff-452b-b217-c9151eb21193"

// studio is a lab with the example node and two registries, one preferred.
type studio struct {
	*testing.T
	lab        *lab.Lab
	dns, desk  *lab.Host
	hosts      [2]*lab.Host // of the registries
	registries [2]*registry.Server
	program    string
	resolvConf string
}

// newStudio makes the hosts; nothing is advertised yet.
func newStudio(t *testing.T, program, resolvConf string) *studio {
	t.Helper()
	s := &studio{T: t, lab: lab.New(t), program: program}
	a := s.lab.Subnet("a", "10.99.1.0/24")
	for i := range s.hosts {
		h := s.lab.Host(fmt.Sprintf("registry%d", i)).Join(a)
		s.hosts[i] = h
		s.registries[i] = registry.Serve(t, func() (l net.Listener, err error) {
			err = h.Do(func() error {
				l, err = net.Listen("tcp", fmt.Sprintf("%s:8235", h.Links[0].V4))
				return err
			})
			return l, err
		})
	}
	s.desk, s.dns = s.lab.Host("desk").Join(a), s.lab.Host("dns").Join(a)
	s.resolvConf = filepath.Join(s.lab.Dir(), "resolv.conf")
	if err := os.WriteFile(s.resolvConf, []byte(resolvConf), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// advertisement is what the ith registry says of itself.
func (*studio) advertisement(i int) lab.Service {
	return lab.Service{
		Name: fmt.Sprintf("Registry %d", i), Type: "_nmos-register._tcp", Port: 8235,
		TXT: []string{"api_proto=http", "api_ver=v1.2,v1.3", "api_auth=false", fmt.Sprintf("pri=%d", 10*i)},
	}
}

// unicast has a name server advertise both registries, the second by the type
// that IS-04 had before v1.3.
func (s *studio) unicast() {
	s.Helper()
	z := lab.Zone{Name: "studio.test"}
	for i, h := range s.hosts {
		a := s.advertisement(i)
		if i == 1 {
			a.Type = "_nmos-registration._tcp"
		}
		name := strings.ReplaceAll(a.Name, " ", `\ `) + "." + a.Type
		z.Records = append(z.Records, a.Type+" PTR "+name, fmt.Sprintf("%s SRV 0 0 %d registry%d", name, a.Port, i),
			fmt.Sprintf(`%s TXT "%s"`, name, strings.Join(a.TXT, `" "`)), fmt.Sprintf("registry%d A %s", i, h.Links[0].V4))
	}
	s.dns.BIND(lab.BIND{Zones: []lab.Zone{z}})
}

// multicast has each registry's host advertise it.
func (s *studio) multicast() {
	s.Helper()
	for i, h := range s.hosts {
		h.Avahi(lab.Avahi{Services: []lab.Service{s.advertisement(i)}})
	}
}

// start starts the node.
func (s *studio) start() *lab.Process {
	s.Helper()
	c := s.desk.Command(s.program, "-id", nodeID, "-address", "10.99.1.12:3212")
	c.Mounts = []lab.Mount{{Source: s.resolvConf, Target: "/etc/resolv.conf"}}
	return c.Start()
}

// registered waits until the node is registered at the ith registry.
func (s *studio) registered(i int, d time.Duration) {
	s.Helper()
	lab.Eventually(s, d, fmt.Sprintf("registration at registry %d", i), func() error {
		if ids := s.registries[i].Nodes(); !slices.Equal(ids, []string{nodeID}) {
			return fmt.Errorf("nodes %q", ids)
		}
		return nil
	})
}

// heartbeats waits for n more heartbeats at the ith registry, before that forgets the
// node, and checks that no more come than one in five seconds.
func (s *studio) heartbeats(i, n int) {
	s.Helper()
	count := func() (times []time.Time) {
		for _, r := range s.registries[i].Requests() {
			if r.Heartbeat() && r.Status == http.StatusOK {
				times = append(times, r.Time)
			}
		}
		return times
	}
	before := len(count())
	lab.Eventually(s, time.Duration(5*n+10)*time.Second, "heartbeats", func() error {
		if have := len(count()) - before; have < n {
			return fmt.Errorf("%d of %d", have, n)
		}
		return nil
	})
	all := s.registries[i].Requests()
	// One may be late and the next one not, and the first follows the registration.
	if have, since := len(count()), time.Since(all[0].Time); have > int(since/(5*time.Second))+2 {
		s.Errorf("%d heartbeats in %v", have, since)
	}
}

// requests returns what came at the ith registry since the first n, as text.
func (s *studio) requests(i, n int) string {
	var out strings.Builder
	for _, r := range s.registries[i].Requests()[n:] {
		fmt.Fprintf(&out, "%s %s %d\n", r.Method, strings.TrimPrefix(r.Path, "/x-nmos/registration/v1.3/"), r.Status)
	}
	return out.String()
}

// The example registers a node with the preferred registry and keeps it alive
// there. When that falls silent the node is at the other within twelve seconds, and stays
// there when the first speaks again. A registry that has forgotten it gets it
// anew, and at its end the node takes itself back. (IS-04 v1.3, Behaviour: Registration.)
func TestExampleNode(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "named", "avahi-daemon")
	program := buildExample(t, "nmos-node")
	for name, v := range map[string]struct {
		resolvConf string
		advertise  func(*studio)
		silence    func(*studio) (speak func())
	}{
		// The host goes on, and what listens hangs.
		"unicast": {"nameserver 10.99.1.13\nsearch studio.test\n", (*studio).unicast, func(s *studio) func() {
			s.registries[0].Silence()
			return s.registries[0].Speak
		}},
		// The host is gone, its responder, too.
		"mdns": {"# no server\n", (*studio).multicast, func(s *studio) func() {
			s.hosts[0].Links[0].Unplug()
			return s.hosts[0].Links[0].Plug
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStudio(t, program, v.resolvConf)
			v.advertise(s)
			node := s.start()
			s.registered(0, 20*time.Second)
			s.heartbeats(0, 2)
			died := time.Now()
			speak := v.silence(s)
			s.registered(1, registry.Lifetime)
			t.Logf("registered at the other after %v", time.Since(died))
			speak()
			seen := len(s.registries[0].Requests())
			s.registries[1].Forget()
			s.registered(1, 20*time.Second)
			s.heartbeats(1, 1)
			if late := s.requests(0, seen); late != "" {
				t.Errorf("the node went back: %s", late)
			}
			if code := node.Stop(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if ids := s.registries[1].Nodes(); len(ids) > 0 {
				t.Errorf("left behind: %q", ids)
			}
		})
	}
}

// What else registries answer: 5xx or nothing leads to the next, a record of
// the node's last run is cleared, a refusal of the node ends it, and one that
// is at none ends when it's told to.
func TestExampleNodeMeetsErrors(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "named")
	s := newStudio(t, buildExample(t, "nmos-node"), "nameserver 10.99.1.13\nsearch studio.test\n")
	s.unicast()
	resource, mine := "resource", "nodes/"+nodeID

	s.registries[0].Answer(http.StatusServiceUnavailable)
	node := s.start()
	s.registered(1, 20*time.Second)
	if got, want := s.requests(0, 0), "POST "+resource+" 503\n"; got != want {
		t.Errorf("the first registry got\n%swant\n%s", got, want)
	}
	node.Kill()

	s.registries[0].Refuse()
	seen := len(s.registries[1].Requests())
	node = s.start()
	lab.Eventually(t, 20*time.Second, "registration after a crash", func() error {
		want := fmt.Sprintf("POST %[1]s 200\nDELETE %[1]s/%[2]s 204\nPOST %[1]s 201\n", resource, mine)
		if got := s.requests(1, seen); got != want {
			return fmt.Errorf("the second registry got\n%swant\n%s", got, want)
		}
		return nil
	})
	node.Stop()

	s.registries[1].Answer(http.StatusBadRequest)
	seen = len(s.registries[1].Requests())
	node = s.start()
	if code := node.Wait(20 * time.Second); code != 1 || !strings.Contains(node.Stderr(), "400") {
		t.Errorf("refused: exit %d: %s", code, node.Stderr())
	}
	if got, want := s.requests(1, seen), "POST "+resource+" 400\n"; got != want {
		t.Errorf("the second registry got\n%swant\n%s", got, want)
	}

	s.registries[1].Refuse()
	node = s.start()
	node.WaitText(20*time.Second, "refused")
	if code := node.Stop(); code != 0 {
		t.Errorf("stopped while no registry works: exit %d", code)
	}
}

// buildExample builds an example and returns the program's path.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", path, "../examples/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// Packages nmos and dnssd do enough for a node to be this short.
func TestExampleNodeIsShort(t *testing.T) {
	const most = 150
	src, err := os.ReadFile("../examples/nmos-node/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(src, []byte("\n")); n >= most {
		t.Errorf("%d lines, want less than %d", n, most)
	}
	if files, err := filepath.Glob("../examples/nmos-node/*.go"); len(files) != 1 {
		t.Errorf("files %q, error %v; want main.go alone", files, err)
	}
}
