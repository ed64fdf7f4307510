package sql

import (
	"context"
	"fmt"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
)

// A Directory is directory.Store.
type Directory struct{ db *DB }

// Directory gives the directory in the store.
func (db *DB) Directory() *Directory { return &Directory{db} }

var _ directory.Store = (*Directory)(nil)

// Organisations implements directory.Store.
func (d *Directory) Organisations() directory.Table[directory.Organisation] {
	return &table[directory.Organisation, *directory.Organisation]{d.db, organisations}
}

// Teams implements directory.Store.
func (d *Directory) Teams() directory.Table[directory.Team] {
	return &table[directory.Team, *directory.Team]{d.db, teams}
}

// Users implements directory.Store.
func (d *Directory) Users() directory.Table[directory.User] {
	return &table[directory.User, *directory.User]{d.db, users}
}

// Keys implements directory.Store.
func (d *Directory) Keys() directory.Table[directory.Key] {
	return &table[directory.Key, *directory.Key]{d.db, keys}
}

// ByHash implements directory.Store. It is one statement, which begins with one probe of an index and ends
// there for an unknown key.
func (d *Directory) ByHash(ctx context.Context, h auth.Hash) (*directory.Entry, error) {
	var key directory.Key
	var org directory.Organisation
	var team directory.Team
	var user directory.User
	into := append(append(append(keys.into(&key), organisations.into(&org)...), teams.into(&team)...), users.into(&user)...)
	found := false
	err := d.db.lookup(ctx, func(ctx context.Context, s *session) (err error) {
		q := say("SELECT ").and(keys.columns).and(", ").and(organisations.columns).and(", ").and(teams.columns).and(", ").and(users.columns).and(", ").and(s.memberships()).
			and(" FROM key_hashes h JOIN keys k ON k.id = h.key_id JOIN organisations o ON o.id = k.org_id"+
				" LEFT JOIN teams t ON t.id = k.team_id LEFT JOIN users u ON u.id = k.user_id WHERE h.hash = ?", h[:])
		found, err = s.one(ctx, q, append(into, asList{&user.Teams})...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	if !found {
		return nil, nil //nolint:nilnil // the interface asks for it
	}
	e := &directory.Entry{Key: key, Org: &org}
	if team.ID != "" {
		e.Team = &team
	}
	if user.ID != "" {
		e.User = &user
	}
	return e, nil
}

// memberships is a user's teams as a JSON array.
func (s *session) memberships() text {
	if s.dialect == postgres {
		return "(SELECT json_agg(m.team_id ORDER BY m.team_id)::text FROM team_members m WHERE m.user_id = u.id)"
	}
	return "(SELECT json_group_array(m.team_id ORDER BY m.team_id) FROM team_members m WHERE m.user_id = u.id)"
}

// guards are those that a record's own specification names.
func (s *session) guards() text {
	if s.dialect == postgres {
		return "SELECT json_array_elements_text(spec::json -> 'guards')"
	}
	return "SELECT value FROM json_each(spec, '$.guards')"
}

const mostChanges = 1000 // that one Changes gives

// Changes implements directory.Store.
func (d *Directory) Changes(ctx context.Context, seq int64) (list []directory.Change, err error) {
	err = d.db.lookup(ctx, func(ctx context.Context, s *session) error {
		list = nil
		var newest, dropped int64
		q := say("SELECT n.newest, n.dropped, c.seq, c.kind, c.id FROM changes_counter n LEFT JOIN"+
			" (SELECT seq, kind, id FROM changes WHERE seq > ? ORDER BY seq", seq).limit(mostChanges).and(") c ON true ORDER BY c.seq")
		err := s.each(ctx, q, func(r row) error {
			var c directory.Change
			err := r.Scan(&newest, &dropped, orZero[int64]{&c.Seq}, asWord[directory.Kind]{&c.Kind}, orZero[string]{&c.ID})
			if c.Seq != 0 { // there is one
				list = append(list, c)
			}
			return err
		})
		if err == nil && (seq < dropped || seq > newest) { // above: the store was put back to an earlier time
			err = directory.ErrGap
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list changes: %w", err)
	}
	return list, nil
}

// Newest implements directory.Store.
func (d *Directory) Newest(ctx context.Context) (seq int64, err error) {
	err = d.db.lookup(ctx, func(ctx context.Context, s *session) error {
		_, err := s.one(ctx, say("SELECT newest FROM changes_counter"), &seq)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("newest change: %w", err)
	}
	return seq, nil
}

// Note implements directory.Store.
func (d *Directory) Note(ctx context.Context, name, value string) (kept string, err error) {
	get := func(ctx context.Context, s *session) error {
		_, err := s.one(ctx, say("SELECT value FROM notes WHERE name = ?", name), &kept)
		return err
	}
	if value == "" {
		err = d.db.lookup(ctx, get)
	} else {
		err = d.db.write(ctx, func(ctx context.Context, s *session) error {
			if err := s.do(ctx, say("INSERT INTO notes (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)); err != nil {
				return err
			}
			return get(ctx, s)
		})
	}
	if err != nil {
		return "", fmt.Errorf("note: %w", err)
	}
	return kept, nil
}

// How long changes are kept, and how often old ones are dropped.
const (
	keepChanges = 24 * time.Hour
	sweepEvery  = 256 // changes
)

// change changes the directory: all is what it does. From here to the end of the transaction nobody else changes it.
func (s *session) change(ctx context.Context, kind directory.Kind, id string, all ...question) error {
	if err := s.do(ctx, say("UPDATE changes_counter SET newest = newest + 1")); err != nil {
		return err
	}
	var seq int64
	note := say("INSERT INTO changes (seq, kind, id, at) SELECT newest, ?, ?, ", string(kind), id).and(s.now()).and(" FROM changes_counter RETURNING seq")
	err := s.ask(ctx, append([]question{oneRow(note, new(bool), &seq)}, all...)...)
	if err == nil && seq%sweepEvery == 0 {
		err = s.sweepChanges(ctx)
	}
	return err
}

func (s *session) sweepChanges(ctx context.Context) error {
	err := s.do(ctx, say("DELETE FROM changes WHERE at < ").and(s.now()).and(" - ?", keepChanges.Microseconds()))
	if err == nil {
		err = s.do(ctx, say("UPDATE changes_counter SET dropped = coalesce((SELECT min(seq) FROM changes), newest) - 1"))
	}
	return err
}
