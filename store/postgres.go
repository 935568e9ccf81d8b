package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	maxPostgresConns    = 4
	postgresConnect     = 5 * time.Second // for a connection
	maxPostgresIdle     = time.Minute
	maxPostgresLifetime = 10 * time.Minute // a standby may have become the server
	maxPassword         = 4 << 10          // bytes
	applicationName     = "lanfolk"        // by which administrators see a connection
)

// PostgresURL is where a PostgreSQL database is: postgres://USER@HOST:PORT/DATABASE with
// the parameters that libpq knows (sslmode, sslrootcert, passfile, host=/run/postgresql …).
// What it leaves out comes from the environment, as for libpq: PGPASSWORD, PGPASSFILE.
type PostgresURL struct {
	URL string
	// PasswordFile holds the password, "" for one that URL or the environment gives. It
	// is read whenever a connection is made.
	PasswordFile string
}

// IsPostgres says whether a text is meant as a PostgresURL's URL.
func IsPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres:") || strings.HasPrefix(s, "postgresql:")
}

// config reads the URL, the environment and, to see whether it can be read, the
// password file.
func (u PostgresURL) config() (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(u.URL)
	if err != nil {
		return nil, urlError(err)
	}
	if u.PasswordFile != "" {
		if _, err := readPassword(u.PasswordFile); err != nil {
			return nil, err
		}
	}
	// A server process behind a pooler is another one each time, and knows no
	// statement that was prepared before.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.ConnectTimeout = postgresConnect
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = applicationName
	}
	// A query that nobody waits for any more must end on the server, too.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	return c, nil
}

// Public returns where the database is without a password, for people. It fails if the
// URL, a file that it names or PasswordFile is of no use, and makes no connection.
func (u PostgresURL) Public() (string, error) {
	c, err := u.config()
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	return publicURL(c), nil
}

// open returns a pool of at most conns connections. It makes none yet.
func (u PostgresURL) open(c *pgx.ConnConfig, conns int) *sql.DB {
	pool := stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) (err error) {
		if u.PasswordFile != "" {
			c.Password, err = readPassword(u.PasswordFile)
		}
		return err
	}), stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool {
		return true // a connection that died meanwhile, as in a restart, is replaced before it is used
	}))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(maxPostgresIdle)
	pool.SetConnMaxLifetime(maxPostgresLifetime)
	return pool
}

// urlError keeps the URL, which may hold a password, out of an error.
func urlError(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path // of a certificate, say
	}
	return errors.New("this is no URL of PostgreSQL, or one of its parameters is wrong: want postgres://USER@HOST:PORT/DATABASE")
}

// readPassword reads the first line of a file.
func readPassword(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > maxPassword || strings.ContainsRune(line, 0) {
		return "", fmt.Errorf("password file %s: its first line is no password", path)
	}
	return line, nil
}
