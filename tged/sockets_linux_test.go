package tged_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// patience is how long is waited for what comes at once on an idle machine.
const patience = 30 * time.Second

// onHost has lan's functions run in a host's namespace.
type onHost struct {
	t *testing.T
	h *nstest.Host
}

func (o onHost) links() (links []packet.Link, err error) {
	o.h.Do(o.t, func() { links, err = lan.Links() })
	return links, err
}

func (o onHost) watch(ctx context.Context) (c <-chan []packet.Link, err error) {
	o.h.Do(o.t, func() { c, err = lan.WatchLinks(ctx) })
	return c, err
}

func (o onHost) listen(l packet.Link, port uint16) (c tged.Conn, err error) {
	o.h.Do(o.t, func() { c, err = lan.ListenBroadcast(l, port) })
	return c, err
}

// serve runs a server on the host until the test ends, and returns once it
// listens on n links.
func (o onHost) serve(s *tged.Server, n int) {
	o.t.Helper()
	opened := make(chan []string, 16)
	s.Links, s.Listen, s.Opened = o.watch, o.listen, func(names []string) { opened <- names }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	o.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Error(err)
		}
	})
	for {
		select {
		case names := <-opened:
			if len(names) == n {
				return
			}
		case <-time.After(patience):
			o.t.Fatal("the server doesn't listen")
		}
	}
}

// twoHosts are joined by two links; neither has a default route.
func twoHosts(t *testing.T) (server, client onHost) {
	t.Helper()
	a, b := nstest.Here(t), nstest.NewHost(t)
	for _, l := range []string{"eth0", "eth1"} {
		nstest.Connect(t, a, l, b, l)
	}
	a.SetUp(t, "eth0", "10.0.0.1/24")
	a.SetUp(t, "eth1", "10.1.0.1/24", "10.2.0.1/24")
	b.SetUp(t, "eth0", "10.0.0.2/24")
	b.SetUp(t, "eth1", "10.2.0.2/24")
	a.WaitUp(t, "eth0", "eth1")
	b.WaitUp(t, "eth0", "eth1")
	return onHost{t, a}, onHost{t, b}
}

// TestRealSockets asks by broadcast and by unicast over two links at once, with
// no default route on either host, and on the server's own host.
func TestRealSockets(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		server, client := twoHosts(t)
		s := &tged.Server{Services: services(t)}
		server.serve(s, 3)
		all := &tged.Client{Links: client.links, Listen: client.listen, Timeout: patience}
		got := map[string]string{}
		for a, err := range all.All(t.Context(), "SQL") {
			if err != nil {
				t.Fatal(err)
			}
			got[a.Link.Name] = a.Server.String()
			if len(got) == 2 {
				break
			}
		}
		if diff := cmp.Diff(map[string]string{"eth0": "10.0.0.1:4745", "eth1": "10.2.0.1:4745"}, got); diff != "" {
			t.Error(diff)
		}
		// It waits to the end for a better answer.
		all.Timeout = time.Second
		for n := 0; ; n++ {
			if _, err := all.Ask(t.Context(), "NOPE"); err == tged.ErrInvalid {
				break
			} else if err != tged.ErrNoAnswer || n == 20 {
				t.Fatal(err)
			}
		}
		// (10.1.0.1 is in no subnet of the client's, but on a wire of its own.)
		for asker, addresses := range map[onHost][]string{client: {"10.0.0.1", "10.2.0.1", "10.1.0.1"}, server: {"127.0.0.1", "10.0.0.1", "10.1.0.1"}} {
			for _, address := range addresses {
				to := netip.AddrPortFrom(netip.MustParseAddr(address), tged.Port)
				one := &tged.Client{Links: asker.links, Listen: asker.listen, Server: to, Timeout: patience}
				if a, err := one.Ask(t.Context(), "SQL"); err != nil || a.Server != to {
					t.Errorf("%s: %+v, %v", address, a.Server, err)
				}
			}
		}
		own := &tged.Client{Links: server.links, Listen: server.listen, Timeout: patience}
		if a, err := own.Ask(t.Context(), "SQL"); err != nil {
			t.Errorf("on the server's own host: %+v, %v", a, err)
		}
		if st := s.Stats(); st.Failed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// documentsClient is a client as the document writes it.
const documentsClient = `
import json, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.settimeout(30)
s.sendto(b"TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n", ("<broadcast>", 4745))
data, server = s.recvfrom(1024)
lines = data.decode().split("\r\n")
reply = {"STATUS": lines[0], "SVR": server[0]}
for line in lines[1:-2]:
    key, value = line.split(":")
    reply[key] = value
print(json.dumps(reply))
`

func TestTheDocumentsClient(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		python, err := exec.LookPath("python3")
		if err != nil {
			nstest.Missing(t, err.Error())
		}
		server, client := twoHosts(t)
		client.h.AddDefaultRoute(t, "eth0", "10.0.0.1", 0) // without one it can't broadcast
		s := &tged.Server{Services: services(t), Style: tged.Compact}
		server.serve(s, 3)
		var out []byte
		client.h.Do(t, func() { out, err = exec.Command(python, "-c", documentsClient).CombinedOutput() })
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var got map[string]string
		ok(t, json.Unmarshal(out, &got))
		want := map[string]string{
			"STATUS": "TGED REPLY 1.0", "SVR": "10.0.0.1",
			"HOST": "test", "FQDN": "test.example.com", "IP": "192.168.0.34", "PORT": "3306", "USER": "john",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
