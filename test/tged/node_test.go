package tged

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/test/lab"
)

// pythonClient is what the protocol's document shows of a client: it broadcasts a
// request, reads the first reply, and adds where that came from.
const pythonClient = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.settimeout(30)
s.sendto(("TGED DISCOVERY 1.0\r\nRQ:%s\r\n\r\n" % sys.argv[1]).encode(), (sys.argv[2], 4745))
data, server = s.recvfrom(1024)
head, *lines = data.decode().split("\r\n")
print(head)
for line in filter(None, lines):
    key, value = line.split(":", 1)
    print(key + "=" + value.strip())
print("SVR=" + server[0])
`

// found is a service as find and services print it.
type found struct {
	ID, Name, Type, Protocol, Host, Device string
	Addresses                              []string
	Port                                   uint16
	Attributes                             map[string]string
}

// TestNodeAnswersForMDNS: a client that only speaks TGED finds what was only
// announced by mDNS, until that is withdrawn. What the node knows by TGED it answers
// nobody with, and a broken services file keeps nothing else from working.
func TestNodeAnswersForMDNS(t *testing.T) {
	s := newSite(t)
	lab.Require(t, "avahi-daemon", "python3")
	orders := lab.Service{Name: "Orders", Type: "_mysql._tcp", Port: 3306}
	db := s.server.Avahi(lab.Avahi{HostName: "db"})
	other := s.Host("other").Join(s.ours)
	s.serve(other, s.file("other.json", `{"_web._tcp": {"HOST": "web", "PORT": 80}}`))
	gate := s.Host("gate").Join(s.ours).Join(s.theirs)
	address := gate.Link(s.theirs).V4.String()
	node := gate.Up(lab.Node{Config: `
[tged]
ask = ["_web._tcp"]
answer = true
services_file = "` + s.file("own.json", `{"NTP": {"HOST": }`) + `"
[tged.services]
SQL = "_mysql._tcp"
WEB = "_web._tcp"
`})
	eventually := func(what string, ok func() error) {
		t.Helper()
		lab.Eventually(t, patience, what, ok)
	}
	exits := func(service string, want int) {
		t.Helper()
		s.exits(want, service, "--to", address, "--timeout", "1s")
	}
	db.Publish(orders)
	exits("SQL", 0)
	broadcast := s.laptop.Link(s.theirs).V4.As4()
	broadcast[3] = 255
	r := s.laptop.Run("python3", "-c", pythonClient, "SQL", fmt.Sprintf("%d.%d.%d.%d", broadcast[0], broadcast[1], broadcast[2], broadcast[3]))
	want := "TGED REPLY 1.0\nHOST=db\nFQDN=db.local\nIP=" + s.server.Link(s.theirs).V4.String() + "\nPORT=3306\nSVR=" + address + "\n"
	if diff := cmp.Diff(want, r.Stdout); diff != "" {
		t.Errorf("the client (-want +got):\n%s%s", diff, r.Stderr)
	}

	eventually("what another server answers, in the inventory", func() error {
		var all []found
		if err := node.JSON(&all, "services"); err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(f found) bool {
			return f.Protocol == "tged" && f.Type == "_WEB._TCP" && f.Host == "web" && f.Port == 80
		}) {
			return fmt.Errorf("services: %+v", all)
		}
		return nil
	})
	// The node doesn't say what came by TGED, nor that there is nothing: the file isn't known yet.
	if got, exit := s.ask("WEB", "--to", address, "--timeout", "1s"); exit != unanswered {
		t.Errorf("with what came by TGED: %v, exit %d", got, exit)
	}

	status := node.Run("status", "--json").Stdout
	if !strings.Contains(status, "own.json:1:18: ") {
		t.Errorf("the broken file isn't in the status:\n%s", status)
	}
	s.file("own.json", `{"NTP": {"HOST": "clock"}}`)
	exits("NTP", 0)
	exits("WEB", unknown)
	if n := tgedReplies(t, node); n == 0 {
		t.Error("no replies are counted")
	}

	// Broadcasts come back: what the node answers itself is found, but is no news.
	eventually("the node's own answer", func() error {
		if r := node.Run("find", "NTP", "-o", "jsonl"); r.Exit != 0 || !strings.Contains(r.Stdout, `"HOST":"clock"`) {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	if r := node.Run("services", "--json"); strings.Contains(r.Stdout, "clock") || !strings.Contains(r.Stdout, "_WEB._TCP") {
		t.Errorf("the inventory has what the node answered itself, or lost others' answers:\n%s", r.Stdout)
	}

	db.Withdraw(orders)
	exits("SQL", unknown)
}

// tgedReplies is what the status counts.
func tgedReplies(t *testing.T, node *lab.RunningNode) uint64 {
	t.Helper()
	var status struct {
		Parts []struct {
			Name     string
			Counters map[string]uint64
		}
	}
	if err := node.JSON(&status, "status"); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Parts {
		if p.Name == "tged server" {
			return p.Counters["replies"]
		}
	}
	t.Fatalf("no part answers: %+v", status)
	return 0
}

// TestNodeAnswersFromSQLite: the database comes after the node, and goes again.
func TestNodeAnswersFromSQLite(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.Dir(), "services.db")
	node := s.server.Up(lab.Node{Config: "[tged]\nanswer = true\nservices_file = \"sqlite:" + path + "\"\n"})
	lab.Eventually(t, patience, "the missing database in the status", func() error {
		s.ask("SQL", "--timeout", "300ms")
		if r := node.Run("status", "--json"); !strings.Contains(r.Stdout, "it can't be read now") {
			return errors.New(r.Stdout)
		}
		return nil
	})
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{`CREATE TABLE services (service TEXT, key TEXT, value TEXT)`, `INSERT INTO services VALUES ('SQL', 'HOST', 'one')`} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	s.becomes("one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // what was read is no longer fresh
	s.becomes("one")
}

// TestFindAsksByTGED: a search for a bare word finds what a server on another host
// answers for, alone and through a node, whose inventory then has it.
func TestFindAsksByTGED(t *testing.T) {
	s := newSite(t)
	s.serve(s.server, s.file("services.json", `{"SQL": {"HOST": "db", "FQDN": "db.example.com", "PORT": 3306, "USER": "john"}}`))
	address := s.server.Link(s.theirs).V4.String()
	find := func(where string, run func(args ...string) lab.Result) found {
		t.Helper()
		if r := run("find", "nobody", "--timeout", "1s"); r.Exit != 6 {
			t.Errorf("%s: nobody: exit %d: %s%s", where, r.Exit, r.Stdout, r.Stderr)
		}
		var f found
		lab.Eventually(t, patience, where, func() error {
			r := run("find", "sql", "--first", "-o", "jsonl")
			if err := json.Unmarshal([]byte(r.Stdout), &f); err != nil || r.Exit != 0 {
				return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
			return nil
		})
		want := found{
			ID: f.ID, Device: f.Device, Name: "db", Type: "SQL", Protocol: "tged", Host: "db.example.com", Addresses: []string{address}, Port: 3306,
			Attributes: map[string]string{"HOST": "db", "FQDN": "db.example.com", "PORT": "3306", "USER": "john"},
		}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
		return f
	}
	find("alone", func(args ...string) lab.Result { return s.laptop.Lanfolk(append(args, "--direct")...).Run() })
	node := s.laptop.Up(lab.Node{})
	f := find("through a node", node.Run)
	var all []found
	if err := node.JSON(&all, "services"); err != nil {
		t.Fatal(err)
	}
	if f.ID == "" || f.Device == "" || !slices.ContainsFunc(all, func(x found) bool { return x.ID == f.ID }) {
		t.Errorf("found as %+v; the inventory has %+v", f, all)
	}
}
