-- +goose Up

-- The audit log (docs/audit.md). Times are microseconds since 1970 in UTC.
CREATE TABLE audit_entries (
	org         text COLLATE "C" NOT NULL, -- the chain; '': the gateway's own
	seq         bigint NOT NULL CHECK (seq > 0),
	version     smallint NOT NULL,
	at          bigint NOT NULL,
	behind      bigint NOT NULL,
	actor_kind  text NOT NULL,
	actor_id    text COLLATE "C" NOT NULL,
	act         text COLLATE "C" NOT NULL,
	object_kind text NOT NULL,
	object_id   text COLLATE "C" NOT NULL,
	result      text NOT NULL,
	request     text NOT NULL,
	said_key    text NOT NULL,
	said        bytea NOT NULL,
	changed_key text NOT NULL,
	changed     bytea NOT NULL,
	prev        bytea NOT NULL,
	hash        bytea NOT NULL,
	PRIMARY KEY (org, seq)
);
CREATE INDEX audit_entries_at ON audit_entries (at, org, seq);
CREATE INDEX audit_entries_actor ON audit_entries (actor_id, at);
CREATE INDEX audit_entries_object ON audit_entries (object_id, at);

CREATE TABLE audit_checkpoints (
	number    bigint PRIMARY KEY CHECK (number > 0),
	version   smallint NOT NULL,
	at        bigint NOT NULL,
	prev      bytea NOT NULL,
	hash      bytea NOT NULL,
	key_id    text NOT NULL,
	signature bytea NOT NULL
);

-- The heads that a checkpoint states: of the chains that had grown.
CREATE TABLE audit_heads (
	number bigint NOT NULL REFERENCES audit_checkpoints (number),
	org    text COLLATE "C" NOT NULL,
	seq    bigint NOT NULL,
	hash   bytea NOT NULL,
	PRIMARY KEY (number, org)
);
CREATE INDEX audit_heads_chain ON audit_heads (org, seq);

-- What is personal in entries is sealed with these. They are the only part of the log that may be deleted.
CREATE TABLE audit_keys (
	id      text COLLATE "C" PRIMARY KEY,
	subject text COLLATE "C" NOT NULL,
	wrapped bytea NOT NULL,
	made    bigint NOT NULL
);
CREATE INDEX audit_keys_subject ON audit_keys (subject, id);

-- +goose StatementBegin
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the audit log can only grow: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_entries_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_checkpoints_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_heads_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_heads FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keys_stay BEFORE UPDATE ON audit_keys FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
