-- +goose Up

-- What stands for the audit's entries up to seq, which were let go: a checkpoint, signed
-- by a key that isn't in the database. No row: none went.
CREATE TABLE fleet_audit_start (
    id         smallint NOT NULL PRIMARY KEY,
    seq        bigint   NOT NULL,
    checkpoint text     COLLATE "C" NOT NULL -- JSON
);
