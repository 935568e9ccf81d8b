package database

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lanfolk/lanfolk/internal/config"
)

// A Placard is the file in the state folder that says where the database is, for
// commands that read it and know nothing of the daemon's configuration.
type Placard struct {
	Name    string // the file's
	Default string // where the database is if there is no such file: the daemon never ran
}

// Node and Hub are the placards of the two daemons.
func Node() Placard { return Placard{Name: "database.json", Default: config.DatabaseName} }

// Hub is the hub's; see Node.
func Hub() Placard { return Placard{Name: "hub-database.json", Default: config.HubDatabaseName} }

// Place is where a database is.
type Place struct {
	Where        string `json:"where"` // a path, or a URL of PostgreSQL without a password
	PasswordFile string `json:"password_file,omitempty"`
}

// Read returns where the database of the daemon with a state folder is.
func (p Placard) Read(state string) (Place, error) {
	b, err := os.ReadFile(filepath.Join(state, p.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return Place{Where: filepath.Join(state, p.Default)}, nil
	}
	var at Place
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err == nil && at.Where == "" {
		err = errors.New("it names no database")
	}
	if err != nil {
		return at, fmt.Errorf("database: read %s: %w", p.Name, err)
	}
	return at, nil
}

// Write writes where the database is.
func (p Placard) Write(c config.Store, state string) error {
	at := Place{Where: c.PathIn(state)}
	if c.Kind == config.Postgres {
		at = Place{c.URL.WithoutPassword(), c.PasswordFile}
	}
	b, err := json.Marshal(at)
	if err != nil {
		return err
	}
	path := filepath.Join(state, p.Name)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o640); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
