package syncthing_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// rig is a server at 10.0.0.1, which isn't its only address, and a wire to it, in a bubble of synctest.
type rig struct {
	t      *testing.T
	wire   *lantest.Wire
	sent   *lantest.Capture
	server *syncthing.Server
}

var serverAddress = netip.MustParseAddrPort("10.0.0.1:22026")

// serve runs a server until the test ends.
func serve(t *testing.T, s *syncthing.Server) *rig {
	t.Helper()
	n := lantest.New(1)
	r := &rig{t: t, wire: n.Wire("internet"), server: s}
	h := n.Host("server")
	nic := h.Attach(r.wire, "eth0", "10.0.0.2/24", "10.0.0.1/24")
	c, err := h.ListenBroadcast(nic.Link(), syncthing.GlobalPort)
	if err != nil {
		t.Fatal(err)
	}
	s.Conns = append(s.Conns, c)
	r.sent = r.wire.Capture()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	synctest.Wait()
	r.sent.Take()
	return r
}

// say sends a packet to the server and returns what it sends then.
func (r *rig) say(b []byte, src string) []byte {
	r.t.Helper()
	from := netip.MustParseAddrPort(src)
	r.wire.Inject(packet.Datagram{Data: b, Src: from, Dst: serverAddress})
	synctest.Wait()
	var all []lantest.Sent
	for _, s := range r.sent.Take() {
		if s.Host == "server" {
			all = append(all, s)
		}
	}
	switch {
	case len(all) == 0:
		return nil
	case len(all) > 1 || all[0].Dst != from || all[0].Src != serverAddress:
		r.t.Fatalf("to %s the server sent %v", src, all)
	}
	return all[0].Data
}

// found asks for a device from an address and returns what the server answers.
func (r *rig) found(id syncthing.DeviceID, src string) []netip.AddrPort {
	r.t.Helper()
	b := r.say(syncthing.Query{ID: id}.Append(nil), src)
	if b == nil {
		return nil
	}
	m, err := syncthing.Parse(b)
	a, ok := m.(*syncthing.Announcement)
	if err != nil || !ok || a.ID != id || len(a.Extra) > 0 {
		r.t.Fatalf("the answer is %x: %v", b, err)
	}
	return a.Addresses
}

func announcement(id syncthing.DeviceID, all ...string) []byte {
	return (&syncthing.Announcement{Device: syncthing.Device{ID: id, Addresses: addresses(all...)}}).Append(nil)
}

// The made-up packets of the vectors over the wire. (There their source was 127.0.0.1.)
func TestServerAnswersAsTheVectorsShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{})
		ours := []byte{0, 0, 0, 4, 10, 0, 0, 9}
		for _, c := range readVectors(t).Global {
			if c.Announce != nil && r.say(c.Announce, "10.0.0.9:4000") != nil {
				t.Errorf("%s: the announcement is answered", c.ID)
			}
			want := bytes.ReplaceAll(globalReply(t, c.ID, c.Reply), []byte{0, 0, 0, 4, 127, 0, 0, 1}, ours)
			if got := r.say(c.Query, "10.0.0.9:4001"); !bytes.Equal(got, want) {
				t.Errorf("%s, %s:\n got %x\nwant %x", c.ID, c.Name, got, want)
			}
		}
		st := r.server.Stats()
		sum := st.Answered + st.Unknown + st.Stored + st.Nothing + st.Foreign + st.Invalid + st.NoHost +
			st.PrefixLimit + st.DeviceLimit + st.NewLimit + st.Denied + st.Full + st.Failed
		if st.Received == 0 || st.Received != sum || st.Foreign == 0 || st.Invalid == 0 || st.Nothing == 0 {
			t.Errorf("%+v: %d", st, sum)
		}
	})
}

func TestServerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{})
		for n := range uint32(20) {
			r.say(announcement(numbered(n), "sender:22000"), "192.0.2.7:1234")
		}
		if n := r.server.Stats().Devices; n != 20 {
			t.Errorf("%d devices at once", n)
		}
		time.Sleep(30 * time.Minute)
		r.say(announcement(numbered(3), "192.0.2.9:1"), "198.51.100.7:1234")
		if got, want := r.found(numbered(3), "203.0.113.9:1"), addresses("192.0.2.9:1", "192.0.2.7:22000"); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if n := r.server.Stats().Devices; n != 20 {
			t.Errorf("%d devices", n)
		}
		time.Sleep(30 * time.Minute)
		if got := r.found(numbered(4), "203.0.113.9:1"); got != nil {
			t.Errorf("after an hour: %v", got)
		}
		if got, want := r.found(numbered(3), "203.0.113.9:1"), addresses("192.0.2.9:1"); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		time.Sleep(time.Minute)
		if n := r.server.Stats().Devices; n != 1 {
			t.Errorf("%d devices", n)
		}
		time.Sleep(time.Hour)
		if n := r.server.Stats().Devices; n != 0 {
			t.Errorf("%d devices", n)
		}
	})
}

func TestServerKeepsToItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{PerPrefix: 20})
		r.say(announcement(id(anID), "sender:22000"), "192.0.2.7:1234")
		n := 0
		for i := range 50 {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}), 99).String()
			if r.found(id(anID), src) != nil {
				n++
			}
		}
		if n != 20 {
			t.Errorf("%d answers to one /24", n)
		}
		if r.found(id(anID), "198.51.100.1:99") == nil {
			t.Error("another prefix has no answer")
		}
		time.Sleep(time.Second)
		if r.found(id(anID), "203.0.113.1:99") == nil {
			t.Error("no answer a second later")
		}
		// One device's announcements, from everywhere: 10 at once, one of them above.
		time.Sleep(time.Minute)
		for i := range byte(30) {
			r.say(announcement(id(anID), "sender:22000"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, i, 0, 1}), 99).String())
		}
		if st := r.server.Stats(); st.PrefixLimit != 30 || st.DeviceLimit != 20 {
			t.Errorf("%+v", st)
		}
		// Made-up devices of one prefix.
		for n := range uint32(1000) {
			r.say(announcement(numbered(n+1), "sender:1"), "10.0.0.66:99")
			time.Sleep(50 * time.Millisecond)
		}
		st := r.server.Stats()
		if st.NewLimit < 600 || st.NewLimit > 744 {
			t.Errorf("%+v", st)
		}
		for range 3 { // known ones are still welcome
			r.say(announcement(numbered(1), "sender:1"), "10.0.0.66:99")
		}
		if now := r.server.Stats(); now.Stored != st.Stored+3 {
			t.Errorf("%+v", now)
		}
	})
}

func TestServerWithoutLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{PerPrefix: -1})
		for n := range uint32(1000) {
			r.say(announcement(id(anID), "sender:1"), "10.0.0.66:99")
			r.say(announcement(numbered(n), "sender:1"), "10.0.0.66:99")
			if r.found(numbered(n), "10.0.0.66:99") == nil {
				t.Fatal("no answer")
			}
		}
		if st := r.server.Stats(); st.Stored != 2000 {
			t.Errorf("%+v", st)
		}
	})
}

func TestServerOfSomeDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{Allowed: func(d syncthing.DeviceID) bool { return d == id(anID) }})
		for _, h := range []string{anID, theirID} {
			r.say(announcement(id(h), "sender:1"), "10.0.0.66:99")
		}
		if r.found(id(anID), "10.0.0.5:1") == nil || r.found(id(theirID), "10.0.0.5:1") != nil {
			t.Error("the wrong ones are served")
		}
		if st := r.server.Stats(); st.Denied != 1 || st.Unknown != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// What an extra says is hearsay, and what isn't from a host isn't answered.
func TestServerBelievesOnlyTheDeviceItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{})
		a := syncthing.Announcement{
			Device: *device("sender:1"),
			Extra:  []syncthing.Device{{ID: id(theirID), Addresses: addresses("192.0.2.1:1")}},
		}
		r.say(a.Append(nil), "10.0.0.66:99")
		if r.found(id(theirID), "10.0.0.5:1") != nil {
			t.Error("an extra is taken for a fact")
		}
		q := syncthing.Query{ID: id(anID)}.Append(nil)
		for _, src := range []string{"10.0.0.5:0", "0.0.0.0:5", "224.0.0.1:5", "255.255.255.255:5"} {
			if got := r.say(q, src); got != nil {
				t.Errorf("%s is answered", src)
			}
		}
		r.wire.Inject(packet.Datagram{Data: q, Src: netip.MustParseAddrPort("10.0.0.5:5"), Dst: netip.MustParseAddrPort("255.255.255.255:22026")})
		synctest.Wait()
		for _, s := range r.sent.Take() {
			if s.Host == "server" {
				t.Errorf("a broadcast is answered: %v", s)
			}
		}
		if st := r.server.Stats(); st.NoHost == 0 || st.Answered+st.Failed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Random datagrams do nothing worse than to be counted.
func TestServerUnderRandomDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{})
		r.say(announcement(numbered(7), "sender:22000"), "192.0.2.7:1234")
		all := seeds(t)
		for i := range 5000 {
			b := bytes.Clone(all[i%len(all)])
			for j := range 1 + i%5 {
				if len(b) > 0 {
					b[(i*31+j*17)%len(b)] ^= byte(i*7 + j)
				}
			}
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 99).String()
			if got := r.say(b, src); len(got) > 11*max(len(b), 1) {
				t.Fatalf("%d bytes are answered with %d", len(b), len(got))
			}
		}
		if got := r.found(numbered(7), "203.0.113.9:1"); !slices.Equal(got, addresses("192.0.2.7:22000")) {
			t.Error(got)
		}
	})
}

// brokenConn can't be read.
type brokenConn struct{ err error }

func (c brokenConn) ReadBatch([]packet.Datagram) (int, error)  { return 0, c.err }
func (c brokenConn) WriteBatch([]packet.Datagram) (int, error) { return 0, c.err }
func (c brokenConn) Close() error                              { return nil }

func TestServerEndsWithABrokenConn(t *testing.T) {
	why := errors.New("the cat sat on it")
	s := &syncthing.Server{Conns: []syncthing.Conn{brokenConn{why}}}
	if err := s.Run(t.Context()); !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "syncthing: read: ") {
		t.Error(err)
	}
}

// busyConn always has a full batch of queries, until n of them were read.
type busyConn struct {
	n       int
	data    []byte
	answers int
	done    context.CancelFunc
	closed  chan struct{}
}

func (c *busyConn) ReadBatch(d []packet.Datagram) (int, error) {
	if c.n <= 0 {
		c.done()
		<-c.closed
		return 0, net.ErrClosed
	}
	n := min(len(d), c.n)
	c.n -= n
	for i := range d[:n] {
		d[i] = packet.Datagram{
			Data: c.data, Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(c.n >> 8), byte(c.n), 1}), 40000),
			Dst: serverAddress,
		}
	}
	return n, nil
}

func (c *busyConn) WriteBatch(d []packet.Datagram) (int, error) {
	c.answers += len(d)
	return len(d), nil
}

func (c *busyConn) Close() error { close(c.closed); return nil }

// BenchmarkServer is what a query costs without its sockets.
func BenchmarkServer(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	var d syncthing.Directory
	d.Put(time.Now(), device("192.0.2.1:22000"), outside)
	c := &busyConn{n: b.N, data: syncthing.Query{ID: id(anID)}.Append(nil), done: cancel, closed: make(chan struct{})}
	s := &syncthing.Server{Conns: []syncthing.Conn{c}, Directory: &d, PerPrefix: 1e9}
	b.ReportAllocs()
	if err := s.Run(ctx); err != nil {
		b.Fatal(err)
	}
	if c.answers != b.N {
		b.Errorf("%d answers to %d queries", c.answers, b.N)
	}
}
