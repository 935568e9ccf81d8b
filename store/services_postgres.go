package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
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
	host := c.Host
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(c.Port)))
	}
	db := &postgresServices{url: u, room: make(chan struct{}, maxPostgresConns)}
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

// connect makes a connection, with the password as it is now.
func (u PostgresURL) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := u.config()
	if err != nil {
		return nil, err
	}
	if u.PasswordFile != "" {
		if c.Password, err = readPassword(u.PasswordFile); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, c)
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

// postgresServices are a few connections, made when they are needed.
type postgresServices struct {
	url  PostgresURL
	room chan struct{} // has one for each connection in use

	mu     sync.Mutex
	idle   []postgresConn // the one used last is the last
	closed bool
}

type postgresConn struct {
	*pgx.Conn
	made, used time.Time
}

func (p *postgresServices) check(ctx context.Context) error {
	return p.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sqlCheckServices)
		return err
	})
}

func (p *postgresServices) fields(ctx context.Context, service string) (fields [][2]string, err error) {
	err = p.with(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, sqlPostgresServiceFields, service, maxServiceFields)
		if err != nil {
			return err
		}
		fields, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) ([2]string, error) {
			var key, value *string
			err := row.Scan(&key, &value)
			return [2]string{text(key), text(value)}, err
		})
		return err
	})
	return fields, err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// with calls f with a connection. Once more with a new one if the server has ended the
// first meanwhile, or the way to it was cut.
func (p *postgresServices) with(ctx context.Context, f func(*pgx.Conn) error) error {
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, ok := p.take()
	if ok {
		err := f(c.Conn)
		if !c.IsClosed() || ctx.Err() != nil {
			p.put(c)
			return err
		}
	}
	conn, err := p.url.connect(ctx)
	if err != nil {
		return err
	}
	err = f(conn)
	p.put(postgresConn{Conn: conn, made: time.Now()})
	return err
}

// take returns a connection that was kept, if there is one.
func (p *postgresServices) take() (postgresConn, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(c.used) < maxPostgresIdle && time.Since(c.made) < maxPostgresLifetime {
			return c, true
		}
		hangUp(c)
	}
	return postgresConn{}, false
}

// put keeps a connection.
func (p *postgresServices) put(c postgresConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.IsClosed() {
		// The others most likely are, too.
		for _, c := range p.idle {
			hangUp(c)
		}
		p.idle = nil
		return
	}
	if p.closed {
		hangUp(c)
		return
	}
	c.used = time.Now()
	p.idle = append(p.idle, c)
}

// hangUp closes a connection. It doesn't wait for a server that may be gone.
func hangUp(c postgresConn) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx) // nothing was written
	}()
}

// Close closes the connections; what is in use is closed when it isn't any more.
func (p *postgresServices) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		hangUp(c)
	}
	p.idle = nil
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
