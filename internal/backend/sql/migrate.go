package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// pgLock is the advisory lock of whoever migrates.
const pgLock int64 = 7310575183448006516

// ErrNewer says that the schema was made by a release that this one cannot run beside.
var ErrNewer = errors.New("the schema is of a newer release that this one cannot run beside")

// migrate brings the schema up to date, under a lock that all replicas ask for. A newer schema is left as it is, if it
// says that this release can run on it.
func (p *place) migrate(ctx context.Context, log *slog.Logger) (err error) {
	db, unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	files, err := fs.Sub(migrations, p.folder())
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if p.dialect == postgres {
		dialect = goose.DialectPostgres
	}
	g, err := goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_migrations"))
	if err != nil {
		return err
	}
	done, err := g.Up(ctx)
	if err != nil {
		return err
	}
	if log != nil {
		for _, m := range done {
			log.Info("migrated", "store", p.String(), "migration", m.Source.Path, "took", m.Duration)
		}
	}
	return compatible(ctx, db, g)
}

// folder holds the engine's migrations.
func (p *place) folder() string {
	if p.dialect == postgres {
		return "migrations/postgres"
	}
	return "migrations/sqlite"
}

// compatible refuses a schema that says it needs a newer release.
func compatible(ctx context.Context, db *sql.DB, g *goose.Provider) error {
	sources := g.ListSources()
	ours := sources[len(sources)-1].Version
	var least int64
	s := session{conn: db}
	if _, err := s.one(ctx, say("SELECT least FROM schema_compatible"), &least); err != nil {
		return err
	}
	if least > ours {
		return fmt.Errorf("%w: it needs migration %d, this release has %d", ErrNewer, least, ours)
	}
	return nil
}

// lock waits until nobody else migrates, and gives connections for it. They have no time limits: a migration of
// a large table takes as long as it does, or until ctx ends.
func (p *place) lock(ctx context.Context) (db *sql.DB, unlock func() error, err error) {
	if p.dialect == postgres {
		db = stdlib.OpenDB(*p.conf)
		db.SetMaxOpenConns(2) // one holds the lock
		conn, err := db.Conn(ctx)
		if err == nil {
			_, err = conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", pgLock)
		}
		if err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
		return db, func() error { return errors.Join(conn.Close(), db.Close()) }, nil // the lock ends with its connection
	}
	// SQLite's own lock on a file beside the database, which stays empty: other processes wait for it, and it
	// ends with ours however that ends.
	guard := p.sqliteLock()
	conn, err := guard.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		return nil, nil, errors.Join(err, guard.Close())
	}
	db = p.sqlite(url.Values{"_txlock": {"immediate"}, "_synchronous": {"FULL"}})
	db.SetMaxOpenConns(1)
	return db, func() error { return errors.Join(db.Close(), conn.Close(), guard.Close()) }, nil
}
