-- +goose Up

-- The revisions of the settings: objects of the configuration that are set by the API. They are never changed.
CREATE TABLE settings (
	number   integer PRIMARY KEY,
	based    integer NOT NULL,
	at       integer NOT NULL,
	by       text NOT NULL,
	act      text NOT NULL,
	why      text NOT NULL,
	document text NOT NULL -- YAML; secrets stand in it as references
) STRICT;

-- Which revision each replica runs on.
CREATE TABLE settings_replicas (
	id       text PRIMARY KEY,
	revision integer NOT NULL,
	refused  integer NOT NULL,
	problem  text NOT NULL,
	seen     integer NOT NULL
) STRICT, WITHOUT ROWID;

-- The one keyset that secrets are sealed under, wrapped by the key-encryption key.
CREATE TABLE secret_keys (
	id      integer PRIMARY KEY CHECK (id = 1),
	version integer NOT NULL,
	kek     text NOT NULL, -- which key-encryption key it was
	wrapped blob NOT NULL
) STRICT;

-- Sealed values. Each is bound to its id, purpose and object.
CREATE TABLE secrets (
	id      text PRIMARY KEY,
	purpose text NOT NULL,
	object  text NOT NULL,
	key     integer NOT NULL, -- of the keyset
	sealed  blob NOT NULL,
	created integer NOT NULL,
	unused  integer NOT NULL  -- since when nothing uses it; 0: something does
) STRICT, WITHOUT ROWID;
