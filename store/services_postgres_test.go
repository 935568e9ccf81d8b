package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store"
)

// TestPostgresURLs: what can't be a URL is refused, and nobody is shown a password.
func TestPostgresURLs(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	noErr(t, os.WriteFile(empty, []byte("\nsecret\n"), 0o600))
	for _, c := range []struct {
		u    store.PostgresURL
		want string
	}{
		{store.PostgresURL{URL: "postgres://john:s3cret@[db/services"}, "no URL of PostgreSQL"},
		{store.PostgresURL{URL: "postgres://john:s3cret@db:port/services"}, "no URL of PostgreSQL"},
		{store.PostgresURL{URL: "postgres://john:s3cret@db/services?sslmode=perhaps"}, "no URL of PostgreSQL"},
		{store.PostgresURL{URL: "postgres:s3cret"}, "no URL of PostgreSQL"},
		{store.PostgresURL{URL: "postgres://john:s3cret@db/x?sslmode=verify-full&sslrootcert=/none/ca.pem"}, "/none/ca.pem"},
		{store.PostgresURL{URL: "postgres://db/x", PasswordFile: filepath.Join(dir, "none")}, "no such file"},
		{store.PostgresURL{URL: "postgres://db/x", PasswordFile: empty}, "its first line is no password"},
	} {
		s, err := store.OpenPostgresServices(c.u)
		if err == nil || s != nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "store: ") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%+v: %v; want %q", c.u, err, c.want)
		}
	}
	s, err := store.OpenPostgresServices(store.PostgresURL{URL: "postgres://john:s3cret@127.0.0.1:1/services"})
	noErr(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Check(ctx); err == nil || errors.Is(err, store.ErrRefused) || strings.Contains(err.Error(), "s3cret") ||
		!strings.Contains(err.Error(), `read services of "services" on 127.0.0.1:1: `) {
		t.Errorf("nobody is there: %v", err)
	}
	noErr(t, s.Close())
}
