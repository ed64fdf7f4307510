-- +goose Up

-- Notices for webhooks, once for each notice and hook. Those that are done stay, so that nothing is told twice.
CREATE TABLE alerts (
	id     text COLLATE "C" NOT NULL,
	hook   text COLLATE "C" NOT NULL,
	notice text NOT NULL,   -- JSON
	tries  integer NOT NULL,
	due    bigint NOT NULL, -- when it is to be told, or told again
	done   bigint NOT NULL, -- when it was told; 0: not yet
	PRIMARY KEY (id, hook)
);
CREATE INDEX alerts_due ON alerts (due) WHERE done = 0;
