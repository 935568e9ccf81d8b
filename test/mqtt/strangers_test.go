package mqtt

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// Strangers' topics, ever so many of them, don't fill the memory of those who watch: neither topics that
// are none of the protocol's, nor states of no device, nor metadata of anything. A million of them under LANFOLK_SOAK.
func TestStrangersTopics(t *testing.T) {
	onBoth(t, func(s *site) {
		n := 20_000 // of each of five kinds
		if os.Getenv("LANFOLK_SOAK") != "" {
			n = 200_000
			if s.broker.Lanfolk {
				n = 90_000 // it retains 500,000 at most
			}
		}
		s.fill(n, func(i int) (topic, payload string) { return fmt.Sprintf("strangers/%d/value", i), "21.5" })
		s.fill(n, func(i int) (topic, payload string) {
			return fmt.Sprintf("current/house/%d/temperature", i), strings.Repeat("x", 100)
		})
		s.fill(n, func(i int) (topic, payload string) { return fmt.Sprintf("current/nobody/%d/reachable", i), "1" })
		s.fill(n, func(i int) (topic, payload string) { return fmt.Sprintf("device/broken-%d", i), "{" })
		s.fill(n, func(i int) (topic, payload string) {
			return fmt.Sprintf("device/ghost-%d", i), fmt.Sprintf(`{"root":"nowhere/%d","providerID":"dead-%d"}`, i, i%1000)
		})
		s.startBridge(step{As: "b", Provider: "P"}, lamps(true))
		w := s.toFile("watch", `"synced"`, "mqtt", "watch", "-o", "jsonl")
		if b, err := os.ReadFile(filepath.Join(s.lab.Dir(), "watch")); err != nil || !strings.Contains(string(b), `"id":"lamp-1","root":"home/lamp/1","provider":"P","reachable":true`) {
			s.t.Errorf("the watcher doesn't see the device that is one: %v", err)
		}
		dry := s.toFile("janitor", "ready\n", "mqtt", "janitor", "--dry-run", "--grace", "300ms")
		time.Sleep(time.Second)
		for what, p := range map[string]*lab.Process{"watcher": w, "janitor": dry} {
			peak := peakMemory(s.t, p.Pid())
			s.t.Logf("%s: %d MB at most with %d topics", what, peak>>20, 5*n)
			if most := 100<<20 + 5*n*500; peak > most {
				s.t.Errorf("%s: %d MB at most with %d topics, want %d", what, peak>>20, 5*n, most>>20)
			}
		}
		start := time.Now()
		r := s.host.Lanfolk("mqtt", "purge", "ghost-7", "--dry-run", "--broker", s.broker.URL("mqtt")).Run()
		if r.Exit != 0 || !strings.Contains(r.Stdout, "device/ghost-7") {
			s.t.Errorf("purge: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		s.t.Logf("purge --dry-run takes %v", time.Since(start))
	})
}

// toFile starts a command whose output goes to a file, and waits for a text in it.
func (s *site) toFile(name, until string, args ...string) *lab.Process {
	s.t.Helper()
	path := s.file(name, "")
	c := s.host.Lanfolk(append(args, "--broker", s.broker.URL("mqtt"))...)
	c.Args = append([]string{"sh", "-c", `exec "$@" >"$0"`, path}, c.Args...)
	p := c.Start()
	lab.Eventually(s.t, 2*time.Minute, until, func() error {
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), until) {
			err = fmt.Errorf("%d bytes without it", len(b))
		}
		return err
	})
	return p
}

// fill has many messages retained.
func (s *site) fill(n int, f func(i int) (topic, payload string)) {
	s.t.Helper()
	c, err := dialRaw(s.host.DialContext)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	const window = 20 // that may be without an answer
	for i := range n + window {
		if i < n {
			topic, payload := f(i)
			body := binary.BigEndian.AppendUint16(text(topic), uint16(1+i%window))
			if err := c.send(publish|2|1, append(body, payload...)); err != nil {
				s.t.Fatal(err)
			}
		}
		if i >= window {
			if kind, _, err := c.read(patience); err != nil || kind != puback {
				s.t.Fatalf("%x: %v", kind, err)
			}
		}
	}
}

// peakMemory is the most that a process had resident, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kb << 10
}
