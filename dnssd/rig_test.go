package dnssd_test

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// rig is a host that looks for services, inside a synctest bubble.
type rig struct {
	t       *testing.T
	net     *lantest.Network
	wire    *lantest.Wire
	host    *lantest.Host
	nic     *lantest.NIC
	capture *lantest.Capture
	engine  *mdns.Engine
	source  dnssd.Source
	start   time.Time
}

func inBubble(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: lantest.New(1)}
		r.wire, r.host = r.net.Wire("lan"), r.net.Host("dut")
		r.nic = r.host.Attach(r.wire, "eth0", "10.0.0.1/16", "fe80::1/64")
		r.capture = r.wire.Capture()
		r.engine = r.newEngine(r.host)
		r.source = dnssd.Multicast(r.engine)
		r.run(r.engine)
		synctest.Wait()
		r.start = time.Now()
		f(r)
	})
}

// newEngine makes an engine that is alone on its host.
func (r *rig) newEngine(host *lantest.Host) *mdns.Engine {
	return &mdns.Engine{
		Links:      host.WatchLinks,
		AskUnicast: func(packet.Link) bool { return true },
		Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := host.ListenMulticast(l, g)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
}

// run starts the engine; it ends with the test.
func (r *rig) run(e *mdns.Engine) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
}

// responder answers questions about its records from one interface.
type responder struct {
	mu      sync.Mutex // guards records, mute and asked
	records []dnswire.RR
	// extra adds the records that RFC 6763 §12 wants to come along.
	extra bool
	// mute makes it hear and say nothing.
	mute  bool
	conn  *lantest.Conn
	asked []string
}

// respond puts a host on the wire that answers by IPv4 or IPv6.
func (r *rig) respond(wire *lantest.Wire, host, prefix string, extra bool, records ...dnswire.RR) *responder {
	nic := r.net.Host(host).Attach(wire, "eth0", prefix)
	group := mdns.IPv4.Group()
	if strings.Contains(prefix, "::") {
		group = mdns.IPv6.Group()
	}
	conn, err := r.net.Host(host).ListenMulticast(nic.Link(), group)
	if err != nil {
		r.t.Fatal(err)
	}
	x := &responder{records: records, extra: extra, conn: conn}
	done := make(chan struct{})
	go func() { defer close(done); x.serve() }()
	r.t.Cleanup(func() { conn.Close(); <-done })
	return x
}

func (x *responder) serve() {
	var grams [8]packet.Datagram
	for {
		n, err := x.conn.ReadBatch(grams[:])
		if err != nil {
			return
		}
		for _, g := range grams[:n] {
			answers, extra := x.answers(g.Data)
			if len(answers) > 0 {
				time.Sleep(50 * time.Millisecond)
				x.send(answers, extra)
			}
		}
	}
}

func (x *responder) answers(b []byte) (answers, extra []dnswire.RR) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m, err := dnswire.Parse(b)
	if err != nil || m.Response || x.mute {
		return nil, nil
	}
	var known []string
	for k := range m.Records() {
		known = append(known, k.RR().Fold().Data)
	}
	for q := range m.Questions() {
		x.asked = append(x.asked, q.Name.String()+" "+q.Type.String())
		for _, rr := range x.records {
			if q.Name.Equal(rr.Name) && (q.Type == rr.Type || q.Type == dnswire.TypeANY) && !slices.Contains(known, rr.Fold().Data) {
				answers = append(answers, rr)
			}
		}
	}
	for _, rr := range x.records {
		if x.extra && rr.Type != dnswire.TypePTR && !slices.Contains(answers, rr) {
			extra = append(extra, rr)
		}
	}
	return answers, extra
}

// questions returns what was asked so far.
func (x *responder) questions() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.asked)
}

// kill makes the host fall silent.
func (x *responder) kill() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mute = true
}

// become gives the host other records.
func (x *responder) become(records []dnswire.RR) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.records = records
}

func (x *responder) send(answers, extra []dnswire.RR) {
	x.conn.WriteBatch([]packet.Datagram{{Data: x.message(answers, extra)}})
}

func (x *responder) message(answers, extra []dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 1400)
	for _, rr := range answers {
		b.Answer(rr)
	}
	for _, rr := range extra {
		b.Additional(rr)
	}
	return b.Bytes()
}

// goodbye takes every record back.
func (x *responder) goodbye() {
	gone := slices.Clone(x.records)
	for i := range gone {
		gone[i].TTL = 0
	}
	x.kill()
	x.send(gone, nil)
}

func name(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func unique(rr dnswire.RR) dnswire.RR {
	rr.Flush = true
	return rr
}

func ptr(owner, target string) dnswire.RR { return dnswire.NewPTR(name(owner), name(target), 4500) }

func srv(instance, host string, port uint16) dnswire.RR {
	return unique(dnswire.NewSRV(name(instance), dnswire.SRV{Port: port, Target: name(host)}, 120))
}

func txt(instance string, s ...string) dnswire.RR {
	rr, err := dnswire.NewTXT(name(instance), 4500, s...)
	if err != nil {
		panic(err)
	}
	return unique(rr)
}

func addr(host, a string) dnswire.RR {
	return unique(dnswire.NewAddr(name(host), netip.MustParseAddr(a), 120))
}

// web returns the records of a web server.
func web(instance, host string, port uint16, addrs ...string) []dnswire.RR {
	full := instance + "._http._tcp.local"
	out := []dnswire.RR{ptr("_http._tcp.local", full), srv(full, host, port), txt(full, "path=/", "ro")}
	for _, a := range addrs {
		out = append(out, addr(host, a))
	}
	return out
}

// text is an event as a line, with the milliseconds since the start.
func (r *rig) text(ev dnssd.Event) string {
	s := fmt.Sprintf("%d %s", time.Since(r.start).Milliseconds(), plain(ev))
	return s
}

// plain is an event as a line.
func plain(ev dnssd.Event) string {
	s := string(ev.Op)
	if ev.Op == dnssd.Settled {
		return s
	}
	s += " " + ev.Instance.String()
	if len(ev.Subtypes) > 0 {
		s += fmt.Sprint(" ", ev.Subtypes)
	}
	if ev.Host != "" {
		s += fmt.Sprintf(" %s:%d %v %q", ev.Host, ev.Port, ev.Addresses, []string(ev.TXT))
	}
	if !ev.Resolved {
		s += " unresolved"
	}
	return s + " on " + ev.Interface
}

// lines collects what a browser tells.
func lines(events iter.Seq2[dnssd.Event, error]) ([]string, error) {
	var out []string
	for ev, err := range events {
		if err != nil {
			return out, err
		}
		out = append(out, plain(ev))
	}
	return out, nil
}

// once runs a browser until it has settled.
func (r *rig) once(b dnssd.Browser) []string {
	r.t.Helper()
	b.Source, b.Once = r.source, true
	got, err := lines(b.Events(r.t.Context()))
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// during runs a browser for a time.
func (r *rig) during(b dnssd.Browser, d time.Duration) []string {
	r.t.Helper()
	b.Source = r.source
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	var out []string
	for ev, err := range b.Events(ctx) {
		if err != nil {
			r.t.Fatal(err)
		}
		if ev.Op != dnssd.Settled {
			out = append(out, r.text(ev))
		}
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s\n got %q\nwant %q", what, got, want)
	}
}
