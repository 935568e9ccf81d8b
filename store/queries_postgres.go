package store

// postgresStatements returns the statements in PostgreSQL's words. What is written
// comes as an array a column, so that one statement writes thousands of rows. The
// last parameter of what is a node's own is its name.
func postgresStatements() *statements {
	return &statements{
		putObservation: sqlInsertObservation + `
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
    $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[])` + sqlMergeObservation,
		named: "left(lower(query), 255) = left(?, 255) AND lower(query) = ?",
		// What another node writes or forgets at the moment stays for the next time.
		forgetBefore: `
DELETE FROM observation WHERE id = ANY(ARRAY(
    SELECT id FROM observation WHERE last_seen < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		forgetOldest: `
DELETE FROM observation WHERE id = ANY(ARRAY(
    SELECT id FROM observation ORDER BY last_seen, id LIMIT $1 FOR UPDATE SKIP LOCKED))`,
		forgetOwned: `DELETE FROM observation WHERE id = ANY(ARRAY(` + sqlWorstOwned + ` FOR UPDATE SKIP LOCKED))`,
		// A table doesn't shrink when rows go, so that its size on the disk says
		// nothing. The indexes take about as much as the rows.
		size: `
SELECT CAST(count(*) * (SELECT coalesce(avg(pg_column_size(s.*)), 0) * 2 FROM (SELECT * FROM observation LIMIT 10000) AS s) AS bigint)
FROM observation`,

		putDevice: `
INSERT INTO device (id, doc, node) SELECT id, doc, $3 FROM unnest($1::text[], $2::text[]) AS t (id, doc)
ON CONFLICT (node, id) DO UPDATE SET doc = excluded.doc`,
		forgetDevice: `DELETE FROM device WHERE id = ANY($1::text[]) AND node = $2`,
		devices:      `SELECT id, doc FROM device WHERE node = $1`,
		putSighting: `
INSERT INTO sighting (key, doc, node) SELECT key, doc, $3 FROM unnest($1::bytea[], $2::text[]) AS t (key, doc)
ON CONFLICT (node, key) DO UPDATE SET doc = excluded.doc`,
		forgetSighting: `DELETE FROM sighting WHERE key = ANY($1::bytea[]) AND node = $2`,
		sightings:      `SELECT key, doc FROM sighting WHERE node = $1`,

		makeSecret: `INSERT INTO secret (name, value, created, node) VALUES ($1, $2, $3, $4) ON CONFLICT (node, name) DO NOTHING`,
		putSecret: `
INSERT INTO secret (name, value, created, node) VALUES ($1, $2, $3, $4)
ON CONFLICT (node, name) DO UPDATE SET value = excluded.value, created = excluded.created`,
		secret: `SELECT value FROM secret WHERE name = $1 AND node = $2`,
	}
}

const (
	// How the database keeps text; in which schema tables are made; whether this program's
	// tables, or others of the same names, are in it.
	sqlPostgresIdentify = `
SELECT current_setting('server_encoding'), coalesce(current_schema(), ''),
    EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'lanfolk_version'),
    EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema()
        AND tablename IN ('observation', 'device', 'sighting', 'secret'))`
	sqlPostgresVersion = `SELECT coalesce(max(version_id), 0) FROM lanfolk_version WHERE is_applied`
	// Connections that were used in the last minute: one that its host has forgotten
	// isn't.
	sqlPostgresOthers = `
SELECT count(*) FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND application_name LIKE $1 AND application_name <> $2
    AND state_change > now() - interval '1 minute'`
	sqlPostgresLock     = `SELECT pg_advisory_xact_lock($1)`
	sqlPostgresPatience = `SELECT set_config('lock_timeout', $1, true)`
	sqlPostgresCursor   = `DECLARE lanfolk NO SCROLL CURSOR FOR `
	sqlPostgresFetch    = `FETCH FORWARD 1000 FROM lanfolk`
)
