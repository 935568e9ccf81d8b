-- +goose Up

-- Times are nanoseconds since 1970. MACs and IP addresses are text, '' if there
-- is none. Text compares byte by byte, and lower() changes ASCII letters only.
CREATE TABLE observation (
    id          bigint GENERATED ALWAYS AS IDENTITY (CACHE 100) PRIMARY KEY,
    -- The first 16 bytes of the SHA-256 of all that tells rows apart: an index
    -- over ten columns would be as large as the table.
    key         bytea    NOT NULL UNIQUE,
    gateway     text     COLLATE "C" NOT NULL,
    link        text     COLLATE "C" NOT NULL,
    vlan        integer  NOT NULL,
    protocol    text     COLLATE "C" NOT NULL,
    response    smallint NOT NULL,
    query       text     COLLATE "C" NOT NULL,
    fingerprint text     COLLATE "C" NOT NULL,
    src_mac     text     COLLATE "C" NOT NULL,
    dst_mac     text     COLLATE "C" NOT NULL,
    dst_class   text     COLLATE "C" NOT NULL,
    src_ip      text     COLLATE "C" NOT NULL,
    dst_ip      text     COLLATE "C" NOT NULL,
    first_seen  bigint   NOT NULL,
    last_seen   bigint   NOT NULL,
    packets     bigint   NOT NULL
    -- A row that is heard again is written anew into the room that its page
    -- keeps free, and no index is touched, as long as none holds a column that
    -- changes (a HOT update). So last_seen has no index.
) WITH (fillfactor = 70);

-- Rows of a name, with no regard to case. An entry of an index must be shorter than a
-- third of a page, which a name need not be.
CREATE INDEX observation_name ON observation (left(lower(query), 255));
CREATE INDEX observation_src ON observation (src_mac);
CREATE INDEX observation_dst ON observation (dst_mac);

-- The inventory of each node, which shares nothing with another's. What a
-- document holds is said in inventory.go.
CREATE TABLE device (
    node text COLLATE "C" NOT NULL,
    id   text COLLATE "C" NOT NULL,
    doc  text COLLATE "C" NOT NULL,
    PRIMARY KEY (node, id)
) WITH (fillfactor = 70);

CREATE TABLE sighting (
    node text  COLLATE "C" NOT NULL,
    -- The first 16 bytes of the SHA-256 of the sighting's identity.
    key  bytea NOT NULL,
    doc  text  COLLATE "C" NOT NULL,
    PRIMARY KEY (node, key)
) WITH (fillfactor = 70);

CREATE TABLE secret (
    node    text   COLLATE "C" NOT NULL,
    name    text   COLLATE "C" NOT NULL,
    value   bytea  NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (node, name)
);
