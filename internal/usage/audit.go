package usage

import (
	"context"
	"time"
)

// An Auditor is a Store that can add its rows up anew, to find out whether what is derived from them is right.
type Auditor interface {
	// Oldest is the day, in UTC, from which on all rows are there: what happened earlier is kept as sums at most. Zero: all
	// rows that ever were are there.
	Oldest(ctx context.Context) (time.Time, error)

	// Recount sums the rows that a filter selects, one by one, and of each replica only those whose positions are at or
	// below its mark; one that has no mark is left out. The answer's own marks are the shipped positions, of the same
	// snapshot.
	Recount(ctx context.Context, f *Filter, marks map[string]uint64) (Spent, error)

	// Audit compares the sums that reports are made of with the rows of all whole days that are there, from the
	// day of since on, and gives those that differ. With mend it makes them right, all in the transaction
	// in which it finds them; the answer says what was wrong.
	Audit(ctx context.Context, since time.Time, mend bool) ([]WrongSum, error)
}

// A WrongSum is a sum that is not that of its rows.
type WrongSum struct {
	Start time.Time
	Span  time.Duration // from Start: a quarter of an hour, or a day
	Payer
	Model    string
	Provider string
	Missing  Totals // rows less sum: what the sum lacks, below zero where it has too much
}
