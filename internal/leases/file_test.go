package leases_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/leases"
)

// watched is a File that runs, and what it told.
type watched struct {
	*leases.File
	t    *testing.T
	path string

	mu    sync.Mutex
	told  []string // each table as text
	times []time.Time
}

func watch(t *testing.T, kind leases.Kind, content string) *watched {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leases")
	w := &watched{File: &leases.File{Kind: kind, Path: path}, t: t, path: path}
	w.Changed = func(tab leases.Table, changed time.Time) {
		w.mu.Lock()
		defer w.mu.Unlock()
		var hosts []string
		for _, l := range tab.Leases {
			if !l.Free {
				hosts = append(hosts, l.Prefix.Addr().String()+" "+l.Host)
			}
		}
		w.told, w.times = append(w.told, strings.Join(hosts, ", ")), append(w.times, changed)
	}
	if content != "" {
		w.write(content)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watched) write(content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) add(path, text string) {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// until waits until what was told last is as wanted.
func (w *watched) until(want string) {
	w.t.Helper()
	w.wait(func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.told) == 0 {
			return "nothing was told, want " + want
		}
		if last := w.told[len(w.told)-1]; last != want {
			return fmt.Sprintf("told %q, want %q", last, want)
		}
		return ""
	})
}

func (w *watched) wait(wrong func() string) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s := wrong()
		if s == "" {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal(s)
		}
	}
}

func (w *watched) untilStatus(what string, ok func(leases.Status) bool) {
	w.t.Helper()
	w.wait(func() string {
		if s := w.Status(); !ok(s) {
			return fmt.Sprintf("%s: the status is %+v", what, s)
		}
		return ""
	})
}

// never looks whether something was told at any time.
func (w *watched) never(what string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.told {
		if x == what {
			w.t.Errorf("%q was told; all: %q", what, w.told)
		}
	}
}

func line(n int) string {
	return fmt.Sprintf("1767225600 02:00:5e:10:00:%02x 10.0.0.%d h%d *\n", n, n, n)
}

func TestAFileThatChanges(t *testing.T) {
	t.Parallel()
	w := watch(t, leases.Dnsmasq, line(1))
	w.until("10.0.0.1 h1")
	w.add(w.path, line(2))
	w.until("10.0.0.1 h1, 10.0.0.2 h2")
	w.write(line(2)) // in place
	w.until("10.0.0.2 h2")
	w.add(w.path+".new", line(3))
	w.rename(w.path+".new", w.path)
	w.until("10.0.0.3 h3")
	w.add(w.path, line(4))
	w.until("10.0.0.3 h3, 10.0.0.4 h4")
	if s := w.Status(); s.Leases != 2 || s.Bad != 0 || s.Err != nil || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAFileThatComesLater(t *testing.T) {
	t.Parallel()
	w := watch(t, leases.Dnsmasq, "")
	w.untilStatus("missing", func(s leases.Status) bool { return s.Missing() })
	w.write(line(1))
	w.until("10.0.0.1 h1")
	w.untilStatus("mended", func(s leases.Status) bool { return s.Err == nil && s.Failures == 1 })
}

func TestAFileThatCanNoLongerBeRead(t *testing.T) {
	t.Parallel()
	w := watch(t, leases.Dnsmasq, line(1))
	w.until("10.0.0.1 h1")
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("removed", func(s leases.Status) bool { return s.Missing() && s.Leases == 1 })
	if err := os.Mkdir(w.path, 0o755); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("a folder", func(s leases.Status) bool {
		return s.Err != nil && strings.HasSuffix(s.Err.Error(), "is no regular file") && s.Leases == 1
	})
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("removed again", func(s leases.Status) bool { return s.Missing() && s.Leases == 1 })
	f, err := os.Create(w.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(leases.MaxFile + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	w.untilStatus("too large", func(s leases.Status) bool {
		return s.Err != nil && strings.HasSuffix(s.Err.Error(), "has more than 67108864 bytes") && s.Leases == 1
	})
	w.never("")
	w.write(line(1) + "rubbish\n" + line(2))
	w.until("10.0.0.1 h1, 10.0.0.2 h2")
	if s := w.Status(); s.Bad != 1 || s.Faults[0].Line != 2 || s.Err != nil || s.Failures != 4 {
		t.Errorf("%+v", s)
	}
}

func TestAFileBehindASymbolicLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := watch(t, leases.Dnsmasq, "")
	w.untilStatus("missing", func(s leases.Status) bool { return s.Missing() })
	w.add(filepath.Join(dir, "real"), line(1))
	if err := os.Symlink(filepath.Join(dir, "real"), w.path); err != nil {
		t.Fatal(err)
	}
	w.until("10.0.0.1 h1")
	w.add(filepath.Join(dir, "real"), line(2))
	w.until("10.0.0.1 h1, 10.0.0.2 h2")
}

func row(n int, lifetime int) string {
	return fmt.Sprintf("10.0.0.%d,02:00:5e:10:00:%02x,,%d,1767225600,1,0,0,h%d,0,\n", n, n, lifetime, n)
}

func TestKeasFilesThatChange(t *testing.T) {
	t.Parallel()
	w := watch(t, leases.Kea, head4+row(1, 3600)+row(2, 3600))
	w.until("10.0.0.1 h1, 10.0.0.2 h2")
	w.add(w.path+".1", head4+row(3, 3600))
	w.until("10.0.0.3 h3, 10.0.0.1 h1, 10.0.0.2 h2")
	w.rename(w.path+".1", w.path+".2")
	w.add(w.path, row(2, 0))
	w.until("10.0.0.3 h3, 10.0.0.1 h1")
}

func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "leases")
	past := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	if err := os.WriteFile(path, []byte(line(1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan time.Time)
	f := &leases.File{Kind: leases.Dnsmasq, Path: path, Changed: func(_ leases.Table, changed time.Time) { told <- changed }}
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	if at := <-told; !at.Equal(past) {
		t.Errorf("changed at %v, want %v", at, past)
	}
	// A look from outside is no news.
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Error("told again though nothing changed")
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPlaces(t *testing.T) {
	root := t.TempDir()
	for _, p := range []string{"var/lib/misc/dnsmasq.leases", "var/lib/NetworkManager/dnsmasq-wlan0.leases", "var/lib/kea/kea-leases6.csv", "var/lib/kea/kea-leases4.csv.2"} {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range leases.Find(root) {
		got = append(got, strings.TrimSpace(string(p.Kind)+" "+strings.TrimPrefix(p.Path, root)+" "+p.Interface))
	}
	want := "dnsmasq /var/lib/misc/dnsmasq.leases; dnsmasq /var/lib/NetworkManager/dnsmasq-wlan0.leases wlan0; kea /var/lib/kea/kea-leases6.csv"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}
