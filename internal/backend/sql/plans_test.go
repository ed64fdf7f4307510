package sql

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

// How the ledger of the plans is made: so many days with so many rows each, of so many keys.
type scale struct{ days, rows, keys int }

// fillLedger writes rows and sums past the code that ships them: it is the plans that are looked at.
func fillLedger(t testing.TB, db *DB, sc scale, first time.Time) {
	t.Helper()
	seed := usagetest.Row("seed", first)
	seed.Key, seed.Tags = "key0", nil
	l := db.Ledger()
	if _, err := l.Join(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for d := range sc.days {
		if err := l.Prepare(t.Context(), first.AddDate(0, 0, d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Ship(t.Context(), &usage.Batch{Replica: "a", Position: 1, Rows: []usage.Row{seed}}); err != nil {
		t.Fatal(err)
	}
	numbers := text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)")
	if db.dialect == postgres {
		numbers = "WITH n(i) AS (SELECT generate_series(1, CAST(? AS integer)))"
	}
	do := func(q *statement) {
		t.Helper()
		if err := alter(t, db, q); err != nil {
			t.Fatal(err)
		}
	}
	digest := text("CAST('d' || i AS blob)")
	if db.dialect == postgres {
		digest = "CAST('d' || i AS bytea)"
	}
	do(say("INSERT INTO series (id, digest, org_id, team_id, user_id, key_id, project, tags, model, provider) ").and(numbers, sc.keys).
		and(" SELECT 1000 + i, ").and(digest).and(", 'default', 'team' || i / 100, 'user' || i / 4, 'key' || i, '', '', 'gpt-4o', 'openai' FROM n"))
	columns := strings.SplitN(string(ledgerColumns), ", ", 4)[3]
	for d := range sc.days {
		from := first.AddDate(0, 0, d).UnixMicro()
		q := say("INSERT INTO ledger (").and(ledgerColumns).and(") ").and(numbers, sc.rows).and(" SELECT CAST(? AS bigint) + i * CAST(? AS bigint), 1001 + i % CAST(? AS integer), CAST(? AS text) || i, ", from, 86400_000000/int64(sc.rows+1), sc.keys, fmt.Sprint("req_", d, "_"))
		q.text.WriteString(columns)
		do(q.and(" FROM n CROSS JOIN ledger WHERE request_id = 'seed'"))
	}
	quarters := 96
	for d := range sc.days {
		start := first.AddDate(0, 0, d).Unix()
		for span, n := range map[int64]int{quarter: quarters, day: 1} {
			each := max(1, sc.rows/sc.keys/n)
			do(say("INSERT INTO rollup (").and(sumColumns).and(") ").and(numbers, min(sc.keys*n, sc.rows)).
				and(" SELECT 1001 + i % CAST(? AS integer), CAST(? AS integer), CAST(? AS bigint) + i / CAST(? AS integer) % CAST(? AS integer) * CAST(? AS integer), CAST(? AS bigint), 0, 0, 0, 10, 0, 0, 20, 0, 225, 0 FROM n WHERE true ON CONFLICT DO NOTHING",
					sc.keys, span, start, sc.keys, n, span, each))
		}
	}
	if db.dialect == postgres {
		for _, q := range []text{"ANALYZE ledger", "ANALYZE rollup", "ANALYZE series"} {
			if _, err := db.writer.ExecContext(t.Context(), string(q)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// plan is how the engine answers a statement.
func plan(t testing.TB, s *session, q *statement) string {
	t.Helper()
	explain := say("EXPLAIN QUERY PLAN ")
	if s.dialect == postgres {
		explain = say("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY ON) ")
	}
	explain.text.WriteString(q.text.String())
	explain.args = q.args
	var out strings.Builder
	err := s.each(t.Context(), explain, func(r row) error {
		var line string
		into := []any{&line}
		if s.dialect == sqlite {
			into = []any{new(int), new(int), new(int), &line}
		}
		err := r.Scan(into...)
		out.WriteString(line + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Whatever is asked of the ledger, an index answers. With SLUICE_SCALE=ROWS, the rows of a day, the plans are printed:
// go test -run TestPlans -v -timeout 1h
func TestPlans(t *testing.T) {
	sc := scale{days: 4, rows: 12_000, keys: 600}
	if n, err := strconv.Atoi(os.Getenv("SLUICE_SCALE")); err == nil {
		sc = scale{days: 30, rows: n, keys: n / 20}
	}
	onBoth(t, func(t *testing.T, o Options) {
		o.Timeout = 10 * time.Minute
		db := open(t, o)
		first := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		fillLedger(t, db, sc, first)
		last := first.AddDate(0, 0, sc.days)
		key := usage.Filter{Key: "key123", From: first, Until: last}
		odd := usage.Filter{Key: "key123", From: first.Add(time.Minute), Until: last.Add(-time.Minute)}
		team := usage.Filter{Team: "team3", Until: last}
		all := usage.Filter{From: first.Add(12 * time.Hour), Until: last}
		err := db.read(t.Context(), func(ctx context.Context, s *session) error {
			show := func(name string, q *statement) {
				t.Helper()
				began := time.Now()
				p := plan(t, s, q)
				took := time.Since(began)
				for line := range strings.Lines(p) {
					empty := strings.Contains(line, "ledger_rest") || strings.Contains(line, "ledger_"+last.Format("20060102")) // and has no statistics
					bad := strings.Contains(line, "Seq Scan on ledger") && !empty || strings.HasPrefix(line, "SCAN r") ||
						s.dialect == sqlite && name == "spent of a key" && strings.Contains(line, "rollup_start")
					if bad {
						t.Errorf("%s: %s", name, line)
					}
				}
				if os.Getenv("SLUICE_SCALE") != "" {
					t.Logf("%s, %s:\n%s", name, took.Round(10*time.Microsecond), p)
				}
			}
			spent := func(f usage.Filter) *statement {
				r, err := s.plan(ctx, &usage.Query{Filter: f})
				if err != nil {
					t.Fatal(err)
				}
				return r.statement(s)
			}
			list := func(q usage.RowQuery) *listing {
				l, err := newListing(&q)
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			show("spent of a key", spent(key))
			show("spent of a key, from and until the middle of a quarter", spent(odd))
			show("spent of a team", spent(team))
			show("spent of all", spent(all))
			byKey := list(usage.RowQuery{Filter: key})
			show("newest of a key", byKey.end(byKey.begin().and(" AND r.series = ? AND r.charged >= ?", 1123, byKey.from)))
			show("newest of all", list(usage.RowQuery{}).walk(s))
			show("newest of a large organisation", list(usage.RowQuery{Filter: usage.Filter{Org: "default"}}).walk(s))
			show("one request", list(usage.RowQuery{}).byRequest(s, "req_2_77"))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
