package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store"
)

// makeServices makes another program's database.
func makeServices(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	noErr(t, err)
	defer db.Close()
	for _, s := range statements {
		_, err := db.Exec(s)
		noErr(t, err)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestServices(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "services.db")
	makeServices(t, path, `CREATE TABLE services (service TEXT, key TEXT, value)`,
		`INSERT INTO services VALUES ('Sql', 'HOST', 'test'), ('Sql', 'PORT', 3306), ('Sql', 'NOTE', NULL), ('other', 'HOST', 'x')`)
	s, err := store.OpenServices(ctx, path)
	noErr(t, err)
	defer s.Close()
	want := [][2]string{{"HOST", "test"}, {"NOTE", ""}, {"PORT", "3306"}}
	expect := func(service string, want [][2]string) {
		t.Helper()
		got, err := s.Fields(ctx, service)
		slices.SortFunc(got, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", service, got, err, want)
		}
	}
	expect("SQL", want)
	expect("NOPE", nil)
	expect("' OR 1=1 --", nil)
	// What another program writes is seen, and a file that takes this one's name.
	makeServices(t, path, `INSERT INTO services VALUES ('NEW', 'HOST', 'n')`)
	expect("NEW", [][2]string{{"HOST", "n"}})
	makeServices(t, path+".new", `CREATE TABLE services (service TEXT, key TEXT, value)`, `INSERT INTO services VALUES ('NEWER', 'HOST', 'm')`)
	noErr(t, os.Rename(path+".new", path))
	time.Sleep(1500 * time.Millisecond)
	expect("NEWER", [][2]string{{"HOST", "m"}})

	noErr(t, os.Remove(path))
	time.Sleep(1500 * time.Millisecond)
	if _, err := s.Fields(ctx, "NEWER"); err == nil {
		t.Error("read a file that is gone")
	}
}

func TestOpenServicesErrors(t *testing.T) {
	dir := t.TempDir()
	makeServices(t, filepath.Join(dir, "other.db"), `CREATE TABLE cats (name TEXT)`)
	noErr(t, os.WriteFile(filepath.Join(dir, "text"), []byte("{\"SQL\": {\"HOST\": \"test\"}}"), 0o600))
	for name, want := range map[string]string{
		"none.db": "no such file", "other.db": "no such table: services", "text": "SQLite", ".": "not a regular file",
	} {
		s, err := store.OpenServices(context.Background(), filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "store: ") {
			t.Errorf("%s: %v, %v; want %q", name, s, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "none.db")); err == nil {
			t.Error("the database was made")
		}
	}
}
