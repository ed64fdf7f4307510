-- +goose Up

-- The revisions of the settings: objects of the configuration that are set by the API. They are never changed.
CREATE TABLE settings (
	number   bigint PRIMARY KEY,
	based    bigint NOT NULL,
	at       bigint NOT NULL,
	by       text NOT NULL,
	act      text NOT NULL,
	why      text NOT NULL,
	document text NOT NULL -- YAML; secrets stand in it as references
);

-- Which revision each replica runs on.
CREATE TABLE settings_replicas (
	id       text COLLATE "C" PRIMARY KEY,
	revision bigint NOT NULL,
	refused  bigint NOT NULL,
	problem  text NOT NULL,
	seen     bigint NOT NULL
);

-- The one keyset that secrets are sealed under, wrapped by the key-encryption key.
CREATE TABLE secret_keys (
	id      integer PRIMARY KEY CHECK (id = 1),
	version bigint NOT NULL,
	kek     text NOT NULL, -- which key-encryption key it was
	wrapped bytea NOT NULL
);

-- Sealed values. Each is bound to its id, purpose and object.
CREATE TABLE secrets (
	id      text COLLATE "C" PRIMARY KEY,
	purpose text COLLATE "C" NOT NULL,
	object  text NOT NULL,
	key     bigint NOT NULL, -- of the keyset
	sealed  bytea NOT NULL,
	created bigint NOT NULL,
	unused  bigint NOT NULL  -- since when nothing uses it; 0: something does
);
