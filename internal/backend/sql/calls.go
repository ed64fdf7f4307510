package sql

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice/internal/usage"
)

// putOpen keeps calls that are under way. It changes none that another replica took over.
func (s *session) putOpen(ctx context.Context, replica string, calls []usage.Open) error {
	latest := make(map[string]int, len(calls)) // a statement may change a row once only
	for i := range calls {
		latest[calls[i].RequestID] = i
	}
	order := make([]int, 0, len(latest))
	for _, i := range latest {
		order = append(order, i)
	}
	slices.Sort(order)
	for piece := range pieces(order) {
		var args []any
		for _, i := range piece {
			c := &calls[i]
			form, err := c.AppendBinary(nil)
			if err != nil {
				return err
			}
			args = append(args, clean(c.RequestID), clean(c.Replica), replica, int64(c.Position), form)
		}
		err := s.do(ctx, say("INSERT INTO ledger_open (request_id, replica, owner, taken, position, call) VALUES ").
			list(len(piece), "(?, ?, ?, 0, ?, ?)", args...).
			and(" ON CONFLICT (request_id) DO UPDATE SET call = excluded.call WHERE ledger_open.owner = excluded.owner"))
		if err != nil {
			return err
		}
	}
	return nil
}

// Join implements usage.Store.
func (l *Ledger) Join(ctx context.Context, replica string) (usage.Standing, error) {
	var now usage.Standing
	err := l.db.write(ctx, func(ctx context.Context, s *session) error {
		now = usage.Standing{}
		_, err := s.one(ctx, say("INSERT INTO replicas (id, seen, shipped, robbed) VALUES (?, ", replica).and(s.now()).
			and(", 0, 0) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, robbed = 0 RETURNING shipped"), &now.Shipped)
		if err != nil {
			return err
		}
		if now.Open, err = s.open(ctx, replica, false); err != nil {
			return err
		}
		return s.each(ctx, say("SELECT request_id FROM ledger_claims WHERE replica = ? ORDER BY request_id", replica), scanText(&now.Claimed))
	})
	if err != nil {
		return usage.Standing{}, fmt.Errorf("join: %w", err)
	}
	return now, nil
}

// open lists open calls in the order of their logs.
func (s *session) open(ctx context.Context, owner string, taken bool) (calls []usage.Open, err error) {
	q := say("SELECT call FROM ledger_open WHERE owner = ? AND taken = ? ORDER BY replica, position", owner, bit(taken))
	err = s.each(ctx, q, func(r row) error {
		var call usage.Open
		var form []byte
		if err := r.Scan(&form); err != nil {
			return err
		}
		if err := call.UnmarshalBinary(form); err != nil {
			return fmt.Errorf("open call: %w", err)
		}
		calls = append(calls, call)
		return nil
	})
	return calls, err
}

// Claim implements usage.Store.
func (l *Ledger) Claim(ctx context.Context, by string, gone time.Duration) (calls []usage.Open, err error) {
	err = l.db.write(ctx, func(ctx context.Context, s *session) (err error) {
		from, err := s.gone(ctx, by, gone)
		if err != nil {
			return err
		}
		for _, replica := range from {
			if err := s.rob(ctx, by, replica); err != nil {
				return err
			}
		}
		calls, err = s.open(ctx, by, true)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim calls: %w", err)
	}
	return calls, nil
}

// gone lists the replicas with open calls that were not heard of for so long, and locks them: none of them can ship
// meanwhile, and one that just did is not among them.
func (s *session) gone(ctx context.Context, by string, gone time.Duration) (replicas []string, err error) {
	q := say("SELECT id FROM replicas WHERE id <> ? AND seen <= ", by).and(s.now()).
		and(" - ? AND EXISTS (SELECT 1 FROM ledger_open WHERE owner = replicas.id) ORDER BY id", gone.Microseconds())
	if s.dialect == postgres {
		q.and(" FOR UPDATE")
	}
	err = s.each(ctx, q, scanText(&replicas))
	return replicas, err
}

// rob hands all open calls of one replica to another.
func (s *session) rob(ctx context.Context, by, from string) error {
	for _, q := range [...]*statement{
		say("INSERT INTO ledger_claims (replica, request_id, at) SELECT owner, request_id, ").and(s.now()).
			and(" FROM ledger_open WHERE owner = ? ON CONFLICT (replica, request_id) DO NOTHING", from),
		say("DELETE FROM ledger_claims WHERE replica = ? AND request_id IN (SELECT request_id FROM ledger_open WHERE owner = ?)", by, from), // they come back
		say("UPDATE replicas SET robbed = 1 WHERE id = ? AND EXISTS (SELECT 1 FROM ledger_open WHERE owner = ?)", from, from),
		say("UPDATE ledger_open SET owner = ?, taken = 1 WHERE owner = ?", by, from),
	} {
		if err := s.do(ctx, q); err != nil {
			return err
		}
	}
	return nil
}
