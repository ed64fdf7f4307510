-- +goose Up

-- Which releases may run on this schema: those that know a migration with at least this number. A migration
-- that takes something away raises it (docs/stores.md).
CREATE TABLE schema_compatible (
	one   smallint PRIMARY KEY CHECK (one = 1),
	least bigint NOT NULL
);
INSERT INTO schema_compatible (one, least) VALUES (1, 1);

-- Times are microseconds since 1970 in UTC. Specs are JSON as package directory writes it.
CREATE TABLE organisations (
	id      text COLLATE "C" PRIMARY KEY,
	name    text COLLATE "C" NOT NULL UNIQUE,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created bigint NOT NULL,
	updated bigint NOT NULL,
	version bigint NOT NULL
);

INSERT INTO organisations (id, name, spec, maker, created, updated, version)
	SELECT 'default', 'default', '{}', '', now, now, 1 FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) clock;

CREATE TABLE teams (
	id      text COLLATE "C" PRIMARY KEY,
	org_id  text COLLATE "C" NOT NULL REFERENCES organisations (id),
	name    text COLLATE "C" NOT NULL,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created bigint NOT NULL,
	updated bigint NOT NULL,
	version bigint NOT NULL,
	UNIQUE (org_id, id), -- what belongs to a team is in its organisation
	UNIQUE (org_id, name)
);

CREATE TABLE users (
	id      text COLLATE "C" PRIMARY KEY,
	org_id  text COLLATE "C" NOT NULL REFERENCES organisations (id),
	name    text COLLATE "C" NOT NULL,
	email   text NOT NULL,
	spec    text NOT NULL,
	maker   text NOT NULL,
	created bigint NOT NULL,
	updated bigint NOT NULL,
	version bigint NOT NULL,
	UNIQUE (org_id, id),
	UNIQUE (org_id, name)
);

CREATE TABLE team_members (
	user_id text COLLATE "C" NOT NULL,
	team_id text COLLATE "C" NOT NULL,
	org_id  text COLLATE "C" NOT NULL,
	PRIMARY KEY (user_id, team_id),
	FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id),
	FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, id)
);
CREATE INDEX team_members_team ON team_members (team_id, user_id);

CREATE TABLE keys (
	id       text COLLATE "C" PRIMARY KEY,
	org_id   text COLLATE "C" NOT NULL REFERENCES organisations (id),
	team_id  text COLLATE "C",
	user_id  text COLLATE "C",
	name     text COLLATE "C" NOT NULL,
	spec     text NOT NULL,
	maker    text NOT NULL,
	created  bigint NOT NULL,
	updated  bigint NOT NULL,
	version  bigint NOT NULL,
	hash     bytea NOT NULL,
	old_hash bytea,  -- of the key before the last rotation
	old_ends bigint, -- until when that one works
	rotated  bigint,
	FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, id),
	FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE UNIQUE INDEX keys_owner_name ON keys (org_id, coalesce(team_id, ''), coalesce(user_id, ''), name);
CREATE INDEX keys_org ON keys (org_id, id);
CREATE INDEX keys_team ON keys (team_id, id) WHERE team_id IS NOT NULL;
CREATE INDEX keys_user ON keys (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX keys_name ON keys (name, id);

-- Hashes of keys, old and new: one probe finds a key, and no two keys have one.
CREATE TABLE key_hashes (
	hash   bytea PRIMARY KEY,
	key_id text COLLATE "C" NOT NULL REFERENCES keys (id)
);
CREATE INDEX key_hashes_key ON key_hashes (key_id);

-- What was changed, for caches that ask. The counter's row is locked until its writer commits, so that numbers
-- appear in order.
CREATE TABLE changes (
	seq  bigint PRIMARY KEY,
	kind text NOT NULL,
	id   text NOT NULL,
	at   bigint NOT NULL
);
CREATE TABLE changes_counter (
	one     smallint PRIMARY KEY CHECK (one = 1),
	newest  bigint NOT NULL,
	dropped bigint NOT NULL -- changes up to here are no longer kept
);
INSERT INTO changes_counter (one, newest, dropped) VALUES (1, 0, 0);

-- Values that are written once, by whoever is first.
CREATE TABLE notes (
	name  text COLLATE "C" PRIMARY KEY,
	value text NOT NULL
);
