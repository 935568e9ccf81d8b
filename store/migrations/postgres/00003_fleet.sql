-- +goose Up

-- What a hub keeps (package fleet). Times are nanoseconds since 1970, 0 for none.

-- Numbers that only rise.
CREATE TABLE fleet_counter (
    name  text   COLLATE "C" NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO fleet_counter (name, value) VALUES ('run', 0), ('epoch', 0), ('item', 0), ('revocation', 0);

-- A gateway and its newest session: where it has listened since when, and why that
-- ended.
CREATE TABLE fleet_gateway (
    id              text     COLLATE "C" NOT NULL PRIMARY KEY,
    name            text     COLLATE "C" NOT NULL,
    labels          text     COLLATE "C" NOT NULL, -- a JSON object
    key             bytea    NOT NULL,             -- SHA-256 of the public key, empty for none
    version         text     COLLATE "C" NOT NULL,
    address         text     COLLATE "C" NOT NULL,
    enrolled        bigint   NOT NULL,
    revoked         bigint   NOT NULL,
    last_seen       bigint   NOT NULL,
    epoch           bigint   NOT NULL,
    hub             text     COLLATE "C" NOT NULL,
    run             bigint   NOT NULL,
    session_address text     COLLATE "C" NOT NULL,
    session_version text     COLLATE "C" NOT NULL,
    since           bigint   NOT NULL,
    ended           bigint   NOT NULL,
    why             text     COLLATE "C" NOT NULL
);
CREATE INDEX fleet_gateway_key ON fleet_gateway (key);

-- A hub's lease: its sessions go on while it does.
CREATE TABLE fleet_hub (
    name  text   COLLATE "C" NOT NULL PRIMARY KEY,
    run   bigint NOT NULL,
    until bigint NOT NULL
);

CREATE TABLE fleet_command (
    id           text     COLLATE "C" NOT NULL PRIMARY KEY,
    gateway      text     COLLATE "C" NOT NULL,
    line         text     COLLATE "C" NOT NULL,
    asked_by     text     COLLATE "C" NOT NULL,
    created      bigint   NOT NULL,
    deadline     bigint   NOT NULL,
    queue        smallint NOT NULL,
    revision     bigint   NOT NULL,
    state        text     COLLATE "C" NOT NULL,
    ended        bigint   NOT NULL, -- 0 until state is an end
    cancelled_by text     COLLATE "C" NOT NULL,
    sent         bigint   NOT NULL,
    started      bigint   NOT NULL,
    exit_code    bigint   NOT NULL,
    error        text     COLLATE "C" NOT NULL,
    type         bigint   NOT NULL,
    size         bigint   NOT NULL,
    sha256       bytea    NOT NULL
);
CREATE INDEX fleet_command_gateway ON fleet_command (gateway, id);
CREATE INDEX fleet_command_outstanding ON fleet_command (id) WHERE ended = 0;
CREATE INDEX fleet_command_ended ON fleet_command (ended) WHERE ended <> 0;

-- The result of a command. Content is in a file of this id, or, if it is small, here.
CREATE TABLE fleet_blob (
    id      text     COLLATE "C" NOT NULL PRIMARY KEY,
    gateway text     COLLATE "C" NOT NULL,
    stored  bigint   NOT NULL,
    size    bigint   NOT NULL,
    sha256  bytea    NOT NULL,
    note    text     COLLATE "C" NOT NULL, -- how the command ended
    inside  smallint NOT NULL, -- 1: content is here
    content bytea    NOT NULL
);
CREATE INDEX fleet_blob_stored ON fleet_blob (stored, id);

-- How far what a gateway sends of its own accord has come.
CREATE TABLE fleet_feed (
    gateway text   COLLATE "C" NOT NULL,
    kind    text   COLLATE "C" NOT NULL,
    epoch   text   COLLATE "C" NOT NULL,
    next    bigint NOT NULL,
    PRIMARY KEY (gateway, kind)
);

-- The gateways' inventories. An item without a doc went.
CREATE TABLE fleet_item (
    gateway  text   COLLATE "C" NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    epoch    text   COLLATE "C" NOT NULL, -- of the feed, when it came last
    doc      bytea,
    position bigint NOT NULL,
    PRIMARY KEY (gateway, key)
);
CREATE INDEX fleet_item_position ON fleet_item (position);

CREATE TABLE fleet_token (
    id       text   COLLATE "C" NOT NULL PRIMARY KEY,
    hash     bytea  NOT NULL UNIQUE, -- SHA-256 of the secret
    name     text   COLLATE "C" NOT NULL,
    made_by  text   COLLATE "C" NOT NULL,
    gateway  text   COLLATE "C" NOT NULL,
    created  bigint NOT NULL,
    expires  bigint NOT NULL,
    used     bigint NOT NULL,
    key      bytea  NOT NULL, -- SHA-256 of the public key that used it
    answer   bytea  NOT NULL
);

CREATE TABLE fleet_revocation (
    subject  text   COLLATE "C" NOT NULL PRIMARY KEY,
    revoked  bigint NOT NULL,
    made_by  text   COLLATE "C" NOT NULL,
    why      text   COLLATE "C" NOT NULL,
    position bigint NOT NULL UNIQUE
);

-- A chain: hash is over the entry and the hash before. Entries never change.
CREATE TABLE fleet_audit (
    seq     bigint NOT NULL PRIMARY KEY,
    time    bigint NOT NULL,
    who     text   COLLATE "C" NOT NULL,
    what    text   COLLATE "C" NOT NULL,
    gateway text   COLLATE "C" NOT NULL,
    ref     text   COLLATE "C" NOT NULL,
    detail  text   COLLATE "C" NOT NULL,
    outcome text   COLLATE "C" NOT NULL,
    hash    bytea  NOT NULL
);
CREATE INDEX fleet_audit_gateway ON fleet_audit (gateway, seq);
CREATE INDEX fleet_audit_ref ON fleet_audit (ref, seq);

CREATE TABLE fleet_audit_head (
    id   smallint NOT NULL PRIMARY KEY,
    seq  bigint   NOT NULL,
    hash bytea    NOT NULL,
    time bigint   NOT NULL
);
INSERT INTO fleet_audit_head (id, seq, hash, time) VALUES (1, 0, decode(repeat('00', 32), 'hex'), 0);

CREATE TABLE fleet_user (
    name     text   COLLATE "C" NOT NULL PRIMARY KEY,
    role     text   COLLATE "C" NOT NULL,
    password text   COLLATE "C" NOT NULL, -- argon2id in the PHC string format, '' for none
    created  bigint NOT NULL,
    made_by  text   COLLATE "C" NOT NULL
);

CREATE TABLE fleet_sign_in (
    hash    bytea  NOT NULL PRIMARY KEY, -- SHA-256 of the secret
    owner   text   COLLATE "C" NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    csrf    text   COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL
);
CREATE INDEX fleet_sign_in_owner ON fleet_sign_in (owner);

CREATE TABLE fleet_api_token (
    id      text   COLLATE "C" NOT NULL PRIMARY KEY,
    hash    bytea  NOT NULL UNIQUE,
    owner   text   COLLATE "C" NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    name    text   COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    used    bigint NOT NULL
);
CREATE INDEX fleet_api_token_owner ON fleet_api_token (owner);

CREATE TABLE fleet_grant (
    id       text   COLLATE "C" NOT NULL PRIMARY KEY,
    owner    text   COLLATE "C" NOT NULL REFERENCES fleet_user (name) ON DELETE CASCADE,
    verb     text   COLLATE "C" NOT NULL,
    selector text   COLLATE "C" NOT NULL, -- a JSON object of labels
    made_by  text   COLLATE "C" NOT NULL,
    created  bigint NOT NULL
);
CREATE INDEX fleet_grant_owner ON fleet_grant (owner);
