package reflector_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// rig is a router with a reflector between wires a and b, inside a synctest
// bubble. Its addresses end in .1 and ::1.
type rig struct {
	t      *testing.T
	net    *lantest.Network
	router *lantest.Host
	a, b   *wire
	engine *mdns.Engine
	refl   *reflector.Reflector
	start  time.Time
}

// wire is one of the router's links.
type wire struct {
	*lantest.Wire
	nic     *lantest.NIC
	capture *lantest.Capture
}

// inBubble runs f with a rig whose engine doesn't run yet.
func inBubble(t *testing.T, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: lantest.New(1), refl: &reflector.Reflector{}}
		r.router = r.net.Host("router")
		r.a = r.attach("a", "10.0.1.1/24", "fe80::a1/64")
		r.b = r.attach("b", "10.0.2.1/24", "fe80::b1/64")
		r.engine = engineOf(r.router, r.refl)
		f(r)
	})
}

// attach gives the router a link on a wire of that name.
func (r *rig) attach(name string, prefixes ...string) *wire {
	w := &wire{Wire: r.net.Wire(name)}
	w.nic = r.router.Attach(w.Wire, name, prefixes...)
	w.capture = w.Capture()
	return w
}

func engineOf(h *lantest.Host, refl *reflector.Reflector) *mdns.Engine {
	e := &mdns.Engine{
		Links: h.WatchLinks,
		Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := h.ListenMulticast(l, g)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		AskUnicast: func(packet.Link) bool { return true },
	}
	if refl != nil {
		e.Relays = []mdns.Relay{refl}
	}
	return e
}

// run starts an engine; it ends with the test.
func (r *rig) run() { r.runEngine(r.engine) }

func (r *rig) runEngine(e *mdns.Engine) {
	r.t.Helper()
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
	r.start = time.Now()
}

// say has a host that isn't part of the network send a message to the group.
func (w *wire) say(src string, msg []byte) {
	from := netip.MustParseAddrPort(src)
	dst := group4
	if from.Addr().Is6() {
		dst = group6
	}
	w.sayTo(src, dst.String(), msg)
}

func (w *wire) sayTo(src, dst string, msg []byte) {
	w.Inject(packet.Datagram{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Data: msg})
	synctest.Wait()
}

// sent returns what hosts of the network sent on the wire since the last call,
// as text.
func (w *wire) sent() []string {
	var out []string
	for _, p := range w.packets() {
		out = append(out, text(p))
	}
	return out
}

func (w *wire) packets() []lantest.Sent {
	synctest.Wait()
	return slices.DeleteFunc(w.capture.Take(), func(p lantest.Sent) bool { return p.Host == "" })
}

// text returns a packet as "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120".
func text(p lantest.Sent) string {
	s := fmt.Sprintf("%v > %v", p.Src, p.Dst)
	m, err := dnswire.Parse(p.Data)
	if err != nil {
		return s + " " + err.Error()
	}
	if m.ID != 0 {
		s += fmt.Sprint(" id ", m.ID)
	}
	if m.Truncated {
		s += " TC"
	}
	for q := range m.Questions() {
		s += " " + q.Name.String() + " " + q.Type.String() + "?"
		if q.Unicast {
			s += "QU"
		}
	}
	for r := range m.Records() {
		rr := r.RR()
		s += fmt.Sprintf(" %v %v %v %d", rr.Name, rr.Type, rr.DataString(), rr.TTL)
		if rr.Flush {
			s += " flush"
		}
	}
	return s
}

// want compares what was sent on the wire since the last look at it.
func (r *rig) want(w *wire, want ...string) {
	r.t.Helper()
	if got := w.sent(); !slices.Equal(got, want) {
		r.t.Errorf("on %s\n got %q\nwant %q", w.Name(), got, want)
	}
}

func name(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func response(rrs ...dnswire.RR) []byte {
	return message(dnswire.Header{Response: true, Authoritative: true}, nil, rrs...)
}

func message(h dnswire.Header, questions []question, rrs ...dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, h, 9000)
	for _, q := range questions {
		if !b.Question(name(q.name), q.typ, dnswire.ClassIN, q.unicast) {
			panic("bad question")
		}
	}
	for _, rr := range rrs {
		if !b.Answer(rr) {
			panic("record doesn't fit: " + rr.String())
		}
	}
	return slices.Clone(b.Bytes())
}

type question struct {
	name    string
	typ     dnswire.Type
	unicast bool
}

func query(questions ...question) []byte { return message(dnswire.Header{}, questions) }

// addr returns an address record with the cache-flush bit.
func addr(host, a string, ttl uint32) dnswire.RR {
	rr := dnswire.NewAddr(name(host), netip.MustParseAddr(a), ttl)
	rr.Flush = true
	return rr
}
