package store

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// classifyPostgres says which of the package's errors one of the driver's stands
// for, nil if none.
func classifyPostgres(err error) error {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifySQLState(answer.Code)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, talking := errors.AsType[*net.OpError](err)
	if connecting || talking || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, driver.ErrBadConn) {
		return ErrAway
	}
	return nil
}

// classifySQLState does the same for what a server answers.
// https://www.postgresql.org/docs/15/errcodes-appendix.html
func classifySQLState(code string) error {
	switch code {
	case "53100": // disk_full
		return ErrFull
	case "53200", "53300": // out_of_memory, too_many_connections
		return ErrAway
	case "55P03": // lock_not_available
		return ErrLocked
	case "25006": // read_only_sql_transaction: a standby, say
		return ErrReadOnly
	case "3D000", "3F000", "42P01", "42703", "42501": // no such database, schema, table, column; no right
		return ErrRefused
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return ErrDamaged
	}
	switch code[:min(2, len(code))] {
	case "08", "57": // connection exceptions, operator intervention: it stops, it starts
		return ErrAway
	case "28": // wrong user or password
		return ErrRefused
	}
	return nil
}

// conflicted says whether a transaction failed only because of another's.
func conflicted(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (answer.Code == "40P01" || answer.Code == "40001") // deadlock_detected, serialization_failure
}

// oneLine is an error without line breaks: the driver gives each address that it tried
// a line.
type oneLine struct{ err error }

func (e oneLine) Error() string {
	return strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", " ").Replace(e.err.Error())
}

func (e oneLine) Unwrap() error { return e.err }
