package sql

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"sluice/internal/audit"
	"sluice/internal/audit/audittest"
	"sluice/internal/llm"
)

// grown is a store with an audit log of two chains, and its public key.
func grown(t *testing.T, db *DB) (*audit.Log, audit.PublicKey) {
	t.Helper()
	l, key := audittest.New(t, db.Trail(), nil)
	for i, org := range []string{"", "a", "a"} {
		if err := l.Record(t.Context(), audittest.Event(org, fmt.Sprint("p", i), "keys.create")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, key
}

func unharmed(t *testing.T, db *DB, key audit.PublicKey) {
	t.Helper()
	r, err := audit.VerifyStore(t.Context(), db.Trail(), audit.VerifyOptions{Keys: []audit.PublicKey{key}})
	if err != nil || !r.OK() || len(r.Chains) != 2 {
		t.Errorf("the log does not verify any more: %+v, %v", r, err)
	}
}

// changes are what the store refuses whoever asks, with the words of both engines.
var changes = []text{
	"UPDATE audit_entries SET act = 'x' WHERE seq = 1", "UPDATE audit_entries SET hash = hash", "DELETE FROM audit_entries WHERE seq = 2", "DELETE FROM audit_entries",
	"UPDATE audit_checkpoints SET at = 0", "DELETE FROM audit_checkpoints", "UPDATE audit_heads SET seq = 1", "DELETE FROM audit_heads", "UPDATE audit_keys SET subject = 'x'",
	"INSERT INTO audit_entries SELECT * FROM audit_entries WHERE seq = 1 AND org = 'a'",
}

var (
	sqliteChanges = []text{
		"INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries", "REPLACE INTO audit_checkpoints SELECT * FROM audit_checkpoints",
		"INSERT OR REPLACE INTO audit_heads SELECT * FROM audit_heads", "UPDATE OR REPLACE audit_entries SET seq = 1",
		"INSERT INTO audit_entries SELECT * FROM audit_entries WHERE org = 'a' ON CONFLICT DO UPDATE SET act = 'x'",
	}
	pgChanges = []text{
		"TRUNCATE audit_entries", "TRUNCATE audit_checkpoints CASCADE", "TRUNCATE audit_heads",
		"INSERT INTO audit_entries SELECT * FROM audit_entries ON CONFLICT (org, seq) DO UPDATE SET act = 'x'",
	}
)

// The gateway's own connection may only add to the log.
func TestTrailOnlyGrows(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		_, key := grown(t, db)
		all := append(changes[:len(changes):len(changes)], sqliteChanges...)
		if db.dialect == postgres {
			all = append(changes[:len(changes):len(changes)], pgChanges...)
		}
		for _, q := range all {
			if alter(t, db, say(q)) == nil {
				t.Errorf("not refused: %s", q)
			}
		}
		unharmed(t, db, key)
	})
}

// script is the first SQL of docs/audit.md, which makes the role that may only add.
func script(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```sql\n")
	sql, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatal("docs/audit.md has no script")
	}
	return sql
}

// A gateway that is given the role of docs/audit.md does all its work, and can change nothing of the log: not with its triggers
// taken away either, for it owns none of them.
func TestTrailRole(t *testing.T) {
	owner := databaseOf(t)
	db := open(t, Options{DSN: owner})
	_, key := grown(t, db)
	admin, err := pgx.Connect(t.Context(), string(owner))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	u, err := url.Parse(string(owner))
	if err != nil {
		t.Fatal(err)
	}
	role := "r" + strings.TrimPrefix(u.Path, "/t") // roles are the server's, not the database's
	sql := strings.NewReplacer("sluice_gateway", role, "'CHANGE ME'", "'not a secret here'").Replace(script(t))
	if _, err := admin.Exec(t.Context(), sql); err != nil {
		t.Fatalf("the script: %v", err)
	}
	t.Cleanup(func() {
		c, err := pgx.Connect(context.WithoutCancel(t.Context()), string(owner))
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
		for _, q := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := c.Exec(context.WithoutCancel(t.Context()), q); err != nil {
				t.Error(err)
			}
		}
	})
	u.User = url.UserPassword(role, "not a secret here")
	mine := open(t, Options{DSN: llm.Secret(u.String())}) // it looks whether there is something to migrate, too
	l, _ := audittest.New(t, mine.Trail(), nil)
	if err := l.Record(t.Context(), audittest.Event("a", "new", "keys.create")); err != nil {
		t.Fatalf("it cannot record: %v", err)
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatalf("it cannot make a checkpoint: %v", err)
	}
	if err := l.Export(t.Context(), audit.ExportFilter{}, new(bytes.Buffer)); err != nil {
		t.Fatalf("it cannot export: %v", err)
	}
	if _, err := mine.Directory().Note(t.Context(), "x", "y"); err != nil {
		t.Errorf("it cannot write what is not the log: %v", err)
	}
	refused := append(append(changes[:len(changes)-1:len(changes)-1], pgChanges...),
		"ALTER TABLE audit_entries DISABLE TRIGGER ALL", "DROP TRIGGER audit_entries_grow ON audit_entries", "DROP TABLE audit_entries CASCADE",
		"CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "SET session_replication_role = replica",
		"DELETE FROM audit_keys")
	// The privileges alone must do: the triggers go.
	for _, q := range []string{"DROP TRIGGER audit_entries_grow ON audit_entries", "DROP TRIGGER audit_checkpoints_grow ON audit_checkpoints", "DROP TRIGGER audit_heads_grow ON audit_heads", "DROP TRIGGER audit_keys_stay ON audit_keys"} {
		if _, err := admin.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range refused {
		err := alter(t, mine, say(q))
		switch state := sqlState(err); {
		case strings.HasPrefix(string(q), "DROP TRIGGER") && state == "42704": // it is gone already
		case state != "42501":
			t.Errorf("%s: %v, want insufficient_privilege", q, err)
		}
	}
	unharmed(t, mine, key)
}

// The redaction of SQLite leaves nothing of a key in the database's file.
func TestRedactionOverwrites(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	k := &audit.DataKey{ID: "id", Subject: "ann", Wrapped: []byte("the-key-that-must-be-gone")}
	if err := db.Trail().AddKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if _, err := db.writer.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(o.Dir + "/" + fileName); err != nil || !bytes.Contains(text, k.Wrapped) {
		t.Fatalf("the key is not where it is looked for, %v", err)
	}
	if _, err := db.Trail().DropKeys(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // which brings the log into the file
		t.Fatal(err)
	}
	for _, name := range []string{fileName, fileName + "-wal"} {
		if text, err := os.ReadFile(o.Dir + "/" + name); err == nil && bytes.Contains(text, k.Wrapped) {
			t.Errorf("%s still holds the key", name)
		}
	}
}

// BenchmarkAudit records an event in a transaction of its own, and in one that has another row to write anyway.
func BenchmarkAudit(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		o := Options{Dir: b.TempDir()}
		if engine == "postgres" {
			o = Options{DSN: databaseOf(b)}
		}
		db := open(b, o)
		l, _ := audittest.New(b, db.Trail(), nil)
		e := audittest.Event("o", "p", "keys.create")
		e.After = []byte(`{"name":"` + strings.Repeat("x", 500) + `"}`)
		n := 0
		note := func(ctx context.Context) error {
			n++
			_, err := db.Directory().Note(ctx, fmt.Sprint("n", n), "x")
			return err
		}
		for name, act := range map[string]func() error{
			"alone": func() error { return l.Record(b.Context(), e) },
			"none":  func() error { return db.Together(b.Context(), note) },
			"added": func() error {
				return db.Together(b.Context(), func(ctx context.Context) error {
					if err := note(ctx); err != nil {
						return err
					}
					return l.Record(ctx, e)
				})
			},
		} {
			b.Run(engine+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if err := act(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Whatever is asked of the audit log for each act, and for a page of it, an index answers.
func TestTrailPlans(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		numbers, some := say("SELECT generate_series(1, 20000) AS i"), text("'\\x00'::bytea")
		if db.dialect == sqlite {
			numbers, some = say("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n"), "x'00'"
		}
		from := text(numbers.text.String())
		for _, q := range []*statement{
			say("INSERT INTO audit_keys (id, subject, wrapped, made) SELECT 'id' || i, 'subject' || i, ").and(some).and(", 0 FROM (").and(from).and(") numbers"),
			say("INSERT INTO audit_entries (version, org, seq, at, behind, actor_kind, actor_id, act, object_kind, object_id, result, request, said_key, said, changed_key, changed, prev, hash) " +
				"SELECT 1, 'o' || (i % 7), i, i, 0, 'k', 'a' || (i % 90), 'act', 'k', 'o', 'done', 'r', 'id' || i, ").and(some).and(", 'id' || (i + 1), ").and(some).and(", ").and(some).and(", ").and(some).and(" FROM (").and(from).and(") numbers"),
			say("ANALYZE"),
		} {
			if _, err := db.writer.ExecContext(t.Context(), q.in(db.dialect)); err != nil {
				t.Fatal(err)
			}
		}
		err := db.read(t.Context(), func(_ context.Context, s *session) error {
			for name, q := range map[string]*statement{
				"keys of subjects": s.dataKeys("subject", []string{"subject5", "subject7"}), "keys": s.dataKeys("id", []string{"id5", "id7"}),
				"newest": s.entries(&audit.Query{Limit: 101}), "newest of an actor": s.entries(&audit.Query{Actor: "a5", Limit: 101}), "newest of a chain": s.entries(&audit.Query{Orgs: []string{"o3"}, Limit: 101}),
			} {
				p := plan(t, s, q)
				// With this few keys PostgreSQL takes all of them for those of a page, but not for those of an act.
				if strings.Contains(p, "Seq Scan on audit_entries") || strings.Contains(p, "SCAN audit_keys") || strings.Contains(p, "Seq Scan on audit_keys") && strings.HasPrefix(name, "keys") {
					t.Errorf("%s:\n%s", name, p)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
