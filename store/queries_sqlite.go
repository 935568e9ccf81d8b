package store

// sqliteStatements returns the statements in SQLite's words. A file is one
// node's, so that nothing in it says whose.
func sqliteStatements() *statements {
	return &statements{
		putObservation: sqlInsertObservation + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)` + sqlMergeObservation,
		named:          "lower(query) = ?",
		unindexed:      "+",
		forgetBefore:   `DELETE FROM observation WHERE id IN (SELECT id FROM observation WHERE last_seen < $1 ORDER BY last_seen, id LIMIT $2)`,
		forgetOldest:   `DELETE FROM observation WHERE id IN (SELECT id FROM observation ORDER BY last_seen, id LIMIT $1)`,
		forgetOwned:    `DELETE FROM observation WHERE id IN (` + sqlWorstOwned + `)`,
		size:           `SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count AS p, pragma_freelist_count AS f, pragma_page_size AS s`,

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
