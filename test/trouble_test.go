package test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	_ "modernc.org/sqlite" // to hold a lock as another program would

	"github.com/lanfolk/lanfolk/test/lab"
)

// nodeStatus is what these tests read of `lanfolk status --json`.
type nodeStatus struct {
	Healthy bool `json:"healthy"`
	Store   struct {
		Healthy bool   `json:"healthy"`
		Error   string `json:"error"`
	} `json:"store"`
	Parts []struct {
		Name     string            `json:"name"`
		State    string            `json:"state"`
		Failures int               `json:"failures"`
		Counters map[string]uint64 `json:"counters"`
	} `json:"parts"`
}

func (s nodeStatus) counter(part, name string) uint64 {
	for _, p := range s.Parts {
		if p.Name == part {
			return p.Counters[name]
		}
	}
	return 0
}

// waitStatus waits until the node's status is as wanted; poke is called before
// each look.
func waitStatus(t *testing.T, n *lab.RunningNode, what string, poke func(), ok func(nodeStatus) bool) nodeStatus {
	t.Helper()
	var s nodeStatus
	lab.Eventually(t, 30*time.Second, what, func() error {
		if poke != nil {
			poke()
		}
		s = nodeStatus{}
		if err := n.JSON(&s, "status"); err != nil {
			return err
		}
		if !ok(s) {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	return s
}

// metric returns a metric's value as /metrics prints it.
func metric(t *testing.T, n *lab.RunningNode, name string) string {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(n.State, "node.sock"))
		},
	}}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://lanfolk/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b := make([]byte, 1<<20)
	size := 0
	for size < len(b) {
		m, err := r.Body.Read(b[size:])
		size += m
		if err != nil {
			break
		}
	}
	for line := range strings.Lines(string(b[:size])) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// quietHost is a desk with a node's state folder and a host that says what it
// is told to.
func quietHost(t *testing.T) (desk *lab.Host, k *lab.Link) {
	t.Helper()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk = l.Host("desk").Join(a)
	return desk, l.Host("quiet").Join(a, lab.WithMAC("00:0c:29:aa:bb:01")).Link(a)
}

// knows says that the node lists the host of a link.
func knows(t *testing.T, n *lab.RunningNode, k *lab.Link) {
	t.Helper()
	lab.Eventually(t, 15*time.Second, "the host in the list", func() error {
		sendARP(k)
		list, err := devices(n)
		if err == nil {
			_, err = deviceWith(list, k.MAC.String())
		}
		return err
	})
}

func TestUpGoesOnWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip")
	state := t.TempDir()
	lab.SmallDisk(t, state, "4m")
	desk, k := quietHost(t)
	n := desk.Up(lab.Node{State: state})
	knows(t, n, k)

	filler := filepath.Join(state, "filler")
	lab.Fill(t, filler)
	// Each asks for another name, so that there are rows to write.
	asked := 0
	ask := func() {
		for range 50 {
			asked++
			sendDHCP(k, fmt.Sprintf("%s-%d", strings.Repeat("x", 200), asked))
		}
	}
	s := waitStatus(t, n, "a store that says that it is full", ask, func(s nodeStatus) bool { return !s.Store.Healthy })
	if s.Healthy || !strings.Contains(s.Store.Error, "full") {
		t.Errorf("status %+v; want unhealthy and the reason", s)
	}
	if got := metric(t, n, "lanfolk_store_healthy"); got != "0" {
		t.Errorf("lanfolk_store_healthy is %q; want 0", got)
	}
	// A person's word is refused rather than forgotten.
	if r := n.Run("device", "name", k.MAC.String(), "thermostat"); r.Exit != 1 || !strings.Contains(r.Stderr, "full") {
		t.Errorf("a name on a full disk: exit %d, %s; want 1 and the reason", r.Exit, r.Stderr)
	}
	knows(t, n, k) // in memory

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	waitStatus(t, n, "a store that is well again", nil, func(s nodeStatus) bool { return s.Healthy && s.Store.Healthy })
	if r := n.Run("device", "name", k.MAC.String(), "thermostat"); r.Exit != 0 {
		t.Errorf("a name when there is room again: exit %d, %s", r.Exit, r.Stderr)
	}
}

// lockDatabase holds the lock of a node's database, as another program would, until
// release is called.
func lockDatabase(t *testing.T, n *lab.RunningNode) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(n.State, "lanfolk.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // the one that has the lock
	if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpGoesOnWhileTheDatabaseIsLocked(t *testing.T) {
	t.Parallel()
	desk, k := quietHost(t)
	n := desk.Up(lab.Node{})
	knows(t, n, k)

	release := lockDatabase(t, n)
	asked := 0
	ask := func() {
		asked++
		sendDHCP(k, fmt.Sprintf("thermostat-%d", asked))
	}
	s := waitStatus(t, n, "a store that says that it is locked", ask, func(s nodeStatus) bool { return !s.Store.Healthy })
	if !strings.Contains(s.Store.Error, "locked") {
		t.Errorf("status %+v; want that it is locked", s)
	}
	knows(t, n, k)
	release()
	waitStatus(t, n, "a store that is well again", nil, func(s nodeStatus) bool { return s.Store.Healthy })
	// What was heard meanwhile is there.
	lab.Eventually(t, 10*time.Second, "the rows heard meanwhile", func() error {
		r := n.Run("fingerprints", "--query", "thermostat-1", "--latest")
		if r.Exit != 0 {
			return fmt.Errorf("exit %d: %s", r.Exit, r.Stderr)
		}
		return nil
	})
}

// A packet that makes no sense is counted with its reason, and changes nothing.
func TestUpCountsHostilePackets(t *testing.T) {
	t.Parallel()
	desk, k := quietHost(t)
	n := desk.Up(lab.Node{})
	knows(t, n, k)
	before, err := services(n)
	if err != nil {
		t.Fatal(err)
	}
	loop := []byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 0x0c, 0, 12, 0, 1, 0, 0, 0, 120, 0, 2, 0xc0, 0x0c}
	cut := []byte{0, 0, 0x84, 0, 0, 0, 0, 9, 0, 0}
	s := waitStatus(t, n, "counters of malformed packets", func() {
		for _, payload := range [][]byte{loop, cut, nil, slices.Repeat([]byte{0xff}, 1400)} {
			sendMDNS(k, payload)
		}
		k.Send(ethernet(k, layers.EthernetTypeARP), gopacket.Payload{0, 1}) // two bytes of ARP
	}, func(s nodeStatus) bool {
		malformed := uint64(0)
		for _, p := range s.Parts {
			for name, count := range p.Counters {
				if p.Name == "mdns" && strings.HasPrefix(name, "dropped: malformed: ") {
					malformed += count
				}
			}
		}
		return malformed >= 2 && s.counter("capture eth0", "dropped: dns: malformed") >= 2 && s.counter("capture eth0", "dropped: arp: malformed") > 0
	})
	for _, p := range s.Parts {
		if p.Failures > 0 {
			t.Errorf("%s failed %d times", p.Name, p.Failures)
		}
	}
	after, err := services(n)
	if err != nil || len(after) != len(before) {
		t.Errorf("services %+v become %+v, %v", before, after, err)
	}
}

// sendMDNS sends a UDP payload to the mDNS group from port 5353.
func sendMDNS(k *lab.Link, payload []byte) {
	k.Send(&layers.Ethernet{SrcMAC: k.MAC, DstMAC: net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolUDP, SrcIP: k.V4.AsSlice(), DstIP: []byte{224, 0, 0, 251}},
		&layers.UDP{SrcPort: 5353, DstPort: 5353}, gopacket.Payload(payload))
}
