package sql

import (
	"context"
	"fmt"
	"time"

	"sluice/internal/settings"
)

// Settings is settings.Store.
type Settings struct{ db *DB }

// Settings gives the revisions of the settings in the store.
func (db *DB) Settings() *Settings { return &Settings{db} }

var _ settings.Store = (*Settings)(nil)

// Newest implements settings.Store.
func (t *Settings) Newest(ctx context.Context) (n int64, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		_, err := s.one(ctx, say("SELECT coalesce(max(number), 0) FROM settings"), &n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("newest settings: %w", err)
	}
	return n, nil
}

// Get implements settings.Store.
func (t *Settings) Get(ctx context.Context, number int64) (*settings.Revision, error) {
	var r settings.Revision
	var at int64
	found := false
	err := t.db.alone(ctx, func(ctx context.Context, s *session) (err error) {
		q := say("SELECT number, based, at, by, act, why, document FROM settings")
		if number == 0 {
			q.and(" ORDER BY number DESC LIMIT 1")
		} else {
			q.and(" WHERE number = ?", number)
		}
		found, err = s.one(ctx, q, &r.Number, &r.Based, &at, &r.By, &r.Act, &r.Why, &r.Document)
		return err
	})
	if err == nil && !found {
		return nil, settings.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get settings: %w", err)
	}
	r.At = micros(at)
	return &r, nil
}

// micros is a time as it is kept.
func micros(at int64) time.Time { return time.UnixMicro(at).UTC() }

// List implements settings.Store.
func (t *Settings) List(ctx context.Context, below int64, limit int) (list []settings.Revision, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		q := say("SELECT number, based, at, by, act, why FROM settings")
		if below != 0 {
			q.and(" WHERE number < ?", below)
		}
		return s.each(ctx, q.and(" ORDER BY number DESC").limit(settings.Bound(limit)), func(from row) error {
			var r settings.Revision
			var at int64
			err := from.Scan(&r.Number, &r.Based, &at, &r.By, &r.Act, &r.Why)
			r.At = micros(at)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list settings: %w", err)
	}
	return list, nil
}

// Append implements settings.Store.
func (t *Settings) Append(ctx context.Context, r *settings.Revision) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, say("INSERT INTO settings (number, based, at, by, act, why, document) SELECT ?, ?, ?, ?, ?, ?, ?",
			r.Number, r.Based, r.At.UnixMicro(), r.By, r.Act, r.Why, string(r.Document)).
			and(" WHERE ? = (SELECT coalesce(max(number), 0) + 1 FROM settings) ON CONFLICT (number) DO NOTHING", r.Number))
		if err == nil && n == 0 {
			return settings.ErrTaken
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("append settings: %w", err)
	}
	return nil
}

// Report implements settings.Store.
func (t *Settings) Report(ctx context.Context, r *settings.Replica) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("INSERT INTO settings_replicas (id, revision, refused, problem, seen) VALUES (?, ?, ?, ?, ", r.ID, r.Revision, r.Refused, r.Problem).
			and(s.now()).and(") ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, refused = excluded.refused, problem = excluded.problem, seen = excluded.seen"))
		if err != nil {
			return err
		}
		err = s.do(ctx, say("DELETE FROM settings_replicas WHERE seen < ").and(s.now()).and(" - ?", (10*settings.Silence).Microseconds()))
		return err
	})
	if err != nil {
		return fmt.Errorf("report settings: %w", err)
	}
	return nil
}

// Replicas implements settings.Store.
func (t *Settings) Replicas(ctx context.Context) (list []settings.Replica, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		q := say("SELECT id, revision, refused, problem, seen FROM settings_replicas WHERE seen > ").and(s.now()).and(" - ? ORDER BY id", settings.Silence.Microseconds())
		return s.each(ctx, q, func(from row) error {
			var r settings.Replica
			var seen int64
			err := from.Scan(&r.ID, &r.Revision, &r.Refused, &r.Problem, &seen)
			r.Seen = micros(seen)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	return list, nil
}
