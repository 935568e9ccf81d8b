package wire

import (
	"context"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// early and late are how far the times of a busy machine may be off.
const (
	early = 10 * time.Millisecond
	late  = 250 * time.Millisecond
	// patience is how long something is waited for. How soon it must come is for [rig.within].
	patience = 30 * time.Second
)

// rig is a host under test and a tester on one link.
//
//	d .10      tester .11
//	  |           |
//	==+===========+==  10.99.1.0/24, fd99:1::/64
type rig struct {
	*lab.Lab
	t     *testing.T
	net   *lab.Subnet
	d     *lab.Host
	x     *lab.Tester
	start time.Time
	judge judge.Subject
	lag   lab.Meter
}

func newRig(t *testing.T) *rig {
	t.Helper()
	l := lab.New(t)
	r := &rig{Lab: l, t: t, net: l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")}
	r.d = l.Host("d").Join(r.net)
	r.x = l.Host("tester").Join(r.net).Link(r.net).Tester()
	r.start = time.Now()
	go r.lag.Run(t.Context())
	r.judge = judge.Subject{Is: judge.From(r.d.Addresses()...), Early: early, Late: late, Whole: true}
	return r
}

// verdict holds everything that the host under test sent against the rules. What one of them
// misses may be under way still.
func (r *rig) verdict(except ...string) {
	r.t.Helper()
	var trace *judge.Trace
	var faults []judge.Fault
	for until := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		s := r.judge
		s.Late, s.Lag = r.late(), r.lag.Near
		trace = r.x.Trace()
		faults = trace.Judge(s, except...)
		if len(faults) == 0 || time.Now().After(until) {
			break
		}
	}
	if len(trace.By(r.judge.Is)) == 0 {
		r.t.Error("nothing was captured of the host under test")
	}
	for _, line := range judge.Summary(faults) {
		r.t.Error(line)
	}
	if r.t.Failed() {
		r.t.Logf("the machine was late by up to %v", r.lag.Worst())
	}
}

// late is how much later than it should something may happen here: it can have
// waited for many turns.
func (r *rig) late() time.Duration { return late + 10*r.lag.Worst() }

// attempt calls try, with 0, 1, …, until it returns true. A test that must do two things within a
// moment may get its next turn when that is over, and so may the host: not every time.
func (r *rig) attempt(what string, try func(n int) bool) {
	r.t.Helper()
	const most = 20
	for n := range most {
		if try(n) {
			return
		}
	}
	r.t.Fatalf("%s: not in %d attempts; the machine was late by up to %v", what, most, r.lag.Worst())
}

// say sends a message, written as judge.Pack takes it, from the tester.
func (r *rig) say(text string) {
	r.t.Helper()
	r.sayAs(lab.Datagram{}, text)
}

func (r *rig) sayAs(d lab.Datagram, text string) {
	r.t.Helper()
	b, err := judge.Pack(text)
	if err != nil {
		r.t.Fatal(err)
	}
	r.x.Send(d, b)
}

// asks waits for a query by IPv4 with a question, sent after a time.
func (r *rig) asks(after time.Time, name string, typ uint16) *judge.Message {
	r.t.Helper()
	return r.x.Wait(after, patience, "question for "+name, func(m *judge.Message) bool { return r.asking(m, name, typ) })
}

func (r *rig) asking(m *judge.Message, name string, typ uint16) bool {
	return m.Query() && r.judge.Is(&m.Packet) && m.Src.Addr().Is4() &&
		slices.ContainsFunc(m.Questions, func(q judge.Question) bool { return q.Name == dns.Fqdn(strings.ToLower(name)) && q.Type == typ })
}

// queries returns the queries for a name so far, by IPv4.
func (r *rig) queries(name string, typ uint16) []*judge.Message {
	var all []*judge.Message
	for _, m := range r.x.Trace().Messages {
		if m.Err == nil && r.asking(m, name, typ) {
			all = append(all, m)
		}
	}
	return all
}

// event is a line of `lanfolk browse --json`.
type event struct {
	Event     string             `json:"event"`
	Name      string             `json:"name"`
	Type      string             `json:"type"`
	Host      string             `json:"host"`
	Port      uint16             `json:"port"`
	Addresses []netip.Addr       `json:"addresses"`
	TXT       map[string]*string `json:"txt"`
	Interface string             `json:"interface"`
}

// browser is `lanfolk browse`.
type browser struct {
	*lab.Process
	t *testing.T
}

func (r *rig) browse(args ...string) browser {
	r.t.Helper()
	return browser{r.d.Lanfolk(append([]string{"browse", "--json"}, args...)...).Start(), r.t}
}

// wait waits for the first event of its kind about an instance.
func (b browser) wait(op, name string) event {
	b.t.Helper()
	return b.waitFor(op+" of "+name, func(e event) bool { return e.Event == op && e.Name == name })
}

func (b browser) waitFor(what string, ok func(event) bool) event {
	b.t.Helper()
	var found event
	b.WaitLine(patience, what, func(line string) bool {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && ok(e) {
			found = e
			return true
		}
		return false
	})
	return found
}

// events returns all events so far.
func (b browser) events() []event {
	b.t.Helper()
	var all []event
	for line := range strings.Lines(b.Stdout()) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// there returns the last event of each instance that is there.
func (b browser) there() map[string]event {
	b.t.Helper()
	now := map[string]event{}
	for _, e := range b.events() {
		if e.Event == "remove" {
			delete(now, e.Name)
		} else {
			now[e.Name] = e
		}
	}
	return now
}

// engine runs an engine of this process on the sockets of a host until the test
// ends.
func (r *rig) engine(h *lab.Host) *mdns.Engine {
	r.t.Helper()
	e, _ := r.engineWith(h, func(*mdns.Engine) {})
	return e
}

// engineWith runs an engine that is changed before, until it is stopped.
func (r *rig) engineWith(h *lab.Host, change func(*mdns.Engine)) (*mdns.Engine, func()) {
	r.t.Helper()
	e := &mdns.Engine{
		AskUnicast: func(packet.Link) bool { return true },
		Links: func(ctx context.Context) (links <-chan []packet.Link, err error) {
			err = h.Do(func() error { links, err = lan.WatchLinks(ctx); return err })
			return links, err
		},
		Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			var c *lan.Conn
			err := h.Do(func() (err error) { c, err = lan.ListenMulticast(l, g); return err })
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
	change(e)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return e, stop
}

func name(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func question(s string, typ dnswire.Type) mdns.Question {
	return mdns.Question{Name: name(s), Type: typ, Family: mdns.IPv4}
}

// listener collects what happens to the answers of a question.
type listener struct {
	*mdns.Subscription
	t       *testing.T
	waiting *[]mdns.Event
}

func (r *rig) subscribe(e *mdns.Engine, q ...mdns.Question) listener {
	s := e.Subscribe(mdns.SubscribeOptions{}, q...)
	r.t.Cleanup(s.Close)
	return listener{s, r.t, &[]mdns.Event{}}
}

// next returns the next event that isn't a question, or ctx's error.
func (l listener) next(ctx context.Context) (mdns.Event, error) {
	for {
		for len(*l.waiting) > 0 {
			ev := (*l.waiting)[0]
			*l.waiting = (*l.waiting)[1:]
			if ev.Op != mdns.OpAsked {
				return ev, nil
			}
		}
		evs, err := l.Next(ctx)
		if err != nil {
			return mdns.Event{}, err
		}
		*l.waiting = slices.Clone(evs)
	}
}

// wait waits for an event about a record with the data.
func (l listener) wait(op mdns.Op, data string) mdns.Event {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []string
	for {
		ev, err := l.next(ctx)
		if err != nil {
			l.t.Fatalf("no %v of %s within %v; but %q", op, data, patience, seen)
		}
		if ev.Op == op && ev.RR.DataString() == data {
			return ev
		}
		seen = append(seen, ev.Op.String()+" "+ev.RR.DataString())
	}
}

// none fails if anything but a question happens until d is over.
func (l listener) none(d time.Duration) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for {
		ev, err := l.next(ctx)
		if err != nil {
			return
		}
		l.t.Errorf("%v %s", ev.Op, ev.RR.DataString())
	}
}

// gap fails unless the time between two events of the host is want, as far as
// this machine can tell.
func (r *rig) gap(what string, first, second time.Time, want time.Duration) {
	r.t.Helper()
	r.within(what, second.Sub(first), want-early-r.lag.Near(first), want)
}

// within fails unless something took a time between two, as far as this machine
// can tell. It began with the test, so that a busy machine only makes it longer.
func (r *rig) within(what string, got, from, to time.Duration) {
	r.t.Helper()
	if got < from-time.Millisecond || got > to+r.late() {
		r.t.Errorf("%s: %v, want %v to %v; the machine was late by up to %v", what, got, from, to, r.lag.Worst())
	}
}

func soak() bool { return os.Getenv("LANFOLK_SOAK") != "" }
