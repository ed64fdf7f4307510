package sql

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/audit/audittest"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

func organisation(id, name string) *directory.Organisation {
	at := time.Unix(1, 0)
	return &directory.Organisation{Record: directory.Record{ID: id, Name: name, Created: at, Updated: at}}
}

// What an operation within Together stores is stored when it returns: what goes wrong is its own error, and not that of the next.
func TestTogetherTellsWhoseErrorItIs(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		orgs := db.Directory().Organisations()
		for name, op := range map[string]struct {
			do   func(context.Context) error
			want error
		}{
			"create": {func(ctx context.Context) error { return orgs.Create(ctx, organisation("2", "taken")) }, directory.ErrExists},
			"update": {func(ctx context.Context) error { return orgs.Update(ctx, organisation("none", "x")) }, directory.ErrNotFound},
			"account": {func(ctx context.Context) error {
				a := account.Account{ID: "a", Name: "a", Role: account.RoleOwner, Created: time.Unix(1, 0), Updated: time.Unix(1, 0)}
				b := a
				return errors.Join(db.Accounts().Create(ctx, &a), db.Accounts().Create(ctx, &b))
			}, account.ErrExists},
			"delete": {func(ctx context.Context) error { return orgs.Delete(ctx, "1", 7) }, directory.ErrVersion},
		} {
			err := db.Together(t.Context(), func(ctx context.Context) error {
				if err := orgs.Create(ctx, organisation("1", "taken")); err != nil {
					return err
				}
				if err := op.do(ctx); !errors.Is(err, op.want) {
					t.Errorf("%s: %v, want %v", name, err, op.want)
				}
				return op.want
			})
			if !errors.Is(err, op.want) {
				t.Errorf("%s: together %v, want %v", name, err, op.want)
			}
			if _, err := orgs.Get(t.Context(), "1"); !errors.Is(err, directory.ErrNotFound) {
				t.Errorf("%s: half of it was done: %v", name, err)
			}
		}
	})
}

// An act whose entry the audit log refuses does not happen, though with PostgreSQL that is told at its end.
func TestUnwrittenActDoesNotHappen(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		l, _ := audittest.New(t, db.Trail(), nil)
		if err := l.Record(t.Context(), audittest.Event("a", "p", "keys.create")); err != nil {
			t.Fatal(err)
		}
		list, err := db.Trail().Entries(t.Context(), "a", 0, 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		err = db.Together(t.Context(), func(ctx context.Context) error {
			if err := db.Directory().Organisations().Create(ctx, organisation("1", "lost")); err != nil {
				return err
			}
			return db.Trail().Append(ctx, &list[0])
		})
		if !errors.Is(err, audit.ErrUnwritten) || llm.AsError(err).Kind != llm.KindOverloaded {
			t.Errorf("told %v", err)
		}
		if _, err := db.Directory().Organisations().Get(t.Context(), "1"); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("it happened: %v", err)
		}
	})
}

// PostgreSQL answers the commit of a transaction in which something failed without an error. It was not done.
func TestCommitOfWhatFailed(t *testing.T) {
	db := open(t, Options{DSN: databaseOf(t)})
	err := db.write(t.Context(), func(ctx context.Context, s *session) error {
		if _, err := s.exec(ctx, say("SELECT 1/0")); err == nil {
			t.Error("one can divide by zero")
		}
		return nil
	})
	if !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("told %v", err)
	}
}

// Nothing is sent for a transaction in which nothing is asked; and what found its connection gone finds another.
func TestPipesAreReplaced(t *testing.T) {
	db := open(t, Options{DSN: databaseOf(t)})
	cut := func() {
		err := db.pipedOnce(t.Context(), writing, func(_ context.Context, s *session) error {
			return s.pipe.conn.PgConn().Conn().Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	orgs := db.Directory().Organisations()
	cut()
	if err := orgs.Create(t.Context(), organisation("1", "x")); err != nil {
		t.Errorf("write: %v", err)
	}
	cut()
	if _, err := orgs.Get(t.Context(), "1"); err != nil {
		t.Errorf("read: %v", err)
	}
}

// However an operation ends, its connection is in no transaction, and serves the next.
func TestPipesAreLeftClean(t *testing.T) {
	db := open(t, Options{DSN: databaseOf(t)})
	for name, do := range map[string]func(context.Context, *session) error{
		"done": func(ctx context.Context, s *session) error { return s.do(ctx, say("SELECT 1")) },
		"a scan fails": func(ctx context.Context, s *session) error {
			return s.each(ctx, say("SELECT 1"), func(row) error { return errNothing })
		},
		"it fails":            func(ctx context.Context, s *session) error { return s.do(ctx, say("SELECT 1/0")) },
		"it ends in between":  func(ctx context.Context, s *session) error { _ = s.settle(ctx); return errNothing },
		"it cannot be said":   func(ctx context.Context, s *session) error { return s.do(ctx, say("SELECT no such thing")) },
		"its values are none": func(ctx context.Context, s *session) error { return s.do(ctx, say("SELECT CAST(? AS bigint)", "x")) },
		"nobody waits for it": func(ctx context.Context, s *session) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if err := s.settle(ctx); err != nil {
				return err
			}
			cancel()
			return s.each(ctx, say("SELECT pg_sleep(60)"), discard)
		},
	} {
		var pid uint32
		_ = db.pipedOnce(t.Context(), writing, func(ctx context.Context, s *session) error {
			pid = s.pipe.conn.PgConn().PID()
			return do(ctx, s)
		})
		conn, err := db.writer.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Raw(func(c any) error {
			if now := c.(*stdlib.Conn).Conn().PgConn(); now.TxStatus() != idle || now.PID() != pid {
				t.Errorf("%s: the connection of %d is left in status %c, by %d", name, now.PID(), now.TxStatus(), pid)
			}
			return nil
		})
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	}
}
