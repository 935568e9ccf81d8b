package mdns_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// rig is a host under test and a tester on one wire, inside a synctest bubble.
type rig struct {
	t       *testing.T
	net     *lantest.Network
	wire    *lantest.Wire
	host    *lantest.Host // under test
	nic     *lantest.NIC
	tester  *lantest.Host
	capture *lantest.Capture
	engine  *mdns.Engine
	start   time.Time
}

// inBubble runs f with a rig whose engine doesn't run yet.
func inBubble(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: lantest.New(1)}
		r.wire = r.net.Wire("lan")
		r.host, r.tester = r.net.Host("dut"), r.net.Host("tester")
		r.nic = r.host.Attach(r.wire, "eth0", "10.0.0.1/24")
		r.tester.Attach(r.wire, "eth0", "10.0.0.2/24")
		r.capture = r.wire.Capture()
		r.engine = r.newEngine()
		f(r)
	})
}

func (r *rig) newEngine() *mdns.Engine {
	return &mdns.Engine{
		Links: r.host.WatchLinks,
		Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := r.host.ListenMulticast(l, g)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
}

// run starts the engine; it ends with the test.
func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.engine.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	r.start = time.Now()
}

// runUntil starts the engine and returns what ends it and waits for that.
func (r *rig) runUntil() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.engine.Run(ctx) }()
	synctest.Wait()
	r.start = time.Now()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
}

// sent is a query of the host under test.
type sent struct {
	at  time.Duration // since the start
	src netip.AddrPort
	dst netip.AddrPort
	msg dnswire.Message

	size, ttl int // of the message in bytes; of IP
}

// queries returns what the host under test sent since the last call.
func (r *rig) queries() []sent {
	r.t.Helper()
	synctest.Wait()
	var out []sent
	for _, p := range r.capture.Take() {
		if p.Host != "dut" {
			continue
		}
		m, err := dnswire.Parse(p.Data)
		if err != nil {
			r.t.Fatalf("the engine sent %x: %v", p.Data, err)
		}
		var other dns.Msg // reads it independently of us
		if err := other.Unpack(p.Data); err != nil {
			r.t.Fatalf("the engine sent what miekg/dns can't read, %x: %v", p.Data, err)
		}
		out = append(out, sent{at: p.Time.Sub(r.start), src: p.Src, dst: p.Dst, msg: m, size: len(p.Data), ttl: p.TTL})
	}
	return out
}

func (s sent) questions() []string {
	var out []string
	for q := range s.msg.Questions() {
		t := q.Name.String() + " " + q.Type.String()
		if q.Unicast {
			t += " QU"
		}
		out = append(out, t)
	}
	return out
}

func (s sent) known() []dnswire.RR {
	var out []dnswire.RR
	for rr := range s.msg.Records() {
		out = append(out, rr.RR())
	}
	return out
}

// times returns when the question was asked.
func times(q []sent, question string) []time.Duration {
	var out []time.Duration
	for _, s := range q {
		if slices.Contains(s.questions(), question) {
			out = append(out, s.at)
		}
	}
	return out
}

// inject sends a message to the wire from any source to any destination.
func (r *rig) inject(src string, dst netip.AddrPort, msg []byte) {
	r.wire.Inject(packet.Datagram{Src: netip.MustParseAddrPort(src), Dst: dst, Data: msg})
	synctest.Wait()
}

// respond sends a response with the records from the tester to the group.
func (r *rig) respond(rrs ...dnswire.RR) { r.inject("10.0.0.2:5353", group4, response(rrs...)) }

func response(rrs ...dnswire.RR) []byte {
	return message(dnswire.Header{Response: true, Authoritative: true}, nil, rrs...)
}

func message(h dnswire.Header, questions []mdns.Question, rrs ...dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, h, 9000)
	for _, q := range questions {
		b.Question(q.Name, q.Type, dnswire.ClassIN, false)
	}
	for _, rr := range rrs {
		if !b.Answer(rr) {
			panic("record doesn't fit: " + rr.String())
		}
	}
	return slices.Clone(b.Bytes())
}

func name(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func q(s string, t dnswire.Type) mdns.Question { return mdns.Question{Name: name(s), Type: t} }

func ptr(owner, target string, ttl uint32) dnswire.RR {
	return dnswire.NewPTR(name(owner), name(target), ttl)
}

// addr returns an address record with the cache-flush bit.
func addr(host, a string, ttl uint32) dnswire.RR {
	rr := dnswire.NewAddr(name(host), netip.MustParseAddr(a), ttl)
	rr.Flush = true
	return rr
}

// recorder collects a subscription's events.
type recorder struct {
	r   *rig
	sub *mdns.Subscription
}

func (r *rig) subscribe(questions ...mdns.Question) recorder {
	s := r.engine.Subscribe(mdns.SubscribeOptions{}, questions...)
	r.t.Cleanup(s.Close)
	synctest.Wait()
	return recorder{r, s}
}

// all returns the events since the last call but for OpAsked, as text with
// their time since the start.
func (c recorder) all() []string {
	synctest.Wait()
	var out []string
	for _, ev := range c.events() {
		if ev.Op == mdns.OpAsked {
			continue
		}
		s := ev.Time.Sub(c.r.start).Round(time.Millisecond).String() + " " + ev.Op.String()
		switch ev.Op {
		case mdns.OpNone:
			s += " " + ev.Question.Type.String()
		case mdns.OpReset:
		default:
			s += " " + ev.RR.DataString()
		}
		out = append(out, s)
	}
	return out
}

func (c recorder) events() []mdns.Event {
	ctx, cancel := context.WithTimeout(c.r.t.Context(), time.Nanosecond)
	defer cancel()
	ev, err := c.sub.Next(ctx)
	if err != nil {
		return nil
	}
	return slices.Clone(ev)
}

func (c recorder) want(want ...string) {
	c.r.t.Helper()
	if got := c.all(); !slices.Equal(got, want) {
		c.r.t.Errorf("events\n got %q\nwant %q", got, want)
	}
}
