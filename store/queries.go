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
        THEN 9223372036854775807 ELSE observation.packets + excluded.packets END,
    fingerprint_hash = excluded.fingerprint_hash`
	sqlInsertObservation = `
INSERT INTO observation (key, gateway, link, vlan, protocol, response, query, fingerprint, fingerprint_hash,
    src_mac, dst_mac, dst_class, src_ip, dst_ip, first_seen, last_seen, packets)
`

	// See lanfolk.ObservationKey.Owner.
	sqlOwner = `CASE WHEN response = 1 AND dst_class = 'unicast' THEN dst_mac ELSE src_mac END`
	// Who has more rows than $1, and how many.
	sqlOwnersOver = `SELECT ` + sqlOwner + `, count(*) FROM observation GROUP BY 1 HAVING count(*) > $1 ORDER BY 1`
	// How many rows are on account of MACs that were heard for less than $1 nanoseconds in all.
	sqlCountPassing = `
SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM (
    SELECT count(*) AS n FROM observation GROUP BY ` + sqlOwner + ` HAVING max(last_seen) - min(first_seen) < $1
) AS passing`
	// These MACs, at most $2, who fell silent first before the others.
	sqlOwnersPassing = `
SELECT ` + sqlOwner + `, count(*) FROM observation GROUP BY 1
HAVING max(last_seen) - min(first_seen) < $1 ORDER BY max(last_seen), 1 LIMIT $2`
	// The worst rows of $1, at most $2.
	sqlWorstOwned = `
    SELECT id FROM observation WHERE (src_mac = $1 OR dst_mac = $1) AND ` + sqlOwner + ` = $1
    ORDER BY CASE WHEN packets > 1 THEN 1 ELSE 0 END, last_seen, id LIMIT $2`
)

const (
	// Of another program's table; $1 is in capitals.
	sqlServiceFields = `SELECT key, value FROM services WHERE upper(service) = $1 LIMIT $2`
	sqlCheckServices = `SELECT service, key, value FROM services LIMIT 0`
	// In the C collation upper changes ASCII letters only. No reply has room for a longer
	// value.
	sqlPostgresServiceFields = `SELECT key::text, left(value::text, 2000) FROM services WHERE upper(service::text COLLATE "C") = $1 LIMIT $2`
)
