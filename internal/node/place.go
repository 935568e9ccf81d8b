package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lanfolk/lanfolk/internal/config"
)

// placeName is the file in the state folder that says where the database is.
const placeName = "database.json"

// Place is where a node's database is. It stands in the state folder for commands that
// read the database and know nothing of the node's configuration.
type Place struct {
	Where        string `json:"where"` // a path, or a URL of PostgreSQL without a password
	PasswordFile string `json:"password_file,omitempty"`
}

// PlaceIn returns where the database of the node with a state folder is.
func PlaceIn(state string) (Place, error) {
	b, err := os.ReadFile(filepath.Join(state, placeName))
	if errors.Is(err, fs.ErrNotExist) { // it never ran
		return Place{Where: filepath.Join(state, config.DatabaseName)}, nil
	}
	var p Place
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && p.Where == "" {
		err = errors.New("it names no database")
	}
	if err != nil {
		return p, fmt.Errorf("node: read %s: %w", placeName, err)
	}
	return p, nil
}

// keepPlace writes where the database is.
func keepPlace(c config.Store, state string) error {
	p := Place{Where: c.PathIn(state)}
	if c.Kind == config.Postgres {
		p = Place{c.URL.WithoutPassword(), c.PasswordFile}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := filepath.Join(state, placeName)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o640); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
