package unicast_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// How long a first look takes to end when something is wrong: these are the
// times after which who may ask elsewhere does.
func TestHowLongAFirstLookTakesToFail(t *testing.T) {
	code := func(c int) func(*server) {
		return func(s *server) {
			s.hook = func(_ string, _, a *dns.Msg) *dns.Msg {
				a.Rcode, a.Answer = c, nil
				return a
			}
		}
	}
	silent := func(s *server) { s.down = true }
	fine := func(s *server) {}
	late := func(s *server) { s.delay = 600 * time.Millisecond }
	for name, c := range map[string]struct {
		servers []func(*server)
		took    time.Duration
		err     error // nil: found
		queries int   // for the instances
	}{
		"REFUSED":                   {[]func(*server){code(dns.RcodeRefused)}, 0, &unicast.RcodeError{}, 2},
		"SERVFAIL":                  {[]func(*server){code(dns.RcodeServerFailure)}, 0, &unicast.RcodeError{}, 2},
		"REFUSED, then fine":        {[]func(*server){code(dns.RcodeRefused), fine}, 0, nil, 2},
		"silent":                    {[]func(*server){silent}, 3 * time.Second, dnssd.ErrTimeout, 2},
		"both silent":               {[]func(*server){silent, silent}, 3250 * time.Millisecond, dnssd.ErrTimeout, 4},
		"silent, then fine":         {[]func(*server){silent, fine}, 250 * time.Millisecond, nil, 2},
		"silent, then REFUSED":      {[]func(*server){silent, code(dns.RcodeRefused)}, 3 * time.Second, &unicast.RcodeError{}, 4},
		"fine, then silent":         {[]func(*server){fine, silent}, 0, nil, 1},
		"late":                      {[]func(*server){late}, 600 * time.Millisecond, nil, 1},
		"late, then silent":         {[]func(*server){late, silent}, 600 * time.Millisecond, nil, 2},
		"REFUSED by three":          {[]func(*server){code(dns.RcodeRefused), code(dns.RcodeRefused), code(dns.RcodeRefused)}, 0, &unicast.RcodeError{}, 6},
		"silent, silent, then fine": {[]func(*server){silent, silent, fine}, 500 * time.Millisecond, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				src := n.source(first)
				src.Addrs = nil
				for i, set := range c.servers {
					at := first
					for range i {
						at = nextServer(at)
					}
					set(n.serve(at, "_http._tcp 60 PTR Web._http._tcp"))
					src.Addrs = append(src.Addrs, at)
				}
				var looks []dnssd.Look
				b := dnssd.Browser{Source: src, Type: "_http._tcp", Domain: "example.com", Once: true, Looked: func(l dnssd.Look) { looks = append(looks, l) }}
				var failed error
				for _, err := range b.Events(t.Context()) {
					failed = err
				}
				if d := time.Since(n.start); d != c.took || len(looks) != 1 || looks[0].Time.Sub(n.start) != c.took {
					t.Errorf("ended after %v, looks %+v; want %v", d, looks, c.took)
				}
				var refused *unicast.RcodeError
				switch {
				case c.err == nil && failed == nil:
				case errors.As(c.err, &refused) && errors.As(failed, &refused) && errors.As(looks[0].Err, &refused):
				case c.err != nil && errors.Is(failed, c.err) && errors.Is(looks[0].Err, c.err):
				default:
					t.Errorf("error %v, want %v", failed, c.err)
				}
				if q := n.queries(); len(q) != c.queries {
					t.Errorf("%d queries, want %d: %q", len(q), c.queries, q)
				}
			})
		})
	}
}

// While no server says anything what is known stays for as long as it may, one question at a
// time is asked, and all that was asked in vain is asked again when one is back.
func TestAServerThatComesBackIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var records []string
		for i := range 100 {
			records = append(records, web(fmt.Sprintf("Web%d", i), fmt.Sprintf("h%d", i), "120", "192.0.2.1", "2001:db8::1")...)
		}
		s := n.serve(first, records...)
		s.generous(false, both...)
		time.AfterFunc(30*time.Second, func() {
			n.queries()
			n.change(func() { s.down = true })
		})
		var dead int
		const back = 20 * time.Minute
		time.AfterFunc(back, func() {
			dead = len(n.queries())
			n.change(func() { s.down = false })
		})
		src := n.source()
		src.Stale = time.Minute
		got := n.during(src, resolve, back+time.Minute)
		count := map[string]int{}
		var last time.Duration
		for _, ev := range got {
			at, what, _ := strings.Cut(ev, " ")
			d, err := time.ParseDuration(at)
			if err != nil {
				t.Fatal(err)
			}
			op := strings.Fields(what)[0]
			count[op]++
			if op == "remove" && (d < 3*time.Minute || d > 4*time.Minute) {
				t.Errorf("%s: runs out 120 s after the last answer, and is kept another minute", ev)
			}
			if d > back {
				last = max(last, d-back)
			}
		}
		if count["add"] != 200 || count["remove"] != 100 {
			t.Errorf("%v, want each found, lost and found again", count)
		}
		if last > 40*time.Second {
			t.Errorf("the last was found again %v after the server was back", last)
		}
		if most := 2 * int(back/(3*time.Second)); dead > most {
			t.Errorf("%d queries while the server is silent, want at most %d: two in 3 s", dead, most)
		}
	})
}

// Domains have nothing to do with each other: one whose server is silent
// doesn't hold up another.
func TestSeveralDomainsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, web("Web", "www", "60", "192.0.2.1", "2001:db8::1")...)
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			switch name := q.Question[0].Name; {
			case strings.HasSuffix(name, "silent.test."):
				return nil
			case strings.HasSuffix(name, "refused.test."):
				a.Rcode = dns.RcodeRefused
			}
			return a
		}
		src := n.source()
		var all []string
		results := make(chan string)
		domains := []string{"silent.test", "refused.test", "example.com", "nothing.test", "silent.test"}
		for _, d := range domains {
			go func() {
				b := dnssd.Browser{Source: src, Type: "_http._tcp", Domain: d, Resolve: true, Once: true}
				found := 0
				var failed error
				for ev, err := range b.Events(context.Background()) {
					failed = err
					if ev.Op == dnssd.Add && ev.Resolved {
						found++
					}
				}
				results <- fmt.Sprintf("%s %d %v %v", d, found, failed != nil, time.Since(n.start))
			}()
		}
		for range domains {
			all = append(all, <-results)
		}
		slices.Sort(all)
		same(t, "domains", all, []string{
			"example.com 1 false 0s", "nothing.test 0 false 0s", "refused.test 0 true 0s", "silent.test 0 true 3s", "silent.test 0 true 3s",
		})
	})
}

// That servers fail takes no service away: only an answer does (RFC 8767).
func TestServicesStayWhileServersFail(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("Web", "www", "0", "192.0.2.1"), web("Old", "www", "0", "192.0.2.1")...)...)
		code := dns.RcodeSuccess
		s.hook = func(_ string, _, a *dns.Msg) *dns.Msg {
			if code != dns.RcodeSuccess {
				a.Rcode, a.Answer = code, nil
			}
			return a
		}
		at := func(d time.Duration, f func()) { time.AfterFunc(d, func() { n.change(f) }) }
		at(time.Minute, func() { s.down = true })
		at(20*time.Minute, func() { s.down, code = false, dns.RcodeServerFailure })
		at(40*time.Minute, func() { code = dns.RcodeRefused })
		at(60*time.Minute, func() {
			code = dns.RcodeSuccess
			s.set(t, web("Web", "www", "0", "192.0.2.1")...)
		})
		src := n.source()
		// Who begins to look meanwhile gets what is known, and why nothing new.
		time.AfterFunc(30*time.Minute, func() {
			var looks []error
			b := dnssd.Browser{Source: src, Type: "_http._tcp", Domain: "example.com", Once: true, Looked: func(l dnssd.Look) { looks = append(looks, l.Err) }}
			found := 0
			for ev, err := range b.Events(context.Background()) {
				if err != nil {
					t.Error(err)
				}
				if ev.Op == dnssd.Add {
					found++
				}
			}
			if found != 2 || len(looks) != 2 || looks[0] != nil || looks[1] == nil {
				t.Errorf("%d found, looks %v", found, looks)
			}
		})
		got := n.during(src, resolve, 70*time.Minute)
		// Perhaps its SRV record is asked for before what leads to it.
		got = slices.DeleteFunc(got, func(s string) bool {
			return strings.HasPrefix(s, "1h") && strings.HasSuffix(s, "update Old._http._tcp.example.com")
		})
		if len(got) != 3 || !strings.HasPrefix(got[2], "1h") || !strings.Contains(got[2], " remove Old._http._tcp.example.com") {
			t.Errorf("events %q", got)
		}
	})
	// Without it they run out.
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, web("Web", "www", "60", "192.0.2.1")...)
		time.AfterFunc(10*time.Second, func() { n.change(func() { s.down = true }) })
		src := n.source()
		src.Stale = -1
		got := n.during(src, dnssd.Browser{Type: "_http._tcp"}, 70*time.Minute)
		// A question that is under way then has its time.
		if len(got) != 2 || !strings.HasPrefix(got[1], "1m") || !strings.HasSuffix(got[1], "s remove Web._http._tcp.example.com") {
			t.Errorf("events %q", got)
		}
	})
}

// A server that refuses a record of one service, or its host's address, holds up no other.
func TestRefusedRecordsHoldUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("Web", "www", "60", "192.0.2.1", "2001:db8::1"), append(web("Far", "far.example.org.", "60"), web("Odd", "www", "60")...)...)...)
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			if x := q.Question[0]; x.Name == "far.example.org." || strings.HasPrefix(x.Name, "Odd.") && x.Qtype == dns.TypeSRV {
				a.Rcode = dns.RcodeRefused
				a.Answer = nil
			}
			return a
		}
		got, err := n.once(n.source(), resolve)
		if err != nil || time.Since(n.start) > 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(n.start))
		}
		slices.Sort(got)
		same(t, "events", got, []string{
			"add Far._http._tcp.example.com", "add Odd._http._tcp.example.com",
			"add Web._http._tcp.example.com www.example.com 192.0.2.1 2001:db8::1", "settled",
		})
	})
}

// Hundreds of questions that are tried again don't hold up who asks for something new, nor who
// wants to know again.
func TestNewQuestionsComeBeforeThoseThatFailed(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var records []string
		for i := range 100 {
			records = append(records, web(fmt.Sprintf("Web%d", i), fmt.Sprintf("h%d", i), "60", "192.0.2.1")...)
		}
		s := n.serve(first, records...)
		src := n.source()
		time.AfterFunc(30*time.Second, func() { n.change(func() { s.down = true }) })
		for i := range 20 {
			time.AfterFunc(10*time.Minute+time.Duration(i)*17*time.Second, func() {
				start := time.Now()
				_, err := n.once(src, dnssd.Browser{Type: fmt.Sprintf("_t%d._tcp", i)})
				if d := time.Since(start); !errors.Is(err, dnssd.ErrTimeout) || d != 3*time.Second {
					t.Errorf("a new look failed after %v: %v", d, err)
				}
			})
		}
		time.AfterFunc(20*time.Minute, func() {
			n.change(func() { s.down, s.zone = false, s.zone[:0] })
			if err := dnssd.Requery(src, "_http._tcp", "", "example.com"); err != nil {
				t.Error(err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
		defer cancel()
		b := resolve
		b.Source, b.Domain = src, "example.com"
		b.Looked = func(l dnssd.Look) {
			if l.Err == nil || !errors.Is(l.Err, dnssd.ErrNone) {
				return
			}
			if d := time.Since(n.start) - 20*time.Minute; d < 0 || d > 4*time.Second {
				t.Errorf("what is asked again is answered %v after the server is back", d)
			}
			cancel()
		}
		for _, err := range b.Events(ctx) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
