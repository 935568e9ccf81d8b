package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/store"
)

// databaseFlags name a database to read: a node's, or any.
type databaseFlags struct {
	state, from, password string
	placard               database.Placard // whose state folder it is; zero for a node's
}

func (d *databaseFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&d.state, "state", "", "the node's state folder")
	fl.StringVar(&d.from, "from", "", "a database: a file, or postgres://…")
	passwordFileFlag(cmd, &d.password)
}

// passwordFileFlag adds a flag for PostgreSQL's password.
func passwordFileFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "password-file", "", "a `FILE` whose first line is the password for postgres://…")
}

func (d *databaseFlags) check() error {
	switch {
	case d.state != "" && d.from != "":
		return usagef("--state and --from name two databases; give one")
	case d.password != "" && d.from != "":
		return checkPasswordFile(d.password, d.from, "--from")
	}
	return nil
}

// checkPasswordFile refuses a password for what needs none.
func checkPasswordFile(password, where, flag string) error {
	if password != "" && !store.IsPostgres(where) {
		return usagef("--password-file is for postgres://… in %s", flag)
	}
	return nil
}

// openToRead opens the database without a change to it.
func (d *databaseFlags) openToRead(ctx context.Context) (*store.DB, error) {
	at := database.Place{Where: d.from}
	if d.from == "" {
		dir, err := stateFolder(d.state)
		if err != nil {
			return nil, err
		}
		placard := d.placard
		if placard == (database.Placard{}) {
			placard = database.Node()
		}
		if at, err = placard.Read(dir); err != nil {
			return nil, err
		}
	}
	if d.password != "" {
		at.PasswordFile = d.password
	}
	db, err := store.Open(ctx, at.Where, store.Options{ReadOnly: true, PasswordFile: at.PasswordFile})
	switch {
	case errors.Is(err, fs.ErrNotExist) && !store.IsPostgres(at.Where):
		return nil, fmt.Errorf("there is no database at %s: %w", at.Where, errNotFound)
	case errors.Is(err, store.ErrRefused) && d.from == "" && at.PasswordFile == "":
		return nil, fmt.Errorf("%w; a password that the node has from its configuration or its environment isn't known here: name a --password-file, or set PGPASSWORD or PGPASSFILE", err)
	}
	return db, err
}

// tryDatabase asks a database that is a server's whether it is there. One that no node
// has made its tables in yet is.
func tryDatabase(ctx context.Context, c config.Store) error {
	db, err := store.Open(ctx, string(c.URL), store.Options{ReadOnly: true, PasswordFile: c.PasswordFile})
	if errors.Is(err, store.ErrOlder) {
		return nil
	}
	if err != nil {
		return err
	}
	return db.Close()
}
