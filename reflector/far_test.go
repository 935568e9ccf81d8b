package reflector_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/reflector"
)

// far is a rig with a service on wire a and a browser on wire b.
type far struct {
	*rig
	nic     *lantest.NIC // of the host with the service
	service *mdns.Published
	desk    *mdns.Engine // on b
	browser *browser
}

// runProxy makes a reflector a proxy, which runs until the test ends.
func (r *rig) runProxy(refl *reflector.Reflector, e *mdns.Engine) {
	p := &reflector.Proxy{}
	refl.Proxy = p
	e.Observers = append(e.Observers, p)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, e) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// inFar runs f for plain reflecting and for a proxy, each with one reflector and
// with two on the same links.
func inFar(t *testing.T, f func(*far)) {
	for _, c := range []struct {
		name              string
		reflectors, proxy int
	}{{"plain", 1, 0}, {"two", 2, 0}, {"proxy", 1, 1}, {"two proxies", 2, 2}, {"proxy beside plain", 2, 1}} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				if c.proxy > 0 {
					r.runProxy(r.refl, r.engine)
				}
				r.run()
				if c.reflectors > 1 {
					h, refl := r.net.Host("router2"), &reflector.Reflector{}
					h.Attach(r.a.Wire, "a", "10.0.1.2/24", "fe80::a2/64")
					h.Attach(r.b.Wire, "b", "10.0.2.2/24", "fe80::b2/64")
					e := engineOf(h, refl)
					if c.proxy > 1 {
						r.runProxy(refl, e)
					}
					r.runEngine(e)
				}
				x := &far{rig: r, browser: &browser{found: map[dnswire.Name]bool{}}}
				cam := r.net.Host("cam")
				x.nic = cam.Attach(r.a.Wire, "eth0", "10.0.1.9/24")
				e := engineOf(cam, nil)
				r.runEngine(e)
				x.service = publish(e, "cam", "Door")
				desk := r.net.Host("desk")
				desk.Attach(r.b.Wire, "eth0", "10.0.2.9/24")
				x.desk = engineOf(desk, nil)
				r.runEngine(x.desk)
				ctx, cancel := context.WithCancel(r.t.Context())
				r.t.Cleanup(cancel)
				go x.browser.run(ctx, x.desk)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if x.browser.count() != 1 {
					r.t.Fatal("the service isn't found")
				}
				f(x)
			})
		})
	}
}

// gone returns how long it takes until the browser has lost the service's host.
func (x *far) gone(most time.Duration) time.Duration {
	x.t.Helper()
	start := time.Now()
	for time.Since(start) < most {
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if x.browser.count() == 0 {
			return time.Since(start)
		}
	}
	x.t.Errorf("still found after %v", most)
	return most
}

// F8: a host that says goodbye is lost on the other side within the second that
// a goodbye takes.
func TestWithdrawnServiceIsGoneOnTheOtherSide(t *testing.T) {
	inFar(t, func(x *far) {
		x.service.Withdraw()
		if d := x.gone(5 * time.Second); d > 2500*time.Millisecond {
			x.t.Errorf("lost after %v", d)
		}
	})
}

// F8: a host that dies without a word is lost within 15 s of somebody's doubt on the
// other side, and not only there where the doubt arose.
func TestKilledHostIsGoneOnTheOtherSideAfterReconfirmation(t *testing.T) {
	inFar(t, func(x *far) {
		time.Sleep(30 * time.Second)
		x.nic.SetUp(false)
		x.desk.Reconfirm(mdns.Zone{}, dnswire.NewSRV(name("Door._http._tcp.local"), dnswire.SRV{Port: 80, Target: name("cam.local")}, 0))
		if d := x.gone(20 * time.Second); d > 15*time.Second {
			x.t.Errorf("lost after %v", d)
		}
	})
}

// What two reflectors hand to each other and back doesn't live longer than its
// owner said, and is quiet when nothing happens.
func TestDeadRecordDoesNotLiveOnBetweenReflectors(t *testing.T) {
	inFar(t, func(x *far) {
		x.nic.SetUp(false)
		x.gone(121 * time.Second)
		time.Sleep(75 * time.Minute) // as long as the PTR record may live
		x.a.packets()
		x.b.packets()
		time.Sleep(time.Hour)
		if n := len(x.a.packets()) + len(x.b.packets()); n > 200 {
			x.t.Errorf("%d packets in an hour about a host that is long dead", n)
		}
	})
}

// F7: of a packet that got lost on its way to us, another reflector's copy isn't
// handed back to the link that it came from.
func TestCopyOfWhatWasLostIsNotHandedBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for _, host := range []string{"one.local", "two.local", "three.local"} {
			r.a.say("10.0.1.5:5353", response(addr(host, "10.0.1.5", 120)))
			r.b.say("10.0.2.2:5353", response(addr(host, "10.0.1.5", 120)))
			time.Sleep(time.Second)
		}
		r.a.sent()
		r.b.say("10.0.2.2:5353", response(addr("lost.local", "10.0.1.5", 120)))
		r.want(r.a)
		r.b.say("10.0.2.9:5353", response(addr("nas.local", "10.0.2.9", 120)))
		r.want(r.a, "10.0.1.1:5353 > 224.0.0.251:5353 nas.local A 10.0.2.9 120 flush")
		time.Sleep(time.Minute)
		r.b.say("10.0.2.2:5353", response(addr("lost.local", "10.0.1.5", 120)))
		r.want(r.a, "10.0.1.1:5353 > 224.0.0.251:5353 lost.local A 10.0.1.5 120 flush")
	})
}

// Hosts on both links that have the same shared record are hosts, though the one
// says what the other said.
func TestHostsWithTheSameSharedRecordAreNoReflectors(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		shared := response(dnswire.NewPTR(name("_services._dns-sd._udp.local"), name("_http._tcp.local"), 4500))
		for range 5 {
			r.a.say("10.0.1.5:5353", shared)
			r.b.say("10.0.2.9:5353", shared)
			time.Sleep(2 * time.Second)
		}
		r.a.sent()
		r.b.say("10.0.2.9:5353", response(addr("nas.local", "10.0.2.9", 120)))
		r.want(r.a, "10.0.1.1:5353 > 224.0.0.251:5353 nas.local A 10.0.2.9 120 flush")
	})
}
