package wire

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/test/lab"
)

// Row 74: what failed its user is asked for again, at least twice, and goes ten
// seconds later; what is confirmed stays.
func TestReconfirm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	dead, alive := r.subscribe(e, question("dead.local", dnswire.TypeA)), r.subscribe(e, question("alive.local", dnswire.TypeA))
	r.asks(r.start, "dead.local", dns.TypeA)
	r.say("r; ! dead.local. 120 A 10.99.1.50; ! alive.local. 120 A 10.99.1.51")
	rr := dead.wait(mdns.OpAdd, "10.99.1.50").RR
	other := alive.wait(mdns.OpAdd, "10.99.1.51").RR
	time.Sleep(1500 * time.Millisecond)
	failed := time.Now()
	e.Reconfirm(mdns.Zone{}, rr)
	e.Reconfirm(mdns.Zone{}, other)
	r.asks(failed, "alive.local", dns.TypeA)
	r.say("r; ! alive.local. 120 A 10.99.1.51")
	r.within("removal", dead.wait(mdns.OpRemove, "10.99.1.50").Time.Sub(failed), 9*time.Second, 11*time.Second)
	again := 0
	for _, m := range r.queries("dead.local", dns.TypeA) {
		if d := m.Time.Sub(failed); d > 0 && d < 10*time.Second {
			again++
		}
	}
	if again < 2 {
		t.Errorf("asked for %d times before it went", again)
	}
	alive.none(time.Second)
	r.verdict()
}

// Rows 75 to 77: what others ask for in vain goes, without a question of our own;
// what they list as known, or ask for another way, stays. The engine is silent.
func TestFailuresAreObserved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.engineWith(r.d, func(e *mdns.Engine) { e.Silent = true })
	s := r.subscribe(e, question("_vain._tcp.local", dnswire.TypePTR))
	probed, listed := r.subscribe(e, question("_probed._tcp.local", dnswire.TypePTR)), r.subscribe(e, question("_listed._tcp.local", dnswire.TypePTR))
	const a = " 4500 PTR a._vain._tcp.local."
	lab.Eventually(t, patience, "an ear", func() error { // nothing that it sends shows that it listens
		for _, z := range e.Stats().Zones {
			if z.Zone.Family == mdns.IPv4 && z.Open {
				return nil
			}
		}
		return errors.New("no open socket")
	})
	r.say("r; = _vain._tcp.local." + a + "; = _probed._tcp.local." + a + "; = _listed._tcp.local." + a)
	for _, l := range []listener{s, probed, listed} {
		l.wait(mdns.OpAdd, "a._vain._tcp.local")
	}
	time.Sleep(1500 * time.Millisecond)
	asked := time.Now()
	// A host doesn't answer itself, so another one asks.
	another := lab.Datagram{Src: netip.MustParseAddrPort("10.99.1.77:5353")}
	for range 2 {
		r.sayAs(another, "q; ? _vain._tcp.local PTR")
		r.sayAs(another, "q; ? _probed._tcp.local PTR QU")
		r.sayAs(another, "q; ? _listed._tcp.local PTR; = _listed._tcp.local."+a)
		time.Sleep(2 * time.Second)
	}
	gone := s.wait(mdns.OpRemove, "a._vain._tcp.local").Time
	r.within("removal", gone.Sub(asked), 10*time.Second, 12*time.Second)
	for _, l := range []listener{probed, listed} {
		l.none(500 * time.Millisecond)
	}
	for _, m := range r.x.Trace().By(r.judge.Is) {
		t.Errorf("a silent engine sent %v", m)
	}
}
