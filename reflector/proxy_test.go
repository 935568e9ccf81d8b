package reflector_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/reflector"
)

// inProxy runs f with a rig whose reflector is a proxy that runs.
func inProxy(t *testing.T, f func(*rig)) {
	inBubble(t, func(r *rig) {
		p := &reflector.Proxy{}
		r.refl.Proxy = p
		r.engine.Observers = append(r.engine.Observers, p)
		r.run()
		ctx, cancel := context.WithCancel(r.t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx, r.engine) }()
		r.t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		f(r)
	})
}

func ptr(owner, target string, ttl uint32) dnswire.RR {
	return dnswire.NewPTR(name(owner), name(target), ttl)
}

func srv(owner, host string, ttl uint32) dnswire.RR {
	rr := dnswire.NewSRV(name(owner), dnswire.SRV{Port: 80, Target: name(host)}, ttl)
	rr.Flush = true
	return rr
}

func service() []dnswire.RR {
	return []dnswire.RR{ptr("_http._tcp.local", "Door._http._tcp.local", 4500), srv("Door._http._tcp.local", "cam.local", 120), addr("cam.local", "10.0.1.9", 120)}
}

// pass lets time go by and returns what the router sent on the wire meanwhile.
func (w *wire) during(d time.Duration) []string {
	time.Sleep(d)
	return w.sent()
}

const (
	toA = "10.0.1.1:5353 > 224.0.0.251:5353 "
	toB = "10.0.2.1:5353 > 224.0.0.251:5353 "
)

func TestProxyAsksWhatIsNotKnownAndAnswersWhatIs(t *testing.T) {
	inProxy(t, func(r *rig) {
		ask := query(question{"_http._tcp.local", dnswire.TypePTR, false})
		r.b.say("10.0.2.5:5353", ask)
		if got := r.a.during(150 * time.Millisecond); !slices.Equal(got, []string{toA + "_http._tcp.local PTR?QU"}) {
			t.Errorf("asked for: %q", got)
		}
		r.a.say("10.0.1.9:5353", response(service()...))
		told := func(ptr, srv, a int) []string {
			return []string{fmt.Sprintf("%s_http._tcp.local PTR Door._http._tcp.local %d Door._http._tcp.local SRV 0 0 80 cam.local %d flush cam.local A 10.0.1.9 %d flush", toB, ptr, srv, a)}
		}
		if got := r.b.during(150 * time.Millisecond); !slices.Equal(got, told(4499, 119, 119)) {
			t.Errorf("told when it came: %q", got)
		}
		// A second host asks 60 s later: from the cache, with what is left.
		time.Sleep(60 * time.Second)
		r.a.sent()
		r.b.say("10.0.2.6:5353", ask)
		if got := r.b.during(150 * time.Millisecond); !slices.Equal(got, told(4439, 59, 59)) {
			t.Errorf("told from the cache: %q", got)
		}
		// One that knows it isn't told.
		r.b.say("10.0.2.6:5353", message(dnswire.Header{}, []question{{"_http._tcp.local", dnswire.TypePTR, false}}, ptr("_http._tcp.local", "Door._http._tcp.local", 4400)))
		if got := r.b.during(150 * time.Millisecond); len(got) != 0 {
			t.Errorf("told who knew: %q", got)
		}
	})
}

func TestProxyPassesGoodbyesAndChangesOn(t *testing.T) {
	inProxy(t, func(r *rig) {
		r.b.say("10.0.2.5:5353", query(question{"_http._tcp.local", dnswire.TypePTR, false}))
		r.a.say("10.0.1.9:5353", response(service()...))
		r.b.during(2 * time.Second)
		r.a.say("10.0.1.9:5353", response(addr("cam.local", "10.0.1.10", 120)))
		got := r.b.during(2 * time.Second)
		want := []string{toB + "cam.local A 10.0.1.10 119 flush", toB + "cam.local A 10.0.1.9 0 flush"}
		if !slices.Equal(got, want) {
			t.Errorf("another address\n got %q\nwant %q", got, want)
		}
		gone := service()[0]
		gone.TTL = 0
		r.a.say("10.0.1.9:5353", response(gone))
		if got := r.b.during(2 * time.Second); !slices.Equal(got, []string{toB + "_http._tcp.local PTR Door._http._tcp.local 0"}) {
			t.Errorf("goodbye: %q", got)
		}
	})
}

// A host that doubts a record that it was told makes the engine ask for it on the
// other side, and the record's goodbye crosses when nobody has it (§10.4).
func TestProxyFollowsDoubtOnTheOtherSide(t *testing.T) {
	inProxy(t, func(r *rig) {
		ask := query(question{"Door._http._tcp.local", dnswire.TypeSRV, false})
		r.b.say("10.0.2.5:5353", ask)
		r.a.say("10.0.1.9:5353", response(service()...))
		time.Sleep(30 * time.Second)
		r.a.sent()
		r.b.sent()
		r.b.say("10.0.2.5:5353", ask) // cam.local was killed
		time.Sleep(14 * time.Second)
		n := 0
		for _, s := range r.a.sent() {
			if strings.Contains(s, "Door._http._tcp.local SRV?") {
				n++
			}
		}
		if n < 2 {
			t.Errorf("asked %d times on the other side", n)
		}
		if got := r.b.sent(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "SRV 0 0 80 cam.local 0") }) {
			t.Errorf("no goodbye in %q", got)
		}
	})
}

func TestProxyPassesProbesAndKeepsRules(t *testing.T) {
	inProxy(t, func(r *rig) {
		rules, err := reflector.NewRules(reflector.RulesOptions{Deny: []string{"_ssh._tcp"}})
		if err != nil {
			t.Fatal(err)
		}
		r.refl.Rules = rules
		r.b.say("10.0.2.5:5353", query(question{"_ssh._tcp.local", dnswire.TypePTR, false}))
		if got := r.a.during(time.Second); len(got) != 0 {
			t.Errorf("asked for what is denied: %q", got)
		}
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{}, 0)
		b.Question(name("cam.local"), dnswire.TypeANY, dnswire.ClassIN, true)
		b.Authority(dnswire.NewAddr(name("cam.local"), netip.MustParseAddr("10.0.2.5"), 120))
		r.b.say("10.0.2.5:5353", b.Bytes())
		if got := r.a.during(100 * time.Millisecond); len(got) == 0 || !strings.Contains(got[0], "cam.local ANY?") {
			t.Errorf("a probe: %q", got)
		}
		// The name's owner is heard at once, and by his own word.
		r.a.say("10.0.1.9:5353", response(addr("cam.local", "10.0.1.9", 120)))
		if got := r.b.sent(); !slices.Equal(got, []string{toB + "cam.local A 10.0.1.9 120 flush"}) {
			t.Errorf("his defence: %q", got)
		}
	})
}

// Who asked before the proxy began asks again only after an hour: until then
// everybody hears of what is new.
func TestProxyTellsOfNewServicesWithoutBeingAskedAtFirst(t *testing.T) {
	inProxy(t, func(r *rig) {
		r.a.say("10.0.1.9:5353", response(service()...))
		if got := r.b.during(150 * time.Millisecond); len(got) != 1 || !strings.Contains(got[0], "PTR Door._http._tcp.local") {
			t.Errorf("at first: %q", got)
		}
		time.Sleep(2 * time.Hour)
		r.b.sent()
		r.a.say("10.0.1.9:5353", response(service()...))
		if got := r.b.during(150 * time.Millisecond); len(got) != 0 {
			t.Errorf("two hours later, nobody having asked: %q", got)
		}
	})
}
