-- +goose Up

-- Creates that were named by an Idempotency-Key, and what each made, for a day.
CREATE TABLE twins (
	name  blob NOT NULL PRIMARY KEY, -- hash of who made the request, of what, and of the name
	print blob NOT NULL,             -- keyed hash of its body
	made  text NOT NULL,            -- the id of what it made; '': it is under way
	at    integer NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX twins_at ON twins (at);
