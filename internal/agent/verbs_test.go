package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store"
)

// fake is all that a node hands in.
type fake struct {
	query string
	rows  store.ObservationFilter
	inventory
}

type inventory struct{ filter lanfolk.Filter }

func (i *inventory) Devices(f lanfolk.Filter) []*lanfolk.Device {
	i.filter = f
	return []*lanfolk.Device{{ID: "d1"}, {ID: "d2"}}
}
func (i *inventory) Services(f lanfolk.Filter) []*lanfolk.Service {
	i.filter = f
	return nil
}

func (f *fake) Status(context.Context) (any, error) { return map[string]int{"devices": 2}, nil }

func (f *fake) ObservationPage(_ context.Context, q store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	f.rows = q
	return []lanfolk.Observation{{Count: 3}}, store.Cursor{}, nil
}

func (f *fake) Find(ctx context.Context, query string, _ time.Duration, found func(any) error) error {
	f.query = query
	if query == "slow" {
		<-ctx.Done()
		return nil
	}
	return errors.Join(found("one"), found("two"))
}

func (f *fake) Browse(_ context.Context, serviceType string, _ bool, seen func(any) error) error {
	return seen("type " + serviceType)
}

func (f *fake) Capture(ctx context.Context, link string, w io.Writer) error {
	if link != "eth9" {
		return errors.New("no interface " + link)
	}
	for range 4 { // whatever the time
		if _, err := io.WriteString(w, "ten bytes."); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func sources(f *fake) Sources {
	return Sources{Status: f, Inventory: &f.inventory, Fingerprints: f, Finder: f, Browser: f, Capturer: f}
}

func open(t testing.TB, c Config, s Sources) *Agent {
	t.Helper()
	if c.Folder == "" {
		c.Folder = t.TempDir()
	}
	a, err := Open(c, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// An answer is what arrives of a command.
type answer struct {
	text string
	end  reverse.End
	kind reverse.Type
}

// take reads a result as a Client does, and checks its hash.
func take(t testing.TB, out *reverse.Outgoing) answer {
	t.Helper()
	a := answer{kind: out.Type}
	var text []byte
	if out.Content != nil {
		for b := make([]byte, 5000); ; {
			n, err := out.Content.ReadAt(b, int64(len(text)))
			text = append(text, b[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("read %d bytes: %v", n, err)
			}
		}
	}
	a.text, a.end = string(text), out.End()
	if a.end.Total != uint64(len(text)) || a.end.SHA256 != sha256.Sum256(text) {
		t.Errorf("%d bytes came, the end says %d; or their hash is wrong", len(text), a.end.Total)
	}
	return a
}

// ask has a line run.
func ask(t testing.TB, ctx context.Context, a *Agent, line string, terms reverse.Terms) answer {
	t.Helper()
	ids := reverse.IDs{Random: rand.Reader}
	id, err := ids.Next(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if run, err := a.Accept(id, line); !run || err != nil {
		t.Fatalf("%s: run is %v, %v", line, run, err)
	}
	got := take(t, a.Run(ctx, id, line, terms))
	a.Delivered(id, nil)
	if run, err := a.Accept(id, line); run || err != nil {
		t.Errorf("%s would run again: %v", line, err)
	}
	return got
}

func TestVerbs(t *testing.T) {
	files := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(
		os.WriteFile(outside, []byte("secret"), 0o600), os.Mkdir(filepath.Join(files, "logs"), 0o700),
		os.WriteFile(filepath.Join(files, "logs", "a b.txt"), []byte("hello\x00there"), 0o600),
		os.Symlink(outside, filepath.Join(files, "out")), os.Symlink(filepath.Dir(outside), filepath.Join(files, "away")),
		os.Symlink("logs/a b.txt", filepath.Join(files, "in")), syscall.Mkfifo(filepath.Join(files, "pipe"), 0o600),
		os.Chtimes(filepath.Join(files, "logs", "a b.txt"), start, start),
	); err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	all := open(t, Config{Files: files, Capture: CaptureLimits{Allowed: true, MaxTime: 2 * time.Second, MaxBytes: 35}}, sources(f))
	none := open(t, Config{}, Sources{})
	for _, c := range []struct {
		a      *Agent
		line   string
		status reverse.Status
		text   string
		err    string // part of it
	}{
		{all, "list", "ok", `[{"name":"logs/a b.txt","size":11,"modified":"2026-01-31T12:00:00Z"}]` + "\n", ""},
		{all, "get 'logs/a b.txt'", "ok", "hello\x00there", ""},
		{all, "get in", "ok", "hello\x00there", ""},
		{all, "get out", "denied", "", `"out": path escapes from parent`},
		{all, "get away/secret", "denied", "", "path escapes from parent"},
		{all, "get ../x", "denied", "", `"../x" leads upwards`},
		{all, "get logs/../logs/x", "denied", "", "leads upwards"},
		{all, "get /etc/passwd", "denied", "", "begins with a /"},
		{all, "get ''", "denied", "", `"" is not the name of a file`},
		{all, "get .", "denied", "", `"." is not the name of a file`},
		{all, "get logs", "denied", "", `"logs" is not a regular file`},
		{all, "get pipe", "denied", "", `"pipe" is not a regular file`},
		{all, "get nowhere", "error", "", `there is no file "nowhere"`},
		{all, "get", "error", "", "usage: get NAME"},
		{all, "get a b", "error", "", "usage: get NAME"},
		{all, "status", "ok", `{"devices":2}` + "\n", ""},
		{all, "status now", "error", "", "1 arguments; usage: status"},
		{all, "services --type _ipp._tcp", "ok", "[]\n", ""},
		{all, "services --colour red", "error", "", "flag provided but not defined: -colour"},
		{all, "devices a b", "error", "", `"b" is one argument too many`},
		{all, "find _ipp._tcp", "ok", "\"one\"\n\"two\"\n", ""},
		{all, "find --timeout 2m x", "error", "", "--timeout 2m0s: want more than 0 and at most 1m0s"},
		{all, "find --timeout 1s", "error", "", "what is to be found?"},
		{all, "browse --resolve _ipp._tcp", "ok", "\"type _ipp._tcp\"\n", ""},
		{all, "fingerprints --mac 02:00", "error", "", "--mac: "},
		{all, "fingerprints --limit 0", "error", "", "--limit 0: want 1 to 10000"},
		{all, "capture eth9 1", "ok", strings.Repeat("ten bytes.", 3), "the capture ended before its time: more than it may be: 35 bytes"},
		{all, "capture eth9 3", "error", "", `"3" seconds: want 1 to 2`},
		{all, "capture eth9 -1", "error", "", "want 1 to 2"},
		{all, "capture eth8 1", "error", "", "no interface eth8"},
		{all, "exec date", "denied", "", "not allowed on this gateway: exec is off"},
		{all, "rm -rf /", "denied", "", `there is no verb "rm"; there are list, get, `},
		{all, "SELECT 1", "denied", "", `there is no verb "SELECT"`},
		{all, "'unclosed", "error", "", "' is not closed"},
		{none, "list", "denied", "", "list is off"},
		{none, "get x", "denied", "", "get is off"},
		{none, "status", "denied", "", "status is off"},
		{none, "devices", "denied", "", "devices is off"},
		{none, "services", "denied", "", "services is off"},
		{none, "find x", "denied", "", "find is off"},
		{none, "fingerprints", "denied", "", "fingerprints is off"},
		{none, "browse", "denied", "", "browse is off"},
		{none, "capture eth9 1", "denied", "", "capture is off"},
		{open(t, Config{}, sources(f)), "capture eth9 1", "denied", "", "capture is off"},
	} {
		got := ask(t, t.Context(), c.a, c.line, reverse.Terms{})
		if got.end.Status != c.status || got.text != c.text || !strings.Contains(got.end.Error, c.err) || (c.err == "") != (got.end.Error == "") {
			t.Errorf("%s: %q and %+v, want %s, %q, %q", c.line, got.text, got.end, c.status, c.text, c.err)
		}
	}
	if f.query != "_ipp._tcp" || f.filter.Type != "_ipp._tcp" {
		t.Errorf("asked for %q and %+v", f.query, f.filter)
	}
	if got := ask(t, t.Context(), all, "devices", reverse.Terms{}); strings.Count(got.text, "\n") != 2 || !strings.HasPrefix(got.text, `[{"id":"d1"`) {
		t.Errorf("devices: %s", got.text)
	}
	got := ask(t, t.Context(), all, "fingerprints --query *.example.com --latest", reverse.Terms{})
	if !strings.Contains(got.text, `"count":3,"fingerprint_hash":`) || f.rows.Limit != 1 || f.rows.Query != "*.example.com" {
		t.Errorf("fingerprints: %s for %+v", got.text, f.rows)
	}
}

// What the hub grants bounds a command.
func TestTermsBound(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, Config{Files: dir}, sources(&fake{}))
	for line, want := range map[string]string{
		"get x":   `"x" has 1000 bytes, more than 10`,
		"devices": "more than it may be: 10 bytes",
	} {
		if got := ask(t, t.Context(), a, line, reverse.Terms{MaxBytes: 10}); got.end.Status != reverse.StatusError || got.end.Error != want {
			t.Errorf("%s: %+v, want %q", line, got.end, want)
		}
	}
	for cause, want := range map[error]reverse.Status{
		reverse.ErrTimeout: reverse.StatusTimeout, reverse.ErrCancelled: reverse.StatusCancelled, context.Canceled: reverse.StatusInterrupted,
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		for _, line := range []string{"find slow", "get x"} {
			if got := ask(t, ctx, a, line, reverse.Terms{}); got.end.Status != want {
				t.Errorf("%s, %v: %+v, want %s", line, cause, got.end, want)
			}
		}
	}
}

// A file that becomes shorter while it is read ends there, and says so.
func TestFileThatShrinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, make([]byte, 20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	a := open(t, Config{Files: dir}, Sources{})
	id := newIDs(1)[0]
	if _, err := a.Accept(id, "get x"); err != nil {
		t.Fatal(err)
	}
	out := a.Run(t.Context(), id, "get x", reverse.Terms{})
	if err := os.Truncate(path, 7000); err != nil {
		t.Fatal(err)
	}
	if got := take(t, out); got.end.Status != reverse.StatusError || got.end.Total != 7000 || got.end.Error != "the file became shorter while it was read: 7000 bytes of 20000" {
		t.Errorf("%+v", got.end)
	}
	a.Delivered(id, nil)
}
