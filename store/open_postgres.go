package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

// maxPostgresWriters is how many connections write: what a person says need not
// wait for thousands of observations.
const maxPostgresWriters = 2

// openPostgres opens the database at u.
func openPostgres(ctx context.Context, u PostgresURL, o Options) (*DB, error) {
	c, err := u.config()
	if err != nil {
		return nil, fmt.Errorf("store: open the database: %w", err)
	}
	name, kind := publicURL(c), postgresDialect{patience: o.BusyTimeout}
	if app := c.RuntimeParams["application_name"]; app == applicationName && o.Node != "" && !o.ReadOnly {
		claim := hex.EncodeToString(keyOf(o.Node)[:8])
		kind.self, kind.claims = app+" "+claim+" "+rand.Text()[:8], app+" "+claim+" %"
		c.RuntimeParams["application_name"] = kind.self
	}
	d := newDB(kind, name, u.open(c, maxPostgresConns), o.Node)
	if !o.ReadOnly {
		d.write = u.open(c, maxPostgresWriters)
	}
	if err := d.bringUp(ctx, o.Log); err != nil {
		_ = d.Close() // err says more
		return nil, postgresError(name, err)
	}
	return d, nil
}

// publicURL returns where c leads, without a password.
func publicURL(c *pgx.ConnConfig) string {
	u := url.URL{Scheme: "postgres", User: url.User(c.User), Path: "/" + c.Database}
	if strings.HasPrefix(c.Host, "/") {
		u.RawQuery = url.Values{"host": {c.Host}}.Encode()
	} else {
		u.Host = net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	}
	return u.String()
}

// bringUp looks at the tables and, if d may write, brings them up to date.
func (d *DB) bringUp(ctx context.Context, log *slog.Logger) error {
	want := target(postgresMigrations)
	version, err := d.version(ctx)
	switch {
	case err != nil:
		return err
	case version > want:
		return fmt.Errorf("%w (schema %d, this one knows up to %d)", ErrNewer, version, want)
	case version == want:
		return nil
	case d.write == nil:
		return fmt.Errorf("%w (schema %d, this one reads %d)", ErrOlder, version, want)
	}
	return d.migratePostgres(ctx, log)
}

// version returns the version of the tables, 0 if there are none, or ErrForeign if
// there are others by their names.
func (d *DB) version(ctx context.Context) (version int64, err error) {
	ctx, done := d.limit(ctx)
	defer func() { err = done(err) }()
	var encoding, schema string
	var versioned, tables bool
	err = d.read.QueryRowContext(ctx, sqlPostgresIdentify).Scan(&encoding, &schema, &versioned, &tables)
	switch {
	case err != nil:
		return 0, err
	case encoding != "UTF8": // a single name that it can't hold would keep all rows from being written
		return 0, fmt.Errorf("%w: its encoding is %s; want UTF8", ErrRefused, encoding)
	case schema == "":
		return 0, fmt.Errorf("%w: there is no schema of those in search_path", ErrRefused)
	case tables && !versioned:
		return 0, fmt.Errorf("%w (schema %q has a table observation, device, sighting or secret)", ErrForeign, schema)
	case !versioned:
		return 0, nil
	}
	err = d.read.QueryRowContext(ctx, sqlPostgresVersion).Scan(&version)
	return version, err
}

// migrationLock is the number of the advisory lock under which one node at a time
// brings the tables up to date: "lanf".
const migrationLock int64 = applicationID

// migrateLimit bounds what a change of large tables, by this node or by another
// that comes first, may take.
const migrateLimit = 10 * time.Minute

func (d *DB) migratePostgres(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, migrateLimit)
	defer cancel()
	files, err := fs.Sub(migrations, postgresMigrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, d.write, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(log), goose.WithTableName("lanfolk_version"))
	if err != nil {
		return err
	}
	// The lock's transaction has a connection to itself, the steps another.
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it changed nothing
	if _, err := tx.ExecContext(ctx, sqlPostgresLock, migrationLock); err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// postgresError says of a database what is wrong with it and what a person can do.
func postgresError(name string, err error) error {
	what := fail("open "+name, err)
	switch {
	case errors.Is(what, ErrForeign):
		return fmt.Errorf("%w; name another database, or another schema by the parameter search_path", what)
	case errors.Is(what, ErrNewer):
		return fmt.Errorf("%w; run that version, or name another database", what)
	case errors.Is(what, ErrOlder):
		return fmt.Errorf("%w; start a node with it once to bring it up to date", what)
	}
	return what
}
