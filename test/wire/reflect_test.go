package wire

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/test/lab"
)

// far is what a browser on another subnet than the publisher's sees.
type far struct {
	t      *testing.T
	engine *mdns.Engine
	mu     sync.Mutex // guards seen
	seen   map[string]dnssd.Service
}

func (r *rig) far(h *lab.Host, typ string) *far {
	f := &far{t: r.t, engine: r.engine(h), seen: map[string]dnssd.Service{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		b := dnssd.Browser{Source: dnssd.Multicast(f.engine), Type: typ, Resolve: true}
		for ev := range b.Events(ctx) {
			f.mu.Lock()
			switch ev.Op {
			case dnssd.Remove:
				delete(f.seen, ev.Name)
			case dnssd.Add, dnssd.Update:
				f.seen[ev.Name] = ev.Service
			}
			f.mu.Unlock()
		}
	}()
	return f
}

// sees waits until the instances are those, each at an address; how long that
// took is returned.
func (f *far) sees(want map[string]string) time.Duration {
	f.t.Helper()
	start := time.Now()
	lab.Eventually(f.t, patience, fmt.Sprint(want), func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.seen) != len(want) {
			return fmt.Errorf("%d services: %v", len(f.seen), f.seen)
		}
		for name, address := range want {
			s, ok := f.seen[name]
			if !ok || !s.Resolved || !slices.Contains(s.Addresses, netip.MustParseAddr(address)) {
				return fmt.Errorf("%s: %+v", name, s)
			}
		}
		return nil
	})
	return time.Since(start)
}

// A publisher that is shut down, killed, renamed, or moved to another address is
// seen from another subnet, over one reflector and over two.
func TestPublisherIsFollowedThroughReflectors(t *testing.T) {
	t.Parallel()
	for _, reflectors := range []int{1, 2} {
		t.Run(fmt.Sprint(reflectors), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			b := r.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
			for i := range reflectors {
				p := r.Host(fmt.Sprintf("reflector%d", i)).Join(r.net).Join(b).Lanfolk("reflect", "-i", "eth0", "-i", "eth1").Start()
				p.WaitText(patience, "ready")
			}
			f := r.far(r.Host("desk").Join(b), "_http._tcp")
			first := func(e announced) bool { return e.Event == "announced" }
			// Of the machine's own addresses, by a name of its own.
			start := func(h *lab.Host, name string, address ...string) *lab.Process {
				args := []string{name, "_http._tcp", "80"}
				if len(address) > 0 {
					args = append(args, "--host", strings.ToLower(name), "--address", address[0])
				}
				p := r.announce(h, args...)
				says(p, "announcement", first)
				return p
			}
			down, killed, renamed, moved := r.Host("down").Join(r.net), r.Host("killed").Join(r.net), r.Host("renamed").Join(r.net), r.Host("moved").Join(r.net)
			pd, pk := start(down, "Down", down.Links[0].V4.String()), start(killed, "Killed", killed.Links[0].V4.String())
			po, pm := start(renamed, "Old", renamed.Links[0].V4.String()), start(moved, "Moved")
			at := map[string]string{"Down": down.Links[0].V4.String(), "Killed": killed.Links[0].V4.String(), "Old": renamed.Links[0].V4.String(), "Moved": moved.Links[0].V4.String()}
			f.sees(at)

			// A goodbye is worth a second (§10.1).
			pd.Stop()
			delete(at, "Down")
			r.within("shut down", f.sees(at), 0, 5*time.Second)

			// Renamed: the old name says goodbye, the new one is announced.
			po.Stop()
			delete(at, "Old")
			pn := start(renamed, "New", renamed.Links[0].V4.String())
			at["New"] = renamed.Links[0].V4.String()
			r.within("renamed", f.sees(at), 0, 5*time.Second)

			// Another address: announced at once, the old one flushed in a second.
			moved.Run("ip", "addr", "del", moved.Links[0].V4.String()+"/24", "dev", "eth0")
			moved.Run("ip", "addr", "add", "10.99.1.200/24", "dev", "eth0")
			at["Moved"] = "10.99.1.200"
			r.within("moved", f.sees(at), 0, 10*time.Second)

			// Killed: its user finds it dead.
			pk.Kill()
			if err := dnssd.Reconfirm(dnssd.Multicast(f.engine), dnssd.Service{Instance: dnssd.Instance{Name: "Killed", Service: "_http._tcp", Domain: "local"}}); err != nil {
				t.Fatal(err)
			}
			delete(at, "Killed")
			r.within("found dead", f.sees(at), 0, 15*time.Second)

			// Nobody took another's copy for a rival.
			for _, p := range []*lab.Process{pd, pk, po, pn, pm} {
				if strings.Contains(p.Stdout(), `"renamed"`) {
					t.Errorf("%s%s", p.Stdout(), p.Stderr())
				}
			}
		})
	}
}
