package sql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// An inspection tells how far a store is, and leaves it as it was.
func TestInspect(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		look := func() *Inspection {
			t.Helper()
			in, err := Inspect(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			return in
		}
		files := func() (names []string) {
			if o.Dir != "" {
				names, _ = filepath.Glob(o.Dir + "/*")
			}
			return names
		}
		if in := look(); in.Exists || in.Schema != 0 || in.Ours < 3 {
			t.Errorf("nothing there: %+v", in)
		}
		if got := files(); len(got) > 0 {
			t.Errorf("it made %v", got)
		}
		db, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if in := look(); !in.Exists || in.Schema != in.Ours || in.Least != 1 || in.Version == "" { // beside somebody who has it open
			t.Errorf("open elsewhere: %+v", in)
		}
		if o.Dir == "" {
			if in := look(); !in.Local || in.ReadOnly || !in.MayMake || in.Used < 1 || in.Most <= in.Used || in.Latency <= 0 {
				t.Errorf("PostgreSQL: %+v", in)
			}
		}
		if _, err := db.writer.ExecContext(t.Context(), "UPDATE schema_compatible SET least = 99"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.writer.ExecContext(t.Context(), "DELETE FROM schema_migrations WHERE version_id > 2"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		before := files()
		if in := look(); in.Least != 99 || in.Schema != 2 {
			t.Errorf("another release's: %+v", in)
		}
		if diff := cmp.Diff(before, files()); diff != "" {
			t.Errorf("files (-before +after):\n%s", diff)
		}
	})
}

func TestInspectFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Dir: dir}, {DSN: "mysql://u:hidden@h/d"}, {DSN: llm.Secret("postgres://u:hidden@127.0.0.1:1/d")}} {
		_, err := Inspect(t.Context(), o)
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
