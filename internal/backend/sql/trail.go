package sql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"sluice/internal/audit"
	"sluice/internal/llm"
)

// A Trail is audit.Store.
type Trail struct{ db *DB }

// Trail gives the audit log in the store.
func (db *DB) Trail() *Trail { return &Trail{db} }

var _ audit.Store = (*Trail)(nil)

// Together implements audit.Store.
func (t *Trail) Together(ctx context.Context, do func(context.Context) error) error {
	return t.db.Together(ctx, do)
}

// hold keeps other transactions from what a name stands for until this one ends. SQLite has one writer anyway. It is no lock of a
// row, which nobody may take who may not change the row.
func (s *session) hold(ctx context.Context, what, name string) error {
	if s.pipe == nil || !s.pipe.tx {
		return nil
	}
	sum := sha256.Sum256([]byte("sluice " + what + "\x00" + name))
	err := s.do(ctx, say("SELECT pg_advisory_xact_lock(?)", int64(binary.BigEndian.Uint64(sum[:8]))))
	return err
}

func trailed(op string, err error) error {
	if err != nil {
		return fmt.Errorf("audit %s: %w", op, err)
	}
	return nil
}

// asStamp reads microseconds as the log has them.
type asStamp struct{ to *audit.Time }

// Scan implements sql.Scanner.
func (a asStamp) Scan(from any) error { return asTime{&a.to.Time}.Scan(from) }

// asSum reads a hash of the log.
type asSum struct{ to *audit.Hash }

// Scan implements sql.Scanner.
func (a asSum) Scan(from any) error {
	if b, ok := from.([]byte); !ok || copy(a.to[:], b) != len(a.to) || len(b) != len(a.to) {
		return fmt.Errorf("a hash of the audit log has another length")
	}
	return nil
}

// asBytes reads bytes of which none are nil.
type asBytes struct{ to *[]byte }

// Scan implements sql.Scanner.
func (a asBytes) Scan(from any) error {
	var v sql.Null[[]byte]
	err := v.Scan(from)
	if *a.to = v.V; len(v.V) == 0 {
		*a.to = nil
	}
	return err
}

const (
	headColumns  text = "e.org, e.seq, e.hash, e.at"
	entryColumns text = "e.version, e.org, e.seq, e.at, e.behind, e.actor_kind, e.actor_id, e.act, e.object_kind, e.object_id, e.result, e.request, " +
		"e.said_key, e.said, e.changed_key, e.changed, e.prev, e.hash"
	checkpointColumns text = "number, version, at, prev, hash, key_id, signature"
)

func headInto(h *audit.Head) []any { return []any{&h.Org, &h.Seq, asSum{&h.Hash}, asStamp{&h.At}} }

func entryInto(e *audit.Entry) []any {
	return []any{
		&e.Version, &e.Org, &e.Seq,
		asStamp{&e.At},
		&e.Behind, &e.Actor.Kind, &e.Actor.ID, &e.Act, &e.Object.Kind, &e.Object.ID, &e.Result, &e.Request,
		&e.Said.Key,
		asBytes{&e.Said.Data},
		&e.Changed.Key,
		asBytes{&e.Changed.Data},
		asSum{&e.Prev},
		asSum{&e.Hash},
	}
}

func checkpointInto(c *audit.Checkpoint) []any {
	return []any{&c.Number, &c.Version, asStamp{&c.At}, asSum{&c.Prev}, asSum{&c.Hash}, &c.Key, &c.Signature}
}

// Head implements audit.Store.
func (t *Trail) Head(ctx context.Context, org string, subjects []string) (head audit.Head, keys []audit.DataKey, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		head, keys = audit.Head{Org: org}, nil
		if err := s.hold(ctx, "audit chain", org); err != nil {
			return err
		}
		newest := say("SELECT ").and(headColumns).and(" FROM audit_entries e WHERE e.org = ? ORDER BY e.seq DESC LIMIT 1", org)
		all := []question{oneRow(newest, new(bool), headInto(&head)...)}
		if len(subjects) > 0 {
			all = append(all, question{s.dataKeys("subject", subjects), scanKey(&keys)})
		}
		return s.ask(ctx, all...)
	})
	return head, keys, trailed("head", err)
}

// add stores what is part of the log. In a transaction that goes on, nobody waits for it: that it cannot be stored is told when that ends.
func (t *Trail) add(ctx context.Context, q *statement) error {
	put := func(ctx context.Context, s *session) error { return s.doOr(ctx, q, unwritten) }
	if s := t.db.joined(ctx); s != nil {
		return put(ctx, s)
	}
	return t.db.write(ctx, put)
}

// unwritten tells whoever acts that the log refused the act's entry.
func unwritten(err error) error {
	return &llm.Error{Kind: llm.KindOverloaded, Msg: "the audit log cannot be written, so nothing was changed", Err: fmt.Errorf("%w: %w", audit.ErrUnwritten, err)}
}

// Append implements audit.Store.
func (t *Trail) Append(ctx context.Context, e *audit.Entry) error {
	return trailed("append", t.add(ctx, say("INSERT INTO audit_entries (version, org, seq, at, behind, actor_kind, actor_id, act, object_kind, object_id, result, request, "+
		"said_key, said, changed_key, changed, prev, hash) VALUES (").list(18, "?",
		e.Version, e.Org, e.Seq, e.At.UnixMicro(), e.Behind, e.Actor.Kind, e.Actor.ID, e.Act, e.Object.Kind, e.Object.ID, string(e.Result), e.Request,
		e.Said.Key, orEmpty(e.Said.Data), e.Changed.Key, orEmpty(e.Changed.Data), e.Prev[:], e.Hash[:]).and(")")))
}

// orEmpty is bytes of which none are no NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Entries implements audit.Store. From the beginning it gives whatever is there, also what has no business to be.
func (t *Trail) Entries(ctx context.Context, org string, after, until uint64) (list []audit.Entry, err error) {
	q := say("SELECT ").and(entryColumns).and(" FROM audit_entries e WHERE e.org = ? AND e.seq <= ?", org, until)
	if after > 0 {
		q.and(" AND e.seq > ?", after)
	}
	q.and(" ORDER BY e.seq").limit(audit.MaxList)
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		return s.each(ctx, q, func(r row) error {
			var e audit.Entry
			err := r.Scan(entryInto(&e)...)
			list = append(list, e)
			return err
		})
	})
	return list, trailed("entries", err)
}

// keyColumns are data keys that may be gone, of the two parts of an entry.
const keyColumns text = "k.id, k.subject, k.wrapped, k.made, c.id, c.subject, c.wrapped, c.made"

func keyInto(k *audit.DataKey) []any {
	return []any{orZero[string]{&k.ID}, orZero[string]{&k.Subject}, asBytes{&k.Wrapped}, asTime{&k.Made}}
}

// Find implements audit.Store. It is one question: who lists the log waits once for the store.
func (t *Trail) Find(ctx context.Context, f *audit.Query) (list []audit.Entry, keys map[string]audit.DataKey, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list, keys = nil, map[string]audit.DataKey{}
		return s.each(ctx, s.entries(f), func(r row) error {
			var e audit.Entry
			var of [2]audit.DataKey
			err := r.Scan(slices.Concat(entryInto(&e), keyInto(&of[0]), keyInto(&of[1]))...)
			for _, k := range of {
				if k.ID != "" {
					keys[k.ID] = k
				}
			}
			list = append(list, e)
			return err
		})
	})
	return list, keys, trailed("find", err)
}

// entries looks for entries, with the keys of their parts.
func (s *session) entries(f *audit.Query) *statement {
	q := say("SELECT ").and(entryColumns).and(", ").and(keyColumns).and(" FROM (SELECT ").and(entryColumns).and(" FROM audit_entries e WHERE 1 = 1")
	if len(f.Orgs) > 0 {
		q.and(" AND e.org").and(s.among(), jsonTexts(f.Orgs))
	}
	if f.Actor != "" {
		q.and(" AND e.actor_id IN (?, '') AND (e.actor_id <> '' OR e.actor_kind = ?)", clean(f.Actor), clean(f.Actor))
	}
	switch {
	case f.Act == "":
	case s.dialect == postgres:
		q.and(` AND e.act LIKE ? ESCAPE '\'`, likePattern(clean(f.Act)))
	default:
		q.and(" AND e.act GLOB ?", globPattern(clean(f.Act)))
	}
	equal(q, " AND e.object_id = ?", clean(f.Object))
	equal(q, " AND e.result = ?", clean(string(f.Result)))
	between(q, f.From, f.Until)
	if b := f.Before; b != nil {
		q.and(" AND (e.at, e.org, e.seq) < (?, ?, ?)", b.At.UnixMicro(), clean(b.Org), b.Seq)
	}
	const order text = " ORDER BY e.at DESC, e.org DESC, e.seq DESC"
	return q.and(order).limit(f.Limit).and(") e LEFT JOIN audit_keys k ON k.id = e.said_key LEFT JOIN audit_keys c ON c.id = e.changed_key").and(order)
}

func between(q *statement, from, until time.Time) {
	if !from.IsZero() {
		q.and(" AND e.at >= ?", ceilMicro(from))
	}
	if !until.IsZero() {
		q.and(" AND e.at < ?", ceilMicro(until))
	}
}

// heads are the newest entries of all chains. The names of the chains are found one after the other, each by one probe.
func heads() *statement {
	return say("WITH RECURSIVE names(org) AS (SELECT min(org) FROM audit_entries UNION ALL " +
		"SELECT (SELECT min(n.org) FROM audit_entries n WHERE n.org > names.org) FROM names WHERE names.org IS NOT NULL) SELECT ").and(headColumns).
		and(" FROM names JOIN audit_entries e ON e.org = names.org AND e.seq = (SELECT max(m.seq) FROM audit_entries m WHERE m.org = names.org)")
}

func (t *Trail) heads(ctx context.Context, q *statement) (list []audit.Head, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		return s.each(ctx, q, func(r row) error {
			var h audit.Head
			err := r.Scan(headInto(&h)...)
			list = append(list, h)
			return err
		})
	})
	return list, trailed("heads", err)
}

// Chains implements audit.Store.
func (t *Trail) Chains(ctx context.Context) ([]audit.Head, error) {
	return t.heads(ctx, heads().and(" ORDER BY e.org"))
}

// Moved implements audit.Store.
func (t *Trail) Moved(ctx context.Context) ([]audit.Head, error) {
	return t.heads(ctx, heads().and(" WHERE NOT EXISTS (SELECT 1 FROM audit_heads h WHERE h.org = e.org AND h.seq = e.seq) ORDER BY e.org"))
}

// LastCheckpoint implements audit.Store.
func (t *Trail) LastCheckpoint(ctx context.Context) (last *audit.Checkpoint, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		last = nil
		if err := s.hold(ctx, "audit checkpoints", ""); err != nil {
			return err
		}
		c := new(audit.Checkpoint)
		found, err := s.one(ctx, say("SELECT ").and(checkpointColumns).and(" FROM audit_checkpoints ORDER BY number DESC LIMIT 1"), checkpointInto(c)...)
		if found {
			last = c
		}
		return err
	})
	return last, trailed("checkpoint", err)
}

// AddCheckpoint implements audit.Store.
func (t *Trail) AddCheckpoint(ctx context.Context, c *audit.Checkpoint) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("INSERT INTO audit_checkpoints (").and(checkpointColumns).and(") VALUES (?, ?, ?, ?, ?, ?, ?)",
			c.Number, c.Version, c.At.UnixMicro(), c.Prev[:], c.Hash[:], c.Key, c.Signature))
		for i := range c.Heads {
			if h := &c.Heads[i]; err == nil {
				err = s.do(ctx, say("INSERT INTO audit_heads (number, org, seq, hash) VALUES (?, ?, ?, ?)", c.Number, h.Org, h.Seq, h.Hash[:]))
			}
		}
		return err
	})
	return trailed("checkpoint", err)
}

// Checkpoints implements audit.Store. From the beginning it gives whatever is there, also what has no business to be.
func (t *Trail) Checkpoints(ctx context.Context, after, until uint64) (list []audit.Checkpoint, err error) {
	err = t.db.read(ctx, func(ctx context.Context, s *session) error {
		list = nil
		q := say("SELECT ").and(checkpointColumns).and(" FROM audit_checkpoints WHERE number <= ?", until)
		if after > 0 {
			q.and(" AND number > ?", after)
		}
		at := map[uint64]int{}
		err := s.each(ctx, q.and(" ORDER BY number").limit(audit.MaxList), func(r row) error {
			var c audit.Checkpoint
			err := r.Scan(checkpointInto(&c)...)
			at[c.Number] = len(list)
			list = append(list, c)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		q = say("SELECT number, org, seq, hash FROM audit_heads WHERE number >= ? AND number <= ? ORDER BY number, org", list[0].Number, list[len(list)-1].Number)
		return s.each(ctx, q, func(r row) error {
			var number uint64
			var h audit.Head
			err := r.Scan(&number, &h.Org, &h.Seq, asSum{&h.Hash})
			if i, known := at[number]; known {
				list[i].Heads = append(list[i].Heads, h)
			}
			return err
		})
	})
	return list, trailed("checkpoints", err)
}

// Keys implements audit.Store.
func (t *Trail) Keys(ctx context.Context, ids []string) (list []audit.DataKey, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		list = nil
		return s.each(ctx, s.dataKeys("id", ids), scanKey(&list))
	})
	return list, trailed("keys", err)
}

// dataKeys looks for data keys of which a column is one of a list.
func (s *session) dataKeys(column text, of []string) *statement {
	return say("SELECT id, subject, wrapped, made FROM audit_keys WHERE ").and(column).and(s.among(), jsonTexts(of)).and(" ORDER BY id")
}

func scanKey(list *[]audit.DataKey) func(row) error {
	return func(r row) error {
		var k audit.DataKey
		err := r.Scan(&k.ID, &k.Subject, &k.Wrapped, asTime{&k.Made})
		*list = append(*list, k)
		return err
	}
}

// among follows a column that is one of the texts of a JSON array: one statement for lists of any length. PostgreSQL joins a subquery, for
// which it reads the whole table; an array it looks up in the column's index.
func (s *session) among() text {
	if s.dialect == postgres {
		return " = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(? AS jsonb))))"
	}
	return " IN (SELECT value FROM json_each(?))"
}

func jsonTexts(list []string) string {
	clear := make([]string, len(list))
	for i, s := range list {
		clear[i] = clean(s)
	}
	return string(mustJSON(clear))
}

// AddKey implements audit.Store.
func (t *Trail) AddKey(ctx context.Context, k *audit.DataKey) error {
	return trailed("key", t.add(ctx, say("INSERT INTO audit_keys (id, subject, wrapped, made) VALUES (?, ?, ?, ?)", k.ID, k.Subject, k.Wrapped, k.Made.UnixMicro())))
}

// DropKeys implements audit.Store. SQLite writes zeros over them; PostgreSQL has them on its disk until it vacuums.
func (t *Trail) DropKeys(ctx context.Context, subject string) (dropped int, err error) {
	err = t.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.overwrite(ctx, "PRAGMA secure_delete = 1"); err != nil {
			return err
		}
		n, err := s.exec(ctx, say("DELETE FROM audit_keys WHERE subject = ?", clean(subject)))
		if err != nil {
			return err
		}
		dropped = int(n)
		return s.overwrite(ctx, "PRAGMA secure_delete = 0")
	})
	return dropped, trailed("redaction", err)
}

// overwrite says whether SQLite writes over what it deletes, which takes time.
func (s *session) overwrite(ctx context.Context, pragma text) error {
	if s.dialect == postgres {
		return nil
	}
	err := s.do(ctx, say(pragma))
	return err
}
