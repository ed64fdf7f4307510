package sql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/pgtest"
	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

// soon is far more than an operation whose time limit is tick may take.
const (
	tick = 500 * time.Millisecond
	soon = 20 * time.Second
)

// fails runs an operation of each kind, all of which must fail before long.
func fails(t *testing.T, db *DB) {
	t.Helper()
	defer hurry(db)()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for name, op := range map[string]func() error{
		"ship": func() error {
			return db.Ledger().Ship(ctx, &usage.Batch{Replica: "a", After: 1, Position: 2, Rows: []usage.Row{usagetest.Row("lost", usagetest.Base())}})
		},
		"spent":   func() error { _, err := db.Ledger().Spent(ctx, &usage.SpentQuery{}); return err },
		"by hash": func() error { _, err := db.Directory().ByHash(ctx, auth.Hash{1}); return err },
		"create": func() error {
			return db.Directory().Organisations().Create(ctx, organisation("lost", "lost"))
		},
		"together": func() error {
			err := db.Together(ctx, func(ctx context.Context) error {
				return db.Directory().Organisations().Create(ctx, organisation("lost", "lost"))
			})
			if llm.AsError(err).Kind != llm.KindOverloaded {
				t.Errorf("an act is told that %v", err)
			}
			return err
		},
		"claim": func() error { _, err := db.Ledger().Claim(ctx, "a", 0); return err },
	} {
		if err := op(); err == nil {
			t.Errorf("%s succeeded", name)
		} else if ctx.Err() != nil {
			t.Errorf("%s took too long: %v", name, err)
		}
	}
}

// hurry gives the operations of a store little time, until the func it returns is called.
func hurry(db *DB) (relax func()) {
	usual := db.timeout
	db.timeout = tick
	return func() { db.timeout = usual }
}

// works ships the batch that failed and finds the store as it should be.
func works(t *testing.T, db *DB) {
	t.Helper()
	rows := []usage.Row{usagetest.Row("kept", usagetest.Base()), usagetest.Row("kept too", usagetest.Base())}
	if err := db.Ledger().Ship(t.Context(), &usage.Batch{Replica: "a", After: 1, Position: 3, Rows: rows}); err != nil {
		t.Fatal(err)
	}
	got, err := db.Ledger().Spent(t.Context(), &usage.SpentQuery{})
	if err != nil || got.Calls != 2 || got.Marks["a"] != 3 {
		t.Errorf("spent %+v, %v", got, err)
	}
	if _, err := db.Directory().Organisations().Get(t.Context(), "lost"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("the record of a failed Create: %v", err)
	}
}

func joined(t *testing.T, o Options) *DB {
	t.Helper()
	db := open(t, o)
	if _, err := db.Ledger().Join(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := db.Ledger().Ship(t.Context(), &usage.Batch{Replica: "a", Position: 1}); err != nil {
		t.Fatal(err)
	}
	return db
}

// PostgreSQL is killed and comes back; it hangs and goes on.
func TestPostgresFails(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db := joined(t, Options{DSN: llm.Secret(server.Database(t))})
	server.Kill(t)
	fails(t, db)
	server.Restart(t)
	thaw := server.Freeze(t)
	fails(t, db)
	thaw()
	// A statement that was under way when its caller gave up may still end: the position decides.
	eventually(t, func() bool { return db.Ping(t.Context()) == nil })
	n, err := db.Ledger().Shipped(t.Context(), "a")
	if err != nil || n != 1 {
		t.Fatalf("shipped %d, %v, want 1", n, err)
	}
	works(t, db)
}

// A transaction is ended by the server in its middle: nothing of it is there.
func TestPostgresEndsSessions(t *testing.T) {
	t.Parallel()
	db := joined(t, Options{DSN: databaseOf(t)})
	err := db.write(t.Context(), func(ctx context.Context, s *session) error {
		b := &usage.Batch{Replica: "a", After: 1, Position: 2, Rows: []usage.Row{usagetest.Row("lost", usagetest.Base())}}
		if err := s.ship(ctx, b, []int64{1}, s.insertNew); err != nil {
			return err
		}
		_, err := s.exec(ctx, say("SELECT pg_terminate_backend(pg_backend_pid())"))
		return err
	})
	if err == nil {
		t.Error("a transaction without a session was committed")
	}
	works(t, db)
}

// Another process holds SQLite's lock for longer than anybody waits.
func TestSQLiteIsLocked(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	db := joined(t, o)
	other := open(t, o)
	other.timeout = time.Minute // it stays until it is told to go
	release, held := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- other.write(context.Background(), func(ctx context.Context, s *session) error {
			_, err := s.exec(ctx, say("UPDATE replicas SET seen = seen"))
			close(held)
			<-release
			return err
		})
	}()
	<-held
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	relax := hurry(db)
	err := db.Ledger().Ship(ctx, &usage.Batch{Replica: "a", After: 1, Position: 2})
	relax()
	if err == nil || ctx.Err() != nil {
		t.Errorf("shipped against a lock: %v", err)
	}
	if _, err := db.Ledger().Spent(ctx, &usage.SpentQuery{}); err != nil {
		t.Errorf("readers wait for a writer: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	works(t, db)
}

// Nothing of an operation is kept whose context is over before its end, and none is begun.
func TestOverBeforeItsEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		orgs := db.Directory().Organisations()
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Together(ctx, func(ctx context.Context) error {
			defer cancel()
			return orgs.Create(ctx, organisation("lost", "lost"))
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the end comes before the transaction's: %v", err)
		}
		for name, op := range map[string]func() error{
			"get":     func() error { _, err := orgs.Get(ctx, "lost"); return err },
			"list":    func() error { _, _, err := orgs.List(ctx, directory.Filter{}); return err },
			"by hash": func() error { _, err := db.Directory().ByHash(ctx, auth.Hash{1}); return err },
			"write":   func() error { return db.Together(ctx, func(context.Context) error { t.Error("begun"); return nil }) },
		} {
			if err := op(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s after the end: %v", name, err)
			}
		}
		if _, err := orgs.Get(t.Context(), "lost"); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("what was not done is there: %v", err)
		}
	})
}

// Whoever looks something up while reports have all connections waits no longer than its context.
func TestLookupWaits(t *testing.T) {
	t.Parallel()
	db := open(t, Options{Dir: t.TempDir()})
	for range db.reader.Stats().MaxOpenConnections {
		conn, err := db.reader.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), tick)
	defer cancel()
	if _, err := db.Directory().ByHash(ctx, auth.Hash{1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("looked up without a connection: %v", err)
	}
}

// The file cannot be written: errors, and nothing is half done.
func TestSQLiteIsFull(t *testing.T) {
	t.Parallel()
	db := joined(t, Options{Dir: t.TempDir()})
	limit := func(q *statement) {
		t.Helper()
		if err := (&session{conn: db.writer}).each(t.Context(), q, discard); err != nil {
			t.Fatal(err)
		}
	}
	limit(say("PRAGMA max_page_count = 1")) // as many as there are
	var rows []usage.Row
	for i := range 3000 {
		rows = append(rows, usagetest.Row(fmt.Sprint("lost ", i), usagetest.Base()))
	}
	err := db.Ledger().Ship(t.Context(), &usage.Batch{Replica: "a", After: 1, Position: 2, Rows: rows})
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("shipped to a full disk: %v", err)
	}
	limit(say("PRAGMA max_page_count = 1000000"))
	works(t, db)
}

// A process that is killed leaves its log behind; the next one reads it.
func TestSQLiteAfterCrash(t *testing.T) {
	t.Parallel()
	dir, after := t.TempDir(), t.TempDir()
	db := joined(t, Options{Dir: dir})
	works(t, db)
	for _, name := range []string{"sluice.db", "sluice.db-wal"} { // as they lie on the disk, nothing closed
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(after, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := open(t, Options{Dir: after}).Ledger().Spent(t.Context(), &usage.SpentQuery{})
	if err != nil || got.Calls != 2 || got.Marks["a"] != 3 {
		t.Errorf("after a crash: %+v, %v", got, err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// Statements that run past package database/sql go with their connection.
func TestSQLiteConnectionIsReplaced(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	l := db.Ledger()
	if _, err := l.Join(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		row := usagetest.Row(fmt.Sprint("r", i), usagetest.Base())
		if err := l.Ship(t.Context(), &usage.Batch{Replica: "a", After: i, Position: i + 1, Rows: []usage.Row{row}}); err != nil {
			t.Fatal(err)
		}
		conn, err := db.writer.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	page, err := l.Rows(t.Context(), &usage.RowQuery{})
	if err != nil || len(page.Rows) != 3 {
		t.Errorf("%d rows, %v, want 3", len(page.Rows), err)
	}
}
