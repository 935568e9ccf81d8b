-- +goose Up

-- The first 12 bytes of the SHA-256 of the fingerprint's text, nothing for none: so a
-- fingerprint is found by its text and by its hash. Rows from before get it when
-- they are heard again.
ALTER TABLE observation ADD COLUMN fingerprint_hash bytea NOT NULL DEFAULT '';
