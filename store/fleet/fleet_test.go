package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
	"github.com/lanfolk/lanfolk/store/fleet/conformance"
	"github.com/lanfolk/lanfolk/test/lab"
)

// hub opens storage in a database and a folder.
func hub(t testing.TB, where, folder string, o fleet.Options) conformance.Hub {
	t.Helper()
	// Two hubs at one file of SQLite take turns by chance: on a slow disk one may wait long.
	db, err := store.Open(context.Background(), where, store.Options{Node: "hub", BusyTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	o.BlobFolder = folder
	f, err := fleet.Open(context.Background(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return conformance.Hub{
		Fleet: f,
		Observations: func(ctx context.Context) ([]lanfolk.Observation, error) {
			return db.Observations(ctx, store.ObservationFilter{})
		},
		Close: func() error {
			if err := f.Close(); err != nil {
				return err
			}
			return db.Close()
		},
	}
}

func TestSQLiteConforms(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Opener {
		dir := t.TempDir()
		return func(o fleet.Options) conformance.Hub {
			return hub(t, filepath.Join(dir, "lanfolk.db"), filepath.Join(dir, "results"), o)
		}
	})
}

func TestPostgresConforms(t *testing.T) {
	t.Parallel()
	server := lab.New(t).Host("db").Postgres()
	db, err := sql.Open("pgx", server.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	schemas := 0
	conformance.Run(t, func(t *testing.T) conformance.Opener {
		schemas++
		name, folder := fmt.Sprintf("s%d", schemas), filepath.Join(t.TempDir(), "results")
		if _, err := db.Exec("CREATE SCHEMA " + name); err != nil {
			t.Fatal(err)
		}
		return func(o fleet.Options) conformance.Hub { return hub(t, server.Socket("search_path="+name), folder, o) }
	})
}
