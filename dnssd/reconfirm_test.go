package dnssd_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

func TestReconfirmedServiceThatIsGoneIsRemoved(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "web", "10.0.0.9/16", true, web("Web", "web.local", 80, "10.0.0.9")...)
		r.respond(r.wire, "other", "10.0.0.10/16", true, web("Other", "other.local", 80, "10.0.0.10")...)
		go func() {
			time.Sleep(10 * time.Second)
			x.kill()
			time.Sleep(5 * time.Second)
			for _, name := range []string{"Web", "Other"} {
				s := dnssd.Service{Instance: dnssd.Instance{Name: name, Service: "_http._tcp"}}
				if err := dnssd.Reconfirm(r.source, s); err != nil {
					r.t.Error(err)
				}
			}
		}()
		got := r.during(dnssd.Browser{Type: "_http._tcp", Resolve: true}, 30*time.Second)
		gone := slices.IndexFunc(got, func(s string) bool { return s[:2] == "25" })
		if len(got) < 3 || gone < 0 || slices.ContainsFunc(got[2:], func(s string) bool { return !slices.Contains([]string{"25"}, s[:2]) }) {
			r.t.Errorf("events %q, want two services and what becomes of one ten seconds after 15 s", got)
		}
		last := got[len(got)-1]
		if want := " remove Web._http._tcp.local web.local:80"; len(last) < 5+len(want) || last[5:5+len(want)] != want {
			r.t.Errorf("last %q, want the removal", last)
		}
	})
}

func TestResolveAgainBelievesNothingThatIsCached(t *testing.T) {
	in := dnssd.Instance{Name: "Web", Service: "_http._tcp"}
	for _, c := range []struct {
		what        string
		dead        bool
		least, most time.Duration
	}{
		{"there", false, 0, 1500 * time.Millisecond},
		{"dead", true, 10 * time.Second, 12500 * time.Millisecond},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				x := r.respond(r.wire, "web", "10.0.0.9/16", true, web("Web", "web.local", 80, "10.0.0.9")...)
				if _, err := dnssd.Resolve(r.t.Context(), r.source, in); err != nil {
					r.t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if c.dead {
					x.kill()
				}
				start := time.Now()
				got, err := dnssd.ResolveAgain(r.t.Context(), r.source, in)
				if took := time.Since(start); took < c.least || took > c.most {
					r.t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				switch {
				case c.dead && !errors.Is(err, dnssd.ErrTimeout):
					r.t.Errorf("%v, %v; want ErrTimeout", got, err)
				case !c.dead && (err != nil || len(got) != 1 || !got[0].Resolved):
					r.t.Errorf("%v, %v; want the service", got, err)
				}
			})
		})
	}
}

func TestReconfirmNeedsASourceThatCan(t *testing.T) {
	inBubble(t, func(r *rig) {
		in := dnssd.Instance{Name: "Web", Service: "_http._tcp"}
		deaf := struct{ dnssd.Source }{r.source}
		if err := dnssd.Reconfirm(deaf, dnssd.Service{Instance: in}); !errors.Is(err, dnssd.ErrNoReconfirm) {
			r.t.Errorf("%v, want ErrNoReconfirm", err)
		}
		if _, err := dnssd.ResolveAgain(r.t.Context(), deaf, in); !errors.Is(err, dnssd.ErrNoReconfirm) {
			r.t.Errorf("%v, want ErrNoReconfirm", err)
		}
		if err := dnssd.Reconfirm(r.source, dnssd.Service{Instance: dnssd.Instance{Name: "x", Service: "http"}}); err == nil {
			r.t.Error("a bad type is accepted")
		}
	})
}
