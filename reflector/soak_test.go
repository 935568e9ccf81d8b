package reflector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/reflector"
)

// F2, F7: two reflectors on the same pair of links, hosts that come and go on both,
// packets that are lost, late and out of order: nobody takes another name because of
// a copy, the links stay quiet, and in the end everybody has found everybody. Half
// an hour; under LANFOLK_SOAK a day.
func TestNobodyRenamesBesideTwoReflectors(t *testing.T) {
	span := 30 * time.Minute
	if os.Getenv("LANFOLK_SOAK") != "" {
		span = 24 * time.Hour
	}
	const hosts = 6 // half of them on each wire
	inBubble(t, func(r *rig) {
		for _, w := range []*wire{r.a, r.b} {
			w.SetConditions(lantest.Conditions{Latency: time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.01})
		}
		r.run()
		second := r.net.Host("router2")
		second.Attach(r.a.Wire, "a", "10.0.1.2/24", "fe80::a2/64")
		second.Attach(r.b.Wire, "b", "10.0.2.2/24", "fe80::b2/64")
		r.runEngine(engineOf(second, &reflector.Reflector{}))

		var services []*mdns.Published
		var browsers []*browser
		var nics []*lantest.NIC
		ctx, cancel := context.WithCancel(r.t.Context())
		r.t.Cleanup(cancel)
		for i := range hosts {
			w, n := r.a, 1
			if i%2 == 1 {
				w, n = r.b, 2
			}
			h := r.net.Host(fmt.Sprintf("host%d", i))
			nics = append(nics, h.Attach(w.Wire, "eth0", fmt.Sprintf("10.0.%d.%d/24", n, 10+i)))
			e := engineOf(h, nil)
			r.runEngine(e)
			services = append(services, publish(e, fmt.Sprintf("host%d", i), fmt.Sprintf("Door %d", i)))
			b := &browser{found: map[dnswire.Name]bool{}}
			browsers = append(browsers, b)
			go b.run(ctx, e)
		}

		start, packets := time.Now(), 0
		for time.Since(start) < span {
			nic := nics[rand.IntN(hosts)]
			nic.SetUp(false)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Second)
			nic.SetUp(true)
			time.Sleep(5 * time.Minute)
			packets += len(r.a.packets()) + len(r.b.packets())
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for i, s := range services {
			if want := fmt.Sprintf("Door %d", i); s.Label() != want {
				r.t.Errorf("%q has become %q", want, s.Label())
			}
			// An engine's questions aren't answered by itself. It finds itself only if one
			// reflector lost what it said, and handed back the other's copy since it
			// hadn't heard of that for a minute.
			if n := browsers[i].count(); n != hosts-1 && n != hosts {
				r.t.Errorf("host %d has found %d of %d others", i, n, hosts-1)
			}
		}
		perHour := float64(packets) / time.Since(start).Hours()
		r.t.Logf("%.0f packets an hour on both links", perHour)
		if perHour > 12*400 {
			r.t.Errorf("%.0f packets an hour for %d hosts", perHour, hosts)
		}
	})
}
