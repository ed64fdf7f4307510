-- +goose Up

-- Which releases may run on this schema: those that know a migration with at least this number. A migration
-- that takes something away raises it (docs/stores.md).
CREATE TABLE schema_compatible (
	one   integer PRIMARY KEY CHECK (one = 1),
	least integer NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO schema_compatible (one, least) VALUES (1, 1);

-- Times are microseconds since 1970 in UTC. Specs are JSON as package directory writes it.
CREATE TABLE organisations (
	id      text PRIMARY KEY,
	name    text NOT NULL UNIQUE,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created integer NOT NULL,
	updated integer NOT NULL,
	version integer NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO organisations (id, name, spec, maker, created, updated, version)
	SELECT 'default', 'default', '{}', '', now, now, 1 FROM (SELECT CAST(unixepoch('subsec') * 1000000 AS integer) AS now) clock;

CREATE TABLE teams (
	id      text PRIMARY KEY,
	org_id  text NOT NULL REFERENCES organisations (id),
	name    text NOT NULL,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created integer NOT NULL,
	updated integer NOT NULL,
	version integer NOT NULL,
	UNIQUE (org_id, id), -- what belongs to a team is in its organisation
	UNIQUE (org_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
	id      text PRIMARY KEY,
	org_id  text NOT NULL REFERENCES organisations (id),
	name    text NOT NULL,
	email   text NOT NULL,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created integer NOT NULL,
	updated integer NOT NULL,
	version integer NOT NULL,
	UNIQUE (org_id, id),
	UNIQUE (org_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE team_members (
	user_id text NOT NULL,
	team_id text NOT NULL,
	org_id  text NOT NULL,
	PRIMARY KEY (user_id, team_id),
	FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id),
	FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_members_team ON team_members (team_id, user_id);

CREATE TABLE keys (
	id       text PRIMARY KEY,
	org_id   text NOT NULL REFERENCES organisations (id),
	team_id  text,
	user_id  text,
	name     text NOT NULL,
	spec     text NOT NULL,
	maker    text NOT NULL,
	created  integer NOT NULL,
	updated  integer NOT NULL,
	version  integer NOT NULL,
	hash     blob NOT NULL,
	old_hash blob,  -- of the key before the last rotation
	old_ends integer, -- until when that one works
	rotated  integer,
	FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, id),
	FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keys_owner_name ON keys (org_id, coalesce(team_id, ''), coalesce(user_id, ''), name);
CREATE INDEX keys_org ON keys (org_id, id);
CREATE INDEX keys_team ON keys (team_id, id) WHERE team_id IS NOT NULL;
CREATE INDEX keys_user ON keys (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX keys_name ON keys (name, id);

-- Hashes of keys, old and new: one probe finds a key, and no two keys have one.
CREATE TABLE key_hashes (
	hash   blob PRIMARY KEY,
	key_id text NOT NULL REFERENCES keys (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_hashes_key ON key_hashes (key_id);

-- What was changed, for caches that ask. The counter's row is locked until its writer commits, so that numbers
-- appear in order.
CREATE TABLE changes (
	seq  integer PRIMARY KEY,
	kind text NOT NULL,
	id   text NOT NULL,
	at   integer NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE changes_counter (
	one     integer PRIMARY KEY CHECK (one = 1),
	newest  integer NOT NULL,
	dropped integer NOT NULL -- changes up to here are no longer kept
) STRICT, WITHOUT ROWID;
INSERT INTO changes_counter (one, newest, dropped) VALUES (1, 0, 0);

-- Values that are written once, by whoever is first.
CREATE TABLE notes (
	name  text PRIMARY KEY,
	value text NOT NULL
) STRICT, WITHOUT ROWID;
