-- +goose Up

-- People who manage the gateway. Times are microseconds since 1970 in UTC; a realm of kind '' is the whole gateway.
CREATE TABLE accounts (
	id         text PRIMARY KEY,
	name       text NOT NULL,
	email      text UNIQUE,        -- in lower case; NULL: it has none yet
	role       text NOT NULL,
	realm_kind text NOT NULL,
	realm_id   text NOT NULL,
	realm_org  text NOT NULL,
	disabled   integer NOT NULL,
	password   text NOT NULL,     -- argon2id; '': it has none
	totp       blob,               -- sealed
	totp_step  integer NOT NULL,      -- the last that was used
	issuer     text,               -- of the identity that it is bound to; NULL: none
	subject    text,
	created    integer NOT NULL,
	updated    integer NOT NULL,
	maker      text NOT NULL,
	version    integer NOT NULL,
	UNIQUE (issuer, subject)
) STRICT;
CREATE INDEX accounts_realm ON accounts (realm_org, id);

-- What somebody shows is here as a hash under a key that is not in the database.
CREATE TABLE recovery_codes (
	account_id text NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	hash       blob NOT NULL,
	PRIMARY KEY (account_id, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	hash       blob PRIMARY KEY,
	id         text NOT NULL UNIQUE,
	account_id text NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	method     text NOT NULL,
	created    integer NOT NULL,
	seen       integer NOT NULL,
	proved     integer,
	ends       integer NOT NULL,
	address    text NOT NULL,
	agent      text NOT NULL
) STRICT;
CREATE INDEX sessions_account ON sessions (account_id, created);
CREATE INDEX sessions_ends ON sessions (ends);

CREATE TABLE tokens (
	id         text PRIMARY KEY,
	name       text NOT NULL,
	hash       blob NOT NULL UNIQUE,
	account_id text REFERENCES accounts (id) ON DELETE CASCADE, -- NULL: of whoever runs the gateway
	maker      text NOT NULL,
	role       text NOT NULL,
	realm_kind text NOT NULL,
	realm_id   text NOT NULL,
	realm_org  text NOT NULL,
	scopes     text NOT NULL,     -- JSON
	created    integer NOT NULL,
	expires    integer NOT NULL,
	used       integer
) STRICT;
CREATE INDEX tokens_account ON tokens (account_id, id);
CREATE INDEX tokens_realm ON tokens (realm_org, id);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE links (
	account_id text PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
	hash       blob NOT NULL UNIQUE,
	reset      integer NOT NULL,
	expires    integer NOT NULL
) STRICT, WITHOUT ROWID;

-- Failures to sign in, by the hash of an address that was typed or of where it came from.
CREATE TABLE failures (
	hash   blob PRIMARY KEY,
	count  integer NOT NULL,
	last   integer NOT NULL,
	until  integer -- before this nobody is let in
) STRICT, WITHOUT ROWID;
CREATE INDEX failures_last ON failures (last);
