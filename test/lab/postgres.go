package lab

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PostgresPassword is that of a Postgres' user, "postgres".
const PostgresPassword = "correct horse/battery:staple"

// Postgres is a PostgreSQL server in a host, with one database, "postgres". On port 5432
// of every address it wants the password; on the socket in its folder it wants none.
type Postgres struct {
	*Process
	Dir string // its folder
	// Small is a folder on a disk of 12 MiB, for a tablespace. It is empty after
	// each Start.
	Small string

	host     *Host
	settings []string
}

// Postgres makes a database server with a database of its own and waits until it
// answers. Its settings, name=value, go before ours, which are for small and quick
// tests. It runs as an ordinary user: it refuses to be root.
func (h *Host) Postgres(settings ...string) *Postgres {
	t := h.lab.t
	t.Helper()
	Require(t, "root", "initdb", "postgres", "psql", "setpriv")
	p := &Postgres{Dir: h.lab.tempDir("postgres"), host: h, settings: settings}
	p.Small = filepath.Join(p.Dir, "small")
	if err := errors.Join(os.Mkdir(p.Small, 0o755), os.Chown(p.Dir, Nobody, Nobody)); err != nil {
		t.Fatalf("lab: %v", err)
	}
	password := h.lab.writeFile(p.Dir, "password", PostgresPassword+"\n")
	data := filepath.Join(p.Dir, "data")
	c := h.Command("initdb", "-D", data, "-U", "postgres", "--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+password)
	c.User, c.Dir = Nobody, p.Dir
	if r := c.Run(); r.Exit != 0 {
		t.Fatalf("lab: initdb: exit %d\n%s%s", r.Exit, r.Stdout, r.Stderr)
	}
	rules, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = rules.WriteString("host all all 0.0.0.0/0 scram-sha-256\n")
	}
	if err == nil {
		err = rules.Close()
	}
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	p.Start()
	return p
}

// Start starts the server again after a Stop or a Kill, with what it holds.
func (p *Postgres) Start() {
	p.host.lab.t.Helper()
	args := []string{"postgres", "-D", filepath.Join(p.Dir, "data"), "-k", p.Dir}
	for _, x := range append([]string{
		"listen_addresses=*", "fsync=off", "shared_buffers=16MB", "max_connections=20", "autovacuum=off", "logging_collector=off",
	}, p.settings...) {
		args = append(args, "-c", x) // the last one of a name holds
	}
	c := p.host.Command(args...)
	c.User, c.Dir = Nobody, p.Dir
	c.Mounts = []Mount{{Target: p.Small, Options: fmt.Sprintf("size=12m,uid=%d", Nobody)}}
	p.Process = c.Start()
	p.WaitText(30*time.Second, "database system is ready to accept connections")
}

// Stop ends the server and the connections of its clients.
func (p *Postgres) Stop() {
	p.host.lab.t.Helper()
	p.Signal(syscall.SIGINT)
	p.Wait(30 * time.Second)
}

// SQL runs statements as the database's owner and returns what they give: a line for a
// row, with | between its columns.
func (p *Postgres) SQL(statements ...string) string {
	t := p.host.lab.t
	t.Helper()
	args := []string{"psql", "-h", p.Dir, "-U", "postgres", "-d", "postgres", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	c := p.host.Command(args...)
	c.Env, c.Dir = []string{"HOME=" + p.Dir}, p.Dir
	r := c.Run()
	if r.Exit != 0 {
		t.Fatalf("lab: %s: exit %d: %s", strings.Join(statements, "; "), r.Exit, r.Stderr)
	}
	return strings.TrimSuffix(r.Stdout, "\n")
}

// Socket is where the database is for a client on any host: the socket is a file. The
// parameters are added to it, key=value.
func (p *Postgres) Socket(parameters ...string) string {
	q := url.Values{"host": {p.Dir}}
	for _, x := range parameters {
		key, value, _ := strings.Cut(x, "=")
		q.Set(key, value)
	}
	return "postgres://postgres@/postgres?" + q.Encode()
}

// URL is where the database is for a client at another host, without the password.
func (p *Postgres) URL(at *Link) string {
	return fmt.Sprintf("postgres://postgres@%s:5432/postgres", at.V4)
}
