package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
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

// OpenPostgresServices makes ready to read a PostgreSQL database. It fails for a URL or
// a password file that can't be read, and makes no connection: Check does.
func OpenPostgresServices(u PostgresURL) (*Services, error) {
	c, err := u.config()
	if err == nil && u.PasswordFile != "" {
		_, err = readPassword(u.PasswordFile)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open services: %w", err)
	}
	pool := stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) (err error) {
		if u.PasswordFile != "" {
			c.Password, err = readPassword(u.PasswordFile)
		}
		return err
	}))
	pool.SetMaxOpenConns(maxPostgresConns)
	pool.SetMaxIdleConns(maxPostgresConns)
	pool.SetConnMaxIdleTime(maxPostgresIdle)
	pool.SetConnMaxLifetime(maxPostgresLifetime)
	host := c.Host
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(c.Port)))
	}
	db := postgresServices{&sqlServices{pool, sqlPostgresServiceFields}}
	return &Services{name: fmt.Sprintf("of %q on %s", c.Database, host), db: db, wrap: failPostgres}, nil
}

// config reads the URL and the environment.
func (u PostgresURL) config() (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(u.URL)
	if err != nil {
		return nil, urlError(err)
	}
	// A server process behind a pooler is another one each time, and knows no
	// statement that was prepared before.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.ConnectTimeout = postgresConnect
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "lanfolk"
	}
	// A query that nobody waits for any more must end on the server, too.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	return c, nil
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

// postgresServices is a database whose server may be gone.
type postgresServices struct{ *sqlServices }

// Close lets go of the connections. Nothing was written, and a server that doesn't answer
// isn't waited for.
func (p postgresServices) Close() error {
	go func() { _ = p.sqlServices.Close() }()
	return nil
}

// failPostgres wraps a driver's error.
func failPostgres(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = oneLine{err}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && refusal(answer.Code) {
		return fmt.Errorf("store: %s: %w: %w", doing, ErrRefused, err)
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}

// oneLine is an error without line breaks: the driver gives each address that it tried
// a line.
type oneLine struct{ err error }

func (e oneLine) Error() string {
	return strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", " ").Replace(e.err.Error())
}

func (e oneLine) Unwrap() error { return e.err }

// refusal says whether a SQLSTATE means that what we want isn't to be had, now or later:
// wrong user or password (class 28), no such database, schema, table or column, no right.
func refusal(code string) bool {
	switch code {
	case "3D000", "3F000", "42P01", "42703", "42501":
		return true
	}
	return strings.HasPrefix(code, "28")
}
