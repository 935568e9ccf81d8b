package unicast_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// mortal gives a Registrar a plug that can be pulled: afterwards it neither says nor
// hears anything, as if it had been killed.
func mortal(r *unicast.Registrar) (kill func()) {
	var dead atomic.Bool
	dial := r.Dial
	r.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dead.Load() {
			return nil, errors.New("dead")
		}
		c, err := dial(ctx, network, address)
		return mortalConn{c, &dead}, err
	}
	return func() { dead.Store(true) }
}

type mortalConn struct {
	net.Conn
	dead *atomic.Bool
}

func (c mortalConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return 0, errors.New("dead")
	}
	return c.Conn.Write(b)
}

// short gives a Registrar a lease of a minute and a grace of ten seconds; it
// sweeps twice a minute.
func short(r *unicast.Registrar) {
	r.Lease, r.Grace, r.Sweep = time.Minute, 10*time.Second, 30*time.Second
}

func another(name, host, addr string) func(*unicast.Registrar) {
	return func(r *unicast.Registrar) {
		short(r)
		r.Instance.Name, r.Host, r.Addresses = name, host+".example.com", []netip.Addr{netip.MustParseAddr(addr)}
	}
}

func holds(records []string, prefix string) bool {
	return slices.ContainsFunc(records, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

func TestLeaseIsWrittenBesideTheNamesAndRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(short)
		time.Sleep(time.Second)
		until := n.start.Add(time.Minute).UTC().Format(time.RFC3339)
		same(t, "leases", p.leases(), []string{
			`_lease.Web._http._tcp.@ 120 IN TXT "lease=1" "until=` + until + `" "subtype=_admin"`,
			`_lease.www.@ 120 IN TXT "lease=1" "until=` + until + `" "for=Web._http._tcp.example.com"`,
		})
		if ev := r.last(); !ev.Expires.Equal(n.start.Add(time.Minute)) || ev.LeaseErr != nil {
			t.Errorf("state %+v", ev)
		}
		time.Sleep(30 * time.Second)
		until = n.start.Add(90 * time.Second).UTC().Format(time.RFC3339)
		if got := p.leases(); len(got) != 2 || !strings.Contains(got[0], until) || !strings.Contains(got[1], until) {
			t.Errorf("leases %q, want them until %s", got, until)
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestServerThatGrantsALeaseGetsNoLeaseRecord(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		p.lease = 100
		r := n.register(nil)
		time.Sleep(time.Second)
		if got := p.all(); len(got) != 6 || holds(got, "_lease.") {
			t.Errorf("zone %q", got)
		}
		if ev := r.last(); ev.Expires.Sub(n.start) != 100*time.Second {
			t.Errorf("state %+v", ev)
		}
		n.end(r)
	})
}

func TestTheDeadAreRemovedByTheLiving(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		var kill func()
		dies := n.register(func(r *unicast.Registrar) { short(r); kill = mortal(r) })
		time.Sleep(10 * time.Second)
		lives := n.register(another("Other", "other", "192.0.2.2"))
		time.Sleep(15 * time.Second)
		kill() // at 25 s; its lease holds until 60 s, with grace until 70 s
		time.Sleep(44 * time.Second)
		if got := p.all(); !holds(got, "Web.") || !holds(got, "www.") {
			t.Errorf("removed before the lease ran out: %q", got)
		}
		time.Sleep(47 * time.Second) // at most three quarters of a minute between two sweeps
		got := p.all()
		if len(got) != 8 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "Web") || strings.HasPrefix(s, "www") }) {
			t.Errorf("left of the dead, or lost of the living: %q", got)
		}
		n.end(lives)
		same(t, "zone at the end", p.all(), nil)
		n.end(dies)
	})
}

// For hours two Registrars sweep, and a third one renews late again and again
// because its server is away.
func TestTheLivingAreNotRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		all := []*registering{n.register(short), n.register(another("Other", "other", "192.0.2.2")), n.register(another("Third", "third", "192.0.2.3"))}
		time.Sleep(time.Second)
		want := p.has()
		n.change(func() {
			p.after = func() {
				var missing []string
				for _, s := range []string{"Web.", "Other.", "Third."} {
					count := 0
					for _, rr := range p.server.zone {
						if strings.HasPrefix(rr.Header().Name, s) {
							count++
						}
					}
					if count != 2 {
						missing = append(missing, fmt.Sprint(s, count))
					}
				}
				if len(missing) > 0 {
					t.Errorf("after %v: %q", time.Since(n.start), missing)
				}
			}
		})
		for range 3 * 30 {
			time.Sleep(90 * time.Second)
			n.change(func() { p.server.down = true })
			time.Sleep(20 * time.Second)
			n.change(func() { p.server.down = false })
			time.Sleep(10 * time.Second)
		}
		same(t, "zone after hours", p.has(), want)
		n.change(func() { p.after = nil })
		for _, r := range all {
			n.end(r)
		}
		same(t, "zone at the end", p.all(), nil)
	})
}

// Many who sweep at the same moment remove the dead once, and nothing else; one that
// comes back between the look and the removal stays.
func TestSweepsAtTheSameTimeDoNoHarm(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 80 www", `Web._http._tcp 120 TXT "a"`,
			`_lease.Web._http._tcp 120 TXT "lease=1" "until=1999-12-31T00:00:00Z" "subtype=_admin"`, "_admin._sub._http._tcp 120 PTR Web._http._tcp",
			"www 120 A 192.0.2.1", `_lease.www 120 TXT "lease=1" "until=1999-12-31T00:00:00Z" "for=Web._http._tcp.example.com"`,
			// These are nobody's to remove.
			"_http._tcp 120 PTR Static._http._tcp", "Static._http._tcp 120 SRV 0 0 80 www2", `Static._http._tcp 120 TXT ""`,
			"_http._tcp 120 PTR Odd._http._tcp", "Odd._http._tcp 120 SRV 0 0 80 www2", `_lease.Odd._http._tcp 120 TXT "until=1999-12-31T00:00:00Z"`,
			`_lease.Odd._http._tcp 120 TXT "lease=1" "until=1999-12-31T00:00:00Z"`,
		)
		p.server.delay = 100 * time.Millisecond
		var all []*registering
		for i := range 5 {
			all = append(all, n.register(another(fmt.Sprint("S", i), fmt.Sprint("s", i), fmt.Sprint("192.0.2.1", i))))
		}
		time.Sleep(2 * time.Minute)
		got := p.all()
		if slices.ContainsFunc(got, func(s string) bool {
			return strings.Contains(s, "Web") || strings.HasPrefix(s, "www.") || strings.HasPrefix(s, "_lease.www.")
		}) {
			t.Errorf("left of the dead: %q", got)
		}
		if want := 5*7 + 1 + 3 + 4; len(got) != want {
			t.Errorf("%d records, want %d: %q", len(got), want, got)
		}
		for _, r := range all {
			n.end(r)
		}
		if got := p.all(); len(got) != 8 {
			t.Errorf("zone at the end: %q", got)
		}
	})
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		back := "_lease.Web._http._tcp 120 TXT \"lease=1\" \"until=2999-12-31T00:00:00Z\""
		p.server.set(t, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 80 www", `Web._http._tcp 120 TXT "a"`, strings.ReplaceAll(back, "2999", "1999"))
		r := n.register(func(r *unicast.Registrar) {
			another("Other", "other", "192.0.2.2")(r)
			dial := r.Dial
			r.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				n.change(func() {
					asked := slices.ContainsFunc(n.asked, func(s string) bool { return strings.HasPrefix(s, "Web._http._tcp.example.com SRV") })
					if asked && p.after == nil {
						p.after = func() {}
						p.server.set(t, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 80 www", `Web._http._tcp 120 TXT "a"`, back)
					}
				})
				return dial(ctx, network, address)
			}
		})
		time.Sleep(time.Minute)
		if got := p.all(); !holds(got, "Web.") || !holds(got, "_lease.Web.") {
			t.Errorf("removed though it was renewed: %q", got)
		}
		n.end(r)
	})
}

func TestServiceStaysRegisteredWhereNoLeaseRecordIsAllowed(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		p.refuses = func(name string) bool { return strings.HasPrefix(name, "_lease.") }
		var log bytes.Buffer
		r := n.register(func(r *unicast.Registrar) { short(r); r.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		time.Sleep(150 * time.Minute) // it is tried again each hour
		if ev := r.last(); ev.State != unicast.Registered || !unicast.Refused(ev.LeaseErr) || !ev.Expires.IsZero() {
			t.Errorf("state %+v", ev)
		}
		if len(p.all()) != 6 {
			t.Errorf("zone %q", p.all())
		}
		if got := strings.Count(log.String(), "takes no lease record"); got != 2 { // the instance's and the host's
			t.Errorf("said %d times: %s", got, log.String())
		}
		n.change(func() { p.refuses = nil })
		time.Sleep(time.Hour)
		if ev := r.last(); ev.LeaseErr != nil || len(p.leases()) != 2 {
			t.Errorf("not tried again: %+v %q", ev, p.leases())
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

// One whose key may not touch others' names leaves them alone, and says it once.
func TestSweepThatIsNotAllowedIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 80 www", `_lease.Web._http._tcp 120 TXT "lease=1" "until=1999-12-31T00:00:00Z"`)
		p.refuses = func(name string) bool { return strings.HasPrefix(name, "Web.") }
		var log bytes.Buffer
		r := n.register(func(r *unicast.Registrar) {
			another("Other", "other", "192.0.2.2")(r)
			r.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		time.Sleep(time.Hour)
		if r.last().State != unicast.Registered || !holds(p.all(), "Web.") || strings.Count(log.String(), "doesn't let us remove") != 1 {
			t.Errorf("state %+v, log %s", r.last(), log.String())
		}
		n.end(r)
	})
}

func TestNameOfTheDeadIsFreeAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 8888 www", `Web._http._tcp 120 TXT "old"`,
			`_lease.Web._http._tcp 120 TXT "lease=1" "until=1999-12-31T00:00:00Z" "subtype=_old"`, "_old._sub._http._tcp 120 PTR Web._http._tcp",
			"www 120 A 192.0.2.99", `_lease.www 120 TXT "lease=1" "until=1999-12-31T00:00:00Z" "for=Web._http._tcp.example.com"`)
		r := n.register(nil)
		time.Sleep(time.Second)
		if ev := r.last(); ev.State != unicast.Registered || ev.Instance.Name != "Web" || ev.Host != "www.example.com" || len(p.has()) != 6 {
			t.Errorf("state %+v, zone %q", ev, p.has())
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

// After a crash and with other subtypes, nothing leads to the instance by the old ones.
func TestSubtypesFromBeforeACrashGo(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		var kill func()
		dies := n.register(func(r *unicast.Registrar) { kill = mortal(r) })
		time.Sleep(time.Second)
		kill()
		r := n.register(func(r *unicast.Registrar) { r.Subtypes = []string{"_new"} })
		time.Sleep(time.Second)
		if got := p.all(); holds(got, "_admin._sub") || !holds(got, "_new._sub") || len(p.leases()) != 2 {
			t.Errorf("zone %q", got)
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
		n.end(dies)
	})
}

// Instances that share a host each keep its addresses.
func TestAddressesGoWithTheLastInstance(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		var kill func()
		dies := n.register(func(r *unicast.Registrar) { short(r); kill = mortal(r) })
		time.Sleep(time.Second)
		second := n.register(another("Second", "www", "192.0.2.1"))
		time.Sleep(time.Second)
		third := n.register(another("Third", "www", "192.0.2.1"))
		time.Sleep(time.Second)
		if ev := third.last(); ev.Host != "www.example.com" {
			t.Errorf("state %+v", ev)
		}
		n.end(third)
		if !holds(p.has(), "www.") {
			t.Errorf("zone after the first end %q", p.all())
		}
		kill()
		time.Sleep(3 * time.Minute)
		if got := p.has(); holds(got, "Web.") || !holds(got, "www.") {
			t.Errorf("zone after a death %q", got)
		}
		n.end(second)
		same(t, "zone at the end", p.all(), nil)
		n.end(dies)
	})
}

// Two that want the same name on the same host are told apart by the names that they got.
func TestSameNameOnTheSameHost(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		one := n.register(short)
		time.Sleep(time.Second)
		var kill func()
		two := n.register(func(r *unicast.Registrar) { short(r); r.Port = 81; kill = mortal(r) })
		time.Sleep(time.Second)
		three := n.register(func(r *unicast.Registrar) { short(r); r.Port = 82 })
		time.Sleep(time.Minute)
		var holders []string
		for _, l := range p.leases() {
			if _, holder, ok := strings.Cut(l, `"for=`); ok {
				holders = append(holders, holder)
			}
		}
		slices.Sort(holders)
		if want := []string{`Web (2)._http._tcp.example.com"`, `Web (3)._http._tcp.example.com"`, `Web._http._tcp.example.com"`}; !slices.Equal(holders, want) {
			t.Errorf("the host is held by %q, want %q", holders, want)
		}
		n.end(three)
		kill()
		time.Sleep(3 * time.Minute)
		if got := p.all(); !holds(got, "www.") || !holds(got, "Web.") || len(got) != 8 {
			t.Errorf("zone %q", got)
		}
		n.end(one)
		same(t, "zone at the end", p.all(), nil)
		n.end(two)
	})
}

// What dies while it moves to another host leaves none of both.
func TestBothHostsOfTheDeadGo(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		var kill func()
		dies := n.register(func(r *unicast.Registrar) { short(r); kill = mortal(r) })
		lives := n.register(another("Other", "other", "192.0.2.2"))
		time.Sleep(time.Second)
		n.change(func() {
			updates := 0
			p.after = func() {
				if updates++; updates == 2 { // the new host is there, and the instance leads to it
					kill()
				}
			}
		})
		dies.update(t, func(o *unicast.Offer) { o.Host = "new.example.com" })
		time.Sleep(time.Second)
		if got := p.has(); !holds(got, "www.") || !holds(got, "new.") || !slices.Contains(got, "Web._http._tcp.@ 120 IN SRV 0 0 80 new.@") {
			t.Errorf("zone at its death %q", got)
		}
		time.Sleep(3 * time.Minute)
		if got := p.all(); len(got) != 8 {
			t.Errorf("zone %q", got)
		}
		n.end(lives)
		same(t, "zone at the end", p.all(), nil)
		n.end(dies)
	})
}

// A host whose lease was renewed after its instance's is not forgotten.
func TestHostThatOutlivesItsInstance(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		at := func(d time.Duration) string { return n.start.Add(d).UTC().Format(time.RFC3339) }
		p := n.primary(first, "_http._tcp 120 PTR Web._http._tcp", "Web._http._tcp 120 SRV 0 0 80 www", `Web._http._tcp 120 TXT "a"`,
			`_lease.Web._http._tcp 120 TXT "lease=1" "until=`+at(time.Minute)+`"`,
			"www 120 A 192.0.2.1", `_lease.www 120 TXT "lease=1" "until=`+at(5*time.Minute)+`" "for=Web._http._tcp.example.com"`)
		r := n.register(another("Other", "other", "192.0.2.2"))
		time.Sleep(5 * time.Minute)
		if got := p.all(); !holds(got, "www.") || !holds(got, "Web.") {
			t.Errorf("zone before %q", got)
		}
		time.Sleep(2 * time.Minute)
		if got := p.all(); len(got) != 8 {
			t.Errorf("zone after %q", got)
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}
