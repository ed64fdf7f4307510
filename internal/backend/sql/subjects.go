package sql

import (
	"sluice/internal/auth"
	"sluice/internal/directory"
)

// record is where the columns that every kind has are read to.
func record(r *directory.Record) []any {
	return []any{orZero[string]{&r.ID}, orZero[string]{&r.Name}, asSpec{&r.Spec}, orZero[string]{&r.Maker}, asTime{&r.Created}, asTime{&r.Updated}, orZero[int64]{&r.Version}}
}

// fields are the values of those columns.
func fields(r *directory.Record, spec []byte) []any {
	return []any{r.ID, r.Name, string(spec), r.Maker, fromTime(r.Created), fromTime(r.Updated), r.Version}
}

// renewed are the values of those that an update changes.
func renewed(r *directory.Record, spec []byte) []any {
	return []any{r.Name, string(spec), fromTime(r.Updated), r.Version}
}

func equal(q *statement, is text, want string) {
	if want != "" {
		q.and(is, want)
	}
}

var organisations = &shape[directory.Organisation, *directory.Organisation]{
	kind: directory.KindOrganisation, from: "organisations o",
	columns: "o.id, o.name, o.spec, o.maker, o.created, o.updated, o.version",
	into:    func(o *directory.Organisation) []any { return record(&o.Record) },
	keep:    func(*directory.Organisation) []any { return nil },
	insert: func(o *directory.Organisation, spec []byte) *statement {
		return say("INSERT INTO organisations (id, name, spec, maker, created, updated, version) VALUES (?, ?, ?, ?, ?, ?, ?)", fields(&o.Record, spec)...)
	},
	update: func(o *directory.Organisation, spec []byte) *statement {
		return say("UPDATE organisations SET name = ?, spec = ?, updated = ?, version = ?", renewed(&o.Record, spec)...)
	},
	remove: "DELETE FROM organisations WHERE id = ? AND version = ? RETURNING id",
	filter: func(q *statement, f *directory.Filter) { equal(q, " AND id = ?", f.Org) },
}

var teams = &shape[directory.Team, *directory.Team]{
	kind: directory.KindTeam, from: "teams t",
	columns: "t.id, t.name, t.spec, t.maker, t.created, t.updated, t.version, t.org_id",
	into:    func(t *directory.Team) []any { return append(record(&t.Record), orZero[string]{&t.Org}) },
	keep:    func(t *directory.Team) []any { return []any{&t.Org} }, kept: ", org_id",
	insert: func(t *directory.Team, spec []byte) *statement {
		return say("INSERT INTO teams (id, name, spec, maker, created, updated, version, org_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			append(fields(&t.Record, spec), t.Org)...)
	},
	update: func(t *directory.Team, spec []byte) *statement {
		return say("UPDATE teams SET name = ?, spec = ?, updated = ?, version = ?", renewed(&t.Record, spec)...)
	},
	remove: "DELETE FROM teams WHERE id = ? AND version = ? RETURNING id",
	filter: func(q *statement, f *directory.Filter) { equal(q, " AND org_id = ?", f.Org) },
}

var users = &shape[directory.User, *directory.User]{
	kind: directory.KindUser, from: "users u",
	columns: "u.id, u.name, u.spec, u.maker, u.created, u.updated, u.version, u.org_id, u.email",
	into: func(u *directory.User) []any {
		return append(record(&u.Record), orZero[string]{&u.Org}, orZero[string]{&u.Email})
	},
	extra: (*session).memberships,
	list:  func(u *directory.User) any { return asList{&u.Teams} },
	keep:  func(u *directory.User) []any { return []any{&u.Org} }, kept: ", org_id",
	insert: func(u *directory.User, spec []byte) *statement {
		return say("INSERT INTO users (id, name, spec, maker, created, updated, version, org_id, email) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			append(fields(&u.Record, spec), u.Org, u.Email)...)
	},
	update: func(u *directory.User, spec []byte) *statement {
		return say("UPDATE users SET name = ?, spec = ?, updated = ?, version = ?, email = ?", append(renewed(&u.Record, spec), u.Email)...)
	},
	after: func(u *directory.User) (all []*statement) {
		for _, team := range u.Teams {
			all = append(all, say("INSERT INTO team_members (user_id, team_id, org_id) SELECT id, ?, org_id FROM users WHERE id = ? ON CONFLICT DO NOTHING", team, u.ID))
		}
		return all
	},
	clear:  func(id string) *statement { return say("DELETE FROM team_members WHERE user_id = ?", id) },
	remove: "DELETE FROM users WHERE id = ? AND version = ? RETURNING id",
	filter: func(q *statement, f *directory.Filter) {
		equal(q, " AND org_id = ?", f.Org)
		equal(q, " AND id IN (SELECT user_id FROM team_members WHERE team_id = ?)", f.Team)
	},
}

var keys = &shape[directory.Key, *directory.Key]{
	kind: directory.KindKey, from: "keys k",
	columns: "k.id, k.name, k.spec, k.maker, k.created, k.updated, k.version, k.org_id, k.team_id, k.user_id, k.hash, k.old_hash, k.old_ends, k.rotated",
	into: func(k *directory.Key) []any {
		return append(record(&k.Record), orZero[string]{&k.Org}, orZero[string]{&k.Team}, orZero[string]{&k.User},
			asHash{&k.Hash}, asHash{&k.OldHash}, asTime{&k.OldEnds}, asTime{&k.Rotated})
	},
	keep: func(k *directory.Key) []any { return []any{&k.Org} }, kept: ", org_id",
	insert: func(k *directory.Key, spec []byte) *statement {
		return say("INSERT INTO keys (id, name, spec, maker, created, updated, version, org_id, team_id, user_id, hash, old_hash, old_ends, rotated)"+
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), nullif(?, ''), ?, ?, ?, ?)",
			append(fields(&k.Record, spec), k.Org, k.Team, k.User, k.Hash[:], fromHash(k.OldHash), fromTime(k.OldEnds), fromTime(k.Rotated))...)
	},
	update: func(k *directory.Key, spec []byte) *statement {
		return say("UPDATE keys SET name = ?, spec = ?, updated = ?, version = ?,"+
			" team_id = nullif(?, ''), user_id = nullif(?, ''), hash = ?, old_hash = ?, old_ends = ?, rotated = ?",
			append(renewed(&k.Record, spec), k.Team, k.User, k.Hash[:], fromHash(k.OldHash), fromTime(k.OldEnds), fromTime(k.Rotated))...)
	},
	after: func(k *directory.Key) []*statement {
		all := []*statement{keyHash(k.ID, k.Hash)}
		if k.OldHash != (auth.Hash{}) && k.OldHash != k.Hash {
			all = append(all, keyHash(k.ID, k.OldHash))
		}
		return all
	},
	clear:  func(id string) *statement { return say("DELETE FROM key_hashes WHERE key_id = ?", id) },
	remove: "DELETE FROM keys WHERE id = ? AND version = ? RETURNING id",
	filter: func(q *statement, f *directory.Filter) {
		equal(q, " AND org_id = ?", f.Org)
		equal(q, " AND team_id = ?", f.Team)
		equal(q, " AND user_id = ?", f.User)
	},
}

// keyHash has a key found by a hash.
func keyHash(id string, h auth.Hash) *statement {
	return say("INSERT INTO key_hashes (hash, key_id) SELECT ?, id FROM keys WHERE id = ?", h[:], id)
}
