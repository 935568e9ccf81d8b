package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

var update = flag.Bool("update", false, "write the messages into testdata/bad/*.txt")

// badFiles are testdata/bad/*.toml, each with its message in the .txt beside it.
func badFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	return files
}

func TestBadFiles(t *testing.T) {
	for _, f := range badFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse("lanfolk.toml", data)
			if err == nil || c != nil {
				t.Fatalf("no error, but %+v", c)
			}
			var errs config.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("%T isn't an Errors", err)
			}
			var one *config.Error
			if !errors.As(err, &one) || one != errs[0] {
				t.Error("the single errors can't be reached")
			}
			beside := strings.TrimSuffix(f, ".toml") + ".txt"
			if *update {
				if err := os.WriteFile(beside, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, rerr := os.ReadFile(beside)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("says\n%swant\n%s", got, want)
			}
		})
	}
}
