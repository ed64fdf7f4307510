package sql

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// deleteBatch is how many rows go in one transaction, so that writers need not wait long.
const deleteBatch = 5000

// Prepare implements usage.Store. Without it rows are stored as well, in a place from which they are moved when it is called.
func (l *Ledger) Prepare(ctx context.Context, at time.Time) error {
	if l.db.dialect != postgres {
		return nil
	}
	today := floorTo(at.Unix(), day) / day
	for _, d := range [...]int64{today, today + 1} {
		err := l.db.write(ctx, func(ctx context.Context, s *session) error {
			err := s.do(ctx, say("SELECT ledger_prepare(?)", d))
			return err
		})
		if err != nil {
			return fmt.Errorf("prepare the ledger: %w", err)
		}
	}
	return nil
}

// Retain implements usage.Store. Rows and sums are kept by whole days of UTC.
func (l *Ledger) Retain(ctx context.Context, rows, sums time.Time) error {
	if err := l.retainRows(ctx, rows); err != nil {
		return fmt.Errorf("drop old rows: %w", err)
	}
	before := floorTo(sums.Unix(), day)
	err := l.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("DELETE FROM alerts WHERE done > 0 AND done < ?", before*1e6)) // of periods that are gone
		return err
	})
	if err != nil {
		return fmt.Errorf("drop old alerts: %w", err)
	}
	for _, span := range [...]int64{quarter, day} {
		err := l.deleteInBatches(ctx,
			func() *statement {
				return say("SELECT start FROM rollup WHERE span = ? AND start < ? ORDER BY start LIMIT 1 OFFSET ?", span, before, deleteBatch-1)
			},
			func(upTo int64) *statement {
				return say("DELETE FROM rollup WHERE span = ? AND start <= ?", span, upTo)
			}, before-1)
		if err != nil {
			return fmt.Errorf("drop old sums: %w", err)
		}
	}
	return nil
}

func (l *Ledger) retainRows(ctx context.Context, before time.Time) error {
	micro := ceilMicro(before)
	err := l.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("DELETE FROM ledger_claims WHERE at < ?", micro))
		return err
	})
	if err != nil {
		return err
	}
	// By whole days, so that what is left of a day can be held against its sums.
	micro = floorTo(micro, day*1e6)
	if l.db.dialect != postgres {
		return l.deleteInBatches(ctx,
			func() *statement {
				return say("SELECT charged FROM ledger WHERE charged < ? ORDER BY charged LIMIT 1 OFFSET ?", micro, deleteBatch-1)
			},
			func(upTo int64) *statement { return say("DELETE FROM ledger WHERE charged <= ?", upTo) }, micro-1)
	}
	for {
		var dropped sql.NullString
		err := l.db.write(ctx, func(ctx context.Context, s *session) error {
			_, err := s.one(ctx, say("SELECT ledger_drop_before(?)", micro/(day*1e6)), &dropped)
			return err
		})
		if err != nil {
			return err
		}
		if !dropped.Valid {
			break
		}
	}
	return l.deleteInBatches(ctx,
		func() *statement {
			return say("SELECT charged FROM ledger_rest WHERE charged < ? ORDER BY charged LIMIT 1 OFFSET ?", micro, deleteBatch-1)
		},
		func(upTo int64) *statement { return say("DELETE FROM ledger_rest WHERE charged <= ?", upTo) }, micro-1)
}

// deleteInBatches deletes up to the point that find gives, again and again, and at last up to the end.
func (l *Ledger) deleteInBatches(ctx context.Context, find func() *statement, del func(upTo int64) *statement, end int64) error {
	for {
		more := false
		err := l.db.write(ctx, func(ctx context.Context, s *session) error {
			upTo := end
			var err error
			if more, err = s.one(ctx, find(), &upTo); err != nil {
				return err
			}
			err = s.do(ctx, del(upTo))
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}
