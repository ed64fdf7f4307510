package sql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

const (
	defaultRows = 100
	mostRows    = 1000
	// fewSeries is how many series are looked at one after the other, each in its own order. When a filter leaves more, its
	// rows are so many that a walk through all rows, the latest first, soon has met enough of them.
	fewSeries = 50
)

// A listing is a query for rows made ready: those charged in [from, until) and before the cursor.
type listing struct {
	filter      *usage.Filter
	from, until int64
	charged     int64  // of the cursor
	id          string // of the cursor
	limit       int    // one more than the page has
}

// Rows implements usage.Store.
func (l *Ledger) Rows(ctx context.Context, q *usage.RowQuery) (page usage.Page, err error) {
	list, err := newListing(q)
	if err != nil {
		return usage.Page{}, err
	}
	var rows []usage.Row
	on := l.db.alone
	if selective(list.filter) { // series first
		on = l.db.read
	}
	err = on(ctx, func(ctx context.Context, s *session) (err error) {
		switch few, ids, err := s.few(ctx, list.filter); {
		case err != nil:
			return err
		case q.RequestID != "":
			rows, err = s.rows(ctx, list.byRequest(s, q.RequestID))
			return err
		case few:
			rows, err = list.merge(ctx, s, ids)
			return err
		}
		rows, err = s.rows(ctx, list.walk(s))
		return err
	})
	if err != nil {
		return usage.Page{}, fmt.Errorf("list rows: %w", err)
	}
	if len(rows) == list.limit {
		rows = rows[:len(rows)-1]
		last := &rows[len(rows)-1]
		page.Next = strconv.FormatInt(last.Charged.UnixMicro(), 10) + "." + last.RequestID
	}
	page.Rows = rows
	return page, nil
}

func newListing(q *usage.RowQuery) (*listing, error) {
	l := &listing{filter: &q.Filter, charged: dusk, limit: q.Limit}
	l.from, l.until = window(q.From, q.Until)
	if l.limit <= 0 {
		l.limit = defaultRows
	}
	l.limit = min(l.limit, mostRows) + 1
	if q.After != "" {
		at, id, _ := strings.Cut(q.After, ".")
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, llm.Errorf(llm.KindInvalid, "the cursor is not one that this list gave")
		}
		l.charged, l.id = n, clean(id)
	}
	return l, nil
}

// few gives the series that a filter leaves, if it asks anything of them and they are few.
func (s *session) few(ctx context.Context, f *usage.Filter) (few bool, ids []int64, err error) {
	if !selective(f) {
		return false, nil, nil
	}
	q := say("SELECT s.id FROM series s WHERE 1 = 1")
	s.filter(q, f)
	err = s.each(ctx, q.limit(fewSeries+1), func(r row) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return len(ids) <= fewSeries, ids, err
}

// merge takes the latest of each series. What is found bounds what is looked for next.
func (l *listing) merge(ctx context.Context, s *session, ids []int64) (rows []usage.Row, err error) {
	from := l.from
	for _, id := range ids {
		q := l.begin().and(" AND r.series = ? AND r.charged >= ?", id, from)
		more, err := s.rows(ctx, l.end(q))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
		slices.SortFunc(rows, func(a, b usage.Row) int {
			return -cmp.Or(a.Charged.Compare(b.Charged), strings.Compare(a.RequestID, b.RequestID))
		})
		if len(rows) >= l.limit {
			rows = rows[:l.limit]
			from = max(from, rows[l.limit-1].Charged.UnixMicro())
		}
	}
	return rows, nil
}

// walk goes through all rows, the latest first.
func (l *listing) walk(s *session) *statement {
	q := l.begin().and(" AND r.charged >= ?", l.from)
	s.filter(q, l.filter)
	return l.end(q)
}

// byRequest looks for one call.
func (l *listing) byRequest(s *session, id string) *statement {
	q := l.begin().and(" AND r.request_id = ? AND r.charged >= ?", clean(id), l.from)
	s.filter(q, l.filter)
	return l.end(q)
}

// begin and end are what all lists have in common. CROSS JOIN tells SQLite to begin with rows.
func (l *listing) begin() *statement {
	return say("SELECT ").and(ledgerColumns).and(", ").and(seriesColumns).
		and(" FROM ledger r CROSS JOIN series s WHERE s.id = r.series AND r.charged < ? AND (r.charged, r.request_id) < (?, ?)", l.until, l.charged, l.id)
}

func (l *listing) end(q *statement) *statement {
	return q.and(" ORDER BY r.charged DESC, r.request_id DESC").limit(l.limit)
}

// rows reads a list.
func (s *session) rows(ctx context.Context, q *statement) (list []usage.Row, err error) {
	err = s.each(ctx, q, func(r row) error {
		var row usage.Row
		err := scanRow(r, &row)
		list = append(list, row)
		return err
	})
	return list, err
}
