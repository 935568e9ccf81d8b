package locate_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/locate"
)

// announced is a Browser that says what it holds, and counts how often it was asked.
type announced struct {
	instances []find.Instance
	err       error
	asked     *int
}

func (a announced) Browse(_ context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error] {
	return func(yield func(find.Instance, error) bool) {
		if a.asked != nil {
			*a.asked++
		}
		if r.Type != locate.Service || !r.Resolve || !r.Once {
			yield(find.Instance{}, fmt.Errorf("asked for %+v", r))
			return
		}
		for _, i := range a.instances {
			if !yield(i, nil) {
				return
			}
		}
		if a.err != nil {
			yield(find.Instance{}, a.err)
		}
	}
}

func hub(name string, priority uint16, addresses ...string) find.Instance {
	l := &find.Location{Host: name + ".example.com", Port: 8513, Priority: priority}
	for _, a := range addresses {
		l.Addresses = append(l.Addresses, netip.MustParseAddr(a))
	}
	return find.Instance{Event: "add", Name: name, Type: locate.Service, Interface: "eth0", Location: l}
}

// network is where connections are made: it says when, and who answers.
type network struct {
	mu    sync.Mutex
	began time.Time
	dials []string // "0s 192.0.2.7:8513"
	hangs map[string]bool
	dead  map[string]bool
	open  int
}

type conn struct {
	net.Conn
	n  *network
	at string
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return nil
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, time.Since(n.began).String()+" "+address)
	hangs, dead := n.hangs[address], n.dead[address]
	n.mu.Unlock()
	switch {
	case hangs:
		<-ctx.Done()
		return nil, ctx.Err()
	case dead:
		return nil, errors.New("connection refused")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return &conn{n: n, at: address}, nil
}

// search takes connections until one is to an address that is wanted, and returns
// the places that it came by.
func search(ctx context.Context, s locate.Search, want string) (came []string, errs []string) {
	for c, err := range s.Conns(ctx) {
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		at := c.(*conn).at
		came = append(came, at)
		_ = c.Close()
		if at == want {
			break
		}
	}
	return came, errs
}

func TestOrder(t *testing.T) {
	var unicast, multicast int
	ways := func() []locate.Way {
		return []locate.Way{
			{Name: "example.com", Browser: announced{instances: []find.Instance{
				hub("backup", 20, "192.0.2.20"),
				hub("main", 10, "192.0.2.10", "192.0.2.11", "2001:db8::10"),
				hub("gone", 1, "192.0.2.1"),
				{Event: "remove", Name: "gone", Interface: "eth0"},
				{Event: "add", Name: "not yet resolved"},
				{Event: "add", Name: "two places", Location: &find.Location{Host: "a", Port: 1, Targets: []find.Target{
					{Host: "b.example.com", Port: 8514, Priority: 40}, {Host: "a.example.com", Port: 8513, Priority: 30}, {Host: ".", Priority: 1},
				}}},
			}, asked: &unicast}},
			{Name: "mDNS", Browser: announced{instances: []find.Instance{
				{Event: "add", Name: "near", Interface: "wlan0", Location: &find.Location{
					Host: "hub.local", Port: 8513, Addresses: []netip.Addr{netip.MustParseAddr("fe80::7")},
				}},
				{Event: "add", Name: "no address", Location: &find.Location{Host: "lost.local", Port: 8513}},
			}, asked: &multicast}},
		}
	}
	all := []string{
		"hub.example.com:8513", "[2001:db8::10]:8513", "192.0.2.10:8513", "192.0.2.11:8513", "192.0.2.20:8513",
		"a.example.com:8513", "b.example.com:8514", "[fe80::7%wlan0]:8513",
	}
	for n, want := range all {
		unicast, multicast = 0, 0
		net := &network{began: time.Now()}
		came, errs := search(t.Context(), locate.Search{Known: all[:1], Ways: ways, Dial: net.dial}, want)
		if !slices.Equal(came, all[:n+1]) || len(errs) > 0 || net.open != 0 {
			t.Errorf("until %s: %v, %v; %d connections are open", want, came, errs, net.open)
		}
		if (unicast > 0) != (n > 0) || (multicast > 0) != (n == len(all)-1) {
			t.Errorf("until %s: asked %d times by unicast, %d by mDNS", want, unicast, multicast)
		}
	}
}

// Who doesn't answer holds up the next one for a second; who refuses for no time.
func TestDeadAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{began: time.Now(), hangs: map[string]bool{"a:1": true, "b:1": true}, dead: map[string]bool{"c:1": true}}
		came, errs := search(t.Context(), locate.Search{Known: []string{"a:1", "b:1", "c:1", "d:1", "e:1"}, Dial: n.dial}, "d:1")
		want := []string{"0s a:1", "1s b:1", "2s c:1", "2s d:1"}
		synctest.Wait()
		if !slices.Equal(n.dials, want) || len(came) != 1 || len(errs) != 1 || errs[0] != "locate: at c:1: connection refused" {
			t.Errorf("dialled %v, want %v; %v, %v", n.dials, want, came, errs)
		}
		if n.open != 0 {
			t.Errorf("%d connections are open", n.open)
		}

		alone := &network{began: time.Now(), hangs: map[string]bool{"a:1": true}}
		began := time.Now()
		_, errs = search(t.Context(), locate.Search{Known: []string{"a:1"}, Dial: alone.dial}, "")
		if took := time.Since(began); took != 10*time.Second || len(errs) != 1 || !strings.Contains(errs[0], "deadline exceeded") {
			t.Errorf("after %s: %v", took, errs)
		}
	})
}

// A connection that comes when the caller has enough is closed.
func TestLateConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{began: time.Now()}
		slow := func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "a:1" {
				time.Sleep(3 * time.Second) // whatever ctx says
			}
			return n.dial(ctx, network, address)
		}
		came, _ := search(t.Context(), locate.Search{Known: []string{"a:1", "b:1"}, Dial: slow}, "b:1")
		time.Sleep(5 * time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		if !slices.Equal(came, []string{"b:1"}) || len(n.dials) != 2 || n.open != 0 {
			t.Errorf("%v came, %v dialled, %d are open", came, n.dials, n.open)
		}
	})
}

func TestWhyNobodyIsFound(t *testing.T) {
	failed := errors.New("no DNS server is known")
	s := locate.Search{Dial: (&network{}).dial, Ways: func() []locate.Way {
		return []locate.Way{{"a.example", announced{err: failed}}, {"b.example", announced{}}}
	}}
	var errs []error
	for _, err := range s.Conns(t.Context()) {
		errs = append(errs, err)
	}
	if len(errs) != 2 || !errors.Is(errs[0], failed) || !errors.Is(errs[1], locate.ErrNobody) ||
		errs[0].Error() != "locate: a.example: no DNS server is known" || errs[1].Error() != "locate: no hub is announced in b.example" {
		t.Errorf("%v", errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for c, err := range s.Conns(ctx) {
		t.Errorf("after its end: %v, %v", c, err)
	}
}

// mute is a Browser whose servers don't answer.
type mute struct{}

func (mute) Browse(ctx context.Context, _ find.BrowseRequest) iter.Seq2[find.Instance, error] {
	return func(yield func(find.Instance, error) bool) {
		<-ctx.Done()
		yield(find.Instance{}, ctx.Err())
	}
}

// Many domains whose servers don't answer leave time for the last way within an attempt
// to connect, which is 30 s.
func TestDeadDomains(t *testing.T) {
	for _, domains := range []int{1, 6, 16} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{began: time.Now(), hangs: map[string]bool{"a:1": true}}
			s := locate.Search{Known: []string{"a:1"}, Dial: n.dial, Ways: func() []locate.Way {
				ways := make([]locate.Way, domains)
				for i := range ways {
					ways[i] = locate.Way{Name: fmt.Sprint(i, ".example"), Browser: mute{}}
				}
				return append(ways, locate.Way{Name: "mDNS", Browser: announced{instances: []find.Instance{hub("near", 0, "192.0.2.7")}}})
			}}
			came, _ := search(t.Context(), s, "192.0.2.7:8513")
			if took := time.Since(n.began); len(came) != 1 || took > 21*time.Second {
				t.Errorf("%d domains: %v came after %v", domains, came, took)
			}
		})
	}
}

// Who announces a thousand hubs gets a few connections.
func TestManyHubs(t *testing.T) {
	var many []find.Instance
	for i := range 1000 {
		many = append(many, hub(fmt.Sprint("hub", i), 0, fmt.Sprintf("192.0.%d.%d", i/250, i%250), fmt.Sprintf("198.51.%d.%d", i/250, i%250)))
	}
	s := locate.Search{Dial: (&network{began: time.Now()}).dial, Ways: func() []locate.Way { return []locate.Way{{"mDNS", announced{instances: many}}} }}
	if came, _ := search(t.Context(), s, ""); len(came) != 32 {
		t.Errorf("%d connections", len(came))
	}
}
