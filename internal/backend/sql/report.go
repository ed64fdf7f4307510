package sql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// dimensions are the columns of what a report is made by.
var dimensions = map[usage.By]text{
	usage.ByOrg: "s.org_id", usage.ByTeam: "s.team_id", usage.ByUser: "s.user_id", usage.ByKey: "s.key_id",
	usage.ByProject: "s.project", usage.ByModel: "s.model", usage.ByProvider: "s.provider",
}

// placeOf finds where a line keeps what it is by.
func placeOf(l *usage.Line, by usage.By) *string {
	return map[usage.By]*string{
		usage.ByOrg: &l.Org, usage.ByTeam: &l.Team, usage.ByUser: &l.User, usage.ByKey: &l.Key,
		usage.ByProject: &l.Project, usage.ByModel: &l.Model, usage.ByProvider: &l.Provider,
	}[by]
}

const defaultLines = 10_000

// Report implements usage.Store. Where it asks first of which time there is something, it needs no snapshot: what comes later is later.
func (l *Ledger) Report(ctx context.Context, q *usage.Query) (lines []usage.Line, total usage.Totals, err error) {
	err = l.db.alone(ctx, func(ctx context.Context, s *session) error {
		lines, total = nil, usage.Totals{}
		r, err := s.plan(ctx, q)
		if err != nil || len(r.pieces) == 0 {
			return err
		}
		r.total = &total
		return s.each(ctx, r.statement(s), func(rows row) error {
			line, err := r.scan(rows)
			if line.Calls > 0 {
				lines = append(lines, line)
			}
			return err
		})
	})
	if err != nil {
		return nil, usage.Totals{}, fmt.Errorf("report: %w", err)
	}
	return lines, total, nil
}

// spent sums what a filter selects.
func (s *session) spent(ctx context.Context, f usage.Filter) (money llm.Nano, tokens, calls int64, err error) {
	r, err := s.plan(ctx, &usage.Query{Filter: f})
	if err != nil || len(r.pieces) == 0 {
		return 0, 0, 0, err
	}
	err = s.each(ctx, r.statement(s), func(rows row) error {
		line, err := r.scan(rows)
		money, tokens, calls = line.Cost, line.Input+line.Output, line.Calls
		return err
	})
	return money, tokens, calls, err
}

// parts sums each part of the time that a query asks for.
func (s *session) parts(ctx context.Context, q *usage.SpentQuery, out *usage.Spent) error {
	if q.Part <= 0 || out.Calls == 0 {
		return nil
	}
	for at := q.From; at.Before(q.Until); at = at.Add(q.Part) {
		f := q.Filter
		f.From, f.Until = at, at.Add(q.Part)
		money, tokens, calls, err := s.spent(ctx, f)
		if err != nil {
			return err
		}
		if calls > 0 {
			out.Parts = append(out.Parts, usage.SpentPart{Start: at, Money: money, Tokens: tokens})
		}
	}
	return nil
}

// Spent implements usage.Store.
func (l *Ledger) Spent(ctx context.Context, q *usage.SpentQuery) (usage.Spent, error) {
	var out usage.Spent
	err := l.db.read(ctx, func(ctx context.Context, s *session) error {
		out = usage.Spent{}
		var err error
		if out.Money, out.Tokens, out.Calls, err = s.spent(ctx, q.Filter); err != nil {
			return err
		}
		if err := s.parts(ctx, q, &out); err != nil {
			return err
		}
		out.Marks, err = s.marks(ctx)
		return err
	})
	if err != nil {
		return usage.Spent{}, fmt.Errorf("spent: %w", err)
	}
	return out, nil
}

// marks are the shipped positions of all replicas.
func (s *session) marks(ctx context.Context) (map[string]uint64, error) {
	marks := make(map[string]uint64)
	err := s.each(ctx, say("SELECT id, shipped FROM replicas"), func(rows row) error {
		var id string
		var shipped uint64
		err := rows.Scan(&id, &shipped)
		marks[id] = shipped
		return err
	})
	return marks, err
}

// A report is a query made ready.
type report struct {
	filter *usage.Filter
	pieces []stretch
	unit   int64 // of what lines are by: hour, day or month; 0: not by time
	by     []usage.By
	zone   *time.Location
	limit  int
	costly bool
	total  *usage.Totals // where each line brings the sum of all, also of those past the limit; nil: it does not
}

// plan decides from which lines a report is added up.
func (s *session) plan(ctx context.Context, q *usage.Query) (*report, error) {
	r := &report{filter: &q.Filter, zone: q.Zone, limit: q.Limit, costly: q.Dearest}
	if r.zone == nil {
		r.zone = time.UTC
	}
	if r.limit <= 0 {
		r.limit = defaultLines
	}
	for _, by := range q.By {
		switch {
		case by == usage.ByHour, by == usage.ByDay, by == usage.ByMonth:
			r.unit = unitOf(q.By)
		case dimensions[by] == "":
			return nil, fmt.Errorf("no report can be made by %q", string(by))
		case !slices.Contains(r.by, by):
			r.by = append(r.by, by)
		}
	}
	lo, hi := window(q.From, q.Until)
	if r.unit == 0 {
		r.pieces = stretches(lo, hi, true)
		return r, nil
	}
	if hi-lo > longest { // a zone may change for ever: only the time of which there is something counts
		first, last, err := s.known(ctx)
		if err != nil {
			return nil, err
		}
		lo, hi = max(lo, first), min(hi, last)
	}
	r.pieces = calendar(lo, hi, r.zone, r.unit)
	return r, nil
}

// longest is a time of which the pieces of a calendar are few enough for one statement, whether there is something in them or not.
const longest = 4 * 366 * day * 1e6

// unitOf is the finest unit of time in what a report is by.
func unitOf(by []usage.By) int64 {
	switch {
	case slices.Contains(by, usage.ByHour):
		return hour
	case slices.Contains(by, usage.ByDay):
		return day
	}
	return month
}

// known is the time of which there are sums, in whole days.
func (s *session) known(ctx context.Context) (first, last int64, err error) {
	var lo, hi sql.NullInt64
	_, err = s.one(ctx, say("SELECT (SELECT min(start) FROM rollup WHERE span = ?), (SELECT max(start) FROM rollup WHERE span = ?)", day, day), &lo, &hi)
	if err != nil || !lo.Valid {
		return 0, 0, err
	}
	return lo.Int64 * 1e6, (hi.Int64 + day) * 1e6, nil
}

// statement adds up each stretch by itself, by its own index, and then all of them.
func (r *report) statement(s *session) *statement {
	q := say("SELECT at")
	for _, by := range r.by {
		q.and(", ").and(alias(by))
	}
	for _, c := range totals {
		q.and(", CAST(coalesce(sum(").and(c.name).and("), 0) AS bigint)")
	}
	if r.total != nil {
		for _, c := range totals {
			q.and(", CAST(coalesce(sum(sum(").and(c.name).and(")) OVER (), 0) AS bigint)")
		}
	}
	q.and(" FROM (")
	for i, piece := range r.pieces {
		if i > 0 {
			q.and(" UNION ALL ")
		}
		r.stretch(q, s, piece)
	}
	q.and(") AS pieces GROUP BY at")
	for _, by := range r.by {
		q.and(", ").and(alias(by))
	}
	q.and(" ORDER BY ")
	if r.costly {
		q.and("coalesce(sum(cost), 0) DESC, sum(calls) DESC, ")
	}
	q.and("at")
	for _, by := range r.by {
		q.and(", ").and(alias(by))
	}
	return q.limit(r.limit)
}

// alias is a dimension's name without its table.
func alias(by usage.By) text { return dimensions[by][len("s."):] }

// totals are the sums of a line: where they are in sums, and how they are made of rows. Tokens of answers that a cache gave were
// counted when they were made.
var totals = []struct{ name, rows text }{
	{"calls", "1"},
	{"failed", "CASE WHEN r.error = '' THEN 0 ELSE 1 END"},
	{"estimated", "r.estimated"},
	{"cached", "CASE WHEN r.cache = '' THEN 0 ELSE 1 END"},
	{"input", "CASE WHEN r.cache = '' THEN r.input END"},
	{"cache_read", "CASE WHEN r.cache = '' THEN r.cache_read END"},
	{"cache_write", "CASE WHEN r.cache = '' THEN r.cache_write END"},
	{"output", "CASE WHEN r.cache = '' THEN r.output END"},
	{"reasoning", "CASE WHEN r.cache = '' THEN r.reasoning END"},
	{"cost", "r.cost"},
	{"saved", "r.saved"},
}

func intoTotals(t *usage.Totals) []any {
	return []any{&t.Calls, &t.Failed, &t.Estimated, &t.Cached, &t.Input, &t.CacheRead, &t.CacheWrite, &t.Output, &t.Reasoning, &t.Cost, &t.Saved}
}

// costColumn is the index of the cost in totals.
const costColumn = 9

// stretch adds up one piece.
func (r *report) stretch(q *statement, s *session, piece stretch) {
	q.and("SELECT ")
	switch {
	case r.unit == 0:
		q.and("CAST(0 AS bigint)")
	case r.unit == month:
		q.and("CAST(? AS bigint)", piece.month)
	case piece.span == 0:
		q.and("(r.charged / 1000000 + CAST(? AS bigint)) / CAST(? AS bigint)", piece.offset, r.unit)
	default:
		q.and("(r.start + CAST(? AS bigint)) / CAST(? AS bigint)", piece.offset, r.unit)
	}
	if r.unit == hour { // the hour in which a clock is put back comes twice
		q.and(" * CAST(? AS bigint) - CAST(? AS bigint)", hour, piece.offset)
	}
	q.and(" AS at")
	for _, by := range r.by {
		q.and(", ").and(dimensions[by])
	}
	for _, c := range totals {
		if piece.span == 0 {
			q.and(", sum(").and(c.rows).and(") AS ").and(c.name)
		} else {
			q.and(", sum(r.").and(c.name).and(") AS ").and(c.name)
		}
	}
	// SQLite joins in the order that CROSS JOIN says: a few series first, or a stretch of time.
	var lines text = "rollup r"
	if piece.span == 0 {
		lines = "ledger r"
	}
	if narrow(r.filter) {
		q.and(" FROM series s CROSS JOIN ").and(lines)
	} else {
		q.and(" FROM ").and(lines).and(" CROSS JOIN series s")
	}
	q.and(" WHERE r.series = s.id")
	if piece.span == 0 {
		q.and(" AND r.charged >= ? AND r.charged < ?", piece.from, piece.until)
	} else {
		q.and(" AND r.span = ? AND r.start >= ? AND r.start < ?", piece.span, piece.from/1e6, piece.until/1e6)
	}
	s.filter(q, r.filter)
	q.and(" GROUP BY 1")
	for i := range r.by {
		q.and(ordinals[i])
	}
}

// ordinals are the places of what a report is by, after its time.
var ordinals = [...]text{", 2", ", 3", ", 4", ", 5", ", 6", ", 7", ", 8"}

// scan reads a line of the statement.
func (r *report) scan(rows row) (line usage.Line, err error) {
	var at int64
	into := []any{&at}
	for _, by := range r.by {
		into = append(into, placeOf(&line, by))
	}
	into = append(into, intoTotals(&line.Totals)...)
	if r.total != nil {
		into = append(into, intoTotals(r.total)...)
	}
	err = rows.Scan(into...)
	switch r.unit {
	case hour:
		line.At = time.Unix(at, 0).In(r.zone)
	case month:
		line.At = time.Date(int(at/12), time.Month(at%12+1), 1, 0, 0, 0, 0, r.zone)
	case day: // its number, so that it is one day when the clock is changed in its course
		line.At = time.Date(1970, 1, 1+int(at), 0, 0, 0, 0, r.zone)
	}
	return line, err
}

// filter adds what a filter asks of series.
func (s *session) filter(q *statement, f *usage.Filter) {
	for _, c := range [...]struct {
		is   text
		want string
	}{
		{" AND s.org_id = ?", f.Org},
		{" AND s.team_id = ?", f.Team},
		{" AND s.user_id = ?", f.User},
		{" AND s.key_id = ?", f.Key},
		{" AND s.project = ?", f.Project},
		{" AND s.provider = ?", f.Provider},
		{" AND s.id IN (SELECT series FROM series_tags WHERE tag = ?)", f.Tag},
	} {
		if c.want != "" {
			q.and(c.is, clean(c.want))
		}
	}
	for i, glob := range f.Models {
		if i == 0 {
			q.and(" AND (")
		} else {
			q.and(" OR ")
		}
		if s.dialect == postgres {
			q.and(`s.model LIKE ? ESCAPE '\'`, likePattern(clean(glob)))
		} else {
			q.and("s.model GLOB ?", globPattern(clean(glob)))
		}
	}
	if len(f.Models) > 0 {
		q.and(")")
	}
}

// selective tells whether a filter asks anything of series.
func selective(f *usage.Filter) bool {
	return f.Org != "" || f.Team != "" || f.User != "" || f.Key != "" || f.Project != "" || f.Tag != "" || f.Provider != "" || len(f.Models) > 0
}

// narrow tells whether few series are left.
func narrow(f *usage.Filter) bool {
	return f.Team != "" || f.User != "" || f.Key != "" || f.Project != "" || f.Tag != ""
}

// likePattern says for LIKE what a glob of package llm says.
func likePattern(glob string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(glob)
}

// globPattern says for SQLite's GLOB what a glob of package llm says. Its LIKE takes upper for lower case.
func globPattern(glob string) string {
	return strings.NewReplacer(`?`, `[?]`, `[`, `[[]`).Replace(glob)
}
