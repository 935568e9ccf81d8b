package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// postgresSite is a desk with a node's configuration, a quiet host, and a host for the
// database, whose server doesn't run yet.
type postgresSite struct {
	*lab.Lab
	desk, db *lab.Host
	quiet    *lab.Link
	config   string
	url      string // without the password
	secret   string // the file with it
}

func newPostgresSite(t *testing.T) *postgresSite {
	t.Helper()
	lab.Require(t, "initdb", "postgres", "psql")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	s := &postgresSite{
		Lab: l, desk: l.Host("desk").Join(a), db: l.Host("db").Join(a),
		quiet: l.Host("quiet").Join(a, lab.WithMAC("00:0c:29:aa:bb:01")).Link(a), secret: filepath.Join(l.Dir(), "secret"),
	}
	s.url = fmt.Sprintf("postgres://postgres@%s:5432/postgres", s.db.Link(a).V4)
	if err := os.WriteFile(s.secret, []byte(lab.PostgresPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.config = fmt.Sprintf("name = \"cellar\"\n[store]\nkind = \"postgres\"\nurl = %q\npassword_file = %q\n", s.url, s.secret)
	return s
}

// hears has the quiet host ask by a name, and waits until that is in the database.
func (s *postgresSite) hears(t *testing.T, n *lab.RunningNode, name string, args ...string) {
	t.Helper()
	lab.Eventually(t, 40*time.Second, name+" in the database", func() error {
		r := n.Run(append([]string{"fingerprints", "--query", name, "--latest", "-o", "jsonl"}, args...)...)
		if r.Exit != 0 || !strings.Contains(r.Stdout, `"src_mac":"00:0c:29:aa:bb:01"`) {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// TestUpKeepsAllInPostgres: a node that starts before its database, loses it, starts again
// without it, and shares it with another node.
func TestUpKeepsAllInPostgres(t *testing.T) {
	t.Parallel()
	s := newPostgresSite(t)
	n := s.desk.Up(lab.Node{Config: s.config})
	well := func(s nodeStatus) bool { return s.Healthy && s.Store.Healthy }
	away := func(s nodeStatus) bool {
		return !s.Healthy && strings.Contains(s.Store.Error, "no answer from the database's server")
	}
	// At first nobody listens there.
	waitStatus(t, n, "a database that is away", nil, away)
	knows(t, n, s.quiet) // in memory
	for range 3 {
		sendDHCP(s.quiet, "early")
	}
	if r := n.Run("device", "name", s.quiet.MAC.String(), "thermostat"); r.Exit != 1 || !strings.Contains(r.Stderr, "no answer") {
		t.Errorf("a name without a database: exit %d, %s; want 1 and the reason", r.Exit, r.Stderr)
	}
	if r := n.Run("doctor", "--config", s.file(t, "doctor.toml", s.config)); !strings.Contains(r.Stdout, s.url+" can't be used: store: open") || !strings.Contains(r.Stdout, "node's database") {
		t.Errorf("doctor without a database: %s", r.Stdout)
	}

	server := s.db.Postgres()
	waitStatus(t, n, "the database that has come", nil, well)
	s.hears(t, n, "early")
	if r := n.Run("device", "name", s.quiet.MAC.String(), "thermostat"); r.Exit != 0 {
		t.Fatalf("a name: exit %d, %s", r.Exit, r.Stderr)
	}
	id := s.thermostat(t, n)
	if r := n.Run("doctor", "--config", s.file(t, "doctor.toml", s.config)); strings.Contains(r.Stdout, "can't be used") || !strings.Contains(r.Stdout, s.url) {
		t.Errorf("doctor with the database: %s", r.Stdout)
	}

	// It goes, and comes back with what was heard meanwhile.
	server.Stop()
	waitStatus(t, n, "a database that has gone", func() { sendDHCP(s.quiet, "meanwhile") }, away)
	server.Start()
	s.hears(t, n, "meanwhile")
	waitStatus(t, n, "the database that is back", nil, well)

	// Another node has its own inventory there, and adds to what was heard.
	other := s.db.Up(lab.Node{Config: strings.Replace(s.config, "cellar", "attic", 1)})
	knows(t, other, s.quiet)
	sendDHCP(s.quiet, "both")
	for _, x := range []*lab.RunningNode{n, other} {
		s.hears(t, x, "both")
	}
	lab.Eventually(t, 20*time.Second, "the rows of both", func() error {
		if got := server.SQL(`SELECT string_agg(DISTINCT gateway, ' ' ORDER BY gateway) FROM observation WHERE query = 'both'`); got != "attic cellar" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	lab.Eventually(t, 20*time.Second, "both nodes' devices, and one node's thermostat", func() error {
		if got := server.SQL(`SELECT count(DISTINCT node) FROM device`, `SELECT node FROM device WHERE doc LIKE '%thermostat%'`); got != "2\ncellar" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if r := other.Run("devices", "-o", "name"); strings.Contains(r.Stdout, "thermostat") {
		t.Errorf("one node's name is in the other's inventory: %s", r.Stdout)
	}
	other.Stop()

	// A start without it: the devices are known by their copy.
	n.Stop()
	server.Stop()
	again := s.desk.Up(lab.Node{State: n.State, Config: s.config})
	if got := s.thermostat(t, again); got != id {
		t.Errorf("without the database device %s becomes %s", id, got)
	}
	server.Start()
	waitStatus(t, again, "the database at last", nil, well)
	if got := s.thermostat(t, again); got != id {
		t.Errorf("device %s becomes %s", id, got)
	}
	again.Stop()

	// Commands read and fill it as well; who has no password is told.
	read := func(env string, args ...string) lab.Result {
		c := s.desk.Lanfolk(append([]string{"fingerprints", "--query", "early", "-o", "name"}, args...)...)
		c.Env = []string{"PGPASSWORD=" + env}
		return c.Run()
	}
	for _, args := range [][]string{{"--state", n.State}, {"--from", s.url, "--password-file", s.secret}} {
		if r := read("", args...); r.Exit != 0 || r.Stdout != "early\n" {
			t.Errorf("%q: exit %d: %s%s", args, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if r := read(lab.PostgresPassword, "--from", s.url); r.Exit != 0 || r.Stdout != "early\n" {
		t.Errorf("the password in the environment: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r := read("wrong", "--from", s.url); r.Exit != 1 || !strings.Contains(r.Stderr, "refused by the database's server: ") || !strings.Contains(r.Stderr, "password authentication failed") {
		t.Errorf("a wrong password: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for what, text := range map[string]string{
		"the first run's log": n.Stderr(), "the second's": again.Stderr(), "database.json": s.read(t, filepath.Join(n.State, "database.json")),
		"config show": s.desk.Lanfolk("config", "show", s.file(t, "show.toml", strings.Replace(s.config, "postgres@", "postgres:battery@", 1))).Run().Stdout,
	} {
		if text == "" || strings.Contains(text, "battery") {
			t.Errorf("%s shows the password, or nothing:\n%s", what, text)
		}
	}
}

// thermostat returns the id of the device of that name.
func (s *postgresSite) thermostat(t *testing.T, n *lab.RunningNode) (id string) {
	t.Helper()
	lab.Eventually(t, 15*time.Second, "the thermostat", func() error {
		list, err := devices(n)
		if err != nil {
			return err
		}
		d, err := deviceWith(list, s.quiet.MAC.String())
		if err == nil && (len(d.Names) == 0 || d.Names[0] != "thermostat") {
			err = fmt.Errorf("%+v", d)
		}
		id = d.ID
		return err
	})
	return id
}

func (s *postgresSite) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.Dir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *postgresSite) read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
