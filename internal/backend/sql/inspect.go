package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// An Inspection is what Inspect has seen.
type Inspection struct {
	Engine string // sqlite or postgres
	At     string // for people, without a password
	File   string // SQLite's
	Exists bool   // a store of ours is there; what follows Ours is zero if not

	Ours    int64 // the newest migration that this release has
	Schema  int64 // the newest that was made
	Least   int64 // the least that a release must have to run on it
	Version string

	// Of PostgreSQL alone.
	Local    bool // it is on this machine
	TLS      bool
	ReadOnly bool
	MayMake  bool          // the user may make tables, which migrations do
	Used     int           // connections, of all clients
	Most     int           // connections that it takes from such users
	Ahead    time.Duration // that its clock is of ours, give or take half of Latency
	Latency  time.Duration // of a round trip
}

// Inspect looks at a store without changing anything: it makes no file, and migrates nothing. Its errors never repeat the DSN.
func Inspect(ctx context.Context, o Options) (*Inspection, error) {
	p, err := o.find()
	if err != nil {
		return nil, err
	}
	in := &Inspection{Engine: "sqlite", At: p.String(), File: p.file}
	if in.Ours, err = p.newest(); err != nil {
		return nil, err
	}
	s := &session{dialect: p.dialect}
	var db *sql.DB
	if p.dialect == postgres {
		in.Engine = "postgres"
		conf := p.conf.Copy()
		conf.RuntimeParams["statement_timeout"] = "5000"
		db = stdlib.OpenDB(*conf)
	} else {
		if _, err := os.Stat(p.file); errors.Is(err, fs.ErrNotExist) {
			return in, nil
		}
		db = p.sqliteLook()
	}
	defer func() { _ = db.Close() }() // it was only read
	db.SetMaxOpenConns(1)
	s.conn = db
	if p.dialect == postgres {
		in.Local = strings.HasPrefix(p.conf.Host, "/") || p.conf.Host == "localhost" || net.ParseIP(p.conf.Host).IsLoopback()
		err = in.lookPostgres(ctx, s)
	} else {
		err = in.lookSQLite(ctx, s)
	}
	if err == nil && in.Exists {
		err = in.lookSchema(ctx, s)
	}
	if err != nil {
		return in, fmt.Errorf("look at %s: %w", p, err)
	}
	return in, nil
}

// newest is the number of the last migration that this release has.
func (p *place) newest() (int64, error) {
	files, err := fs.Glob(migrations, p.folder()+"/*.sql")
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, errors.New("there are no migrations in this program"))
	}
	number, _, _ := strings.Cut(filepath.Base(files[len(files)-1]), "_")
	return strconv.ParseInt(number, 10, 64)
}

// sqliteLook opens a file for reading alone. Beside nobody else it must not even make the files of its log.
func (p *place) sqliteLook() *sql.DB {
	params := url.Values{"mode": {"ro"}, "_query_only": {"1"}, "_busy_timeout": {strconv.Itoa(busyMillis)}}
	if _, err := os.Stat(p.file + "-wal"); errors.Is(err, fs.ErrNotExist) {
		params.Set("immutable", "1")
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(p.file), RawQuery: params.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		panic(fmt.Sprintf("sql: no driver for SQLite: %v", err)) // it is imported elsewhere in this package
	}
	return db
}

func (in *Inspection) lookSQLite(ctx context.Context, s *session) error {
	_, err := s.one(ctx, say("SELECT sqlite_version(), EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations')"), &in.Version, &in.Exists)
	return err
}

func (in *Inspection) lookPostgres(ctx context.Context, s *session) error {
	if _, err := s.one(ctx, say("SELECT 1"), new(int)); err != nil { // connects
		return err
	}
	var at int64
	sent := time.Now()
	if _, err := s.one(ctx, say("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"), &at); err != nil {
		return err
	}
	in.Latency = time.Since(sent)
	in.Ahead = time.UnixMicro(at).Sub(sent.Add(in.Latency / 2))
	_, err := s.one(ctx, say(`SELECT current_setting('server_version'),
		pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
		coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
		coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
		(SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		to_regclass('schema_migrations') IS NOT NULL`), &in.Version, &in.ReadOnly, &in.TLS, &in.MayMake, &in.Used, &in.Most, &in.Exists)
	return err
}

func (in *Inspection) lookSchema(ctx context.Context, s *session) error {
	if _, err := s.one(ctx, say("SELECT coalesce(max(version_id), 0) FROM schema_migrations WHERE is_applied"), &in.Schema); err != nil || in.Schema == 0 {
		return err
	}
	_, err := s.one(ctx, say("SELECT least FROM schema_compatible"), &in.Least)
	return err
}
