// Package tged tests `lanfolk tged` from end to end, on hosts of their own.
package tged

import (
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// site is a laptop with two interfaces, and a server on the second one's
// subnet. Nobody has a default route.
type site struct {
	*lab.Lab
	t              *testing.T
	server, laptop *lab.Host
	ours, theirs   *lab.Subnet
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	lab.Require(t, "root", "ip")
	s := &site{Lab: lab.New(t), t: t}
	s.ours, s.theirs = s.Subnet("ours", "10.99.1.0/24"), s.Subnet("theirs", "10.99.2.0/24")
	s.laptop = s.Host("laptop").Join(s.ours).Join(s.theirs)
	s.server = s.Host("server").Join(s.theirs)
	return s
}

func (s *site) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir(), name)
	if err := os.WriteFile(path+".tmp", []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// serve starts a server and waits until it is ready.
func (s *site) serve(h *lab.Host, args ...string) *lab.Process {
	s.t.Helper()
	c := h.Lanfolk(append([]string{"tged", "serve", "--services"}, args...)...)
	if soaking() {
		c.Limit = 15 * time.Minute
	}
	p := c.Start()
	p.WaitLine(20*time.Second, "ready", func(line string) bool { return line == "ready" })
	return p
}

// soaking says whether tests run in their long forms.
func soaking() bool { return os.Getenv("LANFOLK_SOAK") != "" }

// answer is what `tged ask` prints.
type answer struct {
	Service, Server string
	Fields          map[string]string
}

// ask runs `tged ask` and returns what it printed and its exit code.
func (s *site) ask(args ...string) ([]answer, int) {
	s.t.Helper()
	r := s.laptop.Lanfolk(append([]string{"tged", "ask", "-o", "jsonl"}, args...)...).Run()
	var all []answer
	for line := range strings.Lines(r.Stdout) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		all = append(all, a)
	}
	return all, r.Exit
}

// patience is how long something is waited for that comes at once on an idle machine.
const patience = 20 * time.Second

// becomes waits for the service SQL to have that HOST.
func (s *site) becomes(host string) {
	s.t.Helper()
	lab.Eventually(s.t, patience, "HOST "+host, func() error {
		if got, exit := s.ask("SQL"); len(got) != 1 || got[0].Fields["HOST"] != host {
			return fmt.Errorf("%v, exit %d", got, exit)
		}
		return nil
	})
}

// exits waits for a question to end as it should. On a busy machine an answer may come when the
// client no longer waits for it.
func (s *site) exits(want int, args ...string) {
	s.t.Helper()
	lab.Eventually(s.t, patience, fmt.Sprintf("exit %d of %q", want, args), func() error {
		if got, exit := s.ask(args...); exit != want || (len(got) > 0) != (want == 0) {
			return fmt.Errorf("%v, exit %d", got, exit)
		}
		return nil
	})
}

// unanswered and unknown are what a client exits with when nobody answers, and when nobody knows
// the service.
const (
	unknown    = 5
	unanswered = 6
)

const services = `{"SQL": {"HOST": "test", "FQDN": "test.example.com", "IP": "192.168.0.34", "PORT": 3306, "USER": "john"}}`

func TestAsk(t *testing.T) {
	s := newSite(t)
	address := s.server.Link(s.theirs).V4.String()
	s.serve(s.server, s.file("services.json", services))
	want := []answer{{"SQL", address, map[string]string{"HOST": "test", "FQDN": "test.example.com", "IP": "192.168.0.34", "PORT": "3306", "USER": "john"}}}
	for _, args := range [][]string{{"SQL"}, {"SQL", "--to", address}, {"SQL", "--to", address + ":4745"}, {"SQL", "--all", "--timeout", "1s"}} {
		lab.Eventually(t, patience, fmt.Sprintf("answer to %q", args), func() error {
			got, exit := s.ask(args...)
			if diff := cmp.Diff(want, got); diff != "" || exit != 0 {
				return fmt.Errorf("exit %d\n%s", exit, diff)
			}
			return nil
		})
	}
	s.exits(unknown, "NOPE", "--timeout", "1s")
	if got, exit := s.ask("SQL", "--timeout", "1s", "-i", s.laptop.Link(s.ours).Name); len(got) > 0 || exit != unanswered {
		t.Errorf("on the wrong interface: %v, exit %d", got, exit)
	}
	r := s.laptop.Lanfolk("tged", "ask", "SQL", "--timeout", "30s").Run()
	people := "SVR   " + address + "\nHOST  test\nFQDN  test.example.com\nIP    192.168.0.34\nPORT  3306\nUSER  john\n"
	if r.Stdout != people || r.Exit != 0 {
		t.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	// The server's own host.
	for _, to := range []string{"127.0.0.1", address} {
		if r := s.server.Lanfolk("tged", "ask", "SQL", "--to", to, "-o", "name", "--timeout", "30s").Run(); r.Stdout != to+"\n" {
			t.Errorf("--to %s: exit %d: %s%s", to, r.Exit, r.Stdout, r.Stderr)
		}
	}
}

// TestTwoServers: the one that doesn't know the service answers first, and the
// other doesn't lose.
func TestTwoServers(t *testing.T) {
	s := newSite(t)
	near := s.Host("near").Join(s.ours)
	s.serve(near, s.file("near.json", `{"OTHER": {"HOST": "near"}, "BOTH": {"HOST": "near"}}`))
	s.serve(s.server, s.file("far.json", `{"SQL": {"HOST": "far"}, "BOTH": {"HOST": "far"}}`))
	for service, host := range map[string]string{"SQL": "far", "OTHER": "near"} {
		if got, exit := s.ask(service, "--timeout", "30s"); len(got) != 1 || got[0].Fields["HOST"] != host || exit != 0 {
			t.Errorf("%s: %v, exit %d", service, got, exit)
		}
	}
	lab.Eventually(t, patience, "both answers", func() error {
		if got, exit := s.ask("both", "--all", "--timeout", "1s"); len(got) != 2 || got[0].Server == got[1].Server || exit != 0 {
			return fmt.Errorf("%v, exit %d", got, exit)
		}
		return nil
	})
}

// TestReload: a file that is replaced, broken and put right, and SIGHUP.
func TestReload(t *testing.T) {
	s := newSite(t)
	p := s.serve(s.server, s.file("services.json", services))
	s.becomes("test")
	s.file("services.json", `{"SQL": {"HOST": "new"}}`)
	s.becomes("new")
	s.file("services.json", `{"SQL": {"HOST": }}`)
	p.WaitText(patience, "services.json:1:18: ")
	s.becomes("new")
	s.file("services.json", `{"SQL": {"HOST": "newer"}}`)
	s.becomes("newer")
	p.Signal(syscall.SIGHUP)
	p.WaitText(patience, "services are as they were")
	p.Signal(syscall.SIGINT)
	if exit := p.Wait(patience); exit != 0 {
		t.Errorf("exit %d: %s", exit, p.Stderr())
	}
	if n := strings.Count(p.Stderr(), "can't be used"); n != 1 {
		t.Errorf("the broken file was logged %d times:\n%s", n, p.Stderr())
	}
}

// openSQLite opens or makes a database, and returns what runs statements in it.
func openSQLite(t *testing.T, path string) func(statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServicesInSQLite(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.Dir(), "services.db")
	do := openSQLite(t, path)
	do(`CREATE TABLE services (service TEXT, key TEXT, value TEXT)`)
	do(`INSERT INTO services VALUES ('SQL', 'HOST', 'one'), ('SQL', 'PORT', 3306)`)
	p := s.serve(s.server, "sqlite:"+path)
	s.becomes("one")
	do(`UPDATE services SET value = 'two' WHERE key = 'HOST'`)
	s.becomes("two")
	do(`ALTER TABLE services RENAME TO away`)
	time.Sleep(1500 * time.Millisecond) // what was read is no longer fresh
	s.becomes("two")
	p.WaitText(patience, "services can't be read, the last good ones stay")
}

// TestTCPAndCompact: the old server's other transport and its style.
func TestTCPAndCompact(t *testing.T) {
	s := newSite(t)
	address := s.server.Link(s.theirs).V4.String()
	s.serve(s.server, s.file("services.json", services), "--tcp", "--reply-style", "compact", "--listen", address+":4745")
	got, err := overTCP(s.laptop, address)
	want := "\x00\x00\x00\x5bTGED REPLY 1.0\r\nHOST:test\r\nFQDN:test.example.com\r\nIP:192.168.0.34\r\nPORT:3306\r\nUSER:john\r\n\r\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

// overTCP asks for SQL over TCP, and returns what a server sends: four bytes with the length of
// the rest first.
func overTCP(from *lab.Host, address string) (answer string, err error) {
	err = from.Do(func() error {
		c, err := net.DialTimeout("tcp", address+":4745", patience)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("\x00\x00\x00\x1eTGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n")); err != nil {
			return err
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		body := make([]byte, min(binary.BigEndian.Uint32(head), 2048))
		_, err = io.ReadFull(c, body)
		answer = string(head) + string(body)
		return err
	})
	return answer, err
}

// resident returns how much memory a process has, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatalf("no VmRSS in %s", b)
	return 0
}

// TestNonsense floods the server at full speed with random datagrams, many of them nearly
// right: its memory stays flat, and it answers right after. Under LANFOLK_SOAK this
// goes on for ten minutes.
func TestNonsense(t *testing.T) {
	s := newSite(t)
	address := s.server.Link(s.theirs).V4.String()
	p := s.serve(s.server, s.file("services.json", services), "--off-link")
	var conn net.Conn
	err := s.laptop.Do(func() (err error) {
		conn, err = net.Dial("udp", address+":4745")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, 2))
	right := "TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n"
	flood := func(d time.Duration) (n int) {
		b := make([]byte, 65_000)
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			data := b[:random.IntN(64)]
			switch random.IntN(4) {
			case 0: // anything
				for i := range data {
					data[i] = byte(random.Uint32())
				}
			case 1: // long
				data = b[:min(len(b), 1<<random.IntN(17))]
				copy(data, right)
			default: // a request with some bytes changed
				data = b[:copy(b, right)]
				for range random.IntN(4) {
					data[random.IntN(len(data))] = byte(random.Uint32())
				}
			}
			_, _ = conn.Write(data) // what doesn't fit is dropped
		}
		return n
	}
	flood(time.Second)
	before := resident(t, p.Pid())
	long := 3 * time.Second
	if soaking() {
		long = 10 * time.Minute
	}
	n := flood(long)
	if after := resident(t, p.Pid()); after > before+8<<10 {
		t.Errorf("%d datagrams: %d KiB, before %d", n, after, before)
	}
	time.Sleep(time.Second) // a second's worth of answers is spent
	s.exits(0, "SQL")
	t.Logf("%d datagrams in %v; resident before %d KiB, after %d", n, long, before, resident(t, p.Pid()))
}
