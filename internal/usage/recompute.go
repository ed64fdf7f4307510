package usage

import (
	"context"
	"fmt"
	"io"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// A Counter is a budget's counter and what it should hold.
type Counter struct {
	Name   string
	Query  SpentQuery // of the rows that it counts
	Money  llm.Nano   // what it says is spent
	Tokens int64
}

// A Difference is a counter that does not say what the rows do.
type Difference struct {
	Counter
	Rows Spent // the sum of the rows, each read
	Sums Spent // what the store's own sums say
}

func (d *Difference) String() string {
	return fmt.Sprintf("%s: the counter says %s and %d tokens, the rows %s and %d, their sums %s and %d",
		d.Name, d.Money, d.Tokens, d.Rows.Money, d.Rows.Tokens, d.Sums.Money, d.Sums.Tokens)
}

// Recompute reads every row that a counter counts, and gives the counters that differ from their rows or from the
// store's sums. Nothing may be under way meanwhile, and everything must be shipped and settled (Journal.Flush).
func Recompute(ctx context.Context, store Store, counters []Counter) (wrong []Difference, err error) {
	for i := range counters {
		d := Difference{Counter: counters[i]}
		if d.Rows, err = sum(ctx, store, &d.Query.Filter); err != nil {
			return nil, fmt.Errorf("recompute %s: %w", d.Name, err)
		}
		if d.Sums, err = store.Spent(ctx, &d.Query); err != nil {
			return nil, fmt.Errorf("recompute %s: %w", d.Name, err)
		}
		if d.Money != d.Rows.Money || d.Tokens != d.Rows.Tokens || d.Money != d.Sums.Money || d.Tokens != d.Sums.Tokens {
			wrong = append(wrong, d)
		}
	}
	return wrong, nil
}

// sum adds up rows one by one.
func sum(ctx context.Context, store Store, f *Filter) (s Spent, err error) {
	q := RowQuery{Filter: *f, Limit: 1000}
	for {
		page, err := store.Rows(ctx, &q)
		if err != nil {
			return Spent{}, err
		}
		for i := range page.Rows {
			r := &page.Rows[i]
			s.Calls++
			s.Tokens += r.Tokens()
			s.Money = s.Money.Plus(r.Costs.Total())
		}
		if page.Next == "" {
			return s, nil
		}
		q.After = page.Next
	}
}

// A Check is what Verify found in a log.
type Check struct {
	wal.Report
	Intents, Progress, Finals int
	Unknown                   int // records of kinds that this binary does not know
	Unreadable                []uint64
	Open                      int // intents without an end, among those that the log still holds
}

// Verify checks a log, also one that is in use: every checksum, and that every record can be read.
func Verify(dir string) (Check, error) {
	var c Check
	open := map[uint64]bool{}
	rep, err := wal.Verify(dir, func(pos uint64, payload []byte) {
		rec, err := decode(payload)
		switch {
		case err != nil:
			c.Unreadable = append(c.Unreadable, pos)
		case rec.intent != nil:
			c.Intents++
			open[pos] = true
		case rec.mark != nil:
			c.Progress++
		case rec.final != nil:
			c.Finals++
			delete(open, rec.at)
		default:
			c.Unknown++
		}
	})
	c.Report, c.Open = rep, len(open)
	return c, err
}

// OK tells whether nothing was wrong.
func (c *Check) OK() bool { return len(c.Damage) == 0 && len(c.Unreadable) == 0 }

// Write tells what was found, for people.
func (c *Check) Write(w io.Writer) {
	fmt.Fprintf(w, "replica %s: %d records in %d files, positions %d to %d\n", c.Replica, c.Records, c.Files, c.First, c.Last)
	fmt.Fprintf(w, "%d intents, %d marks, %d ends; %d calls open in what the log holds\n", c.Intents, c.Progress, c.Finals, c.Open)
	if c.Unknown > 0 {
		fmt.Fprintf(w, "%d records of kinds that this version does not know\n", c.Unknown)
	}
	for _, pos := range c.Unreadable {
		fmt.Fprintf(w, "position %d: the record is whole, but cannot be read\n", pos)
	}
	for _, d := range c.Damage {
		fmt.Fprintln(w, d)
	}
}
