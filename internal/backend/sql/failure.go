package sql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// sqlState is PostgreSQL's code of an error, "" if it is none of its.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// sqliteCode is SQLite's extended code of an error, 0 if it is none of its.
func sqliteCode(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// isTaken tells that a value is there already that must be unique.
func isTaken(err error) bool {
	code := sqliteCode(err)
	return sqlState(err) == "23505" || code == lib.SQLITE_CONSTRAINT_UNIQUE || code == lib.SQLITE_CONSTRAINT_PRIMARYKEY
}

// isLoose tells that a reference would lead nowhere.
func isLoose(err error) bool {
	return sqlState(err) == "23503" || sqliteCode(err) == lib.SQLITE_CONSTRAINT_FOREIGNKEY
}

// lostRace tells that a transaction was ended for the sake of another, and may be tried again.
func lostRace(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01"
}

// isOut tells that the database does not work now, whatever it was asked: it is full, read-only, locked, or does not answer.
func isOut(err error) bool {
	switch sqliteCode(err) & 0xff {
	case lib.SQLITE_FULL, lib.SQLITE_READONLY, lib.SQLITE_IOERR, lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM:
		return true
	}
	state := sqlState(err)
	if state != "" {
		return state == "25006" || slices.Contains([]string{"08", "53", "57", "58"}, state[:2]) // read only; connection, resources, operator, system
	}
	_, refused := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return refused || network || pgconn.SafeToRetry(err) || errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}
