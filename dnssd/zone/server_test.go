package zone_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
)

// patience is how long is waited for what comes at once on an idle machine.
const patience = 30 * time.Second

// served is a server on loopback, by UDP and TCP.
type served struct {
	*zone.Server
	udp, tcp string
	stop     func()
}

func serve(t *testing.T, zones ...*zone.Zone) *served {
	t.Helper()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{Server: &zone.Server{Zones: zones}, udp: u.LocalAddr().String(), tcp: l.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	for _, run := range []func() error{func() error { return s.ServePacket(ctx, u) }, func() error { return s.Serve(ctx, l) }} {
		tasks.Go(func() {
			if err := run(); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	s.stop = func() { cancel(); tasks.Wait() }
	t.Cleanup(s.stop)
	return s
}

func TestServer(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	s := serve(t, z)
	m := new(dns.Msg)
	m.SetQuestion("_ipp._tcp.lan.example.com.", dns.TypePTR)
	for _, c := range []*dns.Client{{Net: "udp", Timeout: patience}, {Net: "tcp", Timeout: patience}} {
		to := s.udp
		if c.Net == "tcp" {
			to = s.tcp
		}
		got, _, err := c.Exchange(m, to)
		if err != nil || len(got.Answer) != 1 || !got.Authoritative {
			t.Errorf("by %s: %v %v", c.Net, got, err)
		}
	}
	// Several queries at once on one connection.
	conn, err := net.Dial("tcp", s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i := range 5 {
		binary.BigEndian.PutUint16(q, uint16(i))
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(q))), q...)
	}
	if _, err := conn.Write(all); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, b); err != nil || binary.BigEndian.Uint16(b) != uint16(i) {
			t.Fatalf("answer %d: %x %v", i, b, err)
		}
	}
	// What is no query ends the connection.
	if _, err := conn.Write([]byte{0, 2, 1, 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on after what is no query")
	}
	st := s.Stats()
	if st.Verdicts[zone.Answered] != 7 || st.TCP != 7 || st.Verdicts[zone.Ignored] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestConnectionsOfOneHostAreBounded(t *testing.T) {
	s := serve(t, newZone(t))
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range zone.MaxConnsPerHost + 3 {
		c, err := net.Dial("tcp", s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for _, c := range open[zone.MaxConnsPerHost:] {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("one connection too many stays open: %v", err)
		}
	}
	if n := s.Stats().Connections; n != 3 {
		t.Errorf("%d were refused", n)
	}
	open[0].Close()
	// There is room again.
	deadline := time.Now().Add(patience)
	for {
		m := new(dns.Msg)
		m.SetQuestion("lan.example.com.", dns.TypeSOA)
		if _, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(m, s.tcp); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	s.stop() // open connections don't keep it
}

// A secondary that somebody else wrote takes a zone of many messages, each of them
// signed.
func TestTransfer(t *testing.T) {
	for _, key := range []bool{false, true} {
		z := newZone(t, func(c *zone.Config) {
			x := zone.Secondary{Address: netip.MustParseAddrPort("127.0.0.1:0")}
			if key {
				x.Key = testKey()
			}
			c.Secondaries = []zone.Secondary{x}
		})
		const services = 3000
		for i := range services {
			put(t, z, web(i))
		}
		s := laser()
		long := make(dnssd.TXT, 100) // a record longer than the usual message
		for i := range long {
			long[i] = strings.Repeat("x", 250)
		}
		s.TXT = []dnssd.TXT{long}
		put(t, z, s)
		server := serve(t, z)
		m := new(dns.Msg)
		m.SetAxfr("lan.example.com.")
		tr := &dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience}
		if key {
			m.SetTsig("transfer.example.com.", dns.HmacSHA256, 300, time.Now().Unix())
			tr.TsigSecret = map[string]string{"transfer.example.com.": testSecret}
		}
		in, err := tr.In(m, server.tcp)
		if err != nil {
			t.Fatal(err)
		}
		records, messages := 0, 0
		seen := map[string]bool{}
		for e := range in {
			if e.Error != nil {
				t.Fatalf("with a key %v: %v", key, e.Error)
			}
			messages++
			for _, rr := range e.RR {
				records++
				if rr.Header().Rrtype != dns.TypeSOA && seen[rr.String()] {
					t.Errorf("%v comes twice", rr)
				}
				seen[rr.String()] = true
			}
		}
		if _, want := z.Size(); records != want+1 || messages < 10 {
			t.Errorf("%d records in %d messages, want %d", records, messages, want+1)
		}
		// It is counted when the last message has gone, which may have come by then.
		for end := time.Now().Add(patience); server.Stats().Transfers == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		if n := server.Stats().Transfers; n != 1 {
			t.Errorf("%d transfers are counted", n)
		}
	}
}

// Changes and queries go on at the same time.
func TestQueriesDuringChanges(t *testing.T) {
	z := newZone(t, func(c *zone.Config) {
		c.Secondaries = []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53")}}
	})
	var tasks sync.WaitGroup
	stop := make(chan struct{})
	for i := range 2 {
		tasks.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				s := web(i*1000 + n%50)
				if n%100 < 50 {
					if err := z.Put(time.Now(), s.Name, s); err != nil {
						t.Error(err)
					}
				} else {
					z.Remove(time.Now(), s.Name)
				}
			}
		})
		tasks.Go(func() {
			a := zone.Answerer{Zones: []*zone.Zone{z}}
			last := uint32(0)
			for n := range 500 {
				m := new(dns.Msg)
				m.SetQuestion([]string{"_http._tcp.lan.example.com.", "lan.example.com.", "x.lan.example.com."}[n%3], dns.TypePTR)
				q, err := m.Pack()
				if err != nil {
					t.Error(err)
				}
				b, _ := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.99:1"), TCP: true, Time: time.Now()})
				var got dns.Msg
				if err := got.Unpack(b); err != nil {
					t.Error(err)
				}
				if len(got.Ns) == 1 {
					serial := got.Ns[0].(*dns.SOA).Serial
					if int32(serial-last) < 0 {
						t.Errorf("the serial went from %d to %d", last, serial)
					}
					last = serial
				}
			}
		})
	}
	time.AfterFunc(200*time.Millisecond, func() { close(stop) })
	tasks.Wait()
}

// The connections of a server may be of any kind.
func TestOtherPacketConns(t *testing.T) {
	z := newZone(t)
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &zone.Server{Zones: []*zone.Zone{z}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.ServePacket(ctx, struct{ net.PacketConn }{u}) }()
	m := new(dns.Msg)
	m.SetQuestion("lan.example.com.", dns.TypeSOA)
	if got, _, err := (&dns.Client{Timeout: patience}).Exchange(m, u.LocalAddr().String()); err != nil || len(got.Answer) != 1 {
		t.Errorf("%v %v", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// One that is closed by somebody else is an error.
	u2, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u2.Close()
	if err := s.ServePacket(t.Context(), u2); err == nil || !strings.HasPrefix(err.Error(), "zone: read: ") {
		t.Errorf("a closed socket: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Serve(t.Context(), l); err == nil || !strings.HasPrefix(err.Error(), "zone: accept: ") {
		t.Errorf("a closed listener: %v", err)
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range (&zone.Server{}).Stats().Verdicts {
		if s := v.String(); seen[s] || s == "unknown" {
			t.Errorf("verdict %d is %q", v, s)
		}
		seen[v.String()] = true
	}
	if s := fmt.Sprint(zone.Verdict(200)); s != "unknown" {
		t.Error(s)
	}
}
