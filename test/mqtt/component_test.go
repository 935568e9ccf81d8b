package mqtt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// component is a part under test that runs: an announcer, a bridge, a janitor.
type component interface {
	stop()   // it takes its leave
	kill()   // it is gone without a word
	freeze() // it keeps its connection and does nothing
}

// program is a component that is a process of the real command.
type program struct {
	*lab.Process
	t *testing.T
}

func (p program) stop() {
	if code := p.Stop(); code != 0 {
		p.t.Errorf("a component that takes its leave ends with %d", code)
	}
}
func (p program) kill()   { p.Kill() }
func (p program) freeze() { p.Signal(syscall.SIGSTOP) }

const becomesReady = 60 * time.Second // with a hundred thousand devices

// start starts a command and waits until it is ready.
func (s *site) start(args ...string) component {
	s.t.Helper()
	p := s.host.Lanfolk(append(args, "--broker", s.broker.URL("mqtt"))...).Start()
	p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
	return program{p, s.t}
}

func (x step) shared() []string {
	var args []string
	if x.Tenant != "" {
		args = append(args, "--tenant", x.Tenant)
	}
	if x.ClientID != "" {
		args = append(args, "--client-id", x.ClientID)
	}
	if x.KeepAlive > 0 {
		args = append(args, "--keep-alive", strconv.Itoa(x.KeepAlive)+"s")
	}
	return args
}

func (s *site) startDevice(x step) component {
	s.t.Helper()
	meta := s.file(x.As+".json", string(s.document))
	return s.start(append([]string{"mqtt", "announce", "--id", x.ID, "--root", x.Root, "--meta", meta}, x.shared()...)...)
}

func (s *site) startBridge(x step, devices []device) component {
	s.t.Helper()
	var lines strings.Builder
	enc := json.NewEncoder(&lines)
	for _, d := range devices {
		if err := enc.Encode(map[string]any{"id": d.ID, "root": d.Root, "meta": s.document, "reachable": d.Reachable}); err != nil {
			s.t.Fatal(err)
		}
	}
	file := s.file(x.As+".jsonl", lines.String())
	return s.start(append([]string{"mqtt", "bridge", "--provider", x.Provider, "--devices", file}, x.shared()...)...)
}

// grace is what a janitor of the scenarios waits for a provider to come back.
const grace = 300 * time.Millisecond

func (s *site) startJanitor(x step) component {
	s.t.Helper()
	wait := grace
	if x.Grace != nil {
		wait = time.Duration(*x.Grace) * time.Millisecond
	}
	return s.start(append([]string{"mqtt", "janitor", "--grace", wait.String()}, x.shared()...)...)
}

func (s *site) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.lab.Dir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}
