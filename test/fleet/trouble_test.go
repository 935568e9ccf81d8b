package fleet

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to change what the hub keeps, as somebody else would

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestRevocationCutsAtOnce: who is revoked is gone within the second, with what runs
// there, and isn't let in again.
func TestRevocationCutsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	dir := s.folder("bin")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	g := s.gateway("shop", program("sleep", writeScript(t, dir, "sleep.sh", "cd "+dir+"; echo $$ > running; exec sleep 600\n")))
	s.gateway("other", "")
	run := s.at.Lanfolk("run", "shop", "-o", "jsonl", "--state", s.hub.State, "--", "exec", "sleep").Start()
	lab.Eventually(t, patience, "the program", func() error { _, err := os.Stat(filepath.Join(dir, "running")); return err })
	s.ok("hub", "revoke", "shop")
	revoked := time.Now()
	// As it was put on record: far less than it takes to miss a gateway that is silent.
	took := s.waitState("shop", "offline", patience).LastSeen.Sub(revoked)
	t.Logf("gone after %v", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("gone after %v", took)
	}
	g.WaitText(patience, "revoked")
	// It tries again, and stays out.
	time.Sleep(3 * time.Second)
	if g, ok := s.listedAs("shop"); ok && g.State == "online" {
		t.Errorf("it is back: %+v", g)
	}
	if _, r := s.try("shop", "status"); r.Exit == 0 {
		t.Errorf("a command for it: %s", r.Stdout)
	}
	if o := s.run("other", "status"); o.Status != "ok" {
		t.Errorf("a command for another gateway: %+v", o)
	}
	if exit := run.Wait(patience); exit == 0 || !strings.Contains(run.Stdout(), "revoked") {
		t.Errorf("what ran there: exit %d: %s; want it told of", exit, run.Stdout())
	}
	if audit := s.ok("audit", "--json"); !strings.Contains(audit, "revoke") {
		t.Errorf("the audit has no revocation: %s", audit)
	}
	s.hub.Stop()
	s.restartHub()
	s.waitState("other", "online", patience)
	if g, ok := s.listedAs("shop"); ok && g.State == "online" {
		t.Errorf("it is back after a restart: %+v", g)
	}
}

// lives is what a hub must do whatever it keeps its things in: commands, results and
// gateways outlive it, and what was queued is done once the gateway is there.
func (s *site) lives() {
	t := s.t
	t.Helper()
	g := s.gateway("shop", "")
	sum := g.put(t, "notes.txt", []byte("notes"))
	first := s.run("shop", "get", "notes.txt")
	if first.Status != "ok" || first.SHA256 != sum {
		t.Fatalf("get: %+v", first)
	}
	if exit := g.Stop(); exit != 0 {
		t.Errorf("the gateway ends with %d", exit)
	}
	s.waitState("shop", "offline", patience)
	// With --queue it waits for the gateway, and who asked may go.
	waits := s.at.Lanfolk("run", "shop", "--queue", "--timeout", "5m", "-o", "jsonl", "--state", s.hub.State, "--", "list").Start()
	var queued outcome
	lab.Eventually(t, patience, "the queued command", func() error {
		all := s.commands()
		if len(all) != 2 || all[0].Status != "queued" && all[1].Status != "queued" {
			return fmt.Errorf("%+v", all)
		}
		if queued = all[0]; queued.Status != "queued" {
			queued = all[1]
		}
		return nil
	})
	waits.Kill()
	if exit := s.hub.Stop(); exit != 0 {
		t.Errorf("the hub ends with %d", exit)
	}
	if r := s.hub.Run("gateways"); r.Exit != 3 {
		t.Errorf("with no hub: exit %d: %s", r.Exit, r.Stderr)
	}
	s.restartHub()
	if out := s.ok("commands", "output", first.CommandID); out != "notes" {
		t.Errorf("what came before is %q", out)
	}
	if g, ok := s.listedAs("shop"); !ok || g.State != "offline" {
		t.Errorf("listed as %+v", g)
	}
	g.start()
	if o := s.waitEnd(queued.CommandID, patience); o.Status != "ok" {
		t.Errorf("the queued command: %+v", o)
	} else if out := s.ok("commands", "output", o.CommandID); !strings.Contains(out, "notes.txt") {
		t.Errorf("its output is %q", out)
	}
	if r := s.hub.Run("audit", "verify"); r.Exit != 0 {
		t.Errorf("audit verify: exit %d: %s", r.Exit, r.Stderr)
	}
}

func TestHubRestartKeepsAll(t *testing.T) {
	t.Parallel()
	newSite(t, "").lives()
}

func TestHubOnPostgres(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	p := s.at.Postgres()
	s.startHub("[store]\nkind = \"postgres\"\nurl = \"" + p.Socket() + "\"\n")
	s.lives()
	if n := p.SQL("SELECT count(*) FROM fleet_command"); n != "2" {
		t.Errorf("the database has %s commands", n)
	}
}

// TestHubDiskFull: a result for which there is no room is an error that says so; the
// hub goes on, and takes the next one when there is room again.
func TestHubDiskFull(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	state := s.folder("small")
	lab.SmallDisk(t, state, "24m")
	s.node.State = state
	s.startHub("")
	dir := s.folder("bin")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	g := s.gateway("shop", program("append", writeScript(t, dir, "append.sh", "echo done >> "+dir+"/did\n")))
	g.put(t, "large.bin", noise(40<<20))
	g.put(t, "small.txt", []byte("small"))
	o, r := s.try("shop", "get", "large.bin")
	if o.Status == "ok" || !strings.Contains(o.Error+r.Stderr, "full") && !strings.Contains(o.Error+r.Stderr, "room") && !strings.Contains(o.Error+r.Stderr, "space") {
		t.Errorf("a result that is larger than the disk: %+v, exit %d: %s", o, r.Exit, r.Stderr)
	}
	lab.Eventually(t, patience, "a small result", func() error {
		if o, r := s.try("shop", "get", "small.txt"); o.Status != "ok" || o.Output != "small" {
			return fmt.Errorf("%+v, exit %d: %s", o, r.Exit, r.Stderr)
		}
		return nil
	})
	lab.Eventually(t, patience, "nothing left of what didn't fit", func() error {
		if n := partial(t, state); n > 8<<20 {
			return fmt.Errorf("%d bytes are", n)
		}
		return nil
	})

	// With no room at all there is none for the audit, and nothing is done without it.
	filler := filepath.Join(state, "filler")
	lab.Fill(t, filler)
	fine, refused := 0, false
	for range 200 { // the database has some room of its own
		o, r := s.try("shop", "exec", "append")
		if o.Status == "ok" {
			fine++
			continue
		}
		if refused = true; o.CommandID != "" || r.Exit != 1 || !strings.Contains(o.Error+r.Stderr, "full") {
			t.Errorf("with no room: %+v, exit %d: %s", o, r.Exit, r.Stderr)
		}
		break
	}
	did, err := os.ReadFile(filepath.Join(dir, "did"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if n := strings.Count(string(did), "\n"); err != nil || n != fine || !refused {
		t.Errorf("%d commands ended well, the next one was refused: %v; %d were done, %v", fine, refused, n, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, patience, "a command when there is room again", func() error {
		if o, r := s.try("shop", "exec", "append"); o.Status != "ok" {
			return fmt.Errorf("%+v, exit %d: %s", o, r.Exit, r.Stderr)
		}
		return nil
	})
	if r := s.hub.Run("audit", "verify"); r.Exit != 0 {
		t.Errorf("audit verify: exit %d: %s", r.Exit, r.Stderr)
	}
}

// TestAuditShowsChanges: a row that was changed, one that was taken out, and a tail that
// was cut with the database's own head.
func TestAuditShowsChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.gateway("shop", "")
	for range 3 {
		s.run("shop", "status")
	}
	head := filepath.Join(s.folder("head"), "head")
	s.ok("audit", "verify") // running
	if err := os.WriteFile(head, []byte(s.ok("audit", "head")), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run("shop", "status")
	s.ok("audit", "verify", "--head", head)
	s.hub.Stop()

	path := filepath.Join(s.hub.State, "hub.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(args ...string) lab.Result { return s.hub.Run(append([]string{"audit", "verify"}, args...)...) }
	if r := verify("--head", head); r.Exit != 0 {
		t.Errorf("offline, unchanged: exit %d: %s", r.Exit, r.Stderr)
	}
	for _, c := range []struct {
		name       string
		statements []string
		args       []string
	}{
		{"a changed row", []string{`UPDATE fleet_audit SET detail = 'nothing' WHERE seq = 2`}, nil},
		{"a row that was taken out", []string{`DELETE FROM fleet_audit WHERE seq = 3`}, nil},
		{"a cut tail, with the head that was exported", []string{
			`DELETE FROM fleet_audit WHERE seq > (SELECT max(seq) FROM fleet_audit) - 6`}, []string{"--head", head}},
	} {
		change(t, path, c.statements...)
		if r := verify(c.args...); r.Exit != 1 || !strings.Contains(r.Stderr+r.Stdout, "changed") && !strings.Contains(r.Stderr+r.Stdout, "missing") {
			t.Errorf("%s: exit %d: %s%s", c.name, r.Exit, r.Stdout, r.Stderr)
		}
		err := os.WriteFile(path, whole, 0o600)
		for _, end := range []string{"-wal", "-shm"} {
			if e := os.Remove(path + end); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if r := verify("--head", head); r.Exit != 0 {
		t.Errorf("as it was: exit %d: %s", r.Exit, r.Stderr)
	}
}

// change changes a database as somebody would who has the file.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		r, err := db.Exec(statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s: %d rows, %v", statement, n, err)
		}
	}
}
