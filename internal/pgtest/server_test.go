package pgtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func TestDatabasesAreApart(t *testing.T) {
	a, b := connect(t, Database(t)), connect(t, Database(t))
	if _, err := a.Exec(t.Context(), "CREATE TABLE x (y int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Exec(t.Context(), "SELECT * FROM x"); err == nil {
		t.Error("a table of one database is in another")
	}
	var version string
	if err := a.QueryRow(t.Context(), "SHOW server_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	t.Log(version)
}

func TestServerFails(t *testing.T) {
	s := Start(t)
	url := s.Database(t)
	c := connect(t, url)
	if _, err := c.Exec(t.Context(), "CREATE TABLE x (y int)"); err != nil {
		t.Fatal(err)
	}
	thaw := s.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, "SELECT 1"); err == nil {
		t.Error("a frozen server answers")
	}
	thaw()
	s.Kill(t)
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("a killed server answers")
	}
	s.Restart(t)
	if _, err := connect(t, url).Exec(t.Context(), "SELECT * FROM x"); err != nil {
		t.Errorf("a table is gone after the server was killed: %v", err)
	}
}
