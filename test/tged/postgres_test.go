package tged

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/test/lab"
	"github.com/lanfolk/lanfolk/tged"
)

// database is a table of services under test: how it is filled, and read.
type database struct {
	do   func(statements ...string)
	rows *source.TGEDRows
}

// databases makes one of each kind, by name.
func databases(t *testing.T) map[string]database {
	t.Helper()
	s := newSite(t)
	path := filepath.Join(s.Dir(), "services.db")
	lite := openSQLite(t, path)
	pg := s.server.Postgres()
	// Its socket is a file, which we reach as well.
	u := url.URL{Scheme: "postgres", Path: "postgres", RawQuery: url.Values{"host": {pg.Dir}, "user": {"postgres"}}.Encode()}
	all := map[string]database{
		"SQLite": {rows: &source.TGEDRows{Path: path}, do: func(statements ...string) {
			for _, x := range statements {
				lite(x)
			}
		}},
		"PostgreSQL": {rows: &source.TGEDRows{Postgres: store.PostgresURL{URL: u.String()}}, do: func(statements ...string) { pg.SQL(statements...) }},
	}
	for _, db := range all {
		t.Cleanup(func() { _ = db.rows.Close() })
	}
	return all
}

// TestRows: every kind of database gives the same for the same rows.
func TestRows(t *testing.T) {
	for name, db := range databases(t) {
		ctx := context.Background()
		if err := db.rows.Check(ctx); err == nil {
			t.Errorf("%s: a table that isn't there can be read", name)
		}
		db.do(`CREATE TABLE services (service TEXT, key TEXT, value TEXT)`,
			`INSERT INTO services VALUES
				('Sql', 'HOST', 'test'), ('SQL', 'PORT', '3306'), ('sql', 'NOTE', NULL),
				('Straße', 'HOST', 'way'), ('ÉCOLE', 'HOST', 'school'), ('école', 'HOST', 'other'),
				('it''s', 'HOST', '1 OR 1=1'), ('a%', 'HOST', 'percent'), ('ab', 'HOST', 'letters'),
				('empty', '', ''), (NULL, 'HOST', 'nobody'), ('', 'HOST', 'nameless'), ('utf', 'HOST', 'søren 日本')`)
		if err := db.rows.Check(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		expect := func(service string, want ...string) {
			t.Helper()
			fields, err := db.rows.Fields(ctx, service)
			var got []string
			for _, f := range fields {
				got = append(got, f.Key+"="+f.Value)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %s (-want +got): %v\n%s", name, service, err, diff)
			}
		}
		expect("SQL", "HOST=test", "NOTE=", "PORT=3306")
		expect("STRAßE", "HOST=way") // letters beyond ASCII are themselves
		expect("STRASSE")
		expect("ÉCOLE", "HOST=school")
		expect("éCOLE", "HOST=other")
		expect("IT'S", "HOST=1 OR 1=1")
		expect("A%", "HOST=percent")
		expect("EMPTY", "=")
		expect("UTF", "HOST=søren 日本")
		expect("NOPE")
		expect("' OR 1=1 --")
		// A table of other types, with more than any reply has room for, is bounded.
		db.do(`DROP TABLE services`, `CREATE TABLE services (service VARCHAR(20), key VARCHAR(20), value INTEGER)`,
			`INSERT INTO services VALUES ('db', 'PORT', 5432)`, `INSERT INTO services VALUES ('db', 'port', NULL)`)
		expect("DB", "PORT=5432", "port=")
		db.do(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) INSERT INTO services SELECT 'many', 'K' || i, i FROM n`)
		if fields, err := db.rows.Fields(ctx, "MANY"); len(fields) != 1000 || err != nil {
			t.Errorf("%s: of a service of 3,000 fields %d are read, %v", name, len(fields), err)
		}
	}
}

// TestPostgresIndex: with the index that the manual names no other rows are read.
func TestPostgresIndex(t *testing.T) {
	db := databases(t)["PostgreSQL"]
	ctx := context.Background()
	for _, kind := range []string{"TEXT", "VARCHAR(60)"} {
		db.do(`DROP TABLE IF EXISTS services`, `CREATE TABLE services (service `+kind+`, key TEXT, value TEXT)`,
			`INSERT INTO services SELECT 'Service ' || i, 'HOST', 'host' || i FROM generate_series(1, 300000) i`,
			`CREATE INDEX ON services (upper(service COLLATE "C"))`, `ANALYZE services`)
		if _, err := db.rows.Fields(ctx, "SERVICE 1"); err != nil { // connects
			t.Fatal(err)
		}
		const reads = 200
		var took []time.Duration
		for n := range reads {
			start := time.Now()
			fields, err := db.rows.Fields(ctx, fmt.Sprintf("SERVICE %d", 1+n*1000))
			if err != nil || len(fields) != 1 || fields[0].Value != fmt.Sprintf("host%d", 1+n*1000) {
				t.Fatalf("%s: %v, %v", kind, fields, err)
			}
			took = append(took, time.Since(start))
		}
		// A scan takes ten times as long, and on a busy machine not every read waits.
		slices.Sort(took)
		if quick := took[reads/4]; quick > 10*time.Millisecond {
			t.Errorf("%s: three of four reads take %v and more", kind, quick)
		} else {
			t.Logf("%s: %v a read, of 300,000 rows", kind, quick)
		}
	}
}

// TestServicesInPostgres: the server starts before its database, which then goes away in
// every way that it can, and what was read last stays the answer.
func TestServicesInPostgres(t *testing.T) {
	s := newSite(t)
	host := s.Host("db").Join(s.theirs)
	pg := host.Postgres()
	pg.SQL(`CREATE TABLE services (service TEXT, key TEXT, value TEXT)`, `INSERT INTO services VALUES ('sql', 'HOST', 'one'), ('sql', 'port', '3306')`)
	at := host.Link(s.theirs)
	pg.Stop()
	secret := s.file("secret", lab.PostgresPassword+"\n")
	p := s.serve(s.server, pg.URL(at), "--password-file", secret)
	p.WaitText(patience, "services can't be read, the last good ones stay")
	if got, exit := s.ask("SQL", "--timeout", "500ms"); exit != 6 {
		t.Errorf("with no database: %v, exit %d", got, exit)
	}
	pg.Start()
	s.becomes("one")
	p.WaitText(patience, "services can be read again")
	set := func(host string) { pg.SQL(`UPDATE services SET value = '` + host + `' WHERE key = 'HOST'`) }
	set("two")
	s.becomes("two")
	s.exits(unknown, "NOPE", "--timeout", "500ms")
	stays := func(what, host string) {
		t.Helper()
		lab.Eventually(t, patience, what, func() error {
			time.Sleep(1100 * time.Millisecond) // what was read is no longer fresh
			for range 2 {
				// A read may take two seconds: who asks doesn't wait for it.
				got, exit := s.ask("SQL", "--timeout", "1800ms")
				if exit == unanswered {
					return errors.New("no answer in 1.8 s")
				}
				if len(got) != 1 || got[0].Fields["HOST"] != host {
					t.Errorf("%s: %v, exit %d", what, got, exit)
				}
			}
			return nil
		})
	}
	pg.Stop()
	stays("stopped", "two")
	pg.Start()
	set("three")
	s.becomes("three")
	pg.Kill()
	stays("killed", "three")
	pg.Start()
	s.becomes("three")
	pg.SQL(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lanfolk'`)
	set("four")
	s.becomes("four") // on a new connection, at once
	if n := pg.SQL(`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lanfolk'`); n > "4" || len(n) > 1 {
		t.Errorf("%s connections", n)
	}
	// Slow: nobody gets at the table.
	lock := host.Command("psql", "-h", pg.Dir, "-U", "postgres", "-d", "postgres", "-X", "-q", "-c", `BEGIN; LOCK TABLE services; SELECT pg_sleep(4)`)
	lock.Env, lock.Dir = []string{"HOME=" + pg.Dir}, pg.Dir
	slow := lock.Start()
	stays("locked", "four")
	slow.Wait(patience)
	set("five")
	s.becomes("five")
	// Cut: nothing comes back, not even an error.
	at.Down()
	stays("cut off", "five")
	at.Up()
	pg.SQL(`UPDATE services SET value = 'six' WHERE key = 'HOST'`)
	s.becomes("six")
	p.Stop()
	if strings.Contains(p.Stderr(), "battery") {
		t.Errorf("the password is in the log:\n%s", p.Stderr())
	}

	// What is wrong for good ends the start; --check says what can't be reached, too.
	wrong := s.file("wrong", "battery\n")
	withPassword := strings.Replace(pg.URL(at), "postgres@", "postgres:"+url.QueryEscape("battery:8")+"@", 1)
	for _, c := range []struct {
		services, want string
		args           []string
	}{
		{pg.URL(at), "password authentication failed", []string{"--password-file", wrong}},
		{withPassword, "password authentication failed", nil},
		{pg.URL(at), "no such file", []string{"--password-file", "/nowhere"}},
		{strings.TrimSuffix(pg.URL(at), "postgres") + "other", `database "other" does not exist`, []string{"--password-file", secret}},
		{pg.URL(at) + "?search_path=pg_catalog", `relation "services" does not exist`, []string{"--password-file", secret}},
		{"postgres://battery@[x", "no URL of PostgreSQL", nil},
		{strings.Replace(pg.URL(at), "5432", "5433", 1), "refused", []string{"--check"}},
	} {
		r := s.server.Lanfolk(append([]string{"tged", "serve", "--services", c.services}, c.args...)...).Run()
		if r.Exit != 1 || !strings.Contains(r.Stderr, c.want) || strings.Contains(r.Stderr, "battery") || r.Stdout != "" {
			t.Errorf("%s %q: exit %d, %s%s; want %q", c.services, c.args, r.Exit, r.Stdout, r.Stderr, c.want)
		}
	}
	passfile := filepath.Join(s.Dir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("*:*:*:*:"+strings.ReplaceAll(lab.PostgresPassword, ":", `\:`)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"PGPASSWORD=" + lab.PostgresPassword, "PGPASSFILE=" + passfile} {
		c := s.server.Lanfolk("tged", "serve", "--services", pg.URL(at), "--check")
		c.Env = []string{env}
		if r := c.Run(); r.Exit != 0 || r.Stdout != "the services can be used\n" {
			t.Errorf("%s: exit %d: %s%s", env, r.Exit, r.Stdout, r.Stderr)
		}
	}
}

// TestNodeAnswersFromPostgres: the node starts without its database, and its status says
// how that is.
func TestNodeAnswersFromPostgres(t *testing.T) {
	s := newSite(t)
	pg := s.Host("db").Join(s.theirs)
	at := pg.Link(s.theirs)
	address := fmt.Sprintf("postgres://postgres:%s@%s/postgres", url.PathEscape(lab.PostgresPassword), at.V4)
	node := s.server.Up(lab.Node{Config: "[tged]\nanswer = true\nservices_file = \"" + address + "\"\n"})
	status := func(what string, ok func(text string) bool) {
		t.Helper()
		lab.Eventually(t, patience, what, func() error {
			r := node.Run("status", "--json")
			if strings.Contains(r.Stdout, "battery") {
				t.Errorf("the password is in the status:\n%s", r.Stdout)
			}
			if !ok(r.Stdout) {
				return errors.New(r.Stdout)
			}
			return nil
		})
	}
	away := func(text string) bool { return strings.Contains(text, "it can't be read now") }
	status("the missing database in the status, though nobody asks", away)
	server := pg.Postgres()
	server.SQL(`CREATE TABLE services (service TEXT, key TEXT, value TEXT)`, `INSERT INTO services VALUES ('SQL', 'HOST', 'one')`)
	s.becomes("one")
	status("the database in the status", func(text string) bool { return !away(text) })
	server.Stop()
	status("its end", away)
	s.becomes("one")
	if strings.Contains(node.Stderr(), "battery") {
		t.Errorf("the password is in the log:\n%s", node.Stderr())
	}
}

var _ tged.Rows = (*source.TGEDRows)(nil)
