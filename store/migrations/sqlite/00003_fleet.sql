-- +goose Up

-- What a hub keeps (package fleet). Times are nanoseconds since 1970, 0 for none.

-- Numbers that only rise.
CREATE TABLE fleet_counter (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO fleet_counter (name, value) VALUES ('run', 0), ('epoch', 0), ('item', 0), ('revocation', 0);

-- A gateway and its newest session: where it has listened since when, and why that
-- ended.
CREATE TABLE fleet_gateway (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    labels          TEXT    NOT NULL, -- a JSON object
    key             BLOB    NOT NULL, -- SHA-256 of the public key, empty for none
    version         TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    enrolled        INTEGER NOT NULL,
    revoked         INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    hub             TEXT    NOT NULL,
    run             INTEGER NOT NULL,
    session_address TEXT    NOT NULL,
    session_version TEXT    NOT NULL,
    since           INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    why             TEXT    NOT NULL
) STRICT;
CREATE INDEX fleet_gateway_key ON fleet_gateway (key);

-- A hub's lease: its sessions go on while it does.
CREATE TABLE fleet_hub (
    name  TEXT    NOT NULL PRIMARY KEY,
    run   INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

CREATE TABLE fleet_command (
    id           TEXT    NOT NULL PRIMARY KEY,
    gateway      TEXT    NOT NULL,
    line         TEXT    NOT NULL,
    asked_by     TEXT    NOT NULL,
    created      INTEGER NOT NULL,
    deadline     INTEGER NOT NULL,
    queue        INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    ended        INTEGER NOT NULL, -- 0 until state is an end
    cancelled_by TEXT    NOT NULL,
    sent         INTEGER NOT NULL,
    started      INTEGER NOT NULL,
    exit_code    INTEGER NOT NULL,
    error        TEXT    NOT NULL,
    type         INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    sha256       BLOB    NOT NULL
) STRICT;
CREATE INDEX fleet_command_gateway ON fleet_command (gateway, id);
CREATE INDEX fleet_command_outstanding ON fleet_command (id) WHERE ended = 0;
CREATE INDEX fleet_command_ended ON fleet_command (ended) WHERE ended <> 0;

-- The result of a command. Content is in a file of this id, or, if it is small, here.
CREATE TABLE fleet_blob (
    id      TEXT    NOT NULL PRIMARY KEY,
    gateway TEXT    NOT NULL,
    stored  INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    sha256  BLOB    NOT NULL,
    note    TEXT    NOT NULL, -- how the command ended
    inside  INTEGER NOT NULL, -- 1: content is here
    content BLOB    NOT NULL
) STRICT;
CREATE INDEX fleet_blob_stored ON fleet_blob (stored, id);

-- How far what a gateway sends of its own accord has come.
CREATE TABLE fleet_feed (
    gateway TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    epoch   TEXT    NOT NULL,
    next    INTEGER NOT NULL,
    PRIMARY KEY (gateway, kind)
) STRICT;

-- The gateways' inventories. An item without a doc went.
CREATE TABLE fleet_item (
    gateway  TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    epoch    TEXT    NOT NULL, -- of the feed, when it came last
    doc      BLOB,
    position INTEGER NOT NULL,
    PRIMARY KEY (gateway, key)
) STRICT;
CREATE INDEX fleet_item_position ON fleet_item (position);

CREATE TABLE fleet_token (
    id       TEXT    NOT NULL PRIMARY KEY,
    hash     BLOB    NOT NULL UNIQUE, -- SHA-256 of the secret
    name     TEXT    NOT NULL,
    made_by  TEXT    NOT NULL,
    gateway  TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    used     INTEGER NOT NULL,
    key      BLOB    NOT NULL, -- SHA-256 of the public key that used it
    answer   BLOB    NOT NULL
) STRICT;

CREATE TABLE fleet_revocation (
    subject  TEXT    NOT NULL PRIMARY KEY,
    revoked  INTEGER NOT NULL,
    made_by  TEXT    NOT NULL,
    why      TEXT    NOT NULL,
    position INTEGER NOT NULL UNIQUE
) STRICT;

-- A chain: hash is over the entry and the hash before. Entries never change.
CREATE TABLE fleet_audit (
    seq     INTEGER NOT NULL PRIMARY KEY,
    time    INTEGER NOT NULL,
    who     TEXT    NOT NULL,
    what    TEXT    NOT NULL,
    gateway TEXT    NOT NULL,
    ref     TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    hash    BLOB    NOT NULL
) STRICT;
CREATE INDEX fleet_audit_gateway ON fleet_audit (gateway, seq);
CREATE INDEX fleet_audit_ref ON fleet_audit (ref, seq);

CREATE TABLE fleet_audit_head (
    id   INTEGER NOT NULL PRIMARY KEY,
    seq  INTEGER NOT NULL,
    hash BLOB    NOT NULL,
    time INTEGER NOT NULL
) STRICT;
INSERT INTO fleet_audit_head (id, seq, hash, time) VALUES (1, 0, zeroblob(32), 0);

CREATE TABLE fleet_user (
    name     TEXT    NOT NULL PRIMARY KEY,
    role     TEXT    NOT NULL,
    password TEXT    NOT NULL, -- argon2id in the PHC string format, '' for none
    created  INTEGER NOT NULL,
    made_by  TEXT    NOT NULL
) STRICT;

CREATE TABLE fleet_sign_in (
    hash    BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the secret
    owner   TEXT    NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    csrf    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX fleet_sign_in_owner ON fleet_sign_in (owner);

CREATE TABLE fleet_api_token (
    id      TEXT    NOT NULL PRIMARY KEY,
    hash    BLOB    NOT NULL UNIQUE,
    owner   TEXT    NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    name    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used    INTEGER NOT NULL
) STRICT;
CREATE INDEX fleet_api_token_owner ON fleet_api_token (owner);

CREATE TABLE fleet_grant (
    id       TEXT    NOT NULL PRIMARY KEY,
    owner    TEXT    NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    verb     TEXT    NOT NULL,
    selector TEXT    NOT NULL, -- a JSON object of labels
    made_by  TEXT    NOT NULL,
    created  INTEGER NOT NULL
) STRICT;
CREATE INDEX fleet_grant_owner ON fleet_grant (owner);
