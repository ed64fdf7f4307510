package sql

import (
	"context"
	"errors"
	"fmt"

	"sluice/internal/directory"
)

// A subject is a pointer to a record of any kind.
type subject[T any] interface {
	*T
	Base() *directory.Record
}

// A shape is how records of a kind lie in tables.
type shape[T any, P subject[T]] struct {
	kind    directory.Kind
	from    text          // the table and its short name
	columns text          // in the order of into
	into    func(P) []any // where they are read to
	extra   func(*session) text
	list    func(P) any // where extra is read to; nil: there is none

	keep   func(P) []any // where an update reads the columns of kept to
	kept   text          // what an update may not change, after the maker and the time it was made
	insert func(P, []byte) *statement
	update func(P, []byte) *statement // but for its WHERE
	after  func(P) []*statement       // what it has beside its row, once that is there; nil: nothing
	clear  func(id string) *statement // before a record is deleted or put anew; nil: nothing
	remove text                       // with its id and version
	filter func(*statement, *directory.Filter)
}

// A table is directory.Table.
type table[T directory.Organisation | directory.Team | directory.User | directory.Key, P subject[T]] struct {
	db *DB
	*shape[T, P]
}

// find begins a query for records.
func (t *table[T, P]) find(s *session) *statement {
	q := say("SELECT ").and(t.columns)
	if t.list != nil {
		q.and(", ").and(t.extra(s))
	}
	return q.and(" FROM ").and(t.from)
}

func (t *table[T, P]) targets(v P) []any {
	into := t.into(v)
	if t.list != nil {
		into = append(into, t.list(v))
	}
	return into
}

// get reads one record.
func (t *table[T, P]) get(ctx context.Context, s *session, id string) (*T, error) {
	v := new(T)
	found, err := s.one(ctx, t.find(s).and(" WHERE id = ?", id), t.targets(v)...)
	if err == nil && !found {
		err = directory.ErrNotFound
	}
	return v, err
}

// Get implements directory.Table.
func (t *table[T, P]) Get(ctx context.Context, id string) (v *T, err error) {
	err = t.db.lookup(ctx, func(ctx context.Context, s *session) (err error) {
		v, err = t.get(ctx, s, id)
		return err
	})
	if err != nil {
		return nil, t.failed("get", err)
	}
	return v, nil
}

// List implements directory.Table.
func (t *table[T, P]) List(ctx context.Context, f directory.Filter) (list []T, next string, err error) {
	if f.Limit <= 0 || f.Limit > directory.MaxList {
		f.Limit = directory.MaxList
	}
	within := t.db.lookup
	if f.Guard != "" { // all are looked through
		within = t.db.alone
	}
	err = within(ctx, func(ctx context.Context, s *session) error {
		q := t.find(s).and(" WHERE id > ?", f.After)
		equal(q, " AND name = ?", f.Name)
		if f.Guard != "" {
			q.and(" AND ? IN (").and(s.guards()).and(")", f.Guard)
		}
		t.filter(q, &f)
		return s.each(ctx, q.and(" ORDER BY id").limit(f.Limit+1), func(r row) error {
			var v T
			err := r.Scan(t.targets(&v)...)
			list = append(list, v)
			return err
		})
	})
	if err != nil {
		return nil, "", t.failed("list", err)
	}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = P(&list[f.Limit-1]).Base().ID
	}
	return list, next, nil
}

// Create implements directory.Table.
func (t *table[T, P]) Create(ctx context.Context, v *T) error {
	b := P(v).Base()
	spec, err := b.Spec.MarshalText()
	if err == nil {
		err = t.db.write(ctx, func(ctx context.Context, s *session) error {
			b.Version = 1
			return s.change(ctx, t.kind, b.ID, append(silent(t.insert(v, spec)), t.beside(v)...)...)
		})
	}
	return t.failed("create", err)
}

// beside stores what a record has beside its row.
func (t *table[T, P]) beside(v P) []question {
	if t.after == nil {
		return nil
	}
	return silent(t.after(v)...)
}

// emptied removes it.
func (t *table[T, P]) emptied(id string) []question {
	if t.clear == nil {
		return nil
	}
	return silent(t.clear(id))
}

// Update implements directory.Table.
func (t *table[T, P]) Update(ctx context.Context, v *T) error {
	b := P(v).Base()
	spec, err := b.Spec.MarshalText()
	if err != nil {
		return t.failed("update", err)
	}
	next := *v
	err = t.db.write(ctx, func(ctx context.Context, s *session) error {
		next = *v
		is := P(&next).Base()
		is.Version++
		put := t.update(&next, spec).and(" WHERE id = ? AND version = ? RETURNING maker, created").and(t.kept, b.ID, b.Version)
		into := append([]any{&is.Maker, asTime{&is.Created}}, t.keep(&next)...)
		found := false
		all := append(t.emptied(b.ID), oneRow(put, &found, into...))
		err := s.change(ctx, t.kind, b.ID, append(all, t.beside(&next)...)...)
		if err == nil && !found {
			err = t.missed(ctx, s, b.ID)
		}
		return err
	})
	if err != nil {
		return t.failed("update", err)
	}
	*v = next
	return nil
}

// missed says why no record has an id and a version.
func (t *table[T, P]) missed(ctx context.Context, s *session, id string) error {
	if _, err := t.get(ctx, s, id); err != nil {
		return err
	}
	return directory.ErrVersion
}

// Delete implements directory.Table.
func (t *table[T, P]) Delete(ctx context.Context, id string, version int64) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		var gone string
		found := false
		err := s.change(ctx, t.kind, id, append(t.emptied(id), oneRow(say(t.remove, id, version), &found, &gone))...)
		if err == nil && !found {
			err = t.missed(ctx, s, id)
		}
		return err
	})
	if isLoose(err) {
		err = directory.ErrInUse
	}
	return t.failed("delete", err)
}

// failed says what an operation failed with, in the words of package directory.
func (t *table[T, P]) failed(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case isTaken(err):
		err = directory.ErrExists
	case isLoose(err):
		err = directory.ErrNoOwner
	}
	for _, word := range []error{directory.ErrNotFound, directory.ErrExists, directory.ErrVersion, directory.ErrInUse, directory.ErrNoOwner} {
		if errors.Is(err, word) {
			return word
		}
	}
	return fmt.Errorf("%s %s: %w", op, t.kind, err)
}
