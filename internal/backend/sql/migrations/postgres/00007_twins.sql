-- +goose Up

-- Creates that were named by an Idempotency-Key, and what each made, for a day.
CREATE TABLE twins (
	name  bytea NOT NULL PRIMARY KEY, -- hash of who made the request, of what, and of the name
	print bytea NOT NULL,             -- keyed hash of its body
	made  text COLLATE "C" NOT NULL,            -- the id of what it made; '': it is under way
	at    bigint NOT NULL
);
CREATE INDEX twins_at ON twins (at);
