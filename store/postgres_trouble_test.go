package store_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/test/lab"
)

// troubled is a recorder that writes to a database with which something is wrong.
type troubled struct {
	*store.Recorder
	db       *store.DB
	recorded int
}

func newTroubled(t *testing.T, where string) *troubled {
	db := open(t, where, store.Options{BusyTimeout: 100 * time.Millisecond})
	return &troubled{store.NewRecorder(db, store.RecorderOptions{}), db, 0}
}

// fails records another row, which can't be written for the reason is, as health says.
func (x *troubled) fails(t *testing.T, why string, is error) {
	t.Helper()
	x.Record(row(x.recorded))
	x.recorded++
	err := x.Flush(t.Context())
	if !errors.Is(err, is) || !errors.Is(x.Health(), is) || x.Stats().Pending == 0 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v, health %v, %+v; want %v", why, err, x.Health(), x.Stats(), is)
	}
}

// works waits until all that was recorded is there, each row once.
func (x *troubled) works(t *testing.T, what string) {
	t.Helper()
	var rows []lanfolk.Observation
	var err error
	lab.Eventually(t, 20*time.Second, what, func() error {
		if err := x.Flush(t.Context()); err != nil {
			return err
		}
		// A server may take the row, and only then end the sessions that were.
		if rows, err = x.db.Observations(t.Context(), store.ObservationFilter{}); errors.Is(err, store.ErrAway) {
			return err
		}
		return nil
	})
	if err != nil || len(rows) != x.recorded || x.Health() != nil || x.Stats().Dropped != 0 {
		t.Errorf("%s: %d rows, want %d: %v, health %v, %+v", what, len(rows), x.recorded, err, x.Health(), x.Stats())
	}
	for _, o := range rows {
		if o.Count != 1 {
			t.Errorf("%s: %s was written %d times", what, o.Query, o.Count)
		}
	}
}

func lockedTable(t *testing.T, s *server) {
	where := s.schema(t)
	x := newTroubled(t, where)
	tx, err := session(t, where).Begin()
	noErr(t, err)
	_, err = tx.Exec("LOCK TABLE observation")
	noErr(t, err)
	x.fails(t, "a locked table", store.ErrLocked)
	// What a person says is in another table, and doesn't wait.
	noErr(t, x.db.Commit(t.Context(), []lanfolk.DeviceRecord{{ID: "d1"}}))
	noErr(t, tx.Rollback())
	x.works(t, "the table is free again")
}

func takesNobody(t *testing.T, s *server) {
	where := s.schema(t)
	admin := session(t, where)
	x := newTroubled(t, where)
	x.works(t, "before")
	cut := func() {
		t.Helper()
		run(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lanfolk%'")
	}
	run(t, admin, "ALTER DATABASE postgres SET default_transaction_read_only = on")
	cut()
	x.fails(t, "a database that is read-only", store.ErrReadOnly)
	run(t, admin, "SET default_transaction_read_only = off", "ALTER DATABASE postgres RESET default_transaction_read_only")
	cut()
	x.works(t, "it takes changes again")

	where = s.schema(t)
	run(t, admin, "CREATE ROLE few LOGIN", "ALTER SCHEMA "+schemaOf(where)+" OWNER TO few")
	few := newTroubled(t, strings.Replace(where, "postgres@", "few@", 1))
	few.works(t, "before")
	run(t, admin, "ALTER ROLE few CONNECTION LIMIT 0")
	cut()
	few.fails(t, "too many connections", store.ErrAway)
	run(t, admin, "ALTER ROLE few NOLOGIN CONNECTION LIMIT -1")
	few.fails(t, "a role that may not come in", store.ErrRefused)
	run(t, admin, "ALTER ROLE few LOGIN", "REVOKE INSERT ON "+schemaOf(where)+".observation FROM few")
	few.fails(t, "a role that may not write", store.ErrRefused)
	run(t, admin, "GRANT INSERT ON "+schemaOf(where)+".observation TO few")
	few.works(t, "it may again")
}

func fullTablespace(t *testing.T, s *server) {
	admin := s.session(t)
	run(t, admin, "CREATE TABLESPACE small LOCATION '"+s.Small+"'")
	where := s.schema(t, "default_tablespace=small")
	x := newTroubled(t, where)
	x.works(t, "before")
	filler := session(t, where)
	run(t, filler, "CREATE TABLE ballast (x text)", "ALTER TABLE ballast ALTER x SET STORAGE EXTERNAL")
	for _, size := range []string{"1000000", "100000", "2000"} {
		for {
			if _, err := filler.Exec("INSERT INTO ballast SELECT repeat('x', " + size + ")"); err != nil {
				break
			}
		}
	}
	for range 50 { // rows that need new pages
		noise := make([]byte, 50_000)
		rand.Read(noise)
		long := row(x.recorded)
		long.Query += hex.EncodeToString(noise)
		x.Record(long)
		x.recorded++
	}
	x.fails(t, "a full disk", store.ErrFull)
	run(t, filler, "DROP TABLE ballast")
	x.works(t, "there is room again")
	noErr(t, x.db.Close())
	run(t, admin, "DROP SCHEMA "+schemaOf(where)+" CASCADE", "DROP TABLESPACE small")
}

// paused stops the server in the middle of everything.
func paused(t *testing.T, s *server, host *lab.Host) {
	db := open(t, s.schema(t), store.Options{})
	noErr(t, db.SaveObservations(t.Context(), []lanfolk.Observation{row(1)}))
	host.Pause()
	began := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := db.SaveObservations(short, []lanfolk.Observation{row(2)}); err == nil {
		t.Error("a server that is paused took a row")
	}
	if _, _, err := db.Latest(short, store.ObservationFilter{Query: "x"}); err == nil {
		t.Error("a server that is paused answered")
	}
	if took := time.Since(began); took > 20*time.Second { // a call may take 30 s of itself
		t.Errorf("that took %v", took)
	}
	host.Resume()
	noErr(t, db.SaveObservations(t.Context(), []lanfolk.Observation{row(3)}))
}

func away(t *testing.T, s *server) {
	where := s.schema(t)
	x := newTroubled(t, where)
	x.works(t, "before")
	// Where one of its processes is killed the server ends all sessions and mends
	// what they left.
	pid := number(t, session(t, where), "SELECT pg_backend_pid()")
	bystander, err := session(t, where).Conn(t.Context())
	noErr(t, err)
	noErr(t, syscall.Kill(int(pid), syscall.SIGKILL))
	// A row that is written before that may be on record though no answer comes, and is
	// written once more then.
	lab.Eventually(t, 20*time.Second, "the end of all sessions", func() error {
		if bystander.PingContext(t.Context()) == nil {
			return errors.New("a session goes on")
		}
		return nil
	})
	x.Record(row(x.recorded))
	x.recorded++
	x.works(t, "the server has crashed and mended itself")

	s.Stop()
	x.fails(t, "a server that is stopped", store.ErrAway)
	if _, err := store.Open(t.Context(), where, store.Options{}); !errors.Is(err, store.ErrAway) {
		t.Errorf("open one that is stopped: %v", err)
	}
	s.Start()
	x.works(t, "the server is back")
}
