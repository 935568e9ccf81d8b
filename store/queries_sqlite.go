package store

// sqliteStatements returns the statements in SQLite's words. A file is one
// node's, so that nothing in it says whose.
func sqliteStatements() *statements {
	return &statements{
		putObservation:     sqlInsertObservation + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)` + sqlMergeObservation,
		observationsByTime: sqlObservationsByTime,
		// Each of these is for the index named in its test.
		observationsByName:    sqlObservationColumns + `lower(query) = $7 AND` + sqlObservationRest,
		observationsByPattern: sqlObservationsByPattern,
		// The + keeps the planner from walking all rows in order of time to find
		// the few of one MAC.
		observationsByMAC: sqlObservationColumns + `
    (src_mac = $2 OR dst_mac = $2) AND ($1 = '' OR protocol = $1)
    AND +last_seen >= $3 AND (+last_seen, id) < ($4, $5)
ORDER BY +last_seen DESC, id DESC
LIMIT $6`,
		forgetBefore: `DELETE FROM observation WHERE id IN (SELECT id FROM observation WHERE last_seen < $1 ORDER BY last_seen, id LIMIT $2)`,
		forgetOldest: `DELETE FROM observation WHERE id IN (SELECT id FROM observation ORDER BY last_seen, id LIMIT $1)`,

		putDevice:      `INSERT INTO device (id, doc) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc`,
		forgetDevice:   `DELETE FROM device WHERE id = $1`,
		devices:        `SELECT id, doc FROM device`,
		putSighting:    `INSERT INTO sighting (key, doc) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET doc = excluded.doc`,
		forgetSighting: `DELETE FROM sighting WHERE key = $1`,
		sightings:      `SELECT key, doc FROM sighting`,

		makeSecret: `INSERT INTO secret (name, value, created) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`,
		putSecret: `
INSERT INTO secret (name, value, created) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, created = excluded.created`,
		secret: `SELECT value FROM secret WHERE name = $1`,
	}
}
