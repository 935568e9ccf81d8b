package nmos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/nmos"
)

// plant is a client with both sources in memory.
type plant struct {
	t             *testing.T
	unicast, mdns *zone
	client        *nmos.Client
	states        []nmos.State
}

// inPlant runs f in virtual time. The client runs from f's first call of run.
func inPlant(t *testing.T, f func(p *plant)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plant{t: t, unicast: newZone("unicast"), mdns: newZone("mdns")}
		k, _ := nmos.KindOf("netctrl")
		auth := false
		p.client = &nmos.Client{
			Kind: k, Needs: nmos.Needs{Versions: []nmos.Version{{Major: 1}}, Proto: "http", Auth: &auth},
			Unicast: definite{p.unicast}, Domains: []string{"example.com"}, Multicast: p.mdns, Rand: rand.New(rand.NewPCG(1, 2)),
		}
		f(p)
	})
}

// run begins to run the client, until the test ends.
func (p *plant) run() {
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.client.Run(ctx) }()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for st := range p.client.Changes(ctx) {
			p.states = append(p.states, st)
		}
	}()
	p.t.Cleanup(func() {
		cancel()
		<-watched
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	synctest.Wait()
}

// selected returns the name of what is selected, "" for nothing.
func (p *plant) selected() string {
	synctest.Wait()
	if s := p.client.State().Selected; s != nil {
		return s.Name
	}
	return ""
}

func (p *plant) want(name string) {
	p.t.Helper()
	if got := p.selected(); got != name {
		st := p.client.State()
		p.t.Fatalf("selected %q (%s), want %q; steps: %s", got, st.Reason, name, strings.Join(st.Steps, "; "))
	}
}

// fail says that what is selected doesn't work.
func (p *plant) fail(why string) {
	p.t.Helper()
	s := p.client.State().Selected
	if s == nil {
		p.t.Fatal("nothing is selected that could fail")
	}
	p.client.Failed(*s, errors.New(why))
}

func TestClientChoosesByPriority(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "20")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "10")})
		p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "0")})
		p.run()
		p.want("B")
		p.fail("connection refused")
		p.want("A")
		st := p.client.State()
		if want := "B failed: connection refused; the best that is left (v1.0, pri 20)"; st.Reason != want {
			t.Errorf("reason %q, want %q", st.Reason, want)
		}
		if got, want := st.Why(st.Groups[0][0]), "marked invalid for 30s: connection refused"; got != want {
			t.Errorf("why not B: %q, want %q", got, want)
		}
	})
}

func TestMulticastComesWithoutUnicastResponse(t *testing.T) {
	for _, c := range []struct {
		what  string
		fails error
	}{{"none", nil}, {"failure", errors.New("SERVFAIL")}} {
		t.Run(c.what, func(t *testing.T) {
			inPlant(t, func(p *plant) {
				p.unicast.fails = c.fails
				p.mdns.publish(advert{name: "M", txt: txtOf("v1.0", "0")})
				p.run()
				time.Sleep(3 * time.Second)
				p.want("M")
			})
		})
	}
}

func TestOnce(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v9.0", "20")})
		st, err := p.client.Once(p.t.Context())
		if !errors.Is(err, nmos.ErrNothing) || len(st.Discarded) != 1 {
			t.Fatalf("%v, %d discarded, want ErrNothing and one", err, len(st.Discarded))
		}
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		st, err = p.client.Once(p.t.Context())
		if err != nil || st.Selected.Base() != "http://b.example.com:80/x-nmos/netctrl/v1.0/" {
			t.Fatalf("%v, %+v", err, st.Selected)
		}
	})
}

// Whoever watches is told of each selection since he asked, also of one that had
// failed before he came to read.
func TestChangesSinceTheCall(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.unicast.publish(advert{name: "A", txt: txtOf("v1.0", "10")})
		p.unicast.publish(advert{name: "B", txt: txtOf("v1.0", "20")})
		ctx, cancel := context.WithCancel(p.t.Context())
		defer cancel()
		changes := p.client.Changes(ctx)
		p.run()
		p.want("A")
		p.fail("refused")
		p.want("B")
		var got []string
		for st := range changes {
			if st.Selected == nil {
				continue
			}
			if got = append(got, st.Selected.Name); len(got) == 2 {
				break
			}
		}
		if !slices.Equal(got, []string{"A", "B"}) {
			p.t.Errorf("told of %q", got)
		}
	})
}
