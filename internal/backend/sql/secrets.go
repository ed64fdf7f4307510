package sql

import (
	"context"
	"fmt"
	"time"

	"sluice/internal/seal"
)

// Secrets is seal.Store.
type Secrets struct{ db *DB }

// Secrets gives the sealed values in the store.
func (db *DB) Secrets() *Secrets { return &Secrets{db} }

var _ seal.Store = (*Secrets)(nil)

// Keyset implements seal.Store.
func (t *Secrets) Keyset(ctx context.Context) (*seal.Keyset, error) {
	var k seal.Keyset
	found := false
	err := t.db.alone(ctx, func(ctx context.Context, s *session) (err error) {
		found, err = s.one(ctx, say("SELECT version, kek, wrapped FROM secret_keys"), &k.Version, &k.KEK, &k.Wrapped)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get keyset: %w", err)
	}
	if !found {
		return nil, nil //nolint:nilnil // the interface asks for it
	}
	return &k, nil
}

// PutKeyset implements seal.Store.
func (t *Secrets) PutKeyset(ctx context.Context, k *seal.Keyset, was int64) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		q := say("UPDATE secret_keys SET version = ?, kek = ?, wrapped = ? WHERE version = ?", k.Version, k.KEK, blob(k.Wrapped), was)
		if was == 0 {
			q = say("INSERT INTO secret_keys (id, version, kek, wrapped) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO NOTHING", k.Version, k.KEK, blob(k.Wrapped))
		}
		n, err := s.exec(ctx, q)
		if err == nil && n == 0 {
			return seal.ErrVersion
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("put keyset: %w", err)
	}
	return nil
}

// blob is bytes that are not NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// under fails where the keyset is of another version, and keeps it as it is until the transaction ends.
func (s *session) under(ctx context.Context, keyset int64) error {
	q := say("SELECT version FROM secret_keys")
	if s.dialect == postgres { // in SQLite nobody else writes
		q.and(" FOR SHARE")
	}
	var version int64
	if _, err := s.one(ctx, q, &version); err != nil {
		return err
	}
	if version != keyset {
		return seal.ErrVersion
	}
	return nil
}

// Put implements seal.Store.
func (t *Secrets) Put(ctx context.Context, v *seal.Value, keyset int64) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.under(ctx, keyset); err != nil {
			return err
		}
		n, err := s.exec(ctx, say("INSERT INTO secrets (id, purpose, object, key, sealed, created, unused) VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (id) DO NOTHING",
			v.ID, string(v.Purpose), v.Object, int64(v.Key), blob(v.Sealed), v.Created.UnixMicro()))
		if err == nil && n == 0 {
			return seal.ErrExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("put secret: %w", err)
	}
	return nil
}

// Reseal implements seal.Store.
func (t *Secrets) Reseal(ctx context.Context, v *seal.Value, was uint32, keyset int64) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.under(ctx, keyset); err != nil {
			return err
		}
		err := s.do(ctx, say("UPDATE secrets SET key = ?, sealed = ? WHERE id = ? AND key = ?", int64(v.Key), blob(v.Sealed), v.ID, int64(was)))
		return err
	})
	if err != nil {
		return fmt.Errorf("reseal secret: %w", err)
	}
	return nil
}

const secretColumns text = "SELECT id, purpose, object, key, sealed, created, unused FROM secrets" //nolint:gosec // G101: names of columns

func scanSecret(all *[]seal.Value) func(row) error {
	return func(r row) error {
		var v seal.Value
		var created, unused int64
		err := r.Scan(&v.ID, &v.Purpose, &v.Object, &v.Key, &v.Sealed, &created, &unused)
		if v.Created = micros(created); unused != 0 {
			v.Unused = micros(unused)
		}
		*all = append(*all, v)
		return err
	}
}

// Get implements seal.Store.
func (t *Secrets) Get(ctx context.Context, id string) (*seal.Value, error) {
	var list []seal.Value
	err := t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		return s.each(ctx, say(secretColumns).and(" WHERE id = ?", id), scanSecret(&list))
	})
	if err != nil {
		return nil, fmt.Errorf("get secret: %w", err)
	}
	if len(list) == 0 {
		return nil, seal.ErrNotFound
	}
	return &list[0], nil
}

// Stale implements seal.Store.
func (t *Secrets) Stale(ctx context.Context, key uint32, most int) (list []seal.Value, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		return s.each(ctx, say(secretColumns).and(" WHERE key <> ? ORDER BY id", int64(key)).limit(most), scanSecret(&list))
	})
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return list, nil
}

// Delete implements seal.Store.
func (t *Secrets) Delete(ctx context.Context, id string) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("DELETE FROM secrets WHERE id = ?", id))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete secret: %w", err)
	}
	return nil
}

// Use implements seal.Store.
func (t *Secrets) Use(ctx context.Context, purposes []seal.Purpose, ids []string, now, keep time.Time) error {
	var kinds, used []any
	for _, p := range purposes {
		kinds = append(kinds, string(p))
	}
	for _, id := range append([]string{""}, ids...) { // so that there is one
		used = append(used, id)
	}
	if len(kinds) == 0 {
		return nil
	}
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("UPDATE secrets SET unused = 0 WHERE unused <> 0 AND purpose IN (").list(len(kinds), "?", kinds...).
			and(") AND id IN (").list(len(used), "?", used...).and(")"))
		if err != nil {
			return err
		}
		err = s.do(ctx, say("UPDATE secrets SET unused = ? WHERE unused = 0 AND purpose IN (", now.UnixMicro()).list(len(kinds), "?", kinds...).
			and(") AND id NOT IN (").list(len(used), "?", used...).and(")"))
		if err != nil {
			return err
		}
		err = s.do(ctx, say("DELETE FROM secrets WHERE unused <> 0 AND unused < ? AND purpose IN (", keep.UnixMicro()).list(len(kinds), "?", kinds...).and(")"))
		return err
	})
	if err != nil {
		return fmt.Errorf("use secrets: %w", err)
	}
	return nil
}
