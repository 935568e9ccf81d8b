package tged_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/tged"
)

// record is a log that can be read while it is written.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

// lines returns the lines of a level that were logged.
func (r *record) lines(level string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for line := range strings.Lines(r.b.String()) {
		if strings.Contains(line, "level="+level) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// watched is a services file that is watched, in a folder of its own.
type watched struct {
	t    *testing.T
	path string
	file *tged.File
	log  *record
}

// watch loads and watches path, which must hold services.
func watch(t *testing.T, path string) *watched {
	t.Helper()
	w := &watched{t: t, path: path, log: &record{}}
	w.file = &tged.File{Path: path, Log: slog.New(slog.NewTextHandler(w.log, nil))}
	if err := w.file.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.file.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.wait("watch", w.file.Running)
	return w
}

// host returns what the service A has as its HOST.
func (w *watched) host() string {
	s, err := w.file.Lookup([]byte("A"))
	if err != nil {
		return err.Error()
	}
	return s.Fields()[0].Value
}

// becomes waits for the service A to have that HOST.
func (w *watched) becomes(host string) {
	w.t.Helper()
	w.wait("A has host "+host, func() bool { return w.host() == host })
}

func (w *watched) wait(what string, until func() bool) {
	w.t.Helper()
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); !until(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %v not: %s; host %s, status %+v, log: %q %q", patience, what, w.host(), w.file.Status(), w.log.lines("INFO"), w.log.lines("ERROR"))
		}
	}
}

func content(host string) []byte { return fmt.Appendf(nil, "{\"A\": {\"HOST\": %q}}\n", host) }

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T) *watched {
	t.Helper()
	t.Parallel()
	path := filepath.Join(t.TempDir(), "services.json")
	write(t, path, content("old"))
	return watch(t, path)
}

func TestFileReplacedByRename(t *testing.T) { // L01
	w := start(t)
	for n := range 3 {
		write(t, w.path+".tmp", content(fmt.Sprint("new", n)))
		ok(t, os.Rename(w.path+".tmp", w.path))
		w.becomes(fmt.Sprint("new", n))
	}
	w.wait("three lines", func() bool { return len(w.log.lines("INFO")) >= 3 })
	if lines := w.log.lines("INFO"); len(lines) != 3 || len(w.log.lines("ERROR")) > 0 {
		t.Errorf("%q", lines)
	}
	if st := w.file.Status(); st.Services != 1 || st.Loads != 4 || st.Err != nil || st.Failures != 0 || time.Since(st.Loaded) > time.Minute {
		t.Errorf("%+v", st)
	}
}

func TestFileWrittenInTwoSteps(t *testing.T) { // L02
	w := start(t)
	var lost atomic.Bool
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if h := w.host(); h != "old" && h != "new" {
				lost.Store(true)
			}
			time.Sleep(time.Millisecond)
		}
	})
	began := time.Now()
	f, err := os.Create(w.path)
	ok(t, err)
	b := content("new")
	_, err = f.Write(b[:10])
	ok(t, err)
	time.Sleep(200 * time.Millisecond)
	if w.host() != "old" {
		t.Error("half a file was taken")
	}
	_, err = f.Write(b[10:])
	ok(t, err)
	ok(t, f.Close())
	late := time.Since(began) > 400*time.Millisecond // a file may be half for as long as 500 ms
	w.becomes("new")
	close(stop)
	looking.Wait()
	if lost.Load() {
		t.Error("the service was not there for a while")
	}
	if lines := w.log.lines("ERROR"); !late && (len(lines) > 0 || w.file.Status().Failures > 0) {
		t.Errorf("half a file was called broken: %q", lines)
	}
}

func TestFileBroken(t *testing.T) { // L03
	w := start(t)
	write(t, w.path, []byte("{\n \"A\": {\"HOST\": }}"))
	w.wait("failure", func() bool { return w.file.Status().Err != nil })
	want := "tged: services file: " + w.path + ":2:16: invalid character '}' looking for beginning of value"
	if err := w.file.Status().Err; err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	now := time.Now().Add(time.Second)
	ok(t, os.Chtimes(w.path, now, now)) // touched, still broken as it was
	time.Sleep(1200 * time.Millisecond)
	if lines := w.log.lines("ERROR"); len(lines) != 1 || !strings.Contains(lines[0], ":2:16: ") || w.file.Status().Failures != 1 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	w.becomes("old")
	write(t, w.path, []byte(`{"A": {"HOST\r\nX": "evil"}}`)) // L07
	w.wait("another failure", func() bool { return len(w.log.lines("ERROR")) == 2 })
	w.becomes("old")
	write(t, w.path, content("old"))
	w.wait("good again", func() bool { return w.file.Status().Err == nil })
	if st := w.file.Status(); st.Failures != 2 {
		t.Errorf("%+v", st)
	}
}

func TestFileDeletedAndMadeAgain(t *testing.T) { // L04
	w := start(t)
	ok(t, os.Remove(w.path))
	w.wait("failure", func() bool { return w.file.Status().Err != nil })
	if st := w.file.Status(); !errors.Is(st.Err, fs.ErrNotExist) || w.host() != "old" {
		t.Errorf("%+v", st)
	}
	if lines := w.log.lines("ERROR"); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
	write(t, w.path, content("new"))
	w.becomes("new")
	if st := w.file.Status(); st.Err != nil {
		t.Errorf("%+v", st)
	}
	// Gone for a moment only is no failure.
	gone := time.Now()
	ok(t, os.Remove(w.path))
	time.Sleep(100 * time.Millisecond)
	write(t, w.path, content("newer"))
	late := time.Since(gone) > 400*time.Millisecond
	w.becomes("newer")
	if lines := w.log.lines("ERROR"); len(lines) != 1 && !late {
		t.Errorf("%q", lines)
	}
}

func TestFileBehindSymlinks(t *testing.T) { // L05, as Kubernetes mounts a ConfigMap
	t.Parallel()
	dir := t.TempDir()
	volume := func(name, host string) {
		ok(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		write(t, filepath.Join(dir, name, "services.json"), content(host))
	}
	link := func(to, name string) {
		ok(t, os.Symlink(to, filepath.Join(dir, name+".tmp")))
		ok(t, os.Rename(filepath.Join(dir, name+".tmp"), filepath.Join(dir, name)))
	}
	volume("..1", "one")
	link("..1", "..data")
	link("..data/services.json", "services.json")
	w := watch(t, filepath.Join(dir, "services.json"))
	for n, host := range []string{"two", "three", "four"} {
		old := filepath.Join(dir, fmt.Sprint("..", n+1))
		volume(fmt.Sprint("..", n+2), host)
		link(fmt.Sprint("..", n+2), "..data")
		ok(t, os.RemoveAll(old))
		w.becomes(host)
	}
	if lines := w.log.lines("ERROR"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}

func TestFileBehindAnAbsoluteLinkInAnotherFolder(t *testing.T) {
	t.Parallel()
	etc, srv := t.TempDir(), t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		ok(t, os.MkdirAll(filepath.Join(srv, v, "conf"), 0o755))
		write(t, filepath.Join(srv, v, "conf", "services.json"), content(v))
	}
	ok(t, os.Symlink("v1", filepath.Join(srv, "current")))
	ok(t, os.Symlink(filepath.Join(srv, "current", "conf"), filepath.Join(etc, "tged")))
	w := watch(t, filepath.Join(etc, "tged", "services.json"))
	w.becomes("v1")
	ok(t, os.Symlink("v2", filepath.Join(srv, "next")))
	ok(t, os.Rename(filepath.Join(srv, "next"), filepath.Join(srv, "current")))
	w.becomes("v2")
	write(t, filepath.Join(srv, "v2", "conf", "services.json"), content("v3"))
	w.becomes("v3")
	ok(t, os.RemoveAll(filepath.Join(etc, "tged"))) // the link
	ok(t, os.Mkdir(filepath.Join(etc, "tged"), 0o755))
	write(t, filepath.Join(etc, "tged", "services.json"), content("v4"))
	w.becomes("v4")
	write(t, filepath.Join(etc, "tged", "services.json"), content("v5"))
	w.becomes("v5")
}

func TestFileReload(t *testing.T) { // L06
	w := start(t)
	w.file.Reload()
	w.wait("a line in the log", func() bool { return len(w.log.lines("INFO")) == 1 })
	time.Sleep(100 * time.Millisecond)
	if lines := w.log.lines("INFO"); len(lines) != 1 || !strings.Contains(lines[0], `msg="services are as they were"`) {
		t.Errorf("%q", lines)
	}
	write(t, w.path, []byte("["))
	w.file.Reload()
	w.wait("the failure is said", func() bool { return len(w.log.lines("ERROR")) > 0 })
	w.file.Reload()
	w.wait("the failure is said again", func() bool { return len(w.log.lines("ERROR")) > 1 })
	if st := w.file.Status(); st.Failures != 1 {
		t.Errorf("%+v", st)
	}
	idle := &tged.File{Path: w.path}
	idle.Reload() // nobody runs
}

func TestFileAtTheStart(t *testing.T) { // L08
	t.Parallel()
	path := filepath.Join(t.TempDir(), "services.json")
	f := &tged.File{Path: path}
	if _, err := f.Lookup([]byte("A")); err == nil || err.Error() != "tged: the services file is not loaded" {
		t.Error(err)
	}
	if err := f.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	write(t, path, []byte("{\n  \"A\": 1}"))
	want := "tged: services file: " + path + `:2:8: want the fields of service "A", an object`
	if err := f.Load(); err == nil || err.Error() != want || f.Status().Err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	ok(t, os.Remove(path))
	ok(t, syscall.Mkfifo(path, 0o600))
	if err := f.Load(); err == nil || err.Error() != "tged: services file: "+path+" is no regular file" {
		t.Error(err)
	}
	ok(t, os.Remove(path))
	write(t, path, content("late"))
	if err := f.Load(); err != nil || f.Status().Services != 1 || f.Status().Err != nil {
		t.Error(err, f.Status())
	}
}

// TestReloadLosesNothing: a file of 10,000 services is read anew again and again, and
// each of them is always there.
func TestReloadLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "services.json")
	b := manyServices(10_000)
	write(t, path, b)
	w := watch(t, path)
	for n := range 5 {
		write(t, path+".tmp", append(b, bytes.Repeat([]byte("\n"), n+1)...))
		loads := w.file.Status().Loads
		ok(t, os.Rename(path+".tmp", path))
		for looked := 0; w.file.Status().Loads == loads; looked++ {
			if _, err := w.file.Lookup(fmt.Appendf(nil, "service%d", looked%10_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
