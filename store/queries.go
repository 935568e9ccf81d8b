package store

// Every statement stands here, in queries_sqlite.go or in queries_postgres.go. Those
// here keep to what SQLite and PostgreSQL both accept: numbered parameters, row values,
// no functions but lower(), upper() and count(). In PostgreSQL text columns have
// COLLATE "C", so that lower() touches ASCII only there, too.

const (
	sqlObservationColumns = `
SELECT id, gateway, link, vlan, protocol, response, query, fingerprint,
    src_mac, dst_mac, dst_class, src_ip, dst_ip, first_seen, last_seen, packets
FROM observation
WHERE `
	// $1 protocol, $2 MAC, '' for any; $3 since; $4 and $5 where the page before
	// ended; $6 how many; $7, where there is one, the name or pattern.
	sqlObservationRest = `
    ($1 = '' OR protocol = $1) AND ($2 = '' OR src_mac = $2 OR dst_mac = $2)
    AND last_seen >= $3 AND (last_seen, id) < ($4, $5)
ORDER BY last_seen DESC, id DESC
LIMIT $6`

	sqlObservationsByTime    = sqlObservationColumns + sqlObservationRest
	sqlObservationsByPattern = sqlObservationColumns + `lower(query) LIKE $7 ESCAPE '\' AND` + sqlObservationRest

	sqlCountObservations = `SELECT count(*) FROM observation`

	// The newest packet's addresses stand; a packet of the same moment counts
	// as newer. Unknown times are 0 and never win.
	sqlMergeObservation = `
ON CONFLICT (key) DO UPDATE SET
    src_ip = CASE WHEN excluded.last_seen >= observation.last_seen THEN excluded.src_ip ELSE observation.src_ip END,
    dst_ip = CASE WHEN excluded.last_seen >= observation.last_seen THEN excluded.dst_ip ELSE observation.dst_ip END,
    first_seen = CASE WHEN observation.first_seen = 0 OR (excluded.first_seen <> 0 AND excluded.first_seen < observation.first_seen)
        THEN excluded.first_seen ELSE observation.first_seen END,
    last_seen = CASE WHEN excluded.last_seen > observation.last_seen THEN excluded.last_seen ELSE observation.last_seen END,
    packets = CASE WHEN observation.packets > 9223372036854775807 - excluded.packets
        THEN 9223372036854775807 ELSE observation.packets + excluded.packets END`
	sqlInsertObservation = `
INSERT INTO observation (key, gateway, link, vlan, protocol, response, query, fingerprint,
    src_mac, dst_mac, dst_class, src_ip, dst_ip, first_seen, last_seen, packets)
`
)

const (
	// Of another program's table; $1 is in capitals.
	sqlServiceFields = `SELECT key, value FROM services WHERE upper(service) = $1 LIMIT $2`
	sqlCheckServices = `SELECT service, key, value FROM services LIMIT 0`
	// In the C collation upper changes ASCII letters only. No reply has room for a longer
	// value.
	sqlPostgresServiceFields = `SELECT key::text, left(value::text, 2000) FROM services WHERE upper(service::text COLLATE "C") = $1 LIMIT $2`
)
