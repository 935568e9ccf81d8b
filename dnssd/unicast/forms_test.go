package unicast_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
)

// However a name is written, with a dot at its end or without, in whatever
// case, there is one form of it; and a server that writes it in another case the next time, as
// BIND does to compress it, changes nothing.
func TestNamesHaveOneForm(t *testing.T) {
	records := []string{
		`_http._tcp 60 PTR B\195\188ro\ v1\.2\ \\x._http._tcp`,
		`B\195\188ro\ v1\.2\ \\x._HTTP._tcp 60 SRV 0 0 80 CTL.Example.com.`,
		`b\195\188ro\ V1\.2\ \\X._http._tcp 60 TXT "a=b"`,
		`ctl 60 A 192.0.2.1`, `Ctl 60 AAAA 2001:db8::1`,
	}
	for _, domain := range []string{"example.com", "example.com.", "Example.COM"} {
		bubble(t, func(t *testing.T, n *network) {
			s := n.serve(first, records...)
			turn := 0
			s.hook = func(_ string, _, a *dns.Msg) *dns.Msg {
				if turn++; turn > 5 {
					for i, rr := range a.Answer {
						if srv, ok := rr.(*dns.SRV); ok {
							srv = dns.Copy(srv).(*dns.SRV)
							srv.Target = "ctl.EXAMPLE.com."
							a.Answer[i] = srv
						}
					}
				}
				return a
			}
			var got, looked []string
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			b := dnssd.Browser{Source: n.source(), Domain: domain, All: true, Type: "_HTTP._tcp", Resolve: true, Looked: func(l dnssd.Look) {
				looked = append(looked, l.Type+" "+l.Domain)
			}}
			for ev, err := range b.Events(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				if ev.Op != dnssd.Settled {
					got = append(got, fmt.Sprintf("%s %q %s %s %s %v %q", ev.Op, ev.Name, ev.Instance.Service, ev.Domain, ev.Host, ev.Addresses, ev.TXT))
				}
			}
			same(t, domain, got, []string{`add "Büro v1.2 \\x" _http._tcp example.com CTL.Example.com [192.0.2.1 2001:db8::1] ["a=b"]`})
			want := "_HTTP._tcp example.com"
			if domain == "Example.COM" {
				want = "_HTTP._tcp Example.COM"
			}
			same(t, "looks", slices.Compact(looked), []string{want})
		})
	}
}
