package store

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// OpenPostgresServices makes ready to read a PostgreSQL database. It fails for a URL or
// a password file that can't be read, and makes no connection: Check does.
func OpenPostgresServices(u PostgresURL) (*Services, error) {
	c, err := u.config()
	if err != nil {
		return nil, fmt.Errorf("store: open services: %w", err)
	}
	pool := u.open(c, maxPostgresConns)
	host := c.Host
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(c.Port)))
	}
	db := postgresServices{&sqlServices{pool, sqlPostgresServiceFields}}
	return &Services{name: fmt.Sprintf("of %q on %s", c.Database, host), db: db, wrap: fail}, nil
}

// postgresServices is a database whose server may be gone.
type postgresServices struct{ *sqlServices }

// Close lets go of the connections. Nothing was written, and a server that doesn't answer
// isn't waited for.
func (p postgresServices) Close() error {
	go func() { _ = p.sqlServices.Close() }()
	return nil
}
