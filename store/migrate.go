package store

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

// migrations holds a folder a dialect, and in it a file a version, numbered
// from 1 with no gap. A file that was released never changes again.
//
//go:embed migrations
var migrations embed.FS

const (
	sqliteMigrations   = "migrations/sqlite"
	postgresMigrations = "migrations/postgres"
)

// target returns the version that this program's tables have, by the steps in folder.
func target(folder string) int64 {
	files, err := fs.ReadDir(migrations, folder)
	if err != nil {
		panic(err) // they are part of the program
	}
	return int64(len(files))
}

// migrateFile brings db from version up to date; each step is one transaction.
func migrateFile(ctx context.Context, db *sql.DB, version int64, log *slog.Logger) error {
	if version == target(sqliteMigrations) {
		return db.PingContext(ctx) // so that an error shows now
	}
	files, err := fs.Sub(migrations, sqliteMigrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
	if err != nil {
		return err
	}
	// Another process may make the same step between our look and our try,
	// which then fails because it is made already.
	for range migrateTries {
		if _, err = p.Up(ctx); err == nil || ctx.Err() != nil || classify(err) != nil {
			break
		}
	}
	return err
}

const migrateTries = 3
