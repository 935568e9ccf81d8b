package wire

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

// established waits until a publication is claimed, and returns its label.
func (r *rig) established(p *mdns.Published) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	label, err := p.Established(ctx)
	if err != nil {
		r.t.Fatalf("%s: %v", p.Label(), err)
	}
	return label
}

// probeGap is the time between two probes.
const probeGap = 250 * time.Millisecond

// one is a host with one address alone, so that tests know all of its data.
func one(label, address string) mdns.Publication {
	p := host(label)
	p.Records = func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		return []mdns.Record{{RR: dnswire.NewAddr(name(label+".local"), netip.MustParseAddr(address), 0), Unique: true}}
	}
	return p
}

// Rows 30 and 31: what is said before the first probe doesn't matter; a denial
// of any record after any probe does.
func TestProbesThatAreDenied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	s := r.subscribe(e, question("early.local", dnswire.TypeA))
	r.asks(r.start, "early.local", dns.TypeA)
	r.say("r; ! early.local. 120 A 10.99.1.50")
	s.wait(mdns.OpAdd, "10.99.1.50")
	if got := r.publish(e, one("early", "10.99.1.10"))[0].Label(); got != "early" {
		t.Errorf("the cache was asked: %s", got)
	}
	// Who is denied a name has to hear it before it claims that, 250 ms after the third probe.
	for n := 1; n <= 3; n++ {
		r.attempt(fmt.Sprintf("denied after probe %d", n), func(again int) bool {
			label := fmt.Sprintf("denied%d%c", n, 'a'+again)
			after := time.Now()
			p := e.Publish(one(label, "10.99.1.10"))
			for range n {
				after = r.probed(after, label+".local.").Time
			}
			r.say("r; ! " + label + ".local. 120 TXT mine")
			return r.established(p) == label+"-2"
		})
	}
	r.attempt("a service that is denied", func(again int) bool {
		after := time.Now()
		p := e.Publish(service(fmt.Sprintf("Web %c", 'a'+again), "_http._tcp", "nas.local", 80, nil))
		r.probed(after, fmt.Sprintf(`web\ %c._http._tcp.local.`, 'a'+again))
		r.say(fmt.Sprintf(`r; ! Web\032%c._http._tcp.local. 120 SRV 0 0 1 other.local.`, 'a'+again))
		return r.established(p) == fmt.Sprintf("Web %c (2)", 'a'+again)
	})
	r.verdict()
}

// Rows 32 and 33: of those who probe at the same time the later data wins; who
// loses waits a second and probes again; equal data is no conflict.
func TestTieBreaks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	for _, c := range []struct {
		what, theirs string
		loses        bool
	}{
		{"lower", "ns WHO.local. 120 A 10.99.1.99", false},
		{"higher", "ns WHO.local. 120 A 10.99.1.101", true},
		{"unsigned", "ns WHO.local. 120 A 200.99.1.1", true},
		{"type", "ns WHO.local. 120 TXT a", true},
		{"longer", "ns WHO.local. 120 A 10.99.1.100; ns WHO.local. 120 TXT a", true},
		{"same", "ns WHO.local. 120 A 10.99.1.100", false},
	} {
		r.attempt("the rival of "+c.what, func(n int) bool {
			label := fmt.Sprintf("%s%c", c.what, 'a'+n)
			after := time.Now()
			p := e.Publish(one(label, "10.99.1.100"))
			first := r.probed(after, label+".local.")
			r.say("q; ? " + label + ".local ANY QU; " + strings.ReplaceAll(c.theirs, "WHO", label))
			second := r.probed(first.Time, label+".local.")
			// Nobody claims it in the end: the name stays.
			if got := r.established(p); got != label {
				t.Errorf("%s: it is %s", label, got)
			}
			gap := second.Time.Sub(first.Time)
			switch {
			case !c.loses:
				r.within(label+": the second probe", gap, probeGap-early-r.lag.Near(first.Time), probeGap)
			case gap < 600*time.Millisecond:
				return false // it had probed again before it heard its rival
			default:
				r.within(label+": the next probe", gap, time.Second-early-r.lag.Near(first.Time), time.Second)
			}
			return true
		})
	}
	r.verdict()
}

// Row 34: after fifteen conflicts in ten seconds five seconds pass between
// attempts.
func TestManyConflictsSlowItDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	e.Publish(one("fight", "10.99.1.10"))
	span := 16 * time.Second
	if soak() {
		span = time.Minute
	}
	var times, denied []time.Time // of the first probe for each name, and what was said to it
	names := map[string]bool{}
	for time.Since(r.start) < span || len(times) < 18 {
		var name string
		m := r.x.Wait(r.start, patience, "another attempt", func(m *judge.Message) bool {
			if !m.Probe() || !r.judge.Is(&m.Packet) || !m.Src.Addr().Is4() || names[m.Questions[0].Name] {
				return false
			}
			name = m.Questions[0].Name
			return true
		})
		names[name] = true
		times = append(times, m.Time)
		r.say("r; ! " + name + " 120 A 10.99.1.99")
		denied = append(denied, time.Now())
	}
	// After whichever fifteen conflicts in ten seconds, the next attempt came slowly.
	for i := 15; i < len(times); i++ {
		gap := times[i].Sub(times[i-1])
		if denied[i-1].Sub(times[i-15])+r.late() < 10*time.Second && gap < 5*time.Second-early-r.lag.Near(times[i-1]) {
			t.Errorf("attempt %d after %v", i+1, gap)
		}
	}
	r.verdict("query gap")
}

// Row 35: names of addresses are claimed without probing.
func TestReverseNamesAreNotProbed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(r.engine(r.d), host("nas"))
	r.reply(r.start, "announcement", has("10.1.99.10.in-addr.arpa. PTR nas.local."))
	for _, m := range r.x.Trace().By(r.judge.Is) {
		for _, q := range m.Questions {
			if m.Probe() && strings.HasSuffix(q.Name, ".arpa.") {
				t.Errorf("%v", m)
			}
		}
	}
	r.verdict()
}

// Row 39: a conflict after the claim sends it back to probing, and renames who
// loses; the same data is none.
func TestConflictsAfterTheClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	all := r.publish(e, one("nas", "10.99.1.10"), service("Web", "_http._tcp", "nas.local", 80, nil), service("Kept", "_http._tcp", "nas.local", 81, nil))
	nas, web, kept := all[0], all[1], all[2]
	r.settled()
	same := time.Now()
	r.say("r; ! nas.local. 120 A 10.99.1.10; ! Web._http._tcp.local. 120 SRV 0 0 80 nas.local.")
	time.Sleep(700 * time.Millisecond)
	for _, m := range r.x.Trace().By(r.judge.Is) {
		if m.Probe() && m.Time.After(same) {
			t.Errorf("probes for its own data: %v", m)
		}
	}
	// Somebody claims other data, and doesn't defend it.
	claimed := time.Now()
	r.say("r; ! Kept._http._tcp.local. 120 SRV 0 0 9 other.local.")
	r.probed(claimed, "kept._http._tcp.local.")
	time.Sleep(1500 * time.Millisecond)
	if got := r.established(kept); got != "Kept" {
		t.Errorf("nobody defended it: it is %s", got)
	}
	// Others do.
	for _, c := range []struct {
		p             *mdns.Published
		probe, record string
		want          string
	}{
		{web, "web._http._tcp.local.", "! Web._http._tcp.local. 120 SRV 0 0 9 other.local.", "Web (2)"},
		{nas, "nas.local.", "! nas.local. 120 A 10.99.1.99", "nas-2"},
	} {
		claimed = time.Now()
		r.say("r; " + c.record)
		r.probed(claimed, c.probe)
		lab.Eventually(t, patience, c.want, func() error {
			if got := c.p.Label(); got != c.want {
				r.say("r; " + c.record)
				time.Sleep(50 * time.Millisecond)
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
		if got := r.established(c.p); got != c.want {
			t.Errorf("it is %s, want %s", got, c.want)
		}
	}
	r.verdict()
}

// Row 40: own packets that come in by another own link are no conflict.
func TestTwoLinksOnOneBridge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.d.Join(r.net)
	r.judge.Is = judge.From(r.d.Addresses()...)
	e := r.engine(r.d)
	all := r.publish(e, host("nas"), service("Web", "_http._tcp", "nas.local", 80, nil))
	span := 8 * time.Second
	if soak() {
		span = time.Minute
	}
	time.Sleep(span)
	for i, want := range []string{"nas", "Web"} {
		if got := all[i].Label(); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
	responses := 0
	for _, m := range r.x.Trace().By(r.judge.Is) {
		if m.Response() {
			responses++
		}
	}
	// Two announcements in each of four zones, and what each link's flush of
	// the other's addresses is worth.
	if responses > 8+10 {
		t.Errorf("%d responses", responses)
	}
}
