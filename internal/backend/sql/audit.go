package sql

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"sluice/internal/usage"
)

var _ usage.Auditor = (*Ledger)(nil)

// auditTime bounds an operation that reads every row of a budget or day, which operators ask for.
const auditTime = 10 * time.Minute

// patient is the store for operations that may take so long.
func (db *DB) patient() *DB {
	d := *db
	d.timeout = auditTime
	return &d
}

// allow lets a session's statements take as long as its operation may.
func (s *session) allow(ctx context.Context) error {
	if s.dialect != postgres {
		return nil
	}
	err := s.do(ctx, say("SELECT set_config('statement_timeout', ?, true)", fmt.Sprint(auditTime.Milliseconds())))
	return err
}

// Oldest implements usage.Auditor.
func (l *Ledger) Oldest(ctx context.Context) (at time.Time, err error) {
	first, _, whole, err := l.rowDays(ctx)
	if err != nil || whole {
		return at, err
	}
	return time.Unix(first, 0).UTC(), nil
}

// rowDays are the days of which all rows are there, in seconds, and whether there were never any others. Rows go by whole
// days, long before their sums, so the day of the oldest row is whole; but one that stands beside older sums may have come
// late for a day whose rows are gone.
func (l *Ledger) rowDays(ctx context.Context) (first, last int64, whole bool, err error) {
	var row, end, sum, final sql.NullInt64
	err = l.db.alone(ctx, func(ctx context.Context, s *session) error {
		q := say("SELECT (SELECT min(charged) FROM ledger), (SELECT max(charged) FROM ledger), ").
			and("(SELECT min(start) FROM rollup WHERE span = ?), (SELECT max(start) FROM rollup WHERE span = ?)", day, day)
		_, err := s.one(ctx, q, &row, &end, &sum, &final)
		return err
	})
	switch {
	case err != nil:
		return 0, 0, false, fmt.Errorf("oldest row: %w", err)
	case row.Valid:
		first = floorTo(row.Int64, day*1e6) / 1e6
		last = max(floorTo(end.Int64, day*1e6)/1e6, final.Int64, first) + day
		if sum.Valid && sum.Int64 < first {
			return first + day, last, false, nil
		}
	case sum.Valid:
		return final.Int64 + day, final.Int64 + day, false, nil
	}
	return first, last, true, nil
}

// Recount implements usage.Auditor.
func (l *Ledger) Recount(ctx context.Context, f *usage.Filter, marks map[string]uint64) (out usage.Spent, err error) {
	err = l.db.patient().read(ctx, func(ctx context.Context, s *session) (err error) {
		out = usage.Spent{}
		if err := s.allow(ctx); err != nil {
			return err
		}
		if err := s.recount(ctx, f, marks, &out); err != nil {
			return err
		}
		out.Marks, err = s.marks(ctx)
		return err
	})
	if err != nil {
		return usage.Spent{}, fmt.Errorf("recount: %w", err)
	}
	return out, nil
}

func (s *session) recount(ctx context.Context, f *usage.Filter, marks map[string]uint64, out *usage.Spent) error {
	if len(marks) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(marks))
	for replica, position := range marks {
		args = append(args, clean(replica), int64(min(position, math.MaxInt64)))
	}
	from, until := window(f.From, f.Until)
	q := say("WITH marks(replica, position) AS (VALUES ").list(len(marks), "(CAST(? AS text), CAST(? AS bigint))", args...).
		and(") SELECT CAST(coalesce(sum(").and(totals[costColumn].rows).and("), 0) AS bigint), ").
		and("CAST(coalesce(sum(CASE WHEN r.cache = '' THEN coalesce(r.input, 0) + coalesce(r.output, 0) END), 0) AS bigint), count(*)").
		and(" FROM series s CROSS JOIN ledger r CROSS JOIN marks m WHERE r.series = s.id AND m.replica = r.replica AND r.position <= m.position").
		and(" AND r.charged >= ? AND r.charged < ?", from, until)
	s.filter(q, f)
	_, err := s.one(ctx, q, &out.Money, &out.Tokens, &out.Calls)
	return err
}

// Audit implements usage.Auditor. It goes by days, and reads one at a time without keeping anybody waiting. Only days that
// turn out wrong are then looked at again under a lock, and mended.
func (l *Ledger) Audit(ctx context.Context, since time.Time, mend bool) (found []usage.WrongSum, err error) {
	db := l.db.patient()
	var days []int64
	first, last, _, err := l.rowDays(ctx)
	for at := max(first, floorTo(max(since.Unix(), dawn/1e6), day)); at < last && err == nil; at += day {
		err = db.read(ctx, func(ctx context.Context, s *session) error {
			wrong, err := s.compare(ctx, at)
			if len(wrong) > 0 {
				days = append(days, at)
				found = append(found, differences(wrong)...)
			}
			return err
		})
	}
	if err != nil || !mend || len(days) == 0 {
		return found, audited(err)
	}
	err = db.write(ctx, func(ctx context.Context, s *session) (err error) {
		found, err = s.mend(ctx, days)
		return err
	})
	return found, audited(err)
}

func audited(err error) error {
	if err != nil {
		return fmt.Errorf("audit sums: %w", err)
	}
	return nil
}

// A wrong is a line of sums that its rows do not make.
type wrong struct {
	sumKey
	series
	usage.Totals
}

// mend makes the sums of some days right.
func (s *session) mend(ctx context.Context, days []int64) (found []usage.WrongSum, err error) {
	if s.dialect == postgres {
		// Whoever ships has put his sums in, or waits until this is done with rows that nobody else sees yet.
		if err := s.do(ctx, say("LOCK TABLE rollup IN SHARE ROW EXCLUSIVE MODE")); err != nil {
			return nil, err
		}
	}
	for _, at := range days {
		all, err := s.compare(ctx, at)
		if err != nil {
			return nil, err
		}
		sums := make(map[sumKey]*usage.Totals, len(all))
		for i := range all {
			sums[all[i].sumKey] = &all[i].Totals
		}
		if err := s.addSums(ctx, sums); err != nil {
			return nil, err
		}
		for _, span := range [...]int64{quarter, day} { // a sum of nothing is none
			if err := s.do(ctx, say("DELETE FROM rollup WHERE span = ? AND start >= ? AND start < ? AND calls = 0", span, at, at+day)); err != nil {
				return nil, err
			}
		}
		found = append(found, differences(all)...)
	}
	return found, nil
}

// compare adds the rows of a day up, takes the sums off them, and gives what is left.
func (s *session) compare(ctx context.Context, at int64) (all []wrong, err error) {
	if err := s.allow(ctx); err != nil {
		return nil, err
	}
	q := say("SELECT d.span, d.start, d.series, ").and(seriesColumns)
	for _, c := range totals {
		q.and(", d.").and(c.name)
	}
	q.and(" FROM (SELECT span, start, series")
	for _, c := range totals {
		q.and(", CAST(coalesce(sum(").and(c.name).and("), 0) AS bigint) AS ").and(c.name)
	}
	q.and(" FROM (")
	for _, span := range [...]int64{quarter, day} {
		q.and("SELECT CAST(? AS bigint) AS span, r.charged / CAST(? AS bigint) * CAST(? AS bigint) AS start, r.series AS series", span, span*1e6, span)
		for _, c := range totals { // as addSums has it, no row adds more than so much
			q.and(", CASE WHEN ").and(c.rows).and(" > CAST(? AS bigint) THEN CAST(? AS bigint) ELSE ", most, most).and(c.rows).and(" END AS ").and(c.name)
		}
		q.and(" FROM ledger r WHERE r.charged >= ? AND r.charged < ? UNION ALL ", at*1e6, (at+day)*1e6)
	}
	for i, span := range [...]int64{quarter, day} {
		if i > 0 {
			q.and(" UNION ALL ")
		}
		q.and("SELECT span, start, series")
		for _, c := range totals {
			q.and(", -").and(c.name)
		}
		q.and(" FROM rollup WHERE span = ? AND start >= ? AND start < ?", span, at, at+day)
	}
	q.and(") AS lines GROUP BY span, start, series HAVING ")
	for i, c := range totals {
		if i > 0 {
			q.and(" OR ")
		}
		q.and("coalesce(sum(").and(c.name).and("), 0) <> 0")
	}
	q.and(") AS d JOIN series s ON s.id = d.series ORDER BY d.start, d.span, d.series")
	err = s.each(ctx, q, func(rows row) error {
		var w wrong
		t, k := &w.Totals, &w.series
		err := rows.Scan(&w.span, &w.start, &w.sumKey.series, &k.org, &k.team, &k.user, &k.key, &k.project, &k.tags, &k.model, &k.provider,
			&t.Calls, &t.Failed, &t.Estimated, &t.Cached, &t.Input, &t.CacheRead, &t.CacheWrite, &t.Output, &t.Reasoning, &t.Cost, &t.Saved)
		all = append(all, w)
		return err
	})
	return all, err
}

func differences(all []wrong) []usage.WrongSum {
	list := make([]usage.WrongSum, 0, len(all))
	for i := range all {
		w := &all[i]
		k := &w.series
		tags, _ := parseTags(k.tags) // written by us; without them the line is still told apart
		list = append(list, usage.WrongSum{
			Start: time.Unix(w.start, 0).UTC(), Span: time.Duration(w.span) * time.Second,
			Payer: usage.Payer{Org: k.org, Team: k.team, User: k.user, Key: k.key, Project: k.project, Tags: tags},
			Model: k.model, Provider: k.provider, Missing: w.Totals,
		})
	}
	return list
}
