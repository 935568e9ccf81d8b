package syncthing_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// street is a wire with servers and one who asks them, in a bubble of synctest.
type street struct {
	t       *testing.T
	network *lantest.Network
	wire    *lantest.Wire
	asker   *lantest.Host
	nic     *lantest.NIC
}

func newStreet(t *testing.T) *street {
	n := lantest.New(1)
	s := &street{t: t, network: n, wire: n.Wire("street"), asker: n.Host("asker")}
	s.nic = s.asker.Attach(s.wire, "eth0", "10.0.0.9/24")
	return s
}

// server answers each query after a while with these packets, which come from a port.
func (s *street) server(address string, after time.Duration, port uint16, answers ...[]byte) (asked *int) {
	s.t.Helper()
	h := s.network.Host(address)
	nic := h.Attach(s.wire, "eth0", address+"/24")
	c, err := h.ListenBroadcast(nic.Link(), syncthing.GlobalPort)
	if err != nil {
		s.t.Fatal(err)
	}
	from := c
	if port != syncthing.GlobalPort {
		if from, err = h.ListenBroadcast(nic.Link(), port); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(func() { c.Close(); from.Close() })
	asked = new(int)
	go func() {
		in := make([]packet.Datagram, 1)
		for {
			if _, err := c.ReadBatch(in); err != nil {
				return
			}
			*asked++
			to := in[0].Src
			time.AfterFunc(after, func() {
				for _, b := range answers {
					_ = from.WriteTo(b, to) // the asker may be gone
				}
			})
		}
	}()
	return asked
}

// ask asks the servers at these addresses, and returns how long that took, too.
func (s *street) ask(id syncthing.DeviceID, servers ...string) ([]netip.AddrPort, time.Duration, error) {
	l := &syncthing.Lookup{Listen: func(netip.AddrPort) (syncthing.Conn, error) {
		return s.asker.ListenBroadcast(s.nic.Link(), 0)
	}}
	for _, a := range servers {
		l.Servers = append(l.Servers, netip.AddrPortFrom(netip.MustParseAddr(a), syncthing.GlobalPort))
	}
	begin := time.Now()
	found, err := l.Ask(s.t.Context(), id)
	return found, time.Since(begin), err
}

// What old clients made of answers; the rules are stricter about two.
func TestLookupAsTheVectorsShow(t *testing.T) {
	for _, c := range readVectors(t).Lookup {
		synctest.Test(t, func(t *testing.T) {
			s := newStreet(t)
			s.server("10.0.0.1", 0, syncthing.GlobalPort, c.Hex)
			found, took, err := s.ask(syncthing.DeviceID(c.Hex[8:40]), "10.0.0.1")
			if c.Reply == "normal" || c.Reply == "trailing bytes" {
				if err != nil || !slices.Equal(found, addresses("192.0.2.1:7")) || took != 0 {
					t.Errorf("%s: %v after %v, %v", c.Reply, found, took, err)
				}
			} else if !errors.Is(err, syncthing.ErrNoAnswer) || took != 5*time.Second {
				t.Errorf("%s (%s): %v after %v, %v", c.Reply, c.Outcome, found, took, err)
			}
		})
	}
}

func TestLookupMergesAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t)
		s.server("10.0.0.1", 30*time.Millisecond, syncthing.GlobalPort, announcement(id(anID), "192.0.2.1:1", "192.0.2.2:1"))
		s.server("10.0.0.2", 10*time.Millisecond, syncthing.GlobalPort, announcement(id(anID), "192.0.2.3:1", "192.0.2.2:1"))
		s.server("10.0.0.3", 0, syncthing.GlobalPort) // doesn't know it
		s.server("10.0.0.4", time.Second, syncthing.GlobalPort, announcement(id(anID), "192.0.2.4:1"))
		got, took, err := s.ask(id(anID), "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")
		if want := addresses("192.0.2.3:1", "192.0.2.2:1", "192.0.2.1:1"); err != nil || !slices.Equal(got, want) || took != 510*time.Millisecond {
			t.Errorf("%v after %v, %v", got, took, err)
		}
		if got, took, err := s.ask(id(anID), "10.0.0.1"); err != nil || len(got) != 2 || took != 30*time.Millisecond {
			t.Errorf("of the only server: %v after %v, %v", got, took, err)
		}
	})
}

// Only the server that was asked is believed, and only about the device that it was asked for.
func TestLookupAmongStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t)
		s.server("10.0.0.1", 0, 4444, announcement(id(anID), "192.0.2.66:1")) // from another port
		s.server("10.0.0.2", 0, syncthing.GlobalPort,
			announcement(id(theirID), "192.0.2.66:1"), []byte("nonsense"), syncthing.Query{ID: id(anID)}.Append(nil),
			announcement(id(anID)), announcement(id(anID), "sender:1"), announcement(id(anID), "192.0.2.1:1"))
		got, _, err := s.ask(id(anID), "10.0.0.1", "10.0.0.2")
		if err != nil || !slices.Equal(got, addresses("192.0.2.1:1")) {
			t.Error(got, err)
		}
	})
}

func TestLookupAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t)
		asked := s.server("10.0.0.1", 0, syncthing.GlobalPort)
		if _, took, err := s.ask(id(anID), "10.0.0.1"); !errors.Is(err, syncthing.ErrNoAnswer) || took != 5*time.Second || *asked != 3 {
			t.Errorf("asked %d times in %v: %v", *asked, took, err)
		}
		s.wire.SetConditions(lantest.Conditions{Loss: 1})
		time.AfterFunc(500*time.Millisecond, func() { s.wire.SetConditions(lantest.Conditions{}) })
		s.server("10.0.0.2", 0, syncthing.GlobalPort, announcement(id(anID), "192.0.2.1:1"))
		if got, took, err := s.ask(id(anID), "10.0.0.2"); err != nil || len(got) != 1 || took != time.Second {
			t.Errorf("%v after %v, %v", got, took, err)
		}
	})
}

func TestLookupSaysWhyItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("no")
		server := netip.MustParseAddrPort("10.0.0.1:22026")
		l := &syncthing.Lookup{Servers: []netip.AddrPort{server}, Listen: func(netip.AddrPort) (syncthing.Conn, error) { return nil, why }}
		_, err := l.Ask(t.Context(), id(shown))
		if want := "syncthing: look up " + shown + ": 10.0.0.1:22026: no"; !errors.Is(err, why) || err.Error() != want {
			t.Error(err)
		}
		// It can be opened, but the question not sent.
		s := newStreet(t)
		s.nic.SetUp(false)
		if _, took, err := s.ask(id(anID), "10.0.0.1"); err == nil || errors.Is(err, syncthing.ErrNoAnswer) || took != 0 {
			t.Error(took, err)
		}
		s.nic.SetUp(true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		l.Listen = func(netip.AddrPort) (syncthing.Conn, error) { return s.asker.ListenBroadcast(s.nic.Link(), 0) }
		if _, err := l.Ask(ctx, id(anID)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// One that can't be asked doesn't matter while another can.
		l.Servers = append(l.Servers, netip.MustParseAddrPort("10.0.0.2:22026"))
		l.Listen = func(to netip.AddrPort) (syncthing.Conn, error) {
			if to == server {
				return nil, why
			}
			return s.asker.ListenBroadcast(s.nic.Link(), 0)
		}
		if _, err := l.Ask(t.Context(), id(anID)); !errors.Is(err, syncthing.ErrNoAnswer) {
			t.Error(err)
		}
		s.server("10.0.0.2", 0, syncthing.GlobalPort, announcement(id(anID), "192.0.2.1:1"))
		if got, err := l.Ask(t.Context(), id(anID)); err != nil || fmt.Sprint(got) != "[192.0.2.1:1]" {
			t.Error(got, err)
		}
	})
}
