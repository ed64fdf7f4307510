package sql

import (
	"errors"
	"flag"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

// FuzzGlob: both engines match names as package llm does.
func FuzzGlob(f *testing.F) {
	for _, s := range []string{"*", "gpt-*", "a%b_c", `back\\slash*`, "[a-z]", "[]", "[^x]?", "**", "", "ä*🙂", "*%*"} {
		f.Add(s, "gpt-4o")
		f.Add(s, s)
	}
	lite := open(f, Options{Dir: f.TempDir()})
	var pg *DB
	if !fuzzing() {
		pg = open(f, Options{DSN: databaseOf(f)})
	}
	f.Fuzz(func(t *testing.T, glob, name string) {
		if clean(glob) != glob || clean(name) != name || len(glob) > 100 {
			t.Skip("such a name is not kept")
		}
		want := llm.Match(glob, name)
		var got bool
		if err := lite.reader.QueryRowContext(t.Context(), "SELECT ? GLOB ?", name, globPattern(glob)).Scan(&got); err != nil || got != want {
			t.Errorf("SQLite: %q fits %q: %v, %v, want %v", name, glob, got, err, want)
		}
		if pg == nil {
			return
		}
		if err := pg.reader.QueryRowContext(t.Context(), `SELECT $1::text LIKE $2 ESCAPE '\'`, name, likePattern(glob)).Scan(&got); err != nil || got != want {
			t.Errorf("PostgreSQL: %q fits %q: %v, %v, want %v", name, glob, got, err, want)
		}
	})
}

// FuzzCursor: what clients send back as a cursor gives a page or a refusal that says so, and no other error.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", ".", "1.", "1.x", "-9223372036854775808.", "9223372036854775808.x", "1.\x00", "1.\xff", "1' OR 1=1 --.x", "0x1.y", "1.x.y"} {
		f.Add(s)
	}
	l := open(f, Options{Dir: f.TempDir()}).Ledger()
	if _, err := l.Join(f.Context(), "a"); err != nil {
		f.Fatal(err)
	}
	if err := l.Ship(f.Context(), &usage.Batch{Replica: "a", Position: 1, Rows: []usage.Row{usagetest.Row("x", usagetest.Base())}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, after string) {
		page, err := l.Rows(t.Context(), &usage.RowQuery{After: after})
		var told *llm.Error
		if err != nil && (!errors.As(err, &told) || told.Kind != llm.KindInvalid) {
			t.Errorf("the cursor %q: %v", after, err)
		}
		if len(page.Rows) > 1 || page.Next != "" {
			t.Errorf("the cursor %q gives %d rows, and more after %q", after, len(page.Rows), page.Next)
		}
	})
}

// fuzzing tells whether inputs are being made up: by several processes, too many for a server of each.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }
