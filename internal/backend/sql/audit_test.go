package sql

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

// TestAuditMends: whatever is wrong with sums is found, told without being touched, and then made right.
func TestAuditMends(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, another(t, o))
		l, ctx := db.Ledger(), t.Context()
		if _, err := l.Join(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		var rows []usage.Row
		for i := range 40 {
			row := usagetest.Row(fmt.Sprint("r", i), usagetest.Base().Add(time.Duration(i)*time.Hour))
			row.Key = fmt.Sprint("k", i%2)
			rows = append(rows, row)
		}
		if err := l.Ship(ctx, &usage.Batch{Replica: "a", Position: 1, Rows: rows}); err != nil {
			t.Fatal(err)
		}
		report := func() []usage.Line {
			lines, _, err := l.Report(ctx, &usage.Query{By: []usage.By{usage.ByHour, usage.ByKey}})
			if err != nil {
				t.Fatal(err)
			}
			return lines
		}
		audit := func(since time.Time, mend bool) (found []string) {
			list, err := l.Audit(ctx, since, mend)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				found = append(found, fmt.Sprintf("%s %s %s/%s: %d calls, %s dollars", d.Start.Format("02 15:04"), d.Span, d.Org, d.Key, d.Missing.Calls, d.Missing.Cost))
			}
			return found
		}
		want := report()
		day2 := usagetest.Base().Truncate(24*time.Hour).AddDate(0, 0, 1)
		for _, plant := range []*statement{
			say("UPDATE rollup SET cost = cost + 1000000000, calls = calls + 3 WHERE span = 900 AND start = ?", usagetest.Base().Truncate(15*time.Minute).Unix()),
			say("DELETE FROM rollup WHERE span = 86400 AND start = ? AND series = (SELECT id FROM series WHERE key_id = 'k0')", day2.Unix()),
			say("INSERT INTO rollup (series, span, start, calls, failed, estimated, cached, input, cache_read, cache_write, output, reasoning, cost, saved) "+
				"SELECT id, 900, CAST(? AS bigint), 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0 FROM series WHERE key_id = 'k1'", day2.Unix()),
		} {
			err := db.write(ctx, func(ctx context.Context, s *session) error {
				n, err := s.exec(ctx, plant)
				if err == nil && n != 1 {
					t.Errorf("%d lines were changed, want 1", n)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		wrong := []string{
			"28 22:00 15m0s default/k0: -3 calls, -1 dollars",
			"29 00:00 15m0s default/k1: -7 calls, -0.000000005 dollars",
			"29 00:00 24h0m0s default/k0: 12 calls, 0.0000027 dollars",
		}
		for _, mend := range []bool{false, true} {
			if diff := cmp.Diff(wrong, audit(time.Time{}, mend)); diff != "" {
				t.Errorf("mend %v (-want +got):\n%s", mend, diff)
			}
		}
		if found := audit(time.Time{}, true); len(found) > 0 {
			t.Errorf("after it was mended: %v", found)
		}
		if diff := cmp.Diff(want, report()); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}
