package sql

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"sluice/internal/usage"
)

// A Ledger is usage.Store.
type Ledger struct {
	db    *DB
	waits atomic.Int64 // for the writer, as Crowded saw them last
}

// Ledger gives the ledger in the store.
func (db *DB) Ledger() *Ledger { return &Ledger{db: db} }

// Crowded tells whether somebody has had to wait for the one connection that writes to SQLite since this was asked the last time. Writers of
// PostgreSQL do not wait for one another.
func (l *Ledger) Crowded() bool {
	if l.db.dialect == postgres {
		return false
	}
	waits := l.db.writer.Stats().WaitCount
	return l.waits.Swap(waits) != waits
}

var _ usage.Store = (*Ledger)(nil)

// nothing is what a transaction ends with that has nothing to do.
var errNothing = errors.New("nothing to do")

// Ship implements usage.Store.
func (l *Ledger) Ship(ctx context.Context, b *usage.Batch) error {
	err := l.ship(ctx, b)
	if err != nil && !errors.Is(err, usage.ErrGone) {
		return fmt.Errorf("ship: %w", err)
	}
	return err
}

func (l *Ledger) ship(ctx context.Context, b *usage.Batch) error {
	numbers, err := l.db.number(ctx, b.Rows)
	if err != nil {
		return err
	}
	// Nearly always all rows are new, and go in by the quickest way, which fails as a whole when one is there.
	err = l.db.write(ctx, func(ctx context.Context, s *session) error { return s.ship(ctx, b, numbers, s.insertNew) })
	if isTaken(err) {
		err = l.db.write(ctx, func(ctx context.Context, s *session) error { return s.ship(ctx, b, numbers, s.insertMissing) })
	}
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// An insert stores rows and tells which were not there before; nil: none was.
type insert func(ctx context.Context, b *usage.Batch, numbers []int64) (isNew []bool, err error)

func (s *session) ship(ctx context.Context, b *usage.Batch, numbers []int64, put insert) error {
	if err := s.advance(ctx, b); err != nil {
		return err
	}
	if len(b.Rows) > 0 {
		isNew, err := put(ctx, b, numbers)
		if err != nil {
			return err
		}
		if err := s.addSums(ctx, sum(b.Rows, numbers, isNew)); err != nil {
			return err
		}
	}
	if err := s.putOpen(ctx, b.Replica, b.Open); err != nil {
		return err
	}
	return s.endOpen(ctx, b.Ended)
}

// advance checks that the batch is the next of its replica, and notes that it is here.
func (s *session) advance(ctx context.Context, b *usage.Batch) error {
	find := say("SELECT shipped, robbed FROM replicas WHERE id = ?", b.Replica)
	if s.dialect == postgres {
		find.and(" FOR UPDATE")
	}
	var shipped uint64
	var robbed bool
	found, err := s.one(ctx, find, &shipped, asBit{&robbed})
	switch {
	case err != nil:
		return err
	case !found: // it has never joined, or the store was put back to a time before it did
		return usage.ErrGone
	case shipped >= b.Position:
		return errNothing
	case robbed:
		return usage.ErrGone
	case shipped != b.After:
		return fmt.Errorf("a batch after position %d of replica %s, but the store has it up to %d", b.After, b.Replica, shipped)
	}
	err = s.do(ctx, say("UPDATE replicas SET shipped = ?, seen = ", b.Position).and(s.now()).and(" WHERE id = ?", b.Replica))
	return err
}

// now is the store's clock, in microseconds.
func (s *session) now() text {
	if s.dialect == postgres {
		return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	}
	return "CAST(unixepoch('subsec') * 1000000 AS integer)"
}

// Shipped implements usage.Store.
func (l *Ledger) Shipped(ctx context.Context, replica string) (position uint64, err error) {
	err = l.db.alone(ctx, func(ctx context.Context, s *session) error {
		_, err := s.one(ctx, say("SELECT shipped FROM replicas WHERE id = ?", replica), &position)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("shipped position: %w", err)
	}
	return position, nil
}

// endOpen removes open calls.
func (s *session) endOpen(ctx context.Context, ended []string) error {
	ids := make([]any, len(ended))
	for i, id := range ended {
		ids[i] = clean(id)
	}
	for piece := range pieces(ids) {
		if err := s.do(ctx, say("DELETE FROM ledger_open WHERE request_id IN (").list(len(piece), "?", piece...).and(")")); err != nil {
			return err
		}
	}
	return nil
}
