package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sluice/internal/admin"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
)

// mostFindings bounds the lists of a recount.
const mostFindings = 200

// A recounter recounts: the sums, and where there is a gateway its counters.
type recounter struct {
	books   usage.Auditor
	limiter *quota.Limiter                  // nil: there is no gateway
	flush   func(ctx context.Context) error // has all that has ended in the database
}

// recount holds sums and counters against the rows. Sums are mended first: counters that are counted anew begin at them.
func (r recounter) recount(ctx context.Context, fix bool) (*admin.Recounted, error) {
	out := &admin.Recounted{Sums: admin.SumsReport{List: []admin.WrongSum{}}, Counters: admin.CountersReport{List: []admin.WrongCounter{}, Anew: []string{}}}
	var err error
	if out.Oldest, err = r.books.Oldest(ctx); err != nil {
		return nil, err
	}
	wrong, err := r.books.Audit(ctx, time.Time{}, fix)
	if err != nil {
		return nil, err
	}
	out.Sums.Wrong, out.Sums.Mended = len(wrong), fix && len(wrong) > 0
	for i := range wrong[:min(len(wrong), mostFindings)] {
		out.Sums.List = append(out.Sums.List, wrongSum(&wrong[i]))
	}
	if r.limiter == nil {
		return out, nil
	}
	anew, err := r.counters(ctx, &out.Counters)
	if err != nil || !fix {
		return out, err
	}
	for _, org := range anew {
		if err := r.flush(ctx); err != nil { // the less comes after it, the sooner all is counted again
			return nil, err
		}
		if err := r.limiter.Restart(ctx, org); err != nil {
			return nil, err
		}
		out.Counters.Anew = append(out.Counters.Anew, org)
	}
	return out, nil
}

func wrongSum(d *usage.WrongSum) admin.WrongSum {
	w := admin.WrongSum{
		Start: d.Start, Span: "quarter", Organisation: d.Org, Key: d.Key, Model: d.Model, Provider: d.Provider,
		Calls: d.Missing.Calls, Tokens: d.Missing.Input + d.Missing.Output, Cost: d.Missing.Cost.String(),
		Cause: "the sum was changed by something else than the ledger", Cure: "sluice ledger recompute --fix makes it that of its rows",
	}
	if d.Span == 24*time.Hour {
		w.Span = "day"
	}
	switch {
	case d.Missing.Calls > 0:
		w.Cause = "calls have rows and are not in the sum: it was changed by something else than the ledger, or restored from an older copy than the rows"
	case d.Missing.Calls < 0:
		w.Cause = "calls are in the sum and have no rows: rows were removed by something else than ledger.keep"
		w.Cure = "restore the rows from a copy of the database, or let sluice ledger recompute --fix take them off the sum"
	}
	return w
}

// behindTries and behindPause are how long other replicas are given to bring to the database what is in the counters.
const (
	behindTries = 6
	behindPause = 500 * time.Millisecond
)

// counters holds every counter against its rows, and tells whose are to be counted anew. Those that have more of a log than
// the database are read again: what has ended by then is in both.
func (r recounter) counters(ctx context.Context, out *admin.CountersReport) (anew []string, err error) {
	books, err := r.limiter.Books(ctx)
	if err != nil {
		return nil, err
	}
	var counters []usage.Counter
	byName := map[string]*quota.Book{}
	for i := range books {
		b := &books[i]
		if b.Cold {
			out.Cold++
			continue
		}
		byName[b.Query.Counter] = b
		counters = append(counters, usage.Counter{Name: b.Query.Counter, Filter: filterOf(&b.Query), Tokens: b.Tokens, Spent: b.Spent(), Marks: b.Marks})
	}
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	findings, err := r.behind(ctx, counters)
	if err != nil {
		return nil, err
	}
	for i := range findings {
		f := &findings[i]
		switch {
		case f.Gone:
			out.Unknown++
		case f.Behind != "":
			out.Unknown++
			anew = append(anew, f.Org) // whoever lives settles again what is not in the database
		default:
			if out.Checked++; !f.Wrong() {
				continue
			}
			out.Wrong++
			anew = append(anew, f.Org)
		}
		if len(out.List) < mostFindings {
			out.List = append(out.List, wrongCounter(f, byName[f.Name]))
		}
	}
	slices.Sort(anew)
	return slices.Compact(anew), nil
}

// behind recomputes counters, and those that are ahead of the database again.
func (r recounter) behind(ctx context.Context, counters []usage.Counter) (all []usage.Finding, err error) {
	for try := 1; ; try++ {
		list, err := usage.Recompute(ctx, r.books, counters)
		if err != nil {
			return nil, err
		}
		counters = nil
		for i := range list {
			if list[i].Behind != "" && try < behindTries {
				counters = append(counters, list[i].Counter)
				continue
			}
			all = append(all, list[i])
		}
		if len(counters) == 0 {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(behindPause):
		}
	}
}

func wrongCounter(f *usage.Finding, b *quota.Book) admin.WrongCounter {
	say, unit := func(n int64) string { return llm.Nano(n).String() }, "usd"
	if f.Tokens {
		say, unit = func(n int64) string { return strconv.FormatInt(n, 10) }, "tokens"
	}
	name := quota.ParseName(f.Name)
	w := admin.WrongCounter{
		Counter: f.Name, Organisation: name.Org, Subject: name.Subject, Rule: name.Rule, From: f.From, Until: f.Until, Unit: unit,
		Spent: say(f.Spent), Held: say(b.Held), Cure: "sluice ledger recompute --fix has the budgets of the organisation counted anew",
	}
	switch {
	case f.Gone:
		w.Cause = "its period began before the oldest rows that are kept"
		w.Cure = "keep rows for longer (ledger.keep) than the longest period of a budget"
		return w
	case f.Behind != "":
		w.Cause = fmt.Sprintf("replica %s has settled calls that it has not brought to the database", f.Behind)
		w.Cure = "see whether that replica can reach the database; if it is gone for good, others close its calls, and --fix has the budgets counted anew"
		return w
	case f.Spent > f.Rows:
		w.Cause = "it has counted more than the rows say: a call was settled twice as its replica was gone for good, rows were removed, or the rule counted other models before"
	default:
		w.Cause = "it has counted less than the rows say: a settlement was lost, or the rule counted other models before"
	}
	w.Rows = say(f.Rows)
	return w
}

// recounter recounts what this gateway counts.
func (m *money) recounter() recounter {
	return recounter{books: m.db.Ledger(), limiter: m.limiter, flush: func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTime)
		defer cancel()
		if m.journal == nil {
			return llm.Errorf(llm.KindConflict, "the ledger is off (ledger.off): there is nothing to recompute")
		}
		if err := m.journal.Flush(ctx); err != nil {
			return &llm.Error{Kind: llm.KindOverloaded, Msg: "the ledger cannot be brought to the database at the moment: " + cmp.Or(m.trouble(), "it takes too long"), RetryAfter: time.Second, Err: err}
		}
		return nil
	}}
}

// trouble is why nothing is shipped; "": all is well.
func (m *money) trouble() string {
	if err := m.journal.Stats().Trouble; err != nil {
		return err.Error()
	}
	return ""
}
