package usage

import (
	"context"
	"fmt"
	"time"

	"sluice/internal/llm"
)

// A Counter is a budget's counter, as it stood at a moment.
type Counter struct {
	Name   string
	Filter                   // of the rows that it counts
	Tokens bool              // it counts tokens, not money
	Spent  int64             // tokens or nano-dollars
	Marks  map[string]uint64 // of each replica the last position that is in it
}

// A Finding is what a recount says of a counter.
type Finding struct {
	Counter
	Rows   int64  // what the counter should say; set unless one of the following is
	Behind string // the database has not yet all of this replica's log that the counter has
	Gone   bool   // rows that it counts are not kept any more
}

// Wrong tells that the counter does not say what its rows do.
func (f *Finding) Wrong() bool { return f.Known() && f.Rows != f.Spent }

// Known tells that the counter could be held against its rows.
func (f *Finding) Known() bool { return f.Behind == "" && !f.Gone }

// Recompute adds up the rows of each counter, as far as they are in it: calls may end and be settled meanwhile.
func Recompute(ctx context.Context, store Auditor, counters []Counter) ([]Finding, error) {
	oldest, err := store.Oldest(ctx)
	if err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	list := make([]Finding, 0, len(counters))
	for i := range counters {
		f := Finding{Counter: counters[i]}
		if err := f.recount(ctx, store, oldest); err != nil {
			return nil, fmt.Errorf("recompute %s: %w", f.Name, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func (f *Finding) recount(ctx context.Context, store Auditor, oldest time.Time) error {
	if f.From.Before(oldest) {
		f.Gone = true
		return nil
	}
	sum, err := store.Recount(ctx, &f.Filter, f.Marks)
	if err != nil {
		return err
	}
	for replica, mark := range f.Marks {
		if mark > sum.Marks[replica] {
			f.Behind = replica
			return nil
		}
	}
	if f.Rows = sum.Tokens; !f.Tokens {
		f.Rows = int64(max(sum.Money, llm.Nano(0)))
	}
	return nil
}
