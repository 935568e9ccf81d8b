package wire

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

// Row 3: the first query comes 20 to 120 ms after the socket was opened.
func TestFirstQueryIsDelayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var delays []time.Duration
	for i := range 12 {
		typ := fmt.Sprintf("_first%d._tcp", i)
		before := time.Now() // the last moment at which it had no socket on port 5353
		p := r.browse(typ)
		lab.Eventually(t, patience, "socket", func() error {
			now := time.Now()
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", p.Pid()))
			if err == nil && bytes.Contains(b, []byte(":14E9 ")) && !inherited(p.Pid()) {
				return nil
			}
			before = now
			return fmt.Errorf("no socket: %v", err)
		})
		q := r.asks(r.start, typ+".local", dns.TypePTR)
		delays = append(delays, q.Time.Sub(before))
		p.Kill()
	}
	slices.Sort(delays)
	// Each is measured from before the socket was there.
	if delays[0] < 20*time.Millisecond {
		t.Errorf("delays %v", delays)
	}
	// Now and then the program gets its turn late, but not mostly.
	r.within("most delays", delays[len(delays)*3/4], 20*time.Millisecond, 120*time.Millisecond)
	if delays[len(delays)-1]-delays[0] < 20*time.Millisecond {
		t.Errorf("delays aren't random: %v", delays)
	}
	r.verdict("QU only at the start") // twelve starts
}

// inherited says whether a process hasn't entered its namespace yet.
func inherited(pid int) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err != nil || err2 != nil || own == its
}

// Rows 1, 4, 21 and 83: 1, 2, 4, … seconds between the queries of each family.
func TestQueriesOnASilentLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	queries := 4
	if soak() {
		queries = 7
	}
	r.browse("_silent._tcp")
	for _, v6 := range []bool{false, true} {
		var times []time.Time
		for len(times) < queries {
			after := r.start
			if len(times) > 0 {
				after = times[len(times)-1]
			}
			q := r.x.Wait(after, 40*time.Second, "query", func(m *judge.Message) bool {
				return m.Query() && r.judge.Is(&m.Packet) && m.Src.Addr().Is6() == v6 && len(m.Questions) > 0
			})
			times = append(times, q.Time)
		}
		for i := 1; i < len(times); i++ {
			r.gap(fmt.Sprintf("gap %d", i), times[i-1], times[i], time.Second<<(i-1))
		}
	}
	r.verdict()
}

// Rows 5, 6 and 7: known answers with the TTL that is left, and with more than
// half of it.
func TestKnownAnswersAreListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_known._tcp")
	r.asks(r.start, "_known._tcp.local", dns.TypePTR)
	said := time.Now()
	r.say("r; = _known._tcp.local. 120 PTR long._known._tcp.local.; = _known._tcp.local. 10 PTR short._known._tcp.local.; ! long._known._tcp.local. 120 TXT a")
	b.wait("add", "short")
	heard := time.Now()
	listed := func(m *judge.Message) string {
		var all []string
		for _, k := range m.Records {
			all = append(all, strings.TrimSuffix(k.RR.(*dns.PTR).Ptr, "._known._tcp.local."))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	after := heard
	for range 3 { // after 1, 3 and 7 s
		q := r.asks(after, "_known._tcp.local", dns.TypePTR)
		after = q.Time
		got := listed(q)
		switch {
		case q.Time.Sub(said) < 5*time.Second-early && got != "long short",
			q.Time.Sub(heard) > 5*time.Second+r.late() && got != "long",
			got != "long short" && got != "long":
			t.Errorf("known answers %q, after %v", got, q.Time.Sub(said))
		}
	}
	// The short one is asked for at 80 % of its TTL, and nobody answers.
	b.wait("remove", "short")
	r.verdict()
}

// Row 8: more known answers than fit in a packet follow in more of them.
func TestKnownAnswersOverflow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_many._tcp")
	r.asks(r.start, "_many._tcp.local", dns.TypePTR)
	for i := range 10 {
		text := "r"
		for j := range 40 {
			text += fmt.Sprintf("; = _many._tcp.local. 4500 PTR instance-%04d._many._tcp.local.", 40*i+j)
		}
		r.say(text)
	}
	b.wait("add", "instance-0399")
	q := r.asks(time.Now(), "_many._tcp.local", dns.TypePTR)
	if !q.Msg.Truncated {
		t.Error("the query isn't truncated")
	}
	lab.Eventually(t, patience, "the known answers", func() error {
		known := map[string]bool{}
		packets := 0
		for _, m := range r.x.Trace().By(r.judge.Is) {
			if m.Query() && m.Src.Addr().Is4() && !m.Time.Before(q.Time) {
				packets++
				for _, k := range m.Records {
					known[k.Key] = true
				}
			}
		}
		if len(known) != 400 || packets < 4 {
			return fmt.Errorf("%d known answers in %d packets, want 400", len(known), packets)
		}
		return nil
	})
	r.verdict()
}

// Row 10: what another host has just asked isn't asked again, unless its answers
// may leave out what we don't have.
func TestDuplicateQuestionIsSuppressed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		typ, question string
		asks          bool
	}{
		{"_same._tcp", "q; ? _same._tcp.local PTR", false},
		{"_known._tcp", "q; ? _known._tcp.local PTR; = _known._tcp.local. 4500 PTR x._known._tcp.local.", true},
		{"_qu._tcp", "q; ? _qu._tcp.local PTR QU", true},
		{"_tc._tcp", "q tc; ? _tc._tcp.local PTR", true},
	} {
		r.attempt("asking after "+c.question, func(int) bool {
			start := time.Now()
			p := r.browse(c.typ)
			defer p.Kill()
			first := r.asks(start, c.typ+".local", dns.TypePTR)
			time.Sleep(time.Until(first.Time.Add(700 * time.Millisecond)))
			r.say(c.question)
			if time.Since(first.Time) > 900*time.Millisecond {
				return false // it may just have asked, or be about to
			}
			if c.asks {
				second := r.asks(first.Time, c.typ+".local", dns.TypePTR)
				r.gap(c.question, first.Time, second.Time, time.Second)
				return true
			}
			// What counts as its own question is asked again two seconds after that.
			time.Sleep(time.Until(first.Time.Add(2200 * time.Millisecond)))
			for _, m := range r.queries(c.typ+".local", dns.TypePTR) {
				if d := m.Time.Sub(first.Time); d > 0 && d < 2200*time.Millisecond {
					return false
				}
			}
			return true
		})
	}
	r.verdict("QU only at the start")
}

// Rows 11 to 14 and 72: refresh queries, of what somebody wants.
func TestRecordsAreRefreshed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	sub := func(host string) listener { return r.subscribe(e, question(host+".local", dnswire.TypeA)) }
	ttl, least := 24*time.Second, 2 // windows may be less than a second apart
	if soak() {
		ttl, least = 100*time.Second, 4
	}
	mute, dropped := sub("mute"), sub("dropped")
	sub("answered")
	r.asks(r.start, "mute.local", dns.TypeA)
	r.say(fmt.Sprintf("r; ! mute.local. %d A 10.99.1.50", ttl/time.Second) + "; ! answered.local. 12 A 10.99.1.51; ! dropped.local. 12 A 10.99.1.52")
	said := mute.wait(mdns.OpAdd, "10.99.1.50").Time
	dropped.wait(mdns.OpAdd, "10.99.1.52")
	dropped.Close()
	unwanted := time.Now().Add(r.late())
	q := r.asks(said.Add(100*time.Millisecond), "answered.local", dns.TypeA)
	r.within("first refresh", q.Time.Sub(said), 9600*time.Millisecond-early, 9840*time.Millisecond)
	r.say("r; ! answered.local. 12 A 10.99.1.51")
	anew := time.Now()
	time.Sleep(time.Until(said.Add(ttl - 5*time.Second)))
	gone := mute.wait(mdns.OpRemove, "10.99.1.50")
	r.within("removal", gone.Time.Sub(said), ttl-early, ttl)

	var at []time.Duration
	for _, m := range r.queries("mute.local", dns.TypeA) {
		if m.Time.After(said.Add(100 * time.Millisecond)) {
			at = append(at, m.Time.Sub(said))
		}
	}
	if len(at) < least {
		t.Errorf("refresh queries at %v", at)
	}
	for _, x := range at {
		if !slices.ContainsFunc([]time.Duration{80, 85, 90, 95}, func(percent time.Duration) bool {
			return x >= ttl*percent/100-early && x <= ttl*(percent+2)/100+r.late()
		}) {
			t.Errorf("refresh query at %v", x)
		}
	}
	for _, m := range r.queries("dropped.local", dns.TypeA) {
		if m.Time.After(unwanted) {
			t.Errorf("what nobody wants is asked for: %v", m)
		}
	}
	// Its TTL began anew: nothing until 80 % of that.
	time.Sleep(time.Until(anew.Add(9 * time.Second)))
	for _, m := range r.queries("answered.local", dns.TypeA) {
		if d := m.Time.Sub(anew); d > r.late() && d < 9*time.Second {
			t.Errorf("what was answered is asked for again after %v", d)
		}
	}
	r.verdict()
}

// Rows 15 to 17: unicast answers are asked for at the start, and used for two
// seconds.
func TestUnicastAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_uni._tcp")
	const firstDelay = 120 * time.Millisecond
	unicast := lab.Datagram{Dst: netip.AddrPortFrom(r.d.Links[0].V4, 5353), To: r.d.Links[0]}
	q := r.asks(r.start, "_uni._tcp.local", dns.TypePTR)
	r.judge.Starts = []time.Time{q.Time.Add(-firstDelay)}
	if !q.Questions[0].Unicast {
		t.Error("the first question isn't QU")
	}
	r.sayAs(unicast, "r; = _uni._tcp.local. 4500 PTR soon._uni._tcp.local.")
	b.wait("add", "soon")
	for range 2 { // after one second, and three
		if q = r.asks(q.Time, "_uni._tcp.local", dns.TypePTR); q.Questions[0].Unicast {
			t.Error("the second question is QU")
		}
	}
	r.sayAs(unicast, "r; = _uni._tcp.local. 4500 PTR later._uni._tcp.local.")
	time.Sleep(200 * time.Millisecond)

	r.d.Links[0].Down()
	down := time.Now()
	time.Sleep(500 * time.Millisecond)
	r.judge.Starts = append(r.judge.Starts, time.Now())
	r.d.Links[0].Up()
	if q = r.asks(down, "_uni._tcp.local", dns.TypePTR); !q.Questions[0].Unicast {
		t.Error("the first question after the link came up isn't QU")
	}
	if q = r.asks(q.Time, "_uni._tcp.local", dns.TypePTR); q.Questions[0].Unicast {
		t.Error("the second question after the link came up is QU")
	}
	if _, ok := b.there()["later"]; ok {
		t.Error("a late unicast answer was used")
	}
	r.verdict()
	b.Stop()

	// Beside another program that holds the port.
	r.d.Links[0].Tester()
	beside := time.Now()
	r.browse("_beside._tcp")
	if q = r.asks(beside, "_beside._tcp.local", dns.TypePTR); q.Questions[0].Unicast {
		t.Error("beside another program the first question is QU")
	}
}

// Row 2: a one-shot query.
func TestOneShotQuery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var conn *lan.Conn
	err := r.d.Do(func() error {
		links, err := lan.Links()
		if err == nil {
			i := slices.IndexFunc(links, lan.Usable)
			conn, err = lan.ListenBroadcast(links[i], 0)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		rrs []dnswire.RR
		err error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		rrs, err := mdns.OneShot(ctx, conn, mdns.IPv4.Group(), question("once.local", dnswire.TypeA))
		done <- result{rrs, err}
	}()
	q := r.asks(r.start, "once.local", dns.TypeA)
	if q.Src.Port() == 5353 || q.Msg.Id == 0 || len(q.Questions) != 1 || q.Questions[0].Unicast {
		t.Errorf("%v, ID %d", q, q.Msg.Id)
	}
	back := lab.Datagram{Dst: q.Src, To: r.d.Links[0]}
	r.sayAs(back, fmt.Sprintf("r id=%d; ? once.local A; = once.local. 10 A 10.99.1.66", q.Msg.Id+1))
	r.sayAs(back, fmt.Sprintf("r id=%d; ? once.local A; = once.local. 10 A 10.99.1.77", q.Msg.Id))
	if got := <-done; got.err != nil || len(got.rrs) != 1 || got.rrs[0].DataString() != "10.99.1.77" {
		t.Errorf("%v", got)
	}
}

// Row 26: names outside .local aren't asked for by multicast, nor .local put
// behind them.
func TestForeignNamesAreNotAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, host := range []string{"www.example.com", "a.b"} {
		if out := r.d.Lanfolk("lookup", host, "--timeout", "1s").Run(); out.Exit == 0 {
			t.Errorf("%s: %s", host, out.Stdout)
		}
	}
	for _, m := range r.x.Trace().By(r.judge.Is) {
		t.Errorf("%v", m)
	}
}
