package names_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/names"
)

func TestNamesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deeper", "names.json")
	f := names.Open(path, nil)
	if got := f.Kept("Web._http._tcp.local"); got != "" {
		t.Errorf("an empty file keeps %q", got)
	}
	other := names.Open(path, nil)
	f.Keep("Web._http._tcp.local", "Web (2)")
	other.Keep("nas.local", "nas-2")
	f.Keep("Web._http._tcp.local", "Web (3) ä")
	again := names.Open(path, nil)
	for name, want := range map[string]string{"Web._http._tcp.local": "Web (3) ä", "nas.local": "nas-2", "x.local": ""} {
		if got := again.Kept(name); got != want {
			t.Errorf("%s is kept as %q, want %q", name, got, want)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files beside it: %v %v", left, err)
	}
}

func TestADamagedFileCostsTheMemoryAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.json")
	for _, text := range []string{"{", `{"a":1}`, `[]`, strings.Repeat(" ", 9<<20)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		f := names.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
		if f.Kept("a") != "" || !strings.Contains(log.String(), "names: ") {
			t.Errorf("%.10q: %q, log %q", text, f.Kept("a"), log.String())
		}
		f.Keep("a", "b")
		if got := names.Open(path, nil).Kept("a"); got != "b" {
			t.Errorf("%.10q: afterwards %q is kept, want b", text, got)
		}
	}
	if err := os.WriteFile(path, []byte(`{"a":"","b":"`+strings.Repeat("x", 64)+`","c":"d"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := names.Open(path, nil); f.Kept("a") != "" || f.Kept("b") != "" || f.Kept("c") != "d" {
		t.Error("labels that are none are taken")
	}
}

func TestAFolderThatCanNotBeWrittenIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f := names.Open(filepath.Join(dir, "names.json"), slog.New(slog.NewTextHandler(&log, nil)))
	log.Reset()
	f.Keep("a", "b")
	if f.Kept("a") != "b" || !strings.Contains(log.String(), "a changed name isn't remembered") {
		t.Errorf("%q, log %q", f.Kept("a"), log.String())
	}
}
