package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// The page for analysts is held against a database that the program made: its columns,
// its indexes, and each of its queries, which must find what was put there for it.
func TestThePageForAnalystsIsRight(t *testing.T) {
	t.Parallel()
	page := analystsPage(t)
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	saveForAnalysts(t, open(t, path, store.Options{}))
	reader, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()

	checkQueries(t, reader, page, "sqlite")

	var columns []string
	for _, line := range regexp.MustCompile(`(?m)^\| ([a-z_]+)(?: \*k\*)? \| [A-Z]+ \|`).FindAllStringSubmatch(page, -1) {
		columns = append(columns, line[1])
	}
	slices.Sort(columns)
	have := strings.Fields(list(t, reader, "SELECT name FROM pragma_table_info('observation') ORDER BY name"))
	if !slices.Equal(columns, have) {
		t.Errorf("the page has the columns %v, the table %v", columns, have)
	}
	for _, name := range strings.Fields(list(t, reader, "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'observation' AND sql IS NOT NULL")) {
		if !strings.Contains(page, name+":") {
			t.Errorf("the page has no index %s", name)
		}
	}
	for _, name := range strings.Fields(list(t, reader, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'fleet\_%' ESCAPE '\'`)) {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(page) {
			t.Errorf("the page has no table %s", name)
		}
	}
}

func analystsPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/database.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// saveForAnalysts saves something for each of the page's queries to find.
func saveForAnalysts(t *testing.T, db *store.DB) {
	t.Helper()
	now := time.Now()
	at := func(o lanfolk.Observation, protocol string, response bool, query, fingerprint string) lanfolk.Observation {
		o.Protocol, o.Response, o.Query, o.Fingerprint, o.First, o.Last = protocol, response, query, fingerprint, now, now
		return o
	}
	err := db.SaveObservations(context.Background(), []lanfolk.Observation{
		at(row(1), "mdns", true, "NAS.local", ""), at(row(1), "mdns", true, "_ipp._tcp.local", ""),
		at(row(1), "arp", true, "192.0.2.1", ""), at(row(2), "arp", true, "192.0.2.1", ""),
		at(row(1), "dhcp", false, "nas", "dhcp1:type=1"), at(row(2), "tls", false, "www.example.com", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkQueries runs the page's queries that are marked as SQL, or as a dialect's.
func checkQueries(t *testing.T, db *sql.DB, page, dialect string) {
	t.Helper()
	queries := regexp.MustCompile("(?s)```(?:sql|"+dialect+")\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(queries) < 7 {
		t.Errorf("%d queries on the page", len(queries))
	}
	for _, q := range queries {
		if n, err := rowsOf(db, q[1]); n == 0 || err != nil {
			t.Errorf("%d rows, %v:\n%s", n, err, q[1])
		}
	}
}

// analystsAsk runs the page's queries in PostgreSQL.
func analystsAsk(t *testing.T, s *server) {
	where := s.schema(t)
	saveForAnalysts(t, open(t, where, store.Options{Node: "cellar"}))
	checkQueries(t, session(t, where), analystsPage(t), "psql")
}

func rowsOf(db *sql.DB, query string) (n int, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

func list(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var all string
	if err := db.QueryRow(fmt.Sprintf("SELECT group_concat(name, ' ') FROM (%s)", query)).Scan(&all); err != nil {
		t.Fatal(err)
	}
	return all
}
