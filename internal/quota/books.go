package quota

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// books are the budgets' counters that calls of this process have asked for, and how the database knows each: what a
// recount needs. A counter whose period is over is forgotten.
type books struct {
	mu    sync.Mutex // guards what follows
	all   map[string]Query
	clean int // how many there may be until those that are over are looked for
}

// add notes the counter of a budget in a period, once for each time that a plan meets the period.
func (b *books) add(p *planned, s *span, now time.Time) {
	if s.listed.Swap(true) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[string]Query{}
	}
	b.all[s.Key] = p.ask(s)
	if len(b.all) > b.clean {
		b.tidy(now)
		b.clean = max(256, 2*len(b.all))
	}
}

func (b *books) tidy(now time.Time) {
	for counter, q := range b.all {
		end := q.Until
		if q.Part > 0 { // what was spent last counts for a whole period
			end = end.Add(q.Until.Sub(q.From))
		}
		if now.After(end.Add(late)) {
			delete(b.all, counter)
		}
	}
}

// list gives them by organisation and name.
func (b *books) list(now time.Time) []Query {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tidy(now)
	out := make([]Query, 0, len(b.all))
	for _, q := range b.all {
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b Query) int { return strings.Compare(a.Counter, b.Counter) })
	return out
}

// A Book is a budget's counter, as the store has it.
type Book struct {
	Query // what the database knows it by
	Level // of a rolling budget, only the parts that count still
}

// booksAtOnce is how many counters are read in one step.
const booksAtOnce = 256

// Books reads the counters of all budgets that calls of this process have asked for and whose periods are not long over.
// Those that are cold stand at nothing that could be compared.
func (l *Limiter) Books(ctx context.Context) ([]Book, error) {
	queries := l.books.list(l.now())
	out := make([]Book, 0, len(queries))
	for len(queries) > 0 {
		n := 1
		for n < min(len(queries), booksAtOnce) && queries[n].Org == queries[0].Org {
			n++
		}
		names := make([]string, n)
		for i := range names {
			names[i] = queries[i].Counter
		}
		levels, err := l.o.Store.Levels(ctx, queries[0].Org, names)
		if err != nil {
			return nil, unavailable("the counters could not be read", err)
		}
		if len(levels) != n {
			return nil, fmt.Errorf("%d counters were asked for, %d were given", n, len(levels))
		}
		for i, level := range levels {
			if q := &queries[i]; q.Part > 0 {
				level.Parts = slices.DeleteFunc(level.Parts, func(p Part) bool { return p.Start < q.From.Unix() })
			}
			out = append(out, Book{queries[i], level})
		}
		queries = queries[n:]
	}
	return out, nil
}

// Restart has the counters of all budgets of an organisation counted anew, from the database and the logs: hard budgets
// wait or refuse for a Grace meanwhile, as after a loss. Calls under way are not touched.
func (l *Limiter) Restart(ctx context.Context, org string) error {
	l.o.Log.Warn("quota.restart", "org", org)
	if err := l.o.Store.Restart(ctx, org); err != nil {
		return unavailable("the counters could not be begun anew", err)
	}
	out, err := l.o.Store.Renew(ctx, org, nil) // tells the new epoch, so that nobody need wait for the next call to learn it
	if err != nil {
		return unavailable("the counters could not be begun anew", err)
	}
	l.heard(org, out.Epoch)
	return nil
}
