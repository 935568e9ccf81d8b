package syncthing

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestServeKeepsItsState: over a restart, and over a kill all but the last second.
func TestServeKeepsItsState(t *testing.T) {
	l := newLab(t)
	h := l.Host("server")
	dir := l.Dir() + "/state"
	to := server("127.0.0.1")
	name := func(i int) string { return fmt.Sprint("device ", i) }
	start := func() (*lab.Process, *socket) {
		t.Helper()
		p := serve(h, "--state", dir, "--rate-limit", "off")
		return p, open(t, h, "127.0.0.1:0")
	}
	n := 0
	announce := func(s *socket, more int) {
		t.Helper()
		for range more {
			n++
			s.exchange(to, announcement(deviceID(name(n)), ":22000", fmt.Sprintf("192.0.2.1:%d", n), "[2001:db8::1]:22000"))
		}
	}
	known := func(s *socket, upTo int) {
		t.Helper()
		for i := 1; i <= upTo; i++ {
			s.wantFound(to, name(i), "127.0.0.1:22000", fmt.Sprintf("192.0.2.1:%d", i), "[2001:db8::1]:22000")
		}
	}
	p, s := start()
	s.announceSentinel(to)
	announce(s, 100)
	if exit := p.Stop(); exit != 0 {
		t.Errorf("exit %d: %s", exit, p.Stderr())
	}
	p, s = start()
	known(s, 100)
	announce(s, 100)
	saved := n
	waitSaved(t, dir, name(n))
	announce(s, 20) // of these any may be lost
	p.Kill()
	p, s = start()
	known(s, saved)
	// What a broken disk, or a kill in the midst of writing, may leave behind.
	announce(s, 10)
	waitSaved(t, dir, name(n))
	p.Kill()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		f, err := os.OpenFile(dir+"/"+e.Name(), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err == nil && info.Size() > 0 {
			if _, err := f.WriteString("half a record"); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	p, s = start()
	known(s, saved)
	announce(s, 10)
	p.Signal(syscall.SIGINT)
	if exit := p.Wait(30 * time.Second); exit != 0 {
		t.Errorf("interrupted: exit %d: %s", exit, p.Stderr())
	}
	_, s = start()
	s.wantFound(to, name(n), "127.0.0.1:22000", fmt.Sprintf("192.0.2.1:%d", n), "[2001:db8::1]:22000")
}

// waitSaved waits until a state folder holds a device, and so all that were announced before it. That takes half a second
// when there is a processor for it.
func waitSaved(t *testing.T, dir, name string) {
	t.Helper()
	id := deviceID(name)
	lab.Eventually(t, 20*time.Second, name+" on disk", func() error {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, id[:]) {
				return nil
			}
		}
		return fmt.Errorf("it is in none of %q", files)
	})
}

// TestServeTwice: a second one on the same port or with the same state says so and ends, also
// when an old server has the port.
func TestServeTwice(t *testing.T) {
	l := newLab(t)
	h, other := l.Host("server"), l.Host("other")
	dir := l.Dir() + "/state"
	serve(h, "--state", dir)
	for what, r := range map[string]lab.Result{
		"address already in use": h.Lanfolk("syncthing", "serve").Run(),
		dir:                      other.Lanfolk("syncthing", "serve", "--state", dir).Run(),
	} {
		if r.Exit != 1 || !strings.Contains(r.Stderr, what) || r.Stdout != "" {
			t.Errorf("exit %d: %s%s, want %q", r.Exit, r.Stdout, r.Stderr, what)
		}
	}
}

// TestServeWithAFullDisk: it goes on in memory, and says so once.
func TestServeWithAFullDisk(t *testing.T) {
	l := newLab(t)
	h := l.Host("server")
	dir := l.Dir() + "/small"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.Lanfolk("syncthing", "serve", "--state", dir, "--rate-limit", "off")
	c.Args = append([]string{"/bin/sh", "-c", `mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"`, dir}, c.Args...)
	p := c.Start()
	waitReady(p)
	to := server("127.0.0.1")
	s := open(t, h, "127.0.0.1:0")
	s.announceSentinel(to)
	var sixteen []string
	for i := range 16 {
		sixteen = append(sixteen, fmt.Sprintf("[2001:db8::%x]:%d", i+1, 22000+i))
	}
	name := func(i int) string { return fmt.Sprint("device ", i) }
	const n = 3000
	for i := range n {
		s.exchange(to, announcement(deviceID(name(i)), sixteen...))
	}
	p.WaitText(20*time.Second, "no space left on device")
	time.Sleep(1500 * time.Millisecond)
	for i := 0; i < n; i += 100 {
		s.wantFound(to, name(i), sixteen...)
	}
	if n := strings.Count(p.Stderr(), "no space left on device"); n > 2 {
		t.Errorf("it says so %d times:\n%s", n, p.Stderr())
	}
	if p.Stop(); p.Running() {
		t.Error("it doesn't end")
	}
}
