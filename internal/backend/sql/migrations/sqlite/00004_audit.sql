-- +goose Up

-- The audit log (docs/audit.md). Times are microseconds since 1970 in UTC.
CREATE TABLE audit_entries (
	org         text NOT NULL, -- the chain; '': the gateway's own
	seq         integer NOT NULL CHECK (seq > 0),
	version     integer NOT NULL,
	at          integer NOT NULL,
	behind      integer NOT NULL,
	actor_kind  text NOT NULL,
	actor_id    text NOT NULL,
	act         text NOT NULL,
	object_kind text NOT NULL,
	object_id   text NOT NULL,
	result      text NOT NULL,
	request     text NOT NULL,
	said_key    text NOT NULL,
	said        blob NOT NULL,
	changed_key text NOT NULL,
	changed     blob NOT NULL,
	prev        blob NOT NULL,
	hash        blob NOT NULL,
	PRIMARY KEY (org, seq)
) STRICT;
CREATE INDEX audit_entries_at ON audit_entries (at, org, seq);
CREATE INDEX audit_entries_actor ON audit_entries (actor_id, at);
CREATE INDEX audit_entries_object ON audit_entries (object_id, at);

CREATE TABLE audit_checkpoints (
	number    integer PRIMARY KEY CHECK (number > 0),
	version   integer NOT NULL,
	at        integer NOT NULL,
	prev      blob NOT NULL,
	hash      blob NOT NULL,
	key_id    text NOT NULL,
	signature blob NOT NULL
) STRICT, WITHOUT ROWID;

-- The heads that a checkpoint states: of the chains that had grown.
CREATE TABLE audit_heads (
	number integer NOT NULL REFERENCES audit_checkpoints (number),
	org    text NOT NULL,
	seq    integer NOT NULL,
	hash   blob NOT NULL,
	PRIMARY KEY (number, org)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_heads_chain ON audit_heads (org, seq);

-- What is personal in entries is sealed with these. They are the only part of the log that may be deleted.
CREATE TABLE audit_keys (
	id      text PRIMARY KEY,
	subject text NOT NULL,
	wrapped blob NOT NULL,
	made    integer NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_keys_subject ON audit_keys (subject, id);

-- An insertion that replaces a row deletes it without a word to the triggers of deletions.
-- +goose StatementBegin
CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_entries_no_replace BEFORE INSERT ON audit_entries WHEN EXISTS (SELECT 1 FROM audit_entries WHERE org = NEW.org AND seq = NEW.seq) BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_checkpoints_no_replace BEFORE INSERT ON audit_checkpoints WHEN EXISTS (SELECT 1 FROM audit_checkpoints WHERE number = NEW.number) BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_heads_no_update BEFORE UPDATE ON audit_heads BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_heads_no_delete BEFORE DELETE ON audit_heads BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_heads_no_replace BEFORE INSERT ON audit_heads WHEN EXISTS (SELECT 1 FROM audit_heads WHERE number = NEW.number AND org = NEW.org) BEGIN
	SELECT RAISE(ABORT, 'the audit log can only grow');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_keys_no_update BEFORE UPDATE ON audit_keys BEGIN
	SELECT RAISE(ABORT, 'the keys of the audit log can only be deleted');
END;
-- +goose StatementEnd
