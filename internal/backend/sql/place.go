package sql

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// A place is where a store is. It prints without its password.
type place struct {
	dialect dialect
	file    string          // SQLite: an absolute path
	conf    *pgx.ConnConfig // PostgreSQL
}

var errDSN = errors.New("the store's DSN is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST:PORT/DATABASE")

// place reads the DSN, and makes the files of a SQLite that is not there.
func (o Options) place() (*place, error) {
	p, err := o.find()
	if err == nil && p.dialect == sqlite {
		err = p.make()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// find reads the DSN. What is wrong with it is not told in detail: libraries repeat what they read, and it
// holds a password.
func (o Options) find() (*place, error) {
	dsn := string(o.DSN)
	if dsn == "" {
		dsn = "sqlite:" + fileName
	}
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch {
	case scheme == "sqlite" && rest != "":
		return sqlitePlace(o.Dir, rest)
	case scheme == "postgres", scheme == "postgresql":
		conf, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, errDSN
		}
		if conf.ConnectTimeout == 0 {
			conf.ConnectTimeout = 5 * time.Second
		}
		conf.RuntimeParams["application_name"] = "sluice"
		return &place{dialect: postgres, conf: conf}, nil
	}
	return nil, errDSN
}

func sqlitePlace(dir, path string) (*place, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("path of the database: %w", err)
	}
	return &place{file: path}, nil
}

// make makes the files that are not there.
func (p *place) make() error {
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return fmt.Errorf("folder of the database: %w", err)
	}
	for _, name := range []string{p.file, p.file + lockSuffix} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) // SQLite gives its other files the same mode
		if err != nil {
			return fmt.Errorf("open the database: %w", err)
		}
		_ = f.Close()
	}
	return nil
}

// lockSuffix is what the name of the file ends with that is locked by whoever migrates.
const lockSuffix = ".lock"

// String names the place for people.
func (p *place) String() string {
	if p.dialect == postgres {
		return "PostgreSQL at " + p.conf.Host + ":" + strconv.Itoa(int(p.conf.Port)) + ", database " + p.conf.Database
	}
	return "SQLite at " + p.file
}

// postgresPool opens connections on which no statement and no lock takes longer than an operation may.
func (p *place) postgresPool(conns int, timeout time.Duration) *sql.DB {
	conf := p.conf.Copy()
	ms := strconv.FormatInt(timeout.Milliseconds(), 10)
	conf.RuntimeParams["statement_timeout"] = ms
	conf.RuntimeParams["lock_timeout"] = ms
	conf.RuntimeParams["idle_in_transaction_session_timeout"] = ms
	conf.RuntimeParams["jit"] = "off" // statements here are short, and it takes longer than they do
	db := stdlib.OpenDB(*conf)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(max(2, conns/2))
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour) // so that a fleet of replicas spreads over what stands behind the address
	return db
}

// How long a writer waits for another process. Within ours there is only one.
const busyMillis = 5000

// sqlitePools opens one connection that writes and several that read beside it.
func (p *place) sqlitePools(conns int) (writer, reader *sql.DB) {
	// A transaction that may write says so at its beginning: one that finds out later may not wait.
	writer = p.sqlite(url.Values{"_txlock": {"immediate"}, "_synchronous": {"FULL"}, "_pragma": {
		// A page that changes again and again is copied from the log to the file once for so many pages of log, not for 1,000.
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-16384)", "temp_store(memory)", "trusted_schema(0)",
	}})
	writer.SetMaxOpenConns(1)
	reader = p.sqlite(url.Values{"_query_only": {"1"}, "_pragma": {"cache_size(-8192)", "trusted_schema(0)"}})
	reader.SetMaxOpenConns(conns - 1)
	reader.SetMaxIdleConns(conns - 1)
	return writer, reader
}

func (p *place) sqlite(params url.Values) *sql.DB {
	params.Set("_journal_mode", "WAL")
	params.Set("_busy_timeout", strconv.Itoa(busyMillis))
	params.Set("_foreign_keys", "1")
	params.Set("_dqs", "0")
	params.Set("_defensive", "1")
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(p.file), RawQuery: params.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		panic(fmt.Sprintf("sql: no driver for SQLite: %v", err)) // it is imported above
	}
	return db
}

// sqliteLock opens the file that is only locked, and waits for others for a minute.
func (p *place) sqliteLock() *sql.DB {
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(p.file + lockSuffix), RawQuery: "_busy_timeout=60000"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		panic(fmt.Sprintf("sql: no driver for SQLite: %v", err)) // it is imported above
	}
	return db
}
