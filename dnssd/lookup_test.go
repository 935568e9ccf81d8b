package dnssd_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

func addresses(a []dnssd.Answer) string {
	var out []string
	for _, x := range a {
		out = append(out, fmt.Sprintf("%s %s %s", x.Host, x.Addr, x.Interface))
	}
	return strings.Join(out, ", ")
}

func TestLookupHost(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := []dnswire.RR{addr("nas.local", "10.0.0.9"), addr("nas.local", "fe80::9")}
		r.respond(r.wire, "nas4", "10.0.0.9/16", false, records...)
		r.respond(r.wire, "nas6", "fe80::9/64", false, records...)
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "192.168.7.1/24")
		r.respond(other, "b", "192.168.7.9/24", true, addr("nas.local", "192.168.7.9"))
		for _, host := range []string{"nas.local", "NAS.local.", "nas"} {
			got, err := dnssd.LookupHost(r.t.Context(), r.source, host)
			want := "nas.local 10.0.0.9 eth0, nas.local fe80::9 eth0, nas.local 192.168.7.9 eth1"
			if err != nil || addresses(got) != want {
				t.Errorf("%s: %q, %v; want %q", host, addresses(got), err, want)
			}
		}
		if d := time.Since(r.start); d > time.Second {
			t.Errorf("three look-ups took %v, want less than a second", d)
		}
	})
}

func TestLookupOfAHostWithoutAddresses(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			x.send([]dnswire.RR{unique(dnswire.NewNSEC(name("nas.local"), name("nas.local"), 120, dnswire.TypeHINFO))}, nil)
		}()
		_, err := dnssd.LookupHost(r.t.Context(), r.source, "nas.local")
		if !errors.Is(err, dnssd.ErrNone) || err.Error() != "dnssd: look up nas.local: its owner says that there is none" {
			t.Errorf("error %v, want %v", err, dnssd.ErrNone)
		}
		if d := time.Since(r.start); d > time.Second {
			t.Errorf("took %v, want less than a second", d)
		}
	})
}

func TestLookupOfAHostWithOneFamilyDeniesTheOther(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", false, addr("nas.local", "10.0.0.9"),
			unique(dnswire.NewNSEC(name("nas.local"), name("nas.local"), 120, dnswire.TypeA)))
		if got, err := dnssd.LookupHost(r.t.Context(), r.source, "nas.local"); err != nil || len(got) != 1 {
			t.Errorf("%v, %v; want one address", got, err)
		}
	})
}

func TestLookupNobodyAnswers(t *testing.T) {
	inBubble(t, func(r *rig) {
		_, err := dnssd.LookupHost(r.t.Context(), r.source, "nas.local")
		if !errors.Is(err, dnssd.ErrTimeout) {
			t.Errorf("error %v, want %v", err, dnssd.ErrTimeout)
		}
		if d := time.Since(r.start); d != 4*time.Second {
			t.Errorf("took %v, want 4 s", d)
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		if _, err := dnssd.LookupHost(ctx, r.source, "nas.local"); !errors.Is(err, dnssd.ErrTimeout) {
			t.Errorf("with a deadline: error %v, want %v", err, dnssd.ErrTimeout)
		}
		cancelled, stop := context.WithCancel(r.t.Context())
		stop()
		if _, err := dnssd.LookupHost(cancelled, r.source, "nas.local"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: error %v, want %v", err, context.Canceled)
		}
	})
}

func TestNoFailOverToOrFromLocal(t *testing.T) {
	inBubble(t, func(r *rig) {
		for host, want := range map[string]string{
			"a.b":       "dnssd: a.b is not in .local: multicast DNS has only names there",
			"local":     "dnssd: local is not in .local: multicast DNS has only names there",
			"nas.local": "",
			"a..b":      `dnssd: host: dnswire: name "a..b" has an empty label`,
		} {
			r.capture.Take()
			_, err := dnssd.LookupHost(r.t.Context(), r.source, host)
			asked := len(r.capture.Take()) > 0
			if want != "" && (fmt.Sprint(err) != want || asked) {
				t.Errorf("%s: error %v, asked %v; want %q and silence", host, err, asked, want)
			}
			if want == "" && !asked {
				t.Errorf("%s: not asked", host)
			}
		}
	})
}

func TestLookupAddr(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", false, unique(ptr("9.0.0.10.in-addr.arpa", "nas.local")))
		got, err := dnssd.LookupAddr(r.t.Context(), r.source, netip.MustParseAddr("10.0.0.9"))
		if err != nil || addresses(got) != "nas.local 10.0.0.9 eth0" {
			t.Errorf("%q, %v", addresses(got), err)
		}
	})
}

func TestReverseName(t *testing.T) {
	for a, want := range map[string]string{
		"10.0.0.9":        "9.0.0.10.in-addr.arpa",
		"::ffff:10.0.0.9": "9.0.0.10.in-addr.arpa",
		"fe80::1%eth0":    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa",
	} {
		got, err := dnssd.ReverseName(netip.MustParseAddr(a))
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", a, got, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, extra := range []bool{true, false} {
		inBubble(t, func(r *rig) {
			r.respond(r.wire, "nas", "10.0.0.9/16", extra, web(`My\.NAS`, "nas.local", 80, "10.0.0.9")...)
			got, err := dnssd.Resolve(r.t.Context(), r.source, dnssd.Instance{Name: "My.NAS", Service: "_http._tcp"})
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v; want one service", got, err)
			}
			same(t, "service", []string{plain(dnssd.Event{Op: dnssd.Add, Service: got[0]})},
				[]string{`add My\.NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`})
			if d := time.Since(r.start); d > 700*time.Millisecond {
				t.Errorf("took %v, want less than 0.7 s", d)
			}
		})
	}
}

func TestResolveOnTwoLinks(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "192.168.7.1/24")
		r.respond(r.wire, "a", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		r.respond(other, "b", "192.168.7.9/24", true, web("NAS", "nas.local", 8080, "192.168.7.9")...)
		got, err := dnssd.Resolve(r.t.Context(), r.source, dnssd.Instance{Name: "NAS", Service: "_http._tcp"})
		if err != nil || len(got) != 2 || got[0].Port != 80 || got[1].Port != 8080 {
			t.Errorf("%v, %v; want both services", got, err)
		}
	})
}

func TestResolveWhatIsNotThere(t *testing.T) {
	inBubble(t, func(r *rig) {
		in := dnssd.Instance{Name: "NAS", Service: "_http._tcp"}
		if _, err := dnssd.Resolve(r.t.Context(), r.source, in); !errors.Is(err, dnssd.ErrTimeout) {
			t.Errorf("nobody: %v, want %v", err, dnssd.ErrTimeout)
		}
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			n := name("NAS._http._tcp.local")
			x.send([]dnswire.RR{unique(dnswire.NewNSEC(n, n, 120, dnswire.TypeHINFO))}, nil)
		}()
		if _, err := dnssd.Resolve(r.t.Context(), r.source, in); !errors.Is(err, dnssd.ErrNone) {
			t.Errorf("denied: %v, want %v", err, dnssd.ErrNone)
		}
		if _, err := dnssd.Resolve(r.t.Context(), r.source, dnssd.Instance{Service: "_http._tcp"}); fmt.Sprint(err) != "dnssd: resolve: no instance name" {
			t.Errorf("no name: %v", err)
		}
	})
}

func TestHostsHearsAddressesWithoutAsking(t *testing.T) {
	inBubble(t, func(r *rig) {
		hosts := &dnssd.Hosts{}
		second := r.net.Host("listener")
		second.Attach(r.wire, "eth0", "10.0.0.3/16")
		e := r.newEngine(second)
		e.Observers = append(e.Observers, hosts)
		r.run(e)
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false, web("NAS", "nas.local", 80, "10.0.0.9")...)
		x.send(x.records, nil)
		time.Sleep(121 * time.Second)
		got, err := hosts.Next(r.t.Context())
		if err != nil || len(got) != 2 || got[0].Op != dnssd.Add || got[1].Op != dnssd.Remove || got[0].Host != "nas.local" || got[0].Addr.String() != "10.0.0.9" {
			t.Errorf("%+v, %v; want the address to come and go", got, err)
		}
	})
}

func TestLookupWaitsForTheAddressesThatAreMissing(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false, addr("nas.local", "fe80::9"))
		go func() {
			time.Sleep(time.Second) // the A record was sent to everybody just before
			x.become([]dnswire.RR{addr("nas.local", "10.0.0.9")})
		}()
		got, err := dnssd.LookupHost(r.t.Context(), r.source, "nas.local")
		if err != nil || addresses(got) != "nas.local 10.0.0.9 eth0, nas.local fe80::9 eth0" {
			t.Errorf("%q, %v; want both addresses", addresses(got), err)
		}
		if d := time.Since(r.start); d > 1500*time.Millisecond {
			t.Errorf("took %v, want at most 1.5 s", d)
		}
	})
}
