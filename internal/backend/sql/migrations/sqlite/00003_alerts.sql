-- +goose Up

-- Notices for webhooks, once for each notice and hook. Those that are done stay, so that nothing is told twice.
CREATE TABLE alerts (
	id     text NOT NULL,
	hook   text NOT NULL,
	notice text NOT NULL,   -- JSON
	tries  integer NOT NULL,
	due    integer NOT NULL, -- when it is to be told, or told again
	done   integer NOT NULL, -- when it was told; 0: not yet
	PRIMARY KEY (id, hook)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_due ON alerts (due) WHERE done = 0;
