package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

// migrations holds a folder a dialect, and in it a file a version. A file that
// was released never changes again.
//
//go:embed migrations
var migrations embed.FS

// migrator returns what brings db up to date, and the version that it ends at.
func migrator(db *sql.DB, log *slog.Logger) (*goose.Provider, int64, error) {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return nil, 0, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
	if err != nil {
		return nil, 0, err
	}
	sources := p.ListSources()
	return p, sources[len(sources)-1].Version, nil
}

// migrate brings db up to date; each step is one transaction.
func migrate(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	p, target, err := migrator(db, log)
	if err != nil {
		return err
	}
	current, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return newer(current, target)
	}
	if current == target {
		return nil
	}
	if _, err = p.Up(ctx); err == nil {
		return nil
	}
	// Another process may have made the same step between our look and our
	// try. Then nothing is left to do.
	if now, again := p.GetDBVersion(ctx); again == nil && now == target {
		return nil
	}
	return err
}

// checkVersion returns an error if db isn't of the version that this program
// reads. It writes nothing.
func checkVersion(ctx context.Context, db *sql.DB) error {
	_, target, err := migrator(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	current, err := versionOf(ctx, db)
	switch {
	case err != nil:
		return err
	case current > target:
		return newer(current, target)
	case current < target:
		return fmt.Errorf("%w (schema %d, this one reads %d)", ErrOlder, current, target)
	}
	return nil
}

func newer(current, target int64) error {
	return fmt.Errorf("%w (schema %d, this one knows up to %d)", ErrNewer, current, target)
}
