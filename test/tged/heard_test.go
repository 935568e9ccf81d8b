package tged

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestNodeHears: a node with no configuration says nothing to who asks, and remembers who
// asked for what.
func TestNodeHears(t *testing.T) {
	s := newSite(t)
	// Without the right to capture it has to hear by its own socket.
	node := s.server.Up(lab.Node{User: lab.Nobody})
	asker := s.laptop.Link(s.theirs)
	lab.Eventually(t, 15*time.Second, "the request in the fingerprints", func() error {
		if got, exit := s.ask("Wiki", "--timeout", "300ms"); exit != 6 {
			t.Fatalf("it answered: %v, exit %d", got, exit)
		}
		var rows []struct {
			Protocol, Query string
			SrcMAC          string `json:"src_mac"`
			SrcIP           string `json:"src_ip"`
			DstMAC          string `json:"dst_mac"`
			DstIP           string `json:"dst_ip"`
		}
		if err := node.JSON(&rows, "fingerprints", "--protocol", "tged", "--query", "WIKI"); err != nil {
			return err
		}
		for _, r := range rows {
			if r.Protocol == "tged" && r.SrcIP == asker.V4.String() && r.DstMAC == "ff:ff:ff:ff:ff:ff" && r.DstIP == "255.255.255.255" {
				return nil
			}
		}
		return fmt.Errorf("%+v", rows)
	})
	lab.Eventually(t, patience, "the asker in the inventory", func() error {
		r := node.Run("devices", "--protocol", "tged", "--json")
		if !strings.Contains(r.Stdout, `"`+asker.V4.String()+`"`) {
			return errors.New(r.Stdout)
		}
		return nil
	})
	if r := node.Run("status"); !strings.Contains(r.Stdout, "hears requests on ") {
		t.Errorf("status:\n%s", r.Stdout)
	}
	// What the node asks itself isn't heard.
	node.Run("find", "Printers", "--timeout", "500ms")
	time.Sleep(1500 * time.Millisecond)
	if r := node.Run("fingerprints", "--protocol", "tged", "--json"); strings.Contains(r.Stdout, "PRINTERS") {
		t.Errorf("it heard itself:\n%s", r.Stdout)
	}
}

// TestPortIsHeld: another program has port 4745 for itself. The node says so, once, and does
// the rest of its work.
func TestPortIsHeld(t *testing.T) {
	s := newSite(t)
	err := s.server.Do(func() error {
		c, err := net.ListenPacket("udp4", ":4745")
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	node := s.server.Up(lab.Node{})
	holder := fmt.Sprintf("(pid %d, uid 0) holds 0.0.0.0:4745", os.Getpid())
	lab.Eventually(t, patience, "the held port in the status", func() error {
		var status struct {
			Healthy bool
			Parts   []struct{ Name, State, Detail string }
		}
		if err := node.JSON(&status, "status"); err != nil {
			return err
		}
		for _, p := range status.Parts {
			if p.Name == "tged listener" && p.State == "running" && strings.Contains(p.Detail, holder) && status.Healthy {
				return nil
			}
		}
		return fmt.Errorf("%+v", status)
	})
	time.Sleep(5 * time.Second) // it tries again meanwhile
	if n := strings.Count(node.Stderr(), "can't listen for TGED requests"); n != 1 {
		t.Errorf("said %d times:\n%s", n, node.Stderr())
	}
	off := s.laptop.Up(lab.Node{Config: "[tged]\nlisten = false\n"})
	if r := off.Run("status"); strings.Contains(r.Stdout, "tged listener") {
		t.Errorf("it listens all the same:\n%s", r.Stdout)
	}
}

// TestNodeGivesWay: who answers on the same host gets every request, also where the node
// was there first; when he ends, the node hears again.
func TestNodeGivesWay(t *testing.T) {
	s := newSite(t)
	node := s.server.Up(lab.Node{})
	hears := func() error {
		if r := node.Run("status"); !strings.Contains(r.Stdout, "hears requests on ") {
			return errors.New(r.Stdout)
		}
		return nil
	}
	lab.Eventually(t, patience, "the node's ear", hears)
	p := s.serve(s.server, s.file("services.json", services))
	lab.Eventually(t, patience, "the node's giving way", func() error {
		if hears() == nil {
			return errors.New("it still has the port")
		}
		return nil
	})
	for range 8 { // each from another port
		if got, exit := s.ask("SQL", "--to", s.server.Link(s.theirs).V4.String(), "--timeout", "30s"); len(got) != 1 || exit != 0 {
			t.Errorf("beside a node: %v, exit %d", got, exit)
		}
	}
	p.Stop()
	lab.Eventually(t, patience, "the node's ear again", hears)
}

// TestNodeAnswersForItself: what the node announces is answered for, with its address on
// the asker's link, over TCP too.
func TestNodeAnswersForItself(t *testing.T) {
	s := newSite(t)
	gate := s.Host("gate").Join(s.ours).Join(s.theirs)
	asker := s.Host("asker").Join(s.ours)
	gate.Up(lab.Node{Config: `
[[announce]]
name = "Orders"
type = "_mysql._tcp"
port = 3306

[tged]
answer = true
tcp = true

[tged.services]
SQL = "_mysql._tcp"
`})
	for _, c := range []struct {
		from   *lab.Host
		subnet *lab.Subnet
	}{{asker, s.ours}, {s.server, s.theirs}} {
		want := gate.Link(c.subnet).V4.String()
		lab.Eventually(t, 15*time.Second, "an answer with "+want, func() error {
			r := c.from.Lanfolk("tged", "ask", "SQL", "-o", "jsonl", "--timeout", "1s").Run()
			var a answer
			if err := json.Unmarshal([]byte(r.Stdout), &a); err != nil || a.Server != want || a.Fields["IP"] != want || a.Fields["PORT"] != "3306" {
				return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	got, err := overTCP(asker, gate.Link(s.ours).V4.String())
	if err != nil || !slices.Contains(strings.Split(got, "\r\n"), "IP: "+gate.Link(s.ours).V4.String()) {
		t.Errorf("over TCP: %q, %v", got, err)
	}
}
