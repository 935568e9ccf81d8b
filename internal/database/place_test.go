package database

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	if p, err := Node().Read(dir); err != nil || p.Where != filepath.Join(dir, "lanfolk.db") {
		t.Errorf("before a node ran: %+v, %v", p, err)
	}
	for _, c := range []struct {
		store config.Store
		want  Place
	}{
		{config.Store{Kind: config.SQLite, Path: "x.db"}, Place{Where: filepath.Join(dir, "x.db")}},
		{
			config.Store{Kind: config.Postgres, URL: "postgres://john:s3cret@db/x?sslmode=require&password=s3cret", PasswordFile: "/etc/p"},
			Place{"postgres://john@db/x?sslmode=require", "/etc/p"},
		},
	} {
		if err := Node().Write(c.store, dir); err != nil {
			t.Fatal(err)
		}
		if p, err := Node().Read(dir); err != nil || p != c.want {
			t.Errorf("%+v, %v; want %+v", p, err, c.want)
		}
	}
	for _, text := range []string{"", "{}", "postgres://"} {
		if err := os.WriteFile(filepath.Join(dir, Node().Name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Node().Read(dir); err == nil || !strings.HasPrefix(err.Error(), "database: read database.json: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
