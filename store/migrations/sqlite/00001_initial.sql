-- +goose Up

-- Marks the file as lanfolk's: "lanf".
PRAGMA application_id = 0x6c616e66;

-- Times are nanoseconds since 1970. MACs and IP addresses are text, '' if there
-- is none, so that a person can read the file with any tool.
CREATE TABLE observation (
    id          INTEGER PRIMARY KEY,
    -- The first 16 bytes of the SHA-256 of all that tells rows apart: an index
    -- over ten columns would be as large as the table.
    key         BLOB    NOT NULL UNIQUE,
    gateway     TEXT    NOT NULL,
    link        TEXT    NOT NULL,
    vlan        INTEGER NOT NULL,
    protocol    TEXT    NOT NULL,
    response    INTEGER NOT NULL,
    query       TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    src_mac     TEXT    NOT NULL,
    dst_mac     TEXT    NOT NULL,
    dst_class   TEXT    NOT NULL,
    src_ip      TEXT    NOT NULL,
    dst_ip      TEXT    NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    packets     INTEGER NOT NULL
) STRICT;

-- Who spoke of a name last, with no regard to case. The protocol is there so
-- that another protocol's rows are passed over without reading the table.
CREATE INDEX observation_name ON observation (lower(query), last_seen, id, protocol);
CREATE INDEX observation_last ON observation (last_seen, id);
CREATE INDEX observation_src ON observation (src_mac);
CREATE INDEX observation_dst ON observation (dst_mac);

-- The inventory. What a document holds is said in inventory.go.
CREATE TABLE device (
    id  TEXT NOT NULL PRIMARY KEY,
    doc TEXT NOT NULL
) STRICT;

CREATE TABLE sighting (
    -- The first 16 bytes of the SHA-256 of the sighting's identity.
    key BLOB NOT NULL PRIMARY KEY,
    doc TEXT NOT NULL
) STRICT;

CREATE TABLE secret (
    name    TEXT    NOT NULL PRIMARY KEY,
    value   BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT;
