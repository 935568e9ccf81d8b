package tged

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The chain holds every name whose change can make a path mean another file.
func TestChain(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, err := range []error{
		os.MkdirAll(at("v1", "conf"), 0o755), os.WriteFile(at("v1", "conf", "f"), nil, 0o644),
		os.Symlink("v1", at("current")), os.Symlink("../"+filepath.Base(dir)+"/current/conf", at("etc")),
		os.Symlink("round", at("round")), os.Symlink("missing/f", at("broken")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		at("v1", "conf", "f"):      {at("v1", "conf", "f")},
		at("current", "conf", "f"): {at("current"), at("v1", "conf", "f")},
		at("etc", "f"):             {at("etc"), at("current"), at("v1", "conf", "f")},
		at("etc", "g"):             {at("etc"), at("current"), at("v1", "conf", "g")},
		at("broken"):               {at("broken"), at("missing")},
		at("none", "at", "all"):    {at("none")},
	} {
		if got := chain(path); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", path, got, want)
		}
	}
	if got := chain(at("round")); len(got) != maxHops+1 {
		t.Errorf("%d names of a ring", len(got))
	}
}
