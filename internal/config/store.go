package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// DatabaseName is what the database's file in the state folder is called,
// HubDatabaseName what a hub's is.
const (
	DatabaseName    = "lanfolk.db"
	HubDatabaseName = "hub.db"
)

// Store is the section [store]: where lanfolk remembers.
type Store struct {
	Kind StoreKind `toml:"kind"`
	// Path is the file of SQLite's; see PathIn.
	Path string `toml:"path"`
	// URL is where PostgreSQL's is, PasswordFile what holds the password for it, ""
	// for none.
	URL          PostgresURL `toml:"url"`
	PasswordFile string      `toml:"password_file"`
}

func defaultStore() Store { return Store{Kind: SQLite, Path: DatabaseName} }

func (s Store) check(bad func(key string, err error)) {
	if s.Path == "" || strings.ContainsRune(s.Path, 0) || strings.HasSuffix(s.Path, "/") {
		bad("path", errors.New("want the path of a file"))
	}
	bad("password_file", absolute(s.PasswordFile))
	switch {
	case s.Kind == Postgres && s.URL == "":
		bad("url", errors.New("is missing: want postgres://USER@HOST:PORT/DATABASE"))
	case s.Kind != Postgres && s.URL != "":
		bad("url", fmt.Errorf("is for kind = %q", Postgres))
	case s.Kind != Postgres && s.PasswordFile != "":
		bad("password_file", fmt.Errorf("is for kind = %q", Postgres))
	}
}

// PathIn returns the database's file. A relative path lies in the state folder.
func (s Store) PathIn(state string) string {
	if filepath.IsAbs(s.Path) {
		return s.Path
	}
	return filepath.Join(state, s.Path)
}

// Hub returns the section as a hub reads it: its file has another name where the
// configuration gives none, so that a node may keep its own in the same folder.
func (s Store) Hub() Store {
	if s.Path == DatabaseName {
		s.Path = HubDatabaseName
	}
	return s
}

// StoreKind is a kind of database.
type StoreKind string

// The kinds: the embedded database, and a server's.
const (
	SQLite   StoreKind = "sqlite"
	Postgres StoreKind = "postgres"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *StoreKind) UnmarshalText(b []byte) error { return oneOf(k, string(b), SQLite, Postgres) }

// oneOf sets dst to text if that is one of the values.
func oneOf[T ~string](dst *T, text string, values ...T) error {
	var names []string
	for _, v := range values {
		if string(v) == text {
			*dst = v
			return nil
		}
		names = append(names, fmt.Sprintf("%q", v))
	}
	want := names[0]
	if last := len(names) - 1; last > 0 {
		want = strings.Join(names[:last], ", ") + " or " + names[last]
	}
	return fmt.Errorf("want %s, not %q", want, text)
}
