package usagetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// some makes rows of many payers over some days.
func some(rng *rand.Rand, n int, span time.Duration) (rows []usage.Row) {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	for i := range n {
		row := Row(fmt.Sprintf("r%04d", i), Base().Add(time.Duration(rng.Int64N(int64(span)))))
		if i%7 == 0 {
			row.Charged = row.Charged.Truncate(15 * time.Minute) // a bound
		}
		row.Org, row.Team, row.User, row.Key = pick("default", "default", "acme"), pick("", "t1", "t2"), pick("", "u1", "u2"), fmt.Sprint("k", rng.IntN(8))
		row.Project, row.Provider = pick("", "p"), pick("openai", "azure")
		row.Model = pick("gpt-4o", "gpt-4o-mini", "GPT-4o", "gpt_4o", "a/b%c", "[x]?", `back\slash`)
		row.Tags = [][]string{nil, {"x"}, {"x", "y"}, {"xy"}}[rng.IntN(4)]
		row.Usage = llm.Usage{Input: llm.Tokens(rng.Int64N(1000)), Output: llm.Tokens(rng.Int64N(1000))}
		if rng.IntN(3) == 0 {
			row.Usage.Output = llm.Count{}
		} else {
			row.Usage.CacheRead, row.Usage.CacheWrite, row.Usage.Reasoning = llm.Tokens(rng.Int64N(9)), llm.Tokens(rng.Int64N(9)), llm.Tokens(rng.Int64N(9))
		}
		row.Costs = usage.Costs{Input: llm.Nano(rng.Int64N(1e6)), CacheRead: 1, CacheWrite: 2, CacheWrite1h: 3, Output: llm.Nano(rng.Int64N(1e6)), Reasoning: 4, Audio: 5, Image: 6, Tools: 7}
		row.Error, row.Cache = llm.Kind(pick("", "", "overloaded")), pick("", "", "exact")
		row.Estimated, row.Saved = rng.IntN(4) == 0, llm.Nano(rng.Int64N(10))
		rows = append(rows, row)
	}
	return rows
}

func someFilter(rng *rand.Rand, span time.Duration) (f usage.Filter) {
	may := func(of ...string) string {
		if rng.IntN(4) > 0 {
			return ""
		}
		return of[rng.IntN(len(of))]
	}
	f.Org, f.Team, f.User, f.Key = may("default", "acme", "nobody"), may("t1", "t2"), may("u1", "u2"), may("k1", "k2", "k3")
	f.Project, f.Provider, f.Tag = may("p"), may("openai", "azure"), may("x", "y", "xy")
	for range rng.IntN(3) {
		f.Models = append(f.Models, []string{"gpt-4o", "gpt*", "*mini", "*", "gpt_4o", "a/b%*", "[x]?", "g*o*", `back\*`, "*%*"}[rng.IntN(10)])
	}
	at := func() time.Time {
		t := Base().Add(time.Duration(rng.Int64N(int64(span))))
		switch rng.IntN(4) {
		case 0:
			return t
		case 1:
			return t.Truncate(24 * time.Hour)
		}
		return t.Truncate(15 * time.Minute)
	}
	if rng.IntN(3) > 0 {
		f.From = at()
	}
	if rng.IntN(3) > 0 {
		f.Until = at()
	}
	return f
}

// testSums holds sums and lists against the rows, for many filters.
func testSums(r *rig) {
	const span = 6 * 24 * time.Hour
	rng := seeded(3)
	rows := some(rng, 500, span)
	r.join("a")
	for chunk := range slices.Chunk(rows, 117) {
		r.ship("a", chunk)
	}
	slices.SortFunc(rows, byTime)
	dims := []usage.By{usage.ByHour, usage.ByDay, usage.ByMonth, usage.ByOrg, usage.ByTeam, usage.ByUser, usage.ByKey, usage.ByProject, usage.ByModel, usage.ByProvider}
	for range 150 {
		f := someFilter(rng, span)
		var want usage.Totals
		var match []usage.Row
		for i := range rows {
			if f.Matches(&rows[i]) {
				want.Add(&rows[i])
				match = append(match, rows[i])
			}
		}
		got := r.spent(f)
		if got.Calls != want.Calls || got.Money != want.Cost || got.Tokens != want.Input+want.Output {
			r.t.Errorf("%+v: spent %+v, want %+v", f, got, want)
		}
		list := r.rows(usage.RowQuery{Filter: f, Limit: 1000})
		r.same(fmt.Sprintf("rows of %+v", f), ids(list), ids(match))
		var by []usage.By
		for range rng.IntN(4) {
			by = append(by, dims[rng.IntN(len(dims))])
		}
		by = slices.Compact(by)
		lines, total, err := r.Report(r.t.Context(), &usage.Query{Filter: f, By: by})
		r.ok(err)
		if total != want {
			r.t.Errorf("report of %+v by %v: total %+v, want %+v", f, by, total, want)
		}
		r.same(fmt.Sprintf("report of %+v by %v", f, by), lines, report(match, by, time.UTC))
	}
}

// report is what a report by these dimensions must say.
func report(rows []usage.Row, by []usage.By, zone *time.Location) (lines []usage.Line) {
	is := func(b usage.By) bool { return slices.Contains(by, b) }
	keep := func(b usage.By, s string) string {
		if is(b) {
			return s
		}
		return ""
	}
	sums := map[string]*usage.Line{}
	for i := range rows {
		row := &rows[i]
		line := usage.Line{
			Org: keep(usage.ByOrg, row.Org), Team: keep(usage.ByTeam, row.Team), User: keep(usage.ByUser, row.User), Key: keep(usage.ByKey, row.Key),
			Project: keep(usage.ByProject, row.Project), Model: keep(usage.ByModel, row.Model), Provider: keep(usage.ByProvider, row.Provider),
		}
		y, m, d := row.Charged.In(zone).Date()
		switch {
		case is(usage.ByHour):
			line.At = row.Charged.Truncate(15 * time.Minute)
			for line.At.In(zone).Minute() != 0 { // an hour of the zone
				line.At = line.At.Add(-15 * time.Minute)
			}
		case is(usage.ByDay):
			line.At = time.Date(y, m, d, 0, 0, 0, 0, zone)
		case is(usage.ByMonth):
			line.At = time.Date(y, m, 1, 0, 0, 0, 0, zone)
		}
		line.At = line.At.UTC()
		name := fmt.Sprintf("%+v", line)
		if sums[name] == nil {
			sums[name] = &line
		}
		sums[name].Add(row)
	}
	for _, line := range sums {
		lines = append(lines, *line)
	}
	slices.SortFunc(lines, func(a, b usage.Line) int {
		c := a.At.Compare(b.At)
		for _, b2 := range by {
			c = cmp.Or(c, strings.Compare(part(&a, b2), part(&b, b2)))
		}
		return c
	})
	return lines
}

func part(l *usage.Line, by usage.By) string {
	switch by {
	case usage.ByOrg:
		return l.Org
	case usage.ByTeam:
		return l.Team
	case usage.ByUser:
		return l.User
	case usage.ByKey:
		return l.Key
	case usage.ByProject:
		return l.Project
	case usage.ByModel:
		return l.Model
	case usage.ByProvider:
		return l.Provider
	}
	return ""
}

// testZones: days and hours are those of the zone, over changes of its clocks.
func testZones(r *rig) {
	r.join("a")
	rows := some(seeded(5), 300, 5*24*time.Hour) // the clocks of Berlin change in the middle
	for i := range rows[:40] {
		rows[i].Charged = rows[i].Charged.AddDate(0, 7, 0) // and back
	}
	r.ship("a", rows)
	slices.SortFunc(rows, byTime)
	for _, name := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Pacific/Apia"} {
		zone, err := time.LoadLocation(name)
		r.ok(err)
		for _, by := range [][]usage.By{{usage.ByDay}, {usage.ByHour}, {usage.ByMonth}, {usage.ByDay, usage.ByKey}, {usage.ByKey, usage.ByMonth}} {
			lines, _, err := r.Report(r.t.Context(), &usage.Query{By: by, Zone: zone})
			r.ok(err)
			for i := range lines {
				lines[i].At = lines[i].At.UTC()
			}
			r.same(fmt.Sprintf("%s by %v", name, by), lines, report(rows, by, zone))
		}
	}
	var whole usage.Totals
	for i := range rows {
		whole.Add(&rows[i])
	}
	lines, total, err := r.Report(r.t.Context(), &usage.Query{By: []usage.By{usage.ByDay, usage.ByKey}, Limit: 5})
	r.ok(err)
	if total != whole {
		r.t.Errorf("beside five lines the total is %+v, want %+v", total, whole)
	}
	r.same("the first five", lines, report(rows, []usage.By{usage.ByDay, usage.ByKey}, time.UTC)[:5])
	lines, _, err = r.Report(r.t.Context(), &usage.Query{By: []usage.By{usage.ByDay, usage.ByKey}, Limit: 5, Dearest: true})
	r.ok(err)
	want := report(rows, []usage.By{usage.ByDay, usage.ByKey}, time.UTC)
	slices.SortStableFunc(want, func(a, b usage.Line) int { return cmp.Or(-cmp.Compare(a.Cost, b.Cost), -cmp.Compare(a.Calls, b.Calls)) })
	r.same("the dearest five", lines, want[:5])
	if _, _, err := r.Report(r.t.Context(), &usage.Query{By: []usage.By{"1; DROP TABLE ledger"}}); err == nil {
		r.t.Error("a report by nothing that there is")
	}
}

// testPicture: a sum never has less, and never more, than the marks beside it say.
func testPicture(r *rig) {
	const batches = 30
	r.join("a")
	r.join("b")
	var all sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		all.Go(func() {
			for i := range batches {
				rows := []usage.Row{Row(fmt.Sprint(name, i, "x"), Base()), Row(fmt.Sprint(name, i, "y"), Base().Add(time.Hour))}
				if err := r.Ship(r.t.Context(), &usage.Batch{Replica: name, After: uint64(2 * i), Position: uint64(2*i + 2), Rows: rows}); err != nil {
					r.t.Error(err)
				}
			}
		})
	}
	for {
		s := r.spent(usage.Filter{From: Base().Add(-time.Hour), Until: Base().Add(2 * time.Hour)})
		if want := s.Marks["a"] + s.Marks["b"]; uint64(s.Calls) != want {
			r.t.Errorf("%d calls beside the marks %v", s.Calls, s.Marks)
		}
		if s.Calls == 4*batches || r.t.Failed() {
			break
		}
	}
	all.Wait()
}

func testPages(r *rig) {
	const span = 3 * 24 * time.Hour
	rng := seeded(7)
	rows := some(rng, 230, span)
	for i := range rows {
		if i%3 == 0 {
			rows[i].Charged = Base() // many at one time
		}
	}
	for i := range 60 { // few payers, with much at one time
		row := Row(fmt.Sprintf("f%02d", i*7%60), Base().Add(time.Duration(i%4)*time.Minute))
		row.Team, row.Key = "few", fmt.Sprint("few ", i%3)
		rows = append(rows, row)
	}
	r.join("a")
	r.ship("a", rows)
	slices.SortFunc(rows, byTime)
	for _, limit := range []int{1, 7, 29, 60} {
		r.turn(usage.RowQuery{Filter: usage.Filter{Team: "few"}, Limit: limit}, rows)
	}
	for _, limit := range []int{1, 7, 230, 1000} {
		for range 4 {
			q := usage.RowQuery{Filter: someFilter(rng, span), Limit: limit}
			if limit == 1 {
				q.Key = "k1"
			}
			r.turn(q, rows)
		}
	}
	if n := len(r.rows(usage.RowQuery{})); n != 100 {
		r.t.Errorf("%d rows without a limit, want 100", n)
	}
	for _, bad := range []string{"x", "1' OR 1=1", ".", "-"} {
		if _, err := r.Rows(r.t.Context(), &usage.RowQuery{After: bad}); err == nil {
			r.t.Errorf("the cursor %q was taken", bad)
		}
	}
}

// turn reads all pages of a query and holds them against the rows, which are sorted.
func (r *rig) turn(q usage.RowQuery, rows []usage.Row) {
	r.t.Helper()
	var want, got []string
	for i := range rows {
		if q.Matches(&rows[i]) {
			want = append(want, rows[i].RequestID)
		}
	}
	for {
		page, err := r.Rows(r.t.Context(), &q)
		r.ok(err)
		if len(page.Rows) > q.Limit || len(page.Rows) == 0 && page.Next != "" {
			r.t.Fatalf("a page of %d, limit %d, next %q", len(page.Rows), q.Limit, page.Next)
		}
		got = append(got, ids(page.Rows)...)
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	r.same(fmt.Sprintf("pages of %d of %+v", q.Limit, q.Filter), got, want)
}

func testRetention(r *rig) {
	ctx := r.t.Context()
	r.join("a")
	day := func(n int) time.Time { return Base().Truncate(24*time.Hour).AddDate(0, 0, n) }
	at := func(n int) []usage.Row {
		return []usage.Row{Row(fmt.Sprint("early ", n), day(n)), Row(fmt.Sprint("late ", n), day(n+1).Add(-time.Microsecond))}
	}
	r.ship("a", at(0)) // no place was prepared for them
	for n := range 4 {
		r.ok(r.Prepare(ctx, day(n)))
		r.ok(r.Prepare(ctx, day(n)))
	}
	for n := 1; n < 7; n++ {
		r.ship("a", at(n))
	}
	r.ok(r.Prepare(ctx, day(5))) // there are rows already
	if got := r.spent(usage.Filter{}).Calls; got != 14 || len(r.rows(usage.RowQuery{})) != 14 {
		r.t.Fatalf("%d calls, %d rows, want 14", got, len(r.rows(usage.RowQuery{})))
	}
	r.ok(r.Retain(ctx, day(2), day(1)))
	r.same("rows", ids(r.rows(usage.RowQuery{Limit: 1000})),
		[]string{"late 6", "early 6", "late 5", "early 5", "late 4", "early 4", "late 3", "early 3", "late 2", "early 2"})
	if got := r.spent(usage.Filter{}).Calls; got != 12 {
		r.t.Errorf("%d calls in sums, want 12", got)
	}
	r.ok(r.Retain(ctx, day(7), day(7)))
	if got, rows := r.spent(usage.Filter{}).Calls, r.rows(usage.RowQuery{}); got != 0 || len(rows) != 0 {
		r.t.Errorf("%d calls, %d rows are left", got, len(rows))
	}
	r.ship("a", at(9))
	if got := len(r.rows(usage.RowQuery{})); got != 2 {
		r.t.Errorf("%d rows, want 2", got)
	}
}
