-- +goose Up

-- Replicas of the gateway. shipped: the position up to which the replica's log is here.
CREATE TABLE replicas (
	id      text PRIMARY KEY,
	seen    integer NOT NULL,
	shipped integer NOT NULL,
	robbed  integer NOT NULL -- 1: others took calls over, and it does not know
) STRICT, WITHOUT ROWID;

-- Who pays for which model: what rows and sums have in common. A series is never changed and never removed.
CREATE TABLE series (
	id       integer PRIMARY KEY,
	digest   blob NOT NULL UNIQUE, -- of all below
	org_id   text NOT NULL,
	team_id  text NOT NULL,
	user_id  text NOT NULL,
	key_id   text NOT NULL,
	project  text NOT NULL,
	tags     text NOT NULL, -- JSON
	model    text NOT NULL, -- as asked
	provider text NOT NULL
) STRICT;
CREATE INDEX series_org ON series (org_id);
CREATE INDEX series_team ON series (team_id);
CREATE INDEX series_user ON series (user_id);
CREATE INDEX series_key ON series (key_id);
CREATE INDEX series_project ON series (project);
CREATE TABLE series_tags (
	tag    text NOT NULL,
	series integer NOT NULL,
	PRIMARY KEY (tag, series)
) STRICT, WITHOUT ROWID;

-- One row for each call, in the order in which they are charged. Money is in nano-dollars;
-- a count of tokens that nobody told is NULL, which is not zero.
CREATE TABLE ledger (
	charged     integer NOT NULL,
	series      integer NOT NULL,
	request_id  text NOT NULL,
	replica     text NOT NULL, -- whose log has it, and where
	position    integer NOT NULL,
	status      integer NOT NULL,
	error       text NOT NULL, -- '': none
	input       integer,
	cache_read  integer,
	cache_write integer,
	output      integer,
	reasoning   integer,
	cost        integer NOT NULL, -- of all kinds
	saved       integer NOT NULL,
	estimated   integer NOT NULL,
	partial     integer NOT NULL,
	cache       text NOT NULL, -- '': not used
	price_version text NOT NULL, -- '': there was no price
	detail      blob NOT NULL, -- all else, as package usage writes it
	UNIQUE (request_id)
) STRICT; -- with a rowid: rows are only ever added at the end, and indexes are short
CREATE INDEX ledger_charged ON ledger (charged);
CREATE INDEX ledger_series ON ledger (series, charged);

-- Sums of rows, by quarters of an hour and by days in UTC. They are written in the transaction that writes the rows.
CREATE TABLE rollup (
	series      integer NOT NULL,
	span        integer NOT NULL, -- 900 or 86400 seconds
	start       integer NOT NULL,  -- seconds since 1970
	calls       integer NOT NULL,
	failed      integer NOT NULL,
	estimated   integer NOT NULL,
	cached      integer NOT NULL,
	input       integer NOT NULL,
	cache_read  integer NOT NULL,
	cache_write integer NOT NULL,
	output      integer NOT NULL,
	reasoning   integer NOT NULL,
	cost        integer NOT NULL,
	saved       integer NOT NULL,
	PRIMARY KEY (series, span, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollup_start ON rollup (span, start);

-- Calls that have begun and not ended, as far as the log of their replica is here.
CREATE TABLE ledger_open (
	request_id text PRIMARY KEY,
	replica    text NOT NULL, -- that began it
	owner      text NOT NULL, -- that will end it
	taken      integer NOT NULL,         -- 1: the owner took it over
	position   integer NOT NULL,
	call       blob NOT NULL -- as package usage writes it
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_open_owner ON ledger_open (owner);

-- Calls that were taken from a replica: it must not end them.
CREATE TABLE ledger_claims (
	replica    text NOT NULL,
	request_id text NOT NULL,
	at         integer NOT NULL,
	PRIMARY KEY (replica, request_id)
) STRICT, WITHOUT ROWID;
