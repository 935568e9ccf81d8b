package unicast_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

var (
	first  = netip.MustParseAddrPort("10.0.0.53:53")
	second = netip.MustParseAddrPort("10.0.0.54:53")
)

// network has DNS servers in memory.
type network struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[netip.AddrPort]*server
	asked   []string
	start   time.Time
}

// server answers what its zone holds.
type server struct {
	zone  []dns.RR
	soa   string
	down  bool // silent
	delay time.Duration
	busy  time.Duration // before it carries out an update
	// hook changes an answer, or makes it go away.
	hook func(network string, q, a *dns.Msg) *dns.Msg
	// update carries out a dynamic update: the message as it came, and read.
	update func(raw []byte, q *dns.Msg) []byte
	// raw is sent before the answer.
	raw func(q *dns.Msg) [][]byte
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, servers: map[netip.AddrPort]*server{}, start: time.Now()}
}

func (n *network) serve(at netip.AddrPort, records ...string) *server {
	s := &server{soa: "example.com. 60 SOA ns. host. 1 60 60 60 20"}
	s.set(n.t, records...)
	n.servers[at] = s
	return s
}

func (s *server) set(t *testing.T, records ...string) {
	t.Helper()
	s.zone = nil
	for _, r := range records {
		rr, err := dns.NewRR("$ORIGIN example.com.\n" + r)
		if err != nil || rr == nil {
			t.Fatalf("%s: %v", r, err)
		}
		s.zone = append(s.zone, rr)
	}
}

func (n *network) dial(_ context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.servers[netip.MustParseAddrPort(address)]
	if s == nil {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	go n.talk(network, address, s, theirs)
	return ours, nil
}

func (n *network) talk(network, address string, s *server, c net.Conn) {
	defer c.Close()
	for {
		b, err := readMessage(network, c)
		if err != nil {
			return
		}
		var q dns.Msg
		if err := q.Unpack(b); err != nil {
			n.t.Errorf("query: %v", err)
			return
		}
		n.mu.Lock()
		if busy := s.busy; q.Opcode == dns.OpcodeUpdate && busy > 0 {
			n.mu.Unlock()
			time.Sleep(busy)
			n.mu.Lock()
		}
		question := q.Question[0]
		n.asked = append(n.asked, strings.TrimSuffix(question.Name, ".")+" "+dns.TypeToString[question.Qtype]+" "+network+" "+strings.TrimSuffix(strings.TrimPrefix(address, "10.0.0."), ":53"))
		down, delay := s.down, s.delay
		if q.Opcode == dns.OpcodeUpdate && !down {
			out := s.update(b, &q)
			n.mu.Unlock()
			time.Sleep(delay)
			if out != nil {
				writeMessage(network, c, out)
			}
			continue
		}
		a := s.answer(&q)
		if s.hook != nil && a != nil {
			a = s.hook(network, &q, a)
		}
		n.mu.Unlock()
		if down || a == nil {
			continue
		}
		time.Sleep(delay)
		if s.raw != nil {
			for _, b := range s.raw(&q) {
				writeMessage(network, c, b)
			}
		}
		out, err := a.Pack()
		if err != nil {
			n.t.Errorf("answer: %v", err)
			return
		}
		writeMessage(network, c, out)
	}
}

func readMessage(network string, c net.Conn) ([]byte, error) {
	if network == "tcp" {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err := io.ReadFull(c, b)
		return b, err
	}
	b := make([]byte, 65535)
	k, err := c.Read(b)
	return b[:k], err
}

func writeMessage(network string, c net.Conn, b []byte) {
	if network == "tcp" {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	c.Write(b) // the other end may have gone
}

func (s *server) answer(q *dns.Msg) *dns.Msg {
	var a dns.Msg
	a.SetReply(q)
	a.Authoritative = true
	name := q.Question[0].Name
	there := false
	for range 10 {
		alias := ""
		for _, rr := range s.zone {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				there = there || dns.IsSubDomain(name, h.Name)
				continue
			}
			there = true
			if h.Rrtype == q.Question[0].Qtype {
				a.Answer = append(a.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				a.Answer = append(a.Answer, rr)
				alias = c.Target
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(a.Answer) == 0 {
		if !there {
			a.Rcode = dns.RcodeNameError
		}
		if s.soa != "" {
			rr, _ := dns.NewRR(s.soa)
			a.Ns = append(a.Ns, rr)
		}
	}
	return &a
}

// queries returns what was asked since the last call.
func (n *network) queries() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.asked
	n.asked = nil
	return out
}

func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *network) source(at ...netip.AddrPort) *unicast.Source {
	if len(at) == 0 {
		at = []netip.AddrPort{first}
	}
	return &unicast.Source{Servers: unicast.Servers{Addrs: at, Dial: n.dial}}
}

// web is a service's records.
func web(name, host string, ttl string, addrs ...string) []string {
	out := []string{
		"_http._tcp " + ttl + " PTR " + name + "._http._tcp",
		name + "._http._tcp " + ttl + " SRV 0 0 80 " + host,
		name + "._http._tcp " + ttl + ` TXT "path=/" "ro"`,
	}
	for _, a := range addrs {
		typ := "A"
		if strings.Contains(a, ":") {
			typ = "AAAA"
		}
		out = append(out, host+" "+ttl+" "+typ+" "+a)
	}
	return out
}

func text(ev dnssd.Event) string {
	if ev.Op == dnssd.Settled {
		return "settled"
	}
	s := string(ev.Op) + " " + ev.Instance.String()
	if ev.Resolved {
		s += " " + ev.Host
		for _, a := range ev.Addresses {
			s += " " + a.String()
		}
	}
	return s
}

func (n *network) once(src dnssd.Source, b dnssd.Browser) ([]string, error) {
	b.Source, b.Once, b.Domain = src, true, "example.com"
	var out []string
	for ev, err := range b.Events(n.t.Context()) {
		if err != nil {
			return out, err
		}
		out = append(out, text(ev))
	}
	return out, nil
}

// during browses for a time and returns events with their time in seconds.
func (n *network) during(src dnssd.Source, b dnssd.Browser, d time.Duration) []string {
	b.Source, b.Domain = src, "example.com"
	ctx, cancel := context.WithTimeout(n.t.Context(), d)
	defer cancel()
	var out []string
	for ev, err := range b.Events(ctx) {
		if err != nil {
			n.t.Fatal(err)
		}
		if ev.Op != dnssd.Settled {
			out = append(out, time.Since(n.start).Round(time.Second).String()+" "+text(ev))
		}
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func sortedSet(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

func bubble(t *testing.T, f func(*testing.T, *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newNetwork(t)) })
}

// ask waits for what a source says about a question: events as text.
func ask(t *testing.T, src dnssd.Source, name string, typ dnswire.Type) []string {
	t.Helper()
	n, err := dnswire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	f := src.Feed(false)
	defer f.Close()
	f.Ask(mdns.Question{Name: n, Type: typ})
	var out []string
	for {
		events, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := false
		for _, ev := range events {
			switch ev.Op {
			case mdns.OpAsked, mdns.OpAnswered:
				continue
			case mdns.OpAdd:
				s := ev.RR.Name.String() + " " + ev.RR.Type.String()
				if to, ok := ev.RR.PTR(); ok {
					s += " " + to.String()
				}
				if a, ok := ev.RR.Addr(); ok {
					s += " " + a.String()
				}
				out = append(out, s)
			default:
				out = append(out, ev.Op.String())
			}
			done = true
		}
		if done {
			return out
		}
	}
}

// nextServer is a server's address and one more.
func nextServer(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Next(), at.Port())
}
