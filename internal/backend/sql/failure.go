package sql

import (
	"errors"

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
