package bridge_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/bridge"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// database is a service as the inventory shows it, first seen after some minutes.
func database(id string, minutes int, change func(*lanfolk.Service)) *lanfolk.Service {
	s := &lanfolk.Service{
		ID: id, Name: "Orders " + id, Type: "_mysql._tcp", Protocol: "mdns", Host: id + ".local", Port: 3306,
		Addresses: []netip.Addr{netip.MustParseAddr("fe80::7"), netip.MustParseAddr("192.0.2.7")},
		State:     lanfolk.Reachable, FirstSeen: time.Unix(int64(minutes)*60, 0),
	}
	if change != nil {
		change(s)
	}
	return s
}

// bridged runs a bridge on changes, those of an inventory that was empty at the start,
// and says what it answers for SQL afterwards.
type bridged struct {
	*testing.T
	*bridge.TGED
	changes chan lanfolk.Event
}

func newBridged(t *testing.T) *bridged {
	t.Helper()
	b, err := bridge.NewTGED(map[string]string{"SQL": "_mysql._tcp", "DB": "_MySQL._tcp", "WEB": "_http._tcp"}, "tged")
	if err != nil {
		t.Fatal(err)
	}
	x := &bridged{t, b, make(chan lanfolk.Event)}
	go b.Run(x.changes)
	x.changes <- lanfolk.Event{Op: lanfolk.OpSynced}
	t.Cleanup(func() { close(x.changes) })
	return x
}

func (x *bridged) tell(op lanfolk.Op, s *lanfolk.Service) {
	x.changes <- lanfolk.Event{Op: op, Service: s}
	time.Sleep(100 * time.Millisecond)
}

func (x *bridged) want(what string, fields ...tged.Field) {
	x.Helper()
	for _, name := range []string{"SQL", "sql", "DB"} {
		s, err := x.Lookup([]byte(name))
		var got []tged.Field
		if err == nil {
			got = s.Fields()
		} else if !errors.Is(err, tged.ErrUnknown) {
			x.Errorf("%s: %s: %v", what, name, err)
		}
		if diff := cmp.Diff(fields, got); diff != "" {
			x.Errorf("%s: %s is answered with (-want +got):\n%s", what, name, diff)
		}
	}
}

func reply(label, fqdn, ip, port string) []tged.Field {
	return []tged.Field{{Key: "HOST", Value: label}, {Key: "FQDN", Value: fqdn}, {Key: "IP", Value: ip}, {Key: "PORT", Value: port}}
}

func TestTGEDAnswersForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBridged(t)
		x.want("nothing is known")
		x.tell(lanfolk.OpAdd, database("b", 5, nil))
		x.want("one is known", reply("b", "b.local", "192.0.2.7", "3306")...)
		if x.Len() != 2 {
			t.Errorf("answers for %d names; want SQL and DB", x.Len())
		}
		x.tell(lanfolk.OpAdd, database("a", 6, nil))
		x.want("a second one came", reply("b", "b.local", "192.0.2.7", "3306")...)
		x.tell(lanfolk.OpUpdate, database("b", 5, func(s *lanfolk.Service) { s.State = lanfolk.Unreachable }))
		x.want("the first one is silent", reply("a", "a.local", "192.0.2.7", "3306")...)
		x.tell(lanfolk.OpUpdate, database("a", 6, func(s *lanfolk.Service) { s.Port = 3307 }))
		x.want("the second one moved", reply("a", "a.local", "192.0.2.7", "3307")...)
		x.tell(lanfolk.OpRemove, database("a", 6, nil))
		x.want("none works")
		x.tell(lanfolk.OpUpdate, database("b", 5, nil))
		x.want("the first one is back", reply("b", "b.local", "192.0.2.7", "3306")...)
	})
}

// What can't be told, or came by TGED.
func TestTGEDLeavesOut(t *testing.T) {
	for what, change := range map[string]func(*lanfolk.Service){
		"by TGED":       func(s *lanfolk.Service) { s.Protocol = "tged" },
		"another type":  func(s *lanfolk.Service) { s.Type = "_ipp._tcp" },
		"no port":       func(s *lanfolk.Service) { s.Port = 0 },
		"IPv6 alone":    func(s *lanfolk.Service) { s.Addresses = s.Addresses[:1] },
		"loopback":      func(s *lanfolk.Service) { s.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")} },
		"unknown state": func(s *lanfolk.Service) { s.State = lanfolk.Unknown },
		"a line break":  func(s *lanfolk.Service) { s.Host = "a\r\nIP: 192.0.2.66.local" },
	} {
		synctest.Test(t, func(t *testing.T) {
			x := newBridged(t)
			x.tell(lanfolk.OpAdd, database("a", 1, change))
			x.want(what)
			x.tell(lanfolk.OpAdd, database("b", 2, nil))
			x.want(what+", and another one", reply("b", "b.local", "192.0.2.7", "3306")...)
		})
	}
}

func TestTGEDFields(t *testing.T) {
	for _, c := range []struct {
		change func(*lanfolk.Service)
		want   []tged.Field
	}{
		{func(s *lanfolk.Service) { s.Host = "" }, []tged.Field{{Key: "IP", Value: "192.0.2.7"}, {Key: "PORT", Value: "3306"}}},
		{func(s *lanfolk.Service) { s.Host = "nas" }, []tged.Field{{Key: "HOST", Value: "nas"}, {Key: "IP", Value: "192.0.2.7"}, {Key: "PORT", Value: "3306"}}},
		{func(s *lanfolk.Service) { s.Host = "nas.example.com." }, reply("nas", "nas.example.com", "192.0.2.7", "3306")},
		{func(s *lanfolk.Service) {
			s.Addresses = []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("192.0.2.9")}
		}, reply("a", "a.local", "192.0.2.8", "3306")},
		{func(s *lanfolk.Service) { s.Addresses = []netip.Addr{netip.MustParseAddr("169.254.1.1")} }, reply("a", "a.local", "169.254.1.1", "3306")},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := newBridged(t)
			x.tell(lanfolk.OpAdd, database("a", 1, c.change))
			x.want("one", c.want...)
		})
	}
}

// onWire is a link's connection.
type onWire struct {
	in, out chan packet.Datagram
}

func (c *onWire) ReadBatch(b []packet.Datagram) (int, error) {
	d, ok := <-c.in
	if !ok {
		return 0, net.ErrClosed
	}
	b[0] = d
	return 1, nil
}

func (c *onWire) WriteBatch(b []packet.Datagram) (int, error) {
	for _, d := range b {
		c.out <- d
	}
	return len(b), nil
}

func (c *onWire) Close() error { return nil }

// TestTGEDFitsTheAsker: of a service with several addresses, or one that was heard on
// several links, each asker is told the address on his own; others the first.
func TestTGEDFitsTheAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBridged(t)
		on := func(id string, minutes int, addresses ...string) {
			x.tell(lanfolk.OpAdd, database(id, minutes, func(s *lanfolk.Service) {
				s.Name, s.Host, s.Addresses = "Orders", "db.local", nil
				for _, a := range addresses {
					s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
				}
			}))
		}
		on("eth0", 1, "192.0.2.7", "198.51.100.7", "fe80::7")
		on("eth1", 2, "10.1.0.7", "127.0.0.1")
		x.tell(lanfolk.OpAdd, database("other", 3, func(s *lanfolk.Service) { s.Addresses = []netip.Addr{netip.MustParseAddr("10.2.0.7")} }))
		link := packet.Link{Index: 1, Name: "eth0", Flags: net.FlagUp}
		for _, p := range []string{"192.0.2.1/24", "198.51.100.1/24", "10.1.0.1/24", "10.2.0.1/24"} {
			link.Prefixes = append(link.Prefixes, netip.MustParsePrefix(p))
		}
		c := &onWire{in: make(chan packet.Datagram), out: make(chan packet.Datagram, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		server := &tged.Server{
			Services: x.TGED, Listen: func(packet.Link, uint16) (tged.Conn, error) { return c, nil },
			Links: func(context.Context) (<-chan []packet.Link, error) {
				links := make(chan []packet.Link, 1)
				links <- []packet.Link{link}
				return links, nil
			},
		}
		done := make(chan error)
		go func() { done <- server.Run(ctx) }()
		for asker, want := range map[string]string{"192.0.2.9": "192.0.2.7", "198.51.100.9": "198.51.100.7", "10.1.0.9": "10.1.0.7", "10.2.0.9": "192.0.2.7"} {
			c.in <- packet.Datagram{
				Data: []byte("TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n"),
				Src:  netip.AddrPortFrom(netip.MustParseAddr(asker), 9), Dst: netip.MustParseAddrPort("255.255.255.255:4745"),
			}
			m, err := tged.Parse((<-c.out).Data)
			if ip, _ := m.Get("IP"); err != nil || ip != want {
				t.Errorf("%s is told %s, %v; want %s", asker, ip, err, want)
			}
		}
		cancel()
		close(c.in)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Answers stay while another watch of the inventory begins, until it has told all.
func TestTGEDRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBridged(t)
		x.tell(lanfolk.OpAdd, database("a", 1, nil))
		close(x.changes)
		synctest.Wait()
		x.changes = make(chan lanfolk.Event)
		go x.TGED.Run(x.changes)
		x.tell(lanfolk.OpAdd, database("b", 1, nil))
		x.want("before all is told", reply("a", "a.local", "192.0.2.7", "3306")...)
		x.tell(lanfolk.OpSynced, nil)
		x.want("after", reply("b", "b.local", "192.0.2.7", "3306")...)
	})
}

func TestTGEDNames(t *testing.T) {
	for _, types := range []map[string]string{{"": "_http._tcp"}, {"a\nb": "_http._tcp"}, {"sql": "_mysql._tcp", "SQL": "_http._tcp"}} {
		if _, err := bridge.NewTGED(types); err == nil {
			t.Errorf("%q is no error", types)
		}
	}
}
