// Package sql keeps what must not be lost in SQLite or PostgreSQL: the directory of keys and their owners
// (directory.Store), the ledger and its sums (usage.Store), and alerts to be sent. Both engines have the same
// tables and run the same statements, but where one of them has a better way. It decides nothing: what a key may do, what
// a call costs and when a row is too old are others' business (docs/stores.md).
//
// No text that came from anywhere but this package's own source becomes part of a statement: see text.
package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"sluice/internal/llm"
)

// Options say where the store is. Only DSN or Dir is needed.
type Options struct {
	DSN llm.Secret // sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE; "": sqlite:sluice.db in Dir
	Dir string     // the data directory; relative paths of SQLite begin there

	Conns   int           // connections at most, at least 4; 0: 16 to PostgreSQL, one for each core and 4 more to SQLite
	Timeout time.Duration // of one operation; 0: 15 s
	Log     *slog.Logger  // told of migrations; nil: nobody is
}

// The name of the database in the data directory.
const fileName = "sluice.db"

const (
	defaultTimeout = 15 * time.Second
	minConns       = 4
	pgConns        = 16
	sqliteConns    = 4 // beside one for each core
)

// A DB is an open store. Its methods may be called at any time from anywhere.
type DB struct {
	dialect dialect
	writer  *sql.DB
	reader  *sql.DB // SQLite: connections that cannot write; PostgreSQL: the writer
	timeout time.Duration
	series  *seriesCache
	writers *prepared // of the writer; nil with PostgreSQL
	readers *prepared // of the reader; nil with PostgreSQL
}

// dialect is which engine it is.
type dialect int

const (
	sqlite dialect = iota
	postgres
)

// Open opens the store and brings its schema up to date. Many replicas may do so at once. An error never
// repeats the DSN.
func Open(ctx context.Context, o Options) (*DB, error) {
	at, err := o.place()
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if err := at.migrate(ctx, o.Log); err != nil {
		return nil, fmt.Errorf("migrate %s: %w", at, err)
	}
	db := &DB{dialect: at.dialect, timeout: o.Timeout, series: newSeriesCache()}
	switch at.dialect {
	case postgres:
		db.writer = at.postgresPool(max(minConns, orDefault(o.Conns, pgConns)), o.Timeout)
		db.reader = db.writer
	default:
		db.writer, db.reader = at.sqlitePools(max(minConns, orDefault(o.Conns, runtime.GOMAXPROCS(0)+sqliteConns)))
		db.writers, db.readers = newPrepared(db.writer), newPrepared(db.reader)
	}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", at, err), db.Close())
	}
	return db, nil
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Ping tells whether the store answers.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	return errors.Join(db.writer.PingContext(ctx), db.reader.PingContext(ctx))
}

// Close waits for what is under way and closes all connections.
func (db *DB) Close() error {
	db.writers.close()
	db.readers.close()
	if db.reader == db.writer {
		return db.writer.Close()
	}
	return errors.Join(db.reader.Close(), db.writer.Close())
}

// Engine names the engine: sqlite or postgres.
func (db *DB) Engine() string {
	if db.dialect == postgres {
		return "postgres"
	}
	return "sqlite"
}
