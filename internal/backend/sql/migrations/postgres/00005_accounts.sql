-- +goose Up

-- People who manage the gateway. Times are microseconds since 1970 in UTC; a realm of kind '' is the whole gateway.
CREATE TABLE accounts (
	id         text COLLATE "C" PRIMARY KEY,
	name       text NOT NULL,
	email      text COLLATE "C" UNIQUE,        -- in lower case; NULL: it has none yet
	role       text NOT NULL,
	realm_kind text NOT NULL,
	realm_id   text COLLATE "C" NOT NULL,
	realm_org  text COLLATE "C" NOT NULL,
	disabled   bigint NOT NULL,
	password   text NOT NULL,     -- argon2id; '': it has none
	totp       bytea,               -- sealed
	totp_step  bigint NOT NULL,      -- the last that was used
	issuer     text COLLATE "C",               -- of the identity that it is bound to; NULL: none
	subject    text COLLATE "C",
	created    bigint NOT NULL,
	updated    bigint NOT NULL,
	maker      text NOT NULL,
	version    bigint NOT NULL,
	UNIQUE (issuer, subject)
);
CREATE INDEX accounts_realm ON accounts (realm_org, id);

-- What somebody shows is here as a hash under a key that is not in the database.
CREATE TABLE recovery_codes (
	account_id text COLLATE "C" NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	hash       bytea NOT NULL,
	PRIMARY KEY (account_id, hash)
);

CREATE TABLE sessions (
	hash       bytea PRIMARY KEY,
	id         text COLLATE "C" NOT NULL UNIQUE,
	account_id text COLLATE "C" NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	method     text NOT NULL,
	created    bigint NOT NULL,
	seen       bigint NOT NULL,
	proved     bigint,
	ends       bigint NOT NULL,
	address    text NOT NULL,
	agent      text NOT NULL
);
CREATE INDEX sessions_account ON sessions (account_id, created);
CREATE INDEX sessions_ends ON sessions (ends);

CREATE TABLE tokens (
	id         text COLLATE "C" PRIMARY KEY,
	name       text NOT NULL,
	hash       bytea NOT NULL UNIQUE,
	account_id text COLLATE "C" REFERENCES accounts (id) ON DELETE CASCADE, -- NULL: of whoever runs the gateway
	maker      text NOT NULL,
	role       text NOT NULL,
	realm_kind text NOT NULL,
	realm_id   text COLLATE "C" NOT NULL,
	realm_org  text COLLATE "C" NOT NULL,
	scopes     text NOT NULL,     -- JSON
	created    bigint NOT NULL,
	expires    bigint NOT NULL,
	used       bigint
);
CREATE INDEX tokens_account ON tokens (account_id, id);
CREATE INDEX tokens_realm ON tokens (realm_org, id);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE links (
	account_id text COLLATE "C" PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
	hash       bytea NOT NULL UNIQUE,
	reset      bigint NOT NULL,
	expires    bigint NOT NULL
);

-- Failures to sign in, by the hash of an address that was typed or of where it came from.
CREATE TABLE failures (
	hash   bytea PRIMARY KEY,
	count  bigint NOT NULL,
	last   bigint NOT NULL,
	until  bigint -- before this nobody is let in
);
CREATE INDEX failures_last ON failures (last);
