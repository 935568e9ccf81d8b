package bridge_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/bridge"
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
	b, err := bridge.NewTGED(map[string]string{"SQL": "_mysql._tcp", "DB": "_MySQL._tcp", "WEB": "_http._tcp"}, "tged", "self")
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

// What can't be told, or came by TGED or from this node.
func TestTGEDLeavesOut(t *testing.T) {
	for what, change := range map[string]func(*lanfolk.Service){
		"by TGED":       func(s *lanfolk.Service) { s.Protocol = "tged" },
		"by ourselves":  func(s *lanfolk.Service) { s.Protocol = "self" },
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
