package unicast_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// looks browses until ctx ends and returns how each look ended, with its time in seconds.
func (n *network) looks(ctx context.Context, src dnssd.Source, b dnssd.Browser) []string {
	var out []string
	b.Source, b.Domain = src, "example.com"
	b.Looked = func(l dnssd.Look) {
		s := fmt.Sprintf("%.0fs %s %d", time.Since(n.start).Seconds(), l.Type, l.Found)
		var code *unicast.RcodeError
		switch {
		case errors.As(l.Err, &code):
			s += " rcode " + dns.RcodeToString[int(code.Rcode)]
		case errors.Is(l.Err, dnssd.ErrNoName):
			s += " NXDOMAIN"
		case errors.Is(l.Err, dnssd.ErrNoData):
			s += " NODATA"
		case errors.Is(l.Err, dnssd.ErrTimeout):
			s += " timeout"
		case l.Err != nil:
			s += " " + l.Err.Error()
		case l.Source != first.Addr():
			s += " from " + l.Source.String()
		}
		if empty := errors.Is(l.Err, dnssd.ErrNone); empty != (l.Err != nil && l.Source.IsValid()) {
			s += " which makes no sense"
		}
		out = append(out, s)
	}
	for _, err := range b.Events(ctx) {
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return out
}

// Who has a browser running learns of each end of a look, and can have the
// question asked again without waiting for the pause after a failure.
func TestLooksTellWhyAndWhenItWorksAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first)
		code := 0
		s.hook = func(_ string, _, a *dns.Msg) *dns.Msg {
			if code != 0 {
				a.Rcode, a.Answer = code, nil
			}
			return a
		}
		src := n.source()
		at := func(after time.Duration, f func()) {
			time.AfterFunc(after, func() {
				n.change(f)
				if err := dnssd.Requery(src, "_HTTP._tcp", "", "example.com"); err != nil {
					t.Error(err)
				}
			})
		}
		at(2*time.Second, func() { s.set(t, "x._http._tcp A 192.0.2.1") })
		at(4*time.Second, func() { code = dns.RcodeRefused })
		at(6*time.Second, func() { code = dns.RcodeServerFailure })
		at(8*time.Second, func() { code, s.down = 0, true })
		time.AfterFunc(19*time.Second, func() { // no question is under way then
			n.change(func() { code, s.down = dns.RcodeServerFailure, false })
		})
		at(40*time.Second, func() {
			code = 0
			s.set(t, "_http._tcp 600 PTR Web._http._tcp", "_http._tcp 600 PTR Two._http._tcp")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		got := n.looks(ctx, src, dnssd.Browser{Type: "_http._tcp"})
		// Between these it tries again by itself.
		var changes []string
		for _, l := range got {
			_, what, _ := strings.Cut(l, " ")
			if i := len(changes); i == 0 || !strings.HasSuffix(changes[i-1], what) {
				changes = append(changes, l)
			}
		}
		changes = slices.DeleteFunc(changes, func(s string) bool { return strings.HasSuffix(s, "SERVFAIL") && s[0] != '6' })
		for i := range changes { // the last question may have been asked just before
			changes[i] = strings.Replace(changes[i], "41s", "40s", 1)
		}
		same(t, "looks", changes, []string{
			"0s _http._tcp 0 NXDOMAIN", "2s _http._tcp 0 NODATA", "4s _http._tcp 0 rcode REFUSED", "6s _http._tcp 0 rcode SERVFAIL",
			"11s _http._tcp 0 timeout", "40s _http._tcp 2",
		})
	})
}

func TestRequeryAsksOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, "_http._tcp 600 PTR Web._http._tcp")
		src := n.source()
		requery := func() {
			if err := dnssd.Requery(src, "_http._tcp", "", "example.com"); err != nil {
				t.Error(err)
			}
		}
		requery() // nobody asks yet
		for i := range 1000 {
			time.AfterFunc(time.Duration(i)*5*time.Millisecond, requery)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got := n.looks(ctx, src, dnssd.Browser{Type: "_http._tcp"})
		if len(got) != 6 || slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, " 1") }) {
			t.Errorf("asked in 5 s: %q, want at first and then each second", got)
		}
	})
	if err := dnssd.Requery(dnssd.Multicast(nil), "_http._tcp", "", ""); !errors.Is(err, dnssd.ErrNoRequery) {
		t.Errorf("by multicast: %v", err)
	}
	if err := dnssd.Requery(&unicast.Source{}, "http", "", "example.com"); err == nil {
		t.Error("no error for what is no type")
	}
}

// What is known already ends a look at once; so does a domain of multicast DNS.
func TestCachedAnswersEndALook(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, "_http._tcp 600 PTR Web._http._tcp")
		src := n.source()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if got := n.looks(ctx, src, dnssd.Browser{Type: "_http._tcp"}); len(got) != 1 || !strings.HasSuffix(got[0], " 1") {
				t.Errorf("looks: %q", got)
			}
			cancel()
		}
		for _, err := range (&dnssd.Browser{Source: src, Type: "_http._tcp", Once: true, Looked: func(l dnssd.Look) {
			if !errors.Is(l.Err, dnssd.ErrNone) {
				t.Errorf("in .local: %v", l.Err)
			}
		}}).Events(t.Context()) {
			if err != nil {
				t.Error(err)
			}
		}
		same(t, "queries", n.queries(), []string{"_http._tcp.example.com PTR udp 53"})
	})
}

// tinyDNS is the rdata of the TXT record in AMWA INFO-004's TinyDNS example: its
// first string is said to have 22 of its 27 bytes.
const tinyDNS = "166170695f7665723d76312e302c76312e312c76312e322c76312e330e6170695f70726f746f3d68747470057072693d30"

// broken returns the line of a zone for a TXT record of raw bytes.
func broken(t *testing.T, name, data string) dns.RR {
	t.Helper()
	if _, err := hex.DecodeString(data); err != nil {
		t.Fatal(err)
	}
	h := dns.RR_Header{Name: name + ".example.com.", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60, Rdlength: uint16(len(data) / 2)}
	return &dns.RFC3597{Hdr: h, Rdata: data}
}

func TestBrokenTXTIsToldAndCostsNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("A", "www", "60", "192.0.2.1")[:2], web("B", "www", "60", "192.0.2.1")...)...)
		s.zone = append(s.zone, broken(t, "A._http._tcp", tinyDNS))
		want := map[string]string{
			"A": "dnssd: TXT record: string 2 is said to have 44 bytes, 25 are left", "B": "<nil>",
		}
		b := resolve
		b.Source, b.Domain, b.Once = n.source(), "example.com", true
		for ev, err := range b.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Op != dnssd.Add {
				continue
			}
			if got := fmt.Sprint(ev.Broken); got != want[ev.Name] || !ev.Resolved || (len(ev.TXT) > 0) != (ev.Name == "B") || ev.TXTs != nil {
				t.Errorf("%s: broken: %v, %q %q, resolved: %v", ev.Name, got, ev.TXT, ev.TXTs, ev.Resolved)
			}
			delete(want, ev.Name)
		}
		if len(want) > 0 || time.Since(n.start) > time.Second {
			t.Errorf("after %v, missing %v", time.Since(n.start), want)
		}
		if q := n.queries(); len(q) != 7 {
			t.Errorf("queries: %q", q)
		}
	})
}

// An answer's records change places; what is told doesn't.
func TestSeveralTXTRecordsComeInOneOrder(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("A", "www", "60", "192.0.2.1"), `A._http._tcp 60 TXT "pri=5"`)...)
		s.zone = append(s.zone, broken(t, "A._http._tcp", "05"))
		src := n.source()
		events := 0
		for range 20 {
			n.change(func() { slices.Reverse(s.zone) })
			got, err := dnssd.Resolve(t.Context(), src, dnssd.Instance{Name: "A", Service: "_http._tcp", Domain: "example.com"})
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			if x := fmt.Sprintf("%q %q %v", got[0].TXT, got[0].TXTs, got[0].Broken); x != `["path=/" "ro"] [["path=/" "ro"] ["pri=5"]] dnssd: TXT record: string 1 is said to have 5 bytes, 0 are left` {
				t.Fatal(x)
			}
			time.Sleep(time.Minute)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		s.hook = func(_ string, _, a *dns.Msg) *dns.Msg {
			slices.Reverse(a.Answer)
			return a
		}
		b := resolve
		b.Source, b.Domain = src, "example.com"
		for ev := range b.Events(ctx) {
			if ev.Op != dnssd.Settled {
				events++
			}
		}
		if events != 1 {
			t.Errorf("%d events for one service that stays the same", events)
		}
	})
}
