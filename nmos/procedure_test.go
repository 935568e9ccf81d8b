package nmos_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/nmos"
)

const netctrl = "_nmos-netctrl._tcp"

// asked returns how often a zone was asked for instances.
func (z *zone) askedFor(service, domain string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[question{mustName(dnswire.ParseName(service + "." + domain)).Fold(), dnswire.TypePTR}]
}

// reason fails the test if the state's reason is another.
func (p *plant) reason(want string) {
	p.t.Helper()
	if got := p.client.State().Reason; got != want {
		p.t.Errorf("reason\n%s, want\n%s", got, want)
	}
}

func (p *plant) steps(want ...string) {
	p.t.Helper()
	if got := p.client.State().Steps; !slices.Equal(got, want) {
		p.t.Errorf("steps\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// why returns what is said of each advert of the list, a line each.
func (p *plant) why() string {
	st := p.client.State()
	var lines []string
	for _, g := range st.Groups {
		for _, a := range g {
			lines = append(lines, a.Name+": "+st.Why(a))
		}
	}
	return strings.Join(lines, "\n")
}

func TestConfiguredLocationEndsTheSearch(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "0")})
		p.client.Location = "http://192.0.2.99:8080"
		p.run()
		sel, err := p.client.Select(p.t.Context())
		if err != nil || sel.Base() != "http://192.0.2.99:8080/x-nmos/netctrl/v1.0/" {
			p.t.Fatalf("%v, %s", err, sel.Base())
		}
		p.reason("its location is configured")
		p.steps("the location http://192.0.2.99:8080 is configured: nothing is looked for")
		if n := len(p.unicast.asked) + len(p.mdns.asked); n != 0 {
			p.t.Errorf("%d questions were asked", n)
		}
		p.client.Failed(sel, errors.New("refused"))
		p.want("")
		if p.client.State().Selected != nil {
			p.t.Fatal("it is used though it failed")
		}
		p.reason("http://192.0.2.99:8080 failed: refused; nothing else is configured")
		time.Sleep(5 * time.Second)
		if p.client.State().Selected == nil {
			p.t.Error("it isn't tried again")
		}
		if n := len(p.unicast.asked) + len(p.mdns.asked); n != 0 {
			p.t.Errorf("%d questions were asked", n)
		}
	})
}

func TestUnicastAnswersAreAllThatIsLookedAt(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "U", txt: txtOf("v9.0", "0")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "0")})
		p.run()
		time.Sleep(time.Minute)
		p.want("")
		p.reason("nothing fits: 1 advertisement discarded")
		p.steps("unicast: 1 answer for "+netctrl+" in example.com", "mdns: "+netctrl+" in local isn't asked for: unicast DNS answered")
		if n := p.mdns.askedFor(netctrl, "local"); n != 0 {
			p.t.Errorf("asked %d times by mDNS", n)
		}
	})
	inPlant(t, func(p *plant) {
		p.client.FallBack = true
		p.unicast.publish(advert{name: "U", txt: txtOf("v9.0", "0")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "0")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("M")
		p.steps("unicast: 1 answer for "+netctrl+" in example.com", "mdns: 1 answer for "+netctrl+" in local")
	})
	inPlant(t, func(p *plant) { // with FallBack, too, what fits is enough
		p.client.FallBack = true
		p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "50")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("U")
		if n := p.mdns.askedFor(netctrl, "local"); n != 0 {
			p.t.Errorf("asked %d times by mDNS", n)
		}
	})
}

func TestMergeAsksBoth(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Merge = true
		p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "20")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("M")
		if got, want := p.why(), "M: selected: the best of the list (v1.0, pri 10)\nU: pri 20: after 10 of M"; got != want {
			p.t.Errorf("why\n%s, want\n%s", got, want)
		}
	})
}

func TestModesLeaveASourceOut(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Mode = nmos.UnicastOnly
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		time.Sleep(time.Minute)
		p.want("")
		p.steps("unicast: there is no "+netctrl+" in example.com", "mdns: not asked: the mode leaves it out")
		if len(p.mdns.asked) != 0 {
			p.t.Error("mDNS was asked")
		}
	})
	inPlant(t, func(p *plant) {
		p.client.Mode = nmos.MulticastOnly
		p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "20")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("M")
		p.steps("unicast: not asked: the mode leaves it out", "mdns: 1 answer for "+netctrl+" in local")
		if len(p.unicast.asked) != 0 {
			p.t.Error("unicast DNS was asked")
		}
	})
	inPlant(t, func(p *plant) {
		p.client.Domains = nil
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("M")
		p.steps("unicast: not asked: there is no DNS server or no domain to search", "mdns: 1 answer for "+netctrl+" in local")
	})
}

// A unicast response that comes later makes one list of both; what works is
// kept, and with Return left for what is better.
func TestUnicastReturns(t *testing.T) {
	for _, back := range []bool{false, true} {
		inPlant(t, func(p *plant) {
			p.client.Return = back
			p.unicast.fails = errors.New("SERVFAIL")
			p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
			p.mdns.publish(advert{name: "N", txt: txtOf("v1.0", "30")})
			p.run()
			time.Sleep(3 * time.Second)
			p.want("M")
			p.steps("unicast: no answer for "+netctrl+" in example.com: SERVFAIL", "mdns: 2 answers for "+netctrl+" in local")
			p.unicast.mu.Lock()
			p.unicast.fails = nil
			p.unicast.mu.Unlock()
			p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "0")})
			p.unicast.publish(advert{name: "V", txt: txtOf("v1.0", "20")})
			time.Sleep(3 * time.Second)
			if back {
				p.want("U")
				p.reason("better than M (v1.0, pri 0)")
				return
			}
			p.want("M")
			if got, want := p.why(), "U: better than M, but what is selected stays while it works\nM: selected: the best of the list (v1.0, pri 10)\n"+
				"V: pri 20: after 10 of M\nN: pri 30: after 10 of M"; got != want {
				p.t.Errorf("why\n%s, want\n%s", got, want)
			}
			p.fail("refused")
			p.want("U")
			p.fail("refused")
			p.want("V")
			p.fail("refused")
			p.want("N")
		})
	}
}

// When unicast DNS says that there is nothing any more, mDNS is asked.
func TestUnicastGoes(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "0")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		p.want("U")
		p.unicast.withdraw("U")
		time.Sleep(3 * time.Second)
		p.want("M")
		var reasons []string
		for _, st := range p.states {
			// What comes before the first selection may be gone before it is read.
			if n := len(reasons); n > 0 && reasons[n-1] != st.Reason || n == 0 && st.Selected != nil {
				reasons = append(reasons, st.Reason)
			}
		}
		want := []string{"the best of the list (v1.0, pri 0)", "U is no longer there; looking", "the best of the list (v1.0, pri 10)"}
		if !slices.Equal(reasons, want) {
			p.t.Errorf("reasons %q, want %q", reasons, want)
		}
	})
}

// A DNS server that falls silent takes nothing away. When what it told fails,
// too, it is asked again, and then mDNS is.
func TestDNSServerFallsSilent(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "U", txt: txtOf("v1.0", "0")})
		p.unicast.publish(advert{name: "V", txt: txtOf("v1.0", "10")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "10")})
		p.run()
		p.want("U")
		p.unicast.mu.Lock()
		p.unicast.fails = dnssd.ErrTimeout
		p.unicast.mu.Unlock()
		if err := dnssd.Requery(definite{p.unicast}, netctrl, "", "example.com"); err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		p.want("U")
		p.steps("unicast: 2 answers for "+netctrl+" in example.com from before; now there is none: nobody answered",
			"mdns: "+netctrl+" in local isn't asked for: unicast DNS answered")
		p.fail("refused")
		p.want("V")
		time.Sleep(time.Minute)
		if len(p.mdns.asked) != 0 {
			p.t.Error("mDNS is asked while something is left")
		}
		p.fail("refused")
		time.Sleep(2 * time.Second)
		p.want("U") // its turn has come again
		p.fail("refused")
		time.Sleep(3 * time.Second)
		p.want("V") // mDNS wasn't asked yet
		p.fail("refused")
		p.want("M") // though U may be tried again: it never failed
	})
}

func TestSelectionFollowsItsAdvert(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		p.run()
		p.want("A")
		since := p.client.State().Since

		// It says something else, and still fits: it stays.
		time.Sleep(time.Second)
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0,v1.1", "30")})
		time.Sleep(time.Second)
		p.want("A")
		if st := p.client.State(); st.Selected.Priority != 30 || !st.Since.Equal(since) || st.Groups[0][0].Name != "B" {
			p.t.Errorf("pri %d since %v, first in the list %s", st.Selected.Priority, st.Since, st.Groups[0][0].Name)
		}

		// It moves: the instance stays, at its new place.
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "30"), port: 8080})
		time.Sleep(2 * time.Second)
		p.want("A")
		p.reason("A is no longer at http://a.example.com:80; A is at http://a.example.com:8080, too")

		// It doesn't fit any more.
		p.unicast.publish(advert{name: "A", txt: txtOf("v2.0", "30"), port: 8080})
		time.Sleep(time.Second)
		p.want("B")
		p.reason("A doesn't fit any more: api_ver v2.0: this client speaks v1.0; the best of the list (v1.0, pri 20)")

		// It goes.
		p.unicast.publish(advert{name: "C", txt: txtOf("v1.0", "90")})
		time.Sleep(time.Second)
		p.want("B")
		p.unicast.withdraw("B")
		time.Sleep(time.Second)
		p.want("C")
		p.reason("B is no longer there; the best of the list (v1.0, pri 90)")
	})
}

// What works isn't left for what doesn't.
func TestReturnTriesFirst(t *testing.T) {
	inPlant(t, func(p *plant) {
		var alive atomic.Bool // B
		var tried atomic.Int64
		p.client.Return, p.client.CheckEvery = true, time.Second
		p.client.Check = func(_ context.Context, s nmos.Selection) error {
			if s.Name == "A" {
				return nil
			}
			tried.Add(1)
			if alive.Load() {
				return nil
			}
			return errors.New("refused")
		}
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "50")})
		p.run()
		p.want("A")
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "0")})
		time.Sleep(10 * time.Minute)
		p.want("A")
		if b, n := tried.Load(), len(p.states); b < 3 || b > 10 || n > 100 {
			p.t.Errorf("B was tried %d times in ten minutes (%d states)", b, n)
		}
		for _, st := range p.states {
			if st.Selected != nil && st.Selected.Name == "B" {
				p.t.Fatal("B was selected though it never worked")
			}
		}
		alive.Store(true)
		time.Sleep(10 * time.Minute)
		p.want("B")
		p.reason("better than A (v1.0, pri 0), and it works")
	})
}

// Failures of what mDNS told are told to mDNS; nothing is asked of a DNS server
// while something is left (RFC 6762 §10.4; APIs: Discovery, step 6).
func TestFailuresAreReconfirmed(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Domains = nil
		p.mdns.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.mdns.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		p.run()
		time.Sleep(3 * time.Second)
		p.want("A")
		p.fail("refused")
		p.want("B")
		doubted := mustName(dnswire.ParseName("A." + netctrl + ".local")).Fold()
		if p.mdns.asked[question{doubted, dnswire.TypeSRV}] < 2 { // once by the browser
			p.t.Error("A wasn't doubted")
		}
	})
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		p.run()
		p.want("A")
		p.fail("refused")
		time.Sleep(time.Minute)
		p.want("B")
		if n := p.unicast.askedFor(netctrl, "example.com"); n != 1 || p.unicast.doubts != 0 {
			p.t.Errorf("asked %d times, doubted %d times, though B is left", n, p.unicast.doubts)
		}
	})
}

// Nothing is asked in a loop, whatever doesn't answer.
func TestNothingIsAskedInALoop(t *testing.T) {
	for _, fails := range []error{nil, errors.New("REFUSED")} {
		inPlant(t, func(p *plant) {
			p.unicast.fails = fails
			p.run()
			time.Sleep(time.Hour)
			p.want("")
			if want := "nothing was found; unicast: no answer for " + netctrl + " in example.com: REFUSED"; fails != nil {
				p.reason(want)
			} else {
				p.reason("nothing was found")
			}
			unicast, multicast := p.unicast.askedFor(netctrl, "example.com"), p.mdns.askedFor(netctrl, "local")
			if unicast < 120 || unicast > 400 || multicast < 5 || multicast > 20 {
				p.t.Errorf("asked %d times by unicast DNS and %d times by mDNS in an hour", unicast, multicast)
			}
		})
	}
}

// A domain that says nothing keeps nobody from what another one told.
func TestSilentDomainIsNotWaitedForLong(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Domains = []string{"silent.example", "example.com", "Example.com."}
		p.unicast.silent = "silent.example"
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		began := time.Now()
		p.run()
		sel, err := p.client.Select(p.t.Context())
		if took := time.Since(began); err != nil || sel.Name != "A" || took != 2*time.Second {
			p.t.Errorf("%s after %v (%v), want A after two seconds", sel.Name, took, err)
		}
		p.steps("unicast: asking for "+netctrl+" in silent.example", "unicast: 1 answer for "+netctrl+" in example.com",
			"mdns: "+netctrl+" in local isn't asked for: unicast DNS answered")
	})
}

// An API that is there by two names is one; when one of them goes it is used on.
func TestOneAPIByTwoNames(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Kind, _ = nmos.KindOf("register")
		p.unicast.publish(advert{name: "A", service: "_nmos-register._tcp", host: "reg.example.com", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", service: "_nmos-registration._tcp", host: "REG.example.com", txt: txtOf("v1.0", "20")})
		p.run()
		p.want("A")
		since := p.client.State().Since
		time.Sleep(time.Second)
		name := mustName(dnswire.ParseName("_nmos-register._tcp.example.com"))
		p.unicast.set(name, dnswire.TypePTR)
		time.Sleep(time.Second)
		p.want("B")
		if st := p.client.State(); !st.Since.Equal(since) || !strings.EqualFold(st.Selected.URL(), "http://reg.example.com:80") {
			p.t.Errorf("%s since %v, want the same API", st.Selected.URL(), st.Since)
		}
	})
}

// Checks use the addresses that a host has now.
func TestChecksFollowTheHost(t *testing.T) {
	inPlant(t, func(p *plant) {
		var last atomic.Value
		p.client.Check = func(_ context.Context, s nmos.Selection) error {
			last.Store(s.Target.Addresses[0])
			return nil
		}
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.run()
		p.want("A")
		host := mustName(dnswire.ParseName("a.example.com"))
		moved := netip.MustParseAddr("192.0.2.250")
		p.unicast.set(host, dnswire.TypeA, dnswire.NewAddr(host, moved, 3600))
		time.Sleep(15 * time.Second)
		if last.Load() != moved {
			p.t.Errorf("checked at %v, its host is at %v now", last.Load(), moved)
		}
	})
}

// Names are hostile.
func TestReasonsAreSafeToPrint(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A\x1b[2J\n\xff", host: "a.example.com", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		p.run()
		p.fail("refused")
		p.reason(`"A\x1b[2J\n\xff" failed: refused; the best that is left (v1.0, pri 20)`)
	})
}

// A hostile number of advertisements costs memory and time that are bounded,
// and doesn't keep the client from choosing.
func TestHostileNumbers(t *testing.T) {
	inPlant(t, func(p *plant) {
		type_ := mustName(dnswire.ParseName(netctrl + ".example.com"))
		var ptrs []dnswire.RR
		for i := range 4200 {
			a := advert{name: fmt.Sprint("evil ", i), host: "evil.example.com", port: uint16(i + 1), txt: txtOf("v1.0", "50")}
			p.unicast.publishRecords(a)
			ptrs = append(ptrs, dnswire.NewPTR(type_, mustName(type_.Prepend(a.name)), 3600))
		}
		p.unicast.set(type_, dnswire.TypePTR, ptrs...)
		p.run()
		time.Sleep(3 * time.Second)
		st := p.client.State()
		if st.Selected == nil || len(st.Groups[0]) > 4096 {
			p.t.Fatalf("selected %v of %d", st.Selected, len(st.Groups))
		}
		p.steps("unicast: 4096 answers for "+netctrl+" in example.com, and more than fit", "mdns: "+netctrl+" in local isn't asked for: unicast DNS answered")
		began := time.Now()
		for range 20 {
			p.fail("refused")
		}
		if n := len(p.client.State().Invalid); n != 20 || time.Since(began) > 0 {
			p.t.Errorf("%d marks after %v", n, time.Since(began))
		}
	})
}

func TestClientSaysWhatIsWrongWithItsFields(t *testing.T) {
	k, _ := nmos.KindOf("netctrl")
	for want, c := range map[string]*nmos.Client{
		"nmos: Client without a Kind": {},
		"nmos: nothing to ask: there is no DNS server with a search domain, and no mDNS": {Kind: k, Domains: []string{"example.com"}},
		`nmos: location "ftp://x": want http://HOST or https://HOST`:                     {Kind: k, Location: "ftp://x"},
	} {
		if err := c.Run(t.Context()); err == nil || err.Error() != want {
			t.Errorf("Run: %v, want %s", err, want)
		}
		if _, err := c.Select(t.Context()); err == nil || err.Error() != want {
			t.Errorf("Select: %v, want %s", err, want)
		}
		if _, err := c.Once(t.Context()); err == nil || err.Error() != want {
			t.Errorf("Once: %v, want %s", err, want)
		}
	}
	inPlant(t, func(p *plant) {
		p.run()
		if err := p.client.Run(p.t.Context()); err == nil || err.Error() != "nmos: the client runs already" {
			p.t.Errorf("a second Run: %v", err)
		}
	})
}

func TestSelectWaits(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Mode = nmos.UnicastOnly
		p.run()
		ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
		defer cancel()
		if _, err := p.client.Select(ctx); !errors.Is(err, context.DeadlineExceeded) {
			p.t.Errorf("%v, want the end of the context", err)
		}
		time.AfterFunc(time.Minute, func() { p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")}) })
		began := time.Now()
		// One second to see what else comes, and up to three by chance.
		if s, err := p.client.Select(p.t.Context()); err != nil || s.Name != "A" || time.Since(began) > time.Minute+4100*time.Millisecond {
			p.t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Who is slow to read keeps no more than the last list of each selection, and
// of those a few.
func TestSlowReaderKeepsLittle(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "10")})
		p.run()
		next, stop := iter.Pull(p.client.Changes(p.t.Context()))
		defer stop()
		if st, ok := next(); !ok || st.Selected == nil {
			p.t.Fatal("no state")
		}
		for i := range 200 {
			p.unicast.publish(advert{name: "C", txt: txtOf("v1.0", fmt.Sprint(20+i%2))})
			time.Sleep(time.Second)
		}
		p.fail("refused")
		was := p.selected()
		first, _ := next()
		second, _ := next()
		if first.Reason == second.Reason || second.Selected == nil || second.Selected.Name != was {
			p.t.Errorf("after 200 changes of the list %q, then %q", first.Reason, second.Reason)
		}
		for range 300 {
			p.fail("refused")
			time.Sleep(time.Minute)
		}
		n := 0
		var last nmos.State
		for now := p.client.State(); last.Since != now.Since || last.Reason != now.Reason; n++ {
			var ok bool
			if last, ok = next(); !ok || n > 1000 {
				p.t.Fatalf("after %d states there is no more", n)
			}
		}
		if n > 64 {
			p.t.Errorf("%d states were kept", n)
		}
	})
}
