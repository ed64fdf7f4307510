package sql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// onBoth runs a test on SQLite and on PostgreSQL. o opens an empty store of that engine.
func onBoth(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, Options{Dir: t.TempDir()})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, Options{DSN: databaseOf(t)})
	})
}

func databaseOf(t testing.TB) llm.Secret { return llm.Secret(pgtest.Database(t)) }

func open(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		for range 2 { // the second time there is nothing to do
			db, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Ping(t.Context()), db.Close()); err != nil {
				t.Error(err)
			}
			if err := db.Ping(t.Context()); err == nil {
				t.Error("a closed store answers")
			}
		}
	})
}

// All replicas of a new deployment start at once.
func TestOpenTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				db, err := Open(t.Context(), o)
				if err == nil {
					err = db.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		db := open(t, o)
		var applied int
		err := db.alone(t.Context(), func(ctx context.Context, s *session) error {
			_, err := s.one(ctx, say("SELECT count(*) FROM schema_migrations WHERE version_id > 0"), &applied)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob("migrations/" + db.Engine() + "/*.sql")
		if applied != len(files) {
			t.Errorf("%d migrations were noted, there are %d", applied, len(files))
		}
	})
}

// alter does one statement.
func alter(t testing.TB, db *DB, q *statement) error {
	return db.write(t.Context(), func(ctx context.Context, s *session) error {
		_, err := s.exec(ctx, q)
		return err
	})
}

// Who writes rows learns of others that waited for the one connection that writes to SQLite, once.
func TestCrowded(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		l := db.Ledger()
		touch := say("UPDATE changes_counter SET newest = newest")
		for range 3 {
			if err := alter(t, db, touch); err != nil {
				t.Fatal(err)
			}
		}
		if l.Crowded() {
			t.Error("writers one after the other count as waiting")
		}
		var other sync.WaitGroup
		err := db.write(t.Context(), func(context.Context, *session) error {
			waits := db.writer.Stats().WaitCount
			other.Go(func() {
				if err := alter(t, db, say("UPDATE replicas SET seen = seen")); err != nil {
					t.Error(err)
				}
			})
			if db.dialect == sqlite {
				eventually(t, func() bool { return db.writer.Stats().WaitCount > waits })
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		other.Wait()
		if got, want := l.Crowded(), db.dialect == sqlite; got != want {
			t.Errorf("crowded %v, want %v", got, want)
		}
		if l.Crowded() {
			t.Error("crowded for a second time")
		}
	})
}

// A release runs beside the next one, as long as that one's schema lets it.
func TestNewerSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		change := func(q *statement) {
			t.Helper()
			if err := alter(t, db, q); err != nil {
				t.Fatal(err)
			}
		}
		change(say("INSERT INTO schema_migrations (version_id, is_applied) VALUES (999, ?)", o.DSN != ""))
		change(say("ALTER TABLE keys ADD COLUMN of_the_next_release text"))
		next, err := Open(t.Context(), o)
		if err != nil {
			t.Fatalf("the next release's schema, expanded only: %v", err)
		}
		_ = next.Close()
		change(say("UPDATE schema_compatible SET least = 998"))
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrNewer) {
			t.Errorf("a schema that needs a newer release: %v, want ErrNewer", err)
		}
	})
}

// Both engines have the same tables with the same columns.
func TestOneSchema(t *testing.T) {
	columns := map[string][]string{}
	onBothInTurn(t, func(t *testing.T, db *DB) {
		q := say("SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'")
		if db.dialect == postgres {
			q = say("SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'ledger_rest'")
		}
		columns[db.Engine()] = texts(t, db, q)
	})
	if diff := cmp.Diff(columns["sqlite"], columns["postgres"]); diff != "" {
		t.Errorf("tables (-sqlite +postgres):\n%s", diff)
	}
	if len(columns["sqlite"]) < 100 {
		t.Errorf("only %d columns were found", len(columns["sqlite"]))
	}
}

func onBothInTurn(t *testing.T, test func(t *testing.T, db *DB)) {
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, Options{Dir: t.TempDir()})) })
	t.Run("postgres", func(t *testing.T) { test(t, open(t, Options{DSN: databaseOf(t)})) })
}

// texts reads a statement's one column.
func texts(t testing.TB, db *DB, q *statement) (all []string) {
	t.Helper()
	err := db.alone(t.Context(), func(ctx context.Context, s *session) error { return s.each(ctx, q, scanText(&all)) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestPlaces(t *testing.T) {
	const secret = "hunter2"
	dir := t.TempDir()
	good := map[string]string{
		"":                                   "SQLite at " + dir + "/sluice.db",
		"sqlite:a b?c#d%.db":                 "SQLite at " + dir + "/a b?c#d%.db",
		"sqlite:" + dir + "/sub/x.db":        "SQLite at " + dir + "/sub/x.db",
		"postgres://u:hunter2@h:1/d":         "PostgreSQL at h:1, database d",
		"postgresql://u:hunter2@h/d?x=y":     "PostgreSQL at h:5432, database d",
		"postgres:///d?host=/run&user=u":     "PostgreSQL at /run:5432, database d",
		"postgres://u:hunter2@h,i/d?port=12": "PostgreSQL at h:12, database d",
	}
	for dsn, want := range good {
		p, err := Options{DSN: llm.Secret(dsn), Dir: dir}.place()
		if err != nil {
			t.Errorf("%q: %v", dsn, err)
		} else if p.String() != want {
			t.Errorf("%q: %s, want %s", dsn, p, want)
		}
	}
	for _, dsn := range []string{
		"mysql://u:hunter2@h/d", "sqlite:", "hunter2", "postgres://u:hunter2@h:port/d", "postgres://u:hunter2@[h/d", "postgres://u:hunter2@h/d?sslmode=hunter2",
		"postgres://u:hunter2\x7f@h/d",
	} {
		_, err := Open(t.Context(), Options{DSN: llm.Secret(dsn), Dir: dir})
		if err == nil {
			t.Errorf("%q was opened", dsn)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

// Nobody answers, or nobody may come in: the error comes soon and tells no secret.
func TestOpenFails(t *testing.T) {
	dsn := pgtest.Database(t)
	for name, bad := range map[string]string{
		"no server":     "postgres://u:hunter2@127.0.0.1:1/d",
		"no such user":  strings.Replace(dsn, "sluice:", "hunter:", 1),
		"wrong secret":  strings.Replace(dsn, "@", "hunter2@", 1),
		"no such place": dsn[:strings.LastIndex(dsn, "/")] + "/nowhere?sslmode=disable",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := Open(ctx, Options{DSN: llm.Secret(bad)})
		cancel()
		if err == nil {
			t.Errorf("%s: it was opened", name)
			continue
		}
		for _, secret := range []string{"hunter2", dsn} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells a secret: %v", name, err)
			}
		}
	}
}

func TestFilesAreOwnersOnly(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	if _, err := db.Ledger().Join(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sluice.db", "sluice.db-wal", "sluice.db-shm", "sluice.db.lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode().Perm())
		}
	}
}

func TestPragmas(t *testing.T) {
	db := open(t, Options{Dir: t.TempDir()})
	for _, pool := range []struct {
		name string
		s    *session
		want map[text]string
	}{
		{"writer", &session{conn: db.writer}, map[text]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "query_only": "0"}},
		{"reader", &session{conn: db.reader}, map[text]string{"journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000", "query_only": "1"}},
	} {
		for pragma, want := range pool.want {
			var got string
			if _, err := pool.s.one(t.Context(), say("PRAGMA ").and(pragma), &got); err != nil || got != want {
				t.Errorf("%s: %s = %s, %v, want %s", pool.name, pragma, got, err, want)
			}
		}
	}
}

func TestNumbered(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"a = ? AND b = ?":           "a = $1 AND b = $2",
		"'?' ? \"?\" ?":             "'?' $1 \"?\" $2",
		"'it''s ?' ?":               "'it''s ?' $1",
		"? -- why? \n?":             "$1 -- why? \n$2",
		"-- why?":                   "-- why?",
		"'?":                        "'?",
		"'":                         "'",
		"1 - ? - 2":                 "1 - $1 - 2",
		strings.Repeat("?", 11):     "$1$2$3$4$5$6$7$8$9$10$11",
		"x LIKE ? ESCAPE '\\' = ? ": "x LIKE $1 ESCAPE '\\' = $2 ",
	} {
		if got := numbered(in); got != want {
			t.Errorf("numbered(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNoGoroutineStays(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	db, err := Open(context.Background(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func ExampleOptions() {
	fmt.Println(Options{DSN: "postgres://u:hunter2@h/d", Dir: "data"}.DSN)
	// Output: ***
}

func discard(row) error { return nil }
