package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sluice/internal/alert"
)

// An Outbox is alert.Outbox.
type Outbox struct{ db *DB }

// Outbox gives the outbox of alerts in the store.
func (db *DB) Outbox() *Outbox { return &Outbox{db} }

var _ alert.Outbox = (*Outbox)(nil)

// Put implements alert.Outbox.
func (o *Outbox) Put(ctx context.Context, n *alert.Notice, hooks []string) error {
	err := o.db.write(ctx, func(ctx context.Context, s *session) error {
		for _, hook := range slices.Sorted(slices.Values(hooks)) {
			err := s.do(ctx, say("INSERT INTO alerts (id, hook, notice, tries, due, done) VALUES (?, ?, ?, 0, ", n.ID, hook, string(mustJSON(n))).
				and(s.now()).and(", 0) ON CONFLICT (id, hook) DO NOTHING"))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put alert: %w", err)
	}
	return nil
}

// Claim implements alert.Outbox.
func (o *Outbox) Claim(ctx context.Context, hooks []string, most int, lease time.Duration) (tasks []alert.Task, err error) {
	if len(hooks) == 0 || most <= 0 {
		return nil, nil
	}
	var names []any
	for _, hook := range hooks {
		names = append(names, hook)
	}
	err = o.db.write(ctx, func(ctx context.Context, s *session) error {
		tasks = nil
		q := say("SELECT notice, hook, tries FROM alerts WHERE done = 0 AND due <= ").and(s.now()).
			and(" AND hook IN (").list(len(names), "?", names...).and(") ORDER BY due, id, hook").limit(most)
		if s.dialect == postgres {
			q.and(" FOR UPDATE SKIP LOCKED") // somebody else claims those
		}
		err := s.each(ctx, q, func(r row) error {
			var t alert.Task
			var notice string
			err := r.Scan(&notice, &t.Hook, &t.Tries)
			if err == nil {
				err = json.Unmarshal([]byte(notice), &t.Notice)
			}
			tasks = append(tasks, t)
			return err
		})
		for i := range tasks {
			if err == nil {
				err = s.due(ctx, &tasks[i], lease)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim alerts: %w", err)
	}
	return tasks, nil
}

// due makes a task due after a time.
func (s *session) due(ctx context.Context, t *alert.Task, after time.Duration) error {
	err := s.do(ctx, say("UPDATE alerts SET tries = ?, due = ", t.Tries).and(s.now()).
		and(" + ? WHERE id = ? AND hook = ? AND done = 0", after.Microseconds(), t.ID, t.Hook))
	return err
}

// Done implements alert.Outbox.
func (o *Outbox) Done(ctx context.Context, t *alert.Task) error {
	err := o.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("UPDATE alerts SET done = ").and(s.now()).and(" WHERE id = ? AND hook = ? AND done = 0", t.ID, t.Hook))
		return err
	})
	if err != nil {
		return fmt.Errorf("end alert: %w", err)
	}
	return nil
}

// Later implements alert.Outbox.
func (o *Outbox) Later(ctx context.Context, t *alert.Task, after time.Duration) error {
	again := *t
	again.Tries++
	err := o.db.write(ctx, func(ctx context.Context, s *session) error { return s.due(ctx, &again, after) })
	if err != nil {
		return fmt.Errorf("put off alert: %w", err)
	}
	return nil
}
