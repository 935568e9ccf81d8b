package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/conformance"
	"github.com/lanfolk/lanfolk/test/lab"
)

// server is a PostgreSQL server, one for all tests of this package.
type server struct {
	*lab.Postgres
	schemas int
}

// schema makes room for another store and returns where that is.
func (s *server) schema(t *testing.T, parameters ...string) string {
	t.Helper()
	s.schemas++
	name := fmt.Sprintf("s%d", s.schemas)
	db := s.session(t)
	defer db.Close()
	run(t, db, "CREATE SCHEMA "+name)
	return s.Socket(append(parameters, "search_path="+name)...)
}

// session is a connection past the package, as another program's.
func (s *server) session(t *testing.T, parameters ...string) *sql.DB {
	t.Helper()
	return session(t, s.Socket(parameters...))
}

func session(t *testing.T, where string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", where)
	noErr(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, x := range statements {
		if _, err := db.Exec(x); err != nil {
			t.Fatalf("%s: %v", x, err)
		}
	}
}

func number(t *testing.T, db *sql.DB, query string) (n int64) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// TestPostgres is every test that needs the server.
func TestPostgres(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	host := l.Host("db")
	s := &server{Postgres: host.Postgres()}
	t.Run("conforms", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) conformance.Opener {
			where := s.schema(t)
			return func() conformance.Store { return open(t, where, store.Options{Node: "cellar"}) }
		})
	})
	for name, test := range map[string]func(t *testing.T, s *server){
		"what is none of its databases is refused":          refused,
		"nodes that start at once make the tables once":     madeOnce,
		"nodes share observations and no inventory":         nodesApart,
		"two nodes write the same rows at once":             twoWriters,
		"a row that is heard again touches no index":        hotUpdates,
		"queries use their index and bounded memory":        plans,
		"a locked table is waited for, then said":           lockedTable,
		"the page for analysts is right":                    analystsAsk,
		"a server that takes nobody or no change is said":   takesNobody,
		"a full disk is said, and room is used":             fullTablespace,
		"an answer that doesn't come ends with the context": func(t *testing.T, s *server) { paused(t, s, host) },
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
	t.Run("a server may crash and be away", func(t *testing.T) { away(t, s) }) // what was on the small disk is gone then
}

func refused(t *testing.T, s *server) {
	newer, foreign, older := s.schema(t), s.schema(t), s.schema(t)
	noErr(t, open(t, newer, store.Options{}).Close())
	run(t, session(t, newer), "INSERT INTO lanfolk_version (version_id, is_applied) VALUES (99, true)")
	run(t, session(t, foreign), "CREATE TABLE device (name text)")
	run(t, session(t, foreign), "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
	for _, c := range []struct {
		where    string
		readOnly bool
		is       error
		want     string
	}{
		{newer, false, store.ErrNewer, "schema 99, this one knows up to "},
		{newer, true, store.ErrNewer, "; run that version, or name another database"},
		{foreign, false, store.ErrForeign, "has a table observation, device, sighting or secret); name another database, or another schema by the parameter search_path"},
		{older, true, store.ErrOlder, "(schema 0, this one reads "},
		{s.Socket("search_path=nowhere"), false, store.ErrRefused, "there is no schema of those in search_path"},
		{strings.Replace(older, "/postgres?", "/nothere?", 1), false, store.ErrRefused, `database "nothere" does not exist`},
		{strings.Replace(s.Socket(), "/postgres?", "/latin?", 1), false, store.ErrRefused, "its encoding is LATIN1; want UTF8"},
		{strings.Replace(older, "postgres@", "john:s3cret@", 1), false, store.ErrRefused, `role "john" does not exist`},
		{"postgres://john:s3cret@127.0.0.1:1/x", false, store.ErrAway, "postgres://john@127.0.0.1:1/x: no answer from the database's server: "},
		{"postgres://john:s3cret@[x", false, nil, "no URL of PostgreSQL"},
		{strings.Replace(older, "postgres-", "no-", 1), false, store.ErrAway, "no such file"},
	} {
		db, err := store.Open(context.Background(), c.where, store.Options{ReadOnly: c.readOnly})
		if err == nil {
			db.Close()
			t.Errorf("%s: it was opened", c.where)
			continue
		}
		if !strings.HasPrefix(err.Error(), "store: open ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") || (c.is != nil && !errors.Is(err, c.is)) {
			t.Errorf("%s: %v; want %q, which is %v", c.where, err, c.want, c.is)
		}
	}
	if n := number(t, session(t, foreign), "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"); n != 1 {
		t.Errorf("another program's schema has %d tables now", n)
	}
	// Who only reads needs no right to make tables.
	readable := s.schema(t)
	noErr(t, open(t, readable, store.Options{}).Close())
	db := session(t, readable)
	run(t, db, "CREATE ROLE reader LOGIN", "GRANT USAGE ON SCHEMA "+schemaOf(readable)+" TO reader", "GRANT SELECT ON ALL TABLES IN SCHEMA "+schemaOf(readable)+" TO reader")
	reader := strings.Replace(readable, "postgres@", "reader@", 1)
	if n, err := open(t, reader, store.Options{ReadOnly: true}).CountObservations(context.Background()); n != 0 || err != nil {
		t.Errorf("a reader counts %d, %v", n, err)
	}
	if err := open(t, reader, store.Options{}).SaveObservations(context.Background(), []lanfolk.Observation{row(1)}); !errors.Is(err, store.ErrRefused) {
		t.Errorf("a reader writes: %v", err)
	}
}

func schemaOf(where string) string {
	_, name, _ := strings.Cut(where, "search_path=")
	name, _, _ = strings.Cut(name, "&")
	return name
}

func madeOnce(t *testing.T, s *server) {
	where := s.schema(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			db, err := store.Open(context.Background(), where, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(db.SaveObservations(context.Background(), []lanfolk.Observation{row(1)}), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	db := session(t, where)
	if twice := number(t, db, "SELECT count(*) - count(DISTINCT version_id) FROM lanfolk_version"); twice != 0 {
		t.Errorf("%d steps were made twice", twice)
	}
	if n := number(t, db, "SELECT packets FROM observation"); n != 4 {
		t.Errorf("%d packets, want 4", n)
	}
}

func nodesApart(t *testing.T, s *server) {
	ctx := context.Background()
	where := s.schema(t)
	a, b := open(t, where, store.Options{Node: "attic"}), open(t, where, store.Options{Node: "cellar"})
	record := func(name string) lanfolk.Batch {
		return lanfolk.Batch{
			Devices:   []lanfolk.DeviceRecord{{ID: "d1", Said: lanfolk.Said{Names: []string{name}}}},
			Sightings: []lanfolk.StoredSighting{{Sighting: lanfolk.Sighting{Key: "k", Name: name}, Device: "d1"}},
		}
	}
	noErr(t, a.Save(ctx, record("attic")))
	noErr(t, b.Save(ctx, record("cellar")))
	for name, db := range map[string]*store.DB{"attic": a, "cellar": b} {
		got, err := db.Snapshot(ctx)
		if err != nil || len(got.Devices) != 1 || got.Devices[0].Said.Names[0] != name || len(got.Sightings) != 1 || got.Sightings[0].Sighting.Name != name {
			t.Errorf("%s has %+v, %v", name, got, err)
		}
	}
	noErr(t, a.Check(ctx))
	twin := open(t, where, store.Options{Node: "cellar"})
	if err := b.Check(ctx); !errors.Is(err, store.ErrTaken) {
		t.Errorf("another node of the same name: %v", err)
	}
	noErr(t, twin.Close())
	lab.Eventually(t, 10*time.Second, "the end of the twin's connections", func() error { return b.Check(ctx) })
	noErr(t, open(t, where, store.Options{Node: "cellar", ReadOnly: true}).Check(ctx))
	noErr(t, b.Check(ctx))
	noErr(t, a.Save(ctx, lanfolk.Batch{Forgotten: []string{"d1"}, Ended: []lanfolk.ID{{Key: "k"}}}))
	if got, err := b.Snapshot(ctx); err != nil || len(got.Devices) != 1 || len(got.Sightings) != 1 {
		t.Errorf("what one node forgot is gone from the other's: %+v, %v", got, err)
	}
	one, err := a.Secret(ctx, "node")
	noErr(t, err)
	other, err := b.Secret(ctx, "node")
	noErr(t, err)
	if slices.Equal(one, other) {
		t.Error("two nodes have one secret")
	}
	for i, db := range []*store.DB{a, b} {
		o := row(1)
		o.Gateway = []string{"attic", "cellar"}[i]
		noErr(t, db.SaveObservations(ctx, []lanfolk.Observation{o}))
	}
	if rows, err := a.Observations(ctx, store.ObservationFilter{}); err != nil || len(rows) != 2 {
		t.Errorf("%d observations, %v; want those of both", len(rows), err)
	}
}

// twoWriters has two nodes write the same rows in different orders while old ones are
// forgotten: nobody fails, and nothing is lost.
func twoWriters(t *testing.T, s *server) {
	ctx := context.Background()
	where := s.schema(t)
	const rows, rounds, sensors = 300, 15, 2
	var all sync.WaitGroup
	for w := range sensors {
		db := open(t, where, store.Options{Node: fmt.Sprint(w)})
		all.Go(func() {
			for round := range rounds {
				batch := make([]lanfolk.Observation, rows)
				for i := range batch {
					batch[i] = row(i)
					batch[i].Last = time.Unix(2_000_000_000+int64(round), 0)
				}
				if (w+round)%2 == 1 {
					slices.Reverse(batch)
				}
				if err := db.SaveObservations(ctx, batch); err != nil {
					t.Error(err)
				}
				if _, err := db.ForgetObservations(ctx, time.Unix(2_000_000_000, 0), store.Retention{MaxAge: time.Hour, MaxRows: rows}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got, err := open(t, where, store.Options{}).Observations(ctx, store.ObservationFilter{})
	if err != nil || len(got) != rows {
		t.Fatalf("%d rows, %v; want %d", len(got), err, rows)
	}
	for _, o := range got {
		if o.Count != sensors*rounds {
			t.Fatalf("%s: %d packets, want %d", o.Query, o.Count, sensors*rounds)
		}
	}
}

// hotUpdates hears a tenth of the rows again and again, as it is from second to second.
func hotUpdates(t *testing.T, s *server) {
	ctx := context.Background()
	where := s.schema(t)
	const rows, rounds, part = 5000, 40, 10
	db := open(t, where, store.Options{})
	batch := make([]lanfolk.Observation, rows)
	for i := range batch {
		batch[i] = row(i)
	}
	noErr(t, db.SaveObservations(ctx, batch))
	for round := range rounds {
		var again []lanfolk.Observation
		for i := round % part; i < rows; i += part {
			o := row(i)
			o.Last = o.Last.Add(time.Duration(round+1) * time.Second)
			again = append(again, o)
		}
		noErr(t, db.SaveObservations(ctx, again))
	}
	noErr(t, db.Close()) // a session that ends hands in its statistics
	x := session(t, where)
	const of = " FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'observation'"
	var updated, hot int64
	lab.Eventually(t, 10*time.Second, "the statistics", func() error {
		updated, hot = number(t, x, "SELECT n_tup_upd"+of), number(t, x, "SELECT n_tup_hot_upd"+of)
		if updated != rows*rounds/part {
			return fmt.Errorf("%d updates, want %d", updated, rows*rounds/part)
		}
		return nil
	})
	t.Logf("%d of %d updates were HOT", hot, updated)
	if hot*100 < updated*98 {
		t.Errorf("%d of %d updates were HOT; want 98 %%", hot, updated)
	}
}

// plans asks as users do, and PostgreSQL how it went.
func plans(t *testing.T, s *server) {
	ctx := context.Background()
	where := s.schema(t)
	const rows = 20_000
	db := open(t, where, store.Options{})
	batch := make([]lanfolk.Observation, rows)
	for i := range batch {
		batch[i] = row(i)
		batch[i].SrcMAC = lanfolk.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
	}
	noErr(t, db.SaveObservations(ctx, batch))
	noErr(t, db.Close())
	x := session(t, where)
	run(t, x, "ANALYZE observation")
	stat := func(what string) (n int64) {
		switch what {
		case "seq":
			return number(t, x, "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'observation'")
		case "temp":
			return number(t, x, "SELECT temp_files FROM pg_stat_database WHERE datname = current_database()")
		}
		return number(t, x, "SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = current_schema() AND indexrelname = '"+what+"'")
	}
	for _, c := range []struct {
		f    store.ObservationFilter
		uses string
		rows int
	}{
		{store.ObservationFilter{Query: row(7).Query, Limit: 1}, "observation_name", 1},
		{store.ObservationFilter{Query: row(7).Query}, "observation_name", 1},
		{store.ObservationFilter{Query: row(7).Query, Protocol: "mdns", Since: time.Unix(1, 0)}, "observation_name", 1},
		{store.ObservationFilter{MAC: batch[9].SrcMAC, Limit: 5}, "observation_src", 1},
		{store.ObservationFilter{MAC: lanfolk.MAC{9, 9, 9, 9, 9, 9}}, "observation_dst", 0},
		{store.ObservationFilter{Limit: 1000}, "seq", 1000},
		{store.ObservationFilter{Query: "*local*", Limit: 1000}, "seq", 1000},
	} {
		before, seq, temp := stat(c.uses), stat("seq"), stat("temp")
		db := open(t, where, store.Options{ReadOnly: true})
		got, err := db.Observations(ctx, c.f)
		if err != nil || len(got) != c.rows {
			t.Fatalf("%+v: %d rows, %v; want %d", c.f, len(got), err, c.rows)
		}
		noErr(t, db.Close())
		lab.Eventually(t, 10*time.Second, fmt.Sprintf("%+v uses %s", c.f, c.uses), func() error {
			if stat(c.uses) <= before {
				return errors.New("not used")
			}
			return nil
		})
		if c.uses != "seq" && stat("seq") != seq {
			t.Errorf("%+v reads the whole table", c.f)
		}
		if stat("temp") != temp {
			t.Errorf("%+v sorts in files", c.f)
		}
	}
}
