package unicast_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// primary is a zone that takes updates (RFC 2136 §3).
type primary struct {
	t       *testing.T
	net     *network
	server  *server
	updates int
	lease   uint32 // granted, in seconds; 0: the option is not known
	noOPT   bool   // an OPT record is a mistake
	secret  string // of the TSIG key; "" takes anything
	// refuses says which names the policy doesn't let be changed.
	refuses func(name string) bool
	// lose is how many answers get lost; the updates are carried out.
	lose int
	// after is called after each update.
	after  func()
	skewed bool // its clock differs too much
	// spoil changes a signed answer.
	spoil func([]byte) []byte
}

func (n *network) primary(at netip.AddrPort, records ...string) *primary {
	p := &primary{t: n.t, net: n, server: n.serve(at, records...)}
	p.server.update = p.update
	return p
}

func (p *primary) update(raw []byte, q *dns.Msg) []byte {
	p.updates++
	var a dns.Msg
	a.SetReply(q)
	sig := q.IsTsig()
	var verified error
	if p.secret != "" {
		verified = errors.New("not signed")
		if sig != nil {
			verified = dns.TsigVerify(raw, p.secret, "", false)
		}
	}
	switch {
	case verified != nil, p.skewed:
		a.Rcode = dns.RcodeNotAuth
	case p.noOPT && q.IsEdns0() != nil:
		a.Rcode = dns.RcodeFormatError
	case p.refuses != nil && slices.ContainsFunc(q.Ns, func(rr dns.RR) bool { return p.refuses(rr.Header().Name) }):
		a.Rcode = dns.RcodeRefused
	default:
		a.Rcode = p.carryOut(q)
		if p.after != nil {
			p.after()
		}
	}
	if p.lose > 0 {
		p.lose--
		return nil
	}
	if opt := q.IsEdns0(); opt != nil && p.lease > 0 {
		a.SetEdns0(1232, false)
		a.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_UL{Code: dns.EDNS0UL, Lease: p.lease}}
	}
	if p.skewed {
		a.Answer, a.Rcode = nil, dns.RcodeNotAuth
		a.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, int64(sig.TimeSigned))
		mistake := a.IsTsig()
		mistake.Error, mistake.OtherLen, mistake.OtherData = dns.RcodeBadTime, 6, fmt.Sprintf("%012x", time.Now().Add(10*time.Minute).Unix())
		out, _, err := dns.TsigGenerate(&a, p.secret, sig.MAC, false)
		if err != nil {
			p.t.Error(err)
		}
		return out
	}
	if p.secret != "" && verified == nil {
		a.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, time.Now().Unix())
		out, _, err := dns.TsigGenerate(&a, p.secret, sig.MAC, false)
		if err != nil {
			p.t.Error(err)
		}
		if p.spoil != nil {
			out = p.spoil(out)
		}
		return out
	}
	out, err := a.Pack()
	if err != nil {
		p.t.Error(err)
	}
	return out
}

func (p *primary) carryOut(q *dns.Msg) int {
	of := func(name string, typ uint16) []dns.RR {
		var out []dns.RR
		for _, rr := range p.server.zone {
			if h := rr.Header(); strings.EqualFold(h.Name, name) && (typ == dns.TypeANY || h.Rrtype == typ) {
				out = append(out, rr)
			}
		}
		return out
	}
	want := map[dns.Question]int{}
	for _, r := range q.Answer {
		h := r.Header()
		switch h.Class {
		case dns.ClassNONE:
			if len(of(h.Name, h.Rrtype)) == 0 {
				continue
			}
			if h.Rrtype == dns.TypeANY {
				return dns.RcodeYXDomain
			}
			return dns.RcodeYXRrset
		case dns.ClassINET:
			want[dns.Question{Name: h.Name, Qtype: h.Rrtype}]++
			if !slices.ContainsFunc(of(h.Name, h.Rrtype), func(o dns.RR) bool { return dns.IsDuplicate(o, r) }) {
				return dns.RcodeNXRrset
			}
		}
	}
	for k, count := range want {
		if len(of(k.Name, k.Qtype)) != count {
			return dns.RcodeNXRrset
		}
	}
	for _, r := range q.Ns {
		h := *r.Header()
		r = dns.Copy(r)
		r.Header().Class = dns.ClassINET
		p.server.zone = slices.DeleteFunc(p.server.zone, func(o dns.RR) bool {
			return strings.EqualFold(o.Header().Name, h.Name) && o.Header().Rrtype == h.Rrtype && (h.Class == dns.ClassANY || dns.IsDuplicate(o, r))
		})
		if h.Class == dns.ClassINET {
			p.server.zone = append(p.server.zone, r)
		}
	}
	return 0
}

// has returns the zone as text, in order, without lease records.
func (p *primary) has() []string {
	return slices.DeleteFunc(p.all(), func(s string) bool { return strings.HasPrefix(s, "_lease.") })
}

// leases returns the lease records.
func (p *primary) leases() []string {
	return slices.DeleteFunc(p.all(), func(s string) bool { return !strings.HasPrefix(s, "_lease.") })
}

func (p *primary) all() []string {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	var out []string
	for _, rr := range p.server.zone {
		out = append(out, strings.Join(strings.Fields(strings.ReplaceAll(rr.String(), "example.com.", "@")), " "))
	}
	slices.Sort(out)
	return out
}

// registering is a Registrar that runs.
type registering struct {
	*unicast.Registrar
	net    *network
	states []unicast.RegistrationEvent
	stop   context.CancelFunc
	ended  chan error
}

func (n *network) register(change func(*unicast.Registrar)) *registering {
	r := &registering{net: n, ended: make(chan error, 1)}
	r.Registrar = &unicast.Registrar{
		Servers:  unicast.Servers{Addrs: []netip.AddrPort{first}, Dial: n.dial},
		Instance: dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "example.com"},
		Offer: unicast.Offer{
			Subtypes: []string{"_admin"}, Port: 80, TXT: []string{"path=/"}, Host: "www.example.com", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		},
	}
	r.Changed = func(ev unicast.RegistrationEvent) { n.change(func() { r.states = append(r.states, ev) }) }
	if change != nil {
		change(r.Registrar)
	}
	ctx, stop := context.WithCancel(n.t.Context())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	return r
}

func (n *network) end(r *registering) {
	n.t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		n.t.Errorf("Run: %v", err)
	}
}

func (r *registering) last() unicast.RegistrationEvent {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	return r.states[len(r.states)-1]
}

func TestRegistrarPutsRecordsThereAndTakesThemBack(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "other 60 A 192.0.2.9", "_services._dns-sd._udp 60 PTR _ipp._tcp")
		before := p.has()
		r := n.register(nil)
		time.Sleep(time.Second)
		if ev := r.last(); ev.State != unicast.Registered || ev.Zone != "example.com" || ev.Err != nil {
			t.Errorf("state %+v", ev)
		}
		same(t, "zone", p.has(), []string{
			"Web._http._tcp.@ 120 IN SRV 0 0 80 www.@", `Web._http._tcp.@ 120 IN TXT "path=/"`,
			"_admin._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@", "_http._tcp.@ 120 IN PTR Web._http._tcp.@",
			"_services._dns-sd._udp.@ 120 IN PTR _http._tcp.@", "_services._dns-sd._udp.@ 60 IN PTR _ipp._tcp.@",
			"other.@ 60 IN A 192.0.2.9", "www.@ 120 IN A 192.0.2.1",
		})
		n.end(r)
		same(t, "zone at the end", p.has(), before)
		if r.last().State != unicast.Withdrawn || r.last().Err != nil {
			t.Errorf("state %+v", r.last())
		}
	})
}

func TestATypeThatOthersHaveStaysListed(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "_http._tcp 60 PTR Other._http._tcp", "_services._dns-sd._udp 60 PTR _http._tcp")
		r := n.register(nil)
		time.Sleep(time.Second)
		n.end(r)
		if got := p.has(); len(got) != 2 || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "_services.") }) {
			t.Errorf("zone at the end %q, want the other instance and the type", got)
		}
	})
}

func TestRegistrarTakesNobodysName(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "Web._http._tcp 60 SRV 0 0 80 other", "www 60 A 192.0.2.99", `Web\ \(2\)._http._tcp 60 TXT "x"`)
		r := n.register(nil)
		time.Sleep(time.Second)
		if ev := r.last(); ev.State != unicast.Registered || ev.Instance.Name != "Web (3)" || ev.Host != "www-2.example.com" {
			t.Errorf("state %+v", ev)
		}
		renamed := 0
		n.change(func() {
			for _, ev := range r.states {
				if ev.State == unicast.Renamed {
					renamed++
				}
			}
		})
		if renamed != 3 {
			t.Errorf("told of %d renames, want 3", renamed)
		}
		n.end(r)
		same(t, "zone at the end", p.has(), []string{`Web._http._tcp.@ 60 IN SRV 0 0 80 other.@`, `Web\ \(2\)._http._tcp.@ 60 IN TXT "x"`, "www.@ 60 IN A 192.0.2.99"})
	})
}

func TestRegistrarTakesOverWhatItLeftBehind(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "Web._http._tcp 60 SRV 0 0 80 www", `Web._http._tcp 60 TXT "old"`, "www 60 A 192.0.2.1")
		r := n.register(nil)
		time.Sleep(time.Second)
		if ev := r.last(); ev.State != unicast.Registered || ev.Instance.Name != "Web" || slices.ContainsFunc(p.has(), func(s string) bool { return strings.Contains(s, "old") }) {
			t.Errorf("state %+v, zone %q", ev, p.has())
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestRegistrationIsLookedAfterByItsLease(t *testing.T) {
	for lease, every := range map[uint32]time.Duration{0: 30 * time.Minute, 100: 80 * time.Second, 1: 24 * time.Second} {
		bubble(t, func(t *testing.T, n *network) {
			p := n.primary(first)
			p.lease = lease
			r := n.register(nil)
			time.Sleep(time.Second)
			if next := r.last().Next.Sub(n.start); next != every {
				t.Errorf("lease %d: looked after at %v, want %v", lease, next, every)
			}
			n.change(func() { p.server.zone, p.updates = nil, 0 }) // the server lost it
			time.Sleep(every)
			if len(p.has()) != 6 || r.last().State != unicast.Registered || r.last().Instance.Name != "Web" {
				t.Errorf("lease %d: not registered again: %+v, %q", lease, r.last(), p.has())
			}
			n.end(r)
		})
	}
}

// A server lost all, and the answer to each update that puts something back is lost, too: it
// is sent again, and finds its own work there.
func TestNobodyTakesHisOwnWorkForAnothers(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(nil)
		time.Sleep(time.Second)
		lost := 0
		n.change(func() {
			p.server.zone = nil
			most := 0
			p.after = func() {
				if len(p.server.zone) > most {
					most = len(p.server.zone)
					p.lose++
					lost++
				}
			}
		})
		time.Sleep(time.Hour)
		var times int
		n.change(func() { times = lost })
		if times < 2 || len(p.has()) != 6 || r.last().State != unicast.Registered || r.last().Instance.Name != "Web" {
			t.Errorf("%d answers lost: %+v, %q", times, r.last(), p.has())
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestLeaseOptionIsLeftOutWhereItIsAMistake(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.primary(first).noOPT = true
		r := n.register(nil)
		time.Sleep(time.Second)
		if r.last().State != unicast.Registered {
			t.Errorf("state %+v", r.last())
		}
		n.end(r)
	})
}

func TestRegistrarWaitsForAServerThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		p.server.down = true
		r := n.register(nil)
		time.Sleep(time.Minute)
		if ev := r.last(); !errors.Is(ev.Err, unicast.ErrNoAnswer) && ev.State != unicast.Registering || unicast.Refused(ev.Err) {
			t.Errorf("state %+v", ev)
		}
		n.change(func() { p.server.down = false })
		time.Sleep(2 * time.Minute)
		if r.last().State != unicast.Registered {
			t.Errorf("state %+v", r.last())
		}
		n.change(func() { p.server.down = true })
		start := time.Now()
		n.end(r)
		if d := time.Since(start); d > 6*time.Second || r.last().State != unicast.Withdrawn || r.last().Err == nil {
			t.Errorf("ended after %v: %+v", d, r.last())
		}
	})
}

// A server may carry out an update after one that came later. What is under way is waited for
// before it is taken back, and nothing more is begun.
func TestUpdateThatIsUnderWayIsWaitedFor(t *testing.T) {
	for after := 50 * time.Millisecond; after < 600*time.Millisecond; after += 100 * time.Millisecond {
		bubble(t, func(t *testing.T, n *network) {
			p := n.primary(first)
			p.server.busy = 280 * time.Millisecond
			r := n.register(nil)
			time.Sleep(after)
			var updates, most int
			n.change(func() {
				p.server.busy = 0
				updates, most = p.updates, len(p.server.zone)
				p.after = func() {
					if p.updates > updates+1 && len(p.server.zone) > most {
						t.Errorf("stopped after %v: an update is begun: %v", after, p.server.zone)
					}
					most = len(p.server.zone)
				}
			})
			n.end(r)
			time.Sleep(time.Second) // the server has dealt with all
			if got := p.all(); len(got) > 0 {
				t.Errorf("stopped after %v: %q is left", after, got)
			}
		})
	}
}

// Whenever it is stopped, nothing is left behind.
func TestRegistrarLeavesNothingWhenStoppedHalfway(t *testing.T) {
	for after := 50 * time.Millisecond; after < 600*time.Millisecond; after += 100 * time.Millisecond {
		bubble(t, func(t *testing.T, n *network) {
			p := n.primary(first)
			p.server.delay = 100 * time.Millisecond
			r := n.register(nil)
			time.Sleep(after)
			n.end(r)
			time.Sleep(time.Second) // the server has dealt with all
			if got := p.all(); len(got) > 0 {
				t.Errorf("stopped after %v: %q is left", after, got)
			}
		})
	}
}

func TestUpdatesAreSignedAndTheirAnswersChecked(t *testing.T) {
	const good = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="
	secret, _ := base64.StdEncoding.DecodeString(good)
	for name, c := range map[string]struct {
		secret  []byte
		spoil   func([]byte) []byte
		refused bool
		err     string
	}{
		"the right key":    {secret, nil, false, ""},
		"a wrong key":      {[]byte("wrong"), nil, true, "says NOTAUTH"},
		"a changed answer": {secret, func(b []byte) []byte { b[3] ^= 0x80; return b }, false, "signature"},
		"a name that is taken, without": {secret, func(b []byte) []byte {
			return append(b[:3:3], dns.RcodeYXDomain, 0, 1, 0, 0, 0, 0, 0, 0, 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 6, 0, 1)
		}, false, "not signed"},
		"an answer without": {secret, func(b []byte) []byte {
			return append(b[:10:10], 0, 0, 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 6, 0, 1)
		}, false, "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
				p := n.primary(first)
				p.secret, p.spoil = good, c.spoil
				r := n.register(func(r *unicast.Registrar) {
					r.Key = &unicast.Key{Name: "\x02up\x07example\x03com\x00", Algorithm: "hmac-sha256", Secret: c.secret}
				})
				time.Sleep(time.Second)
				ev := r.last()
				if c.err == "" && ev.State != unicast.Registered || c.err != "" && (ev.Err == nil || !strings.Contains(ev.Err.Error(), c.err)) || unicast.Refused(ev.Err) != c.refused {
					t.Errorf("state %+v", ev)
				}
				n.end(r)
			})
		})
	}
}

// A clock that is wrong when a machine starts is put right by itself.
func TestRegistrarWaitsUntilTheClocksAgree(t *testing.T) {
	const text = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="
	secret, _ := base64.StdEncoding.DecodeString(text)
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		p.secret, p.skewed = text, true
		r := n.register(func(r *unicast.Registrar) {
			r.Key = &unicast.Key{Name: "\x02up\x07example\x03com\x00", Algorithm: "hmac-sha256", Secret: secret}
		})
		time.Sleep(time.Second)
		if ev := r.last(); !unicast.Skewed(ev.Err) || !unicast.Refused(ev.Err) || !strings.Contains(ev.Err.Error(), "BADTIME: its clock and this machine's differ") {
			t.Errorf("state %+v", ev)
		}
		n.change(func() { p.skewed = false })
		time.Sleep(time.Minute)
		if ev := r.last(); ev.State != unicast.Registered || ev.LeaseErr != nil {
			t.Errorf("state %+v", ev)
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestHostInAnotherZoneIsAnUpdateOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		zones := map[string]bool{}
		p.server.update = func(raw []byte, q *dns.Msg) []byte {
			zones[q.Question[0].Name] = true
			return p.update(raw, q)
		}
		p.server.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			if strings.HasSuffix(q.Question[0].Name, "hosts.example.com.") {
				rr, _ := dns.NewRR("hosts.example.com. 60 SOA ns. host. 1 60 60 60 20")
				a.Ns = []dns.RR{rr}
			}
			return a
		}
		r := n.register(func(r *unicast.Registrar) { r.Host = "www.hosts.example.com" })
		time.Sleep(time.Second)
		if r.last().State != unicast.Registered {
			t.Errorf("%+v", r.last())
		}
		n.end(r)
		if !zones["example.com."] || !zones["hosts.example.com."] || len(zones) != 2 {
			t.Errorf("zones %v", zones)
		}
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestRegistrarRefusesWhatCanNotBe(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		for want, change := range map[string]func(*unicast.Registrar){
			"unicast: register: no server":                                                                         func(r *unicast.Registrar) { r.Addrs = nil },
			"unicast: register: an instance has a name and a domain":                                               func(r *unicast.Registrar) { r.Instance.Domain = "" },
			"unicast: register: Web._http._tcp.local belongs to multicast DNS (RFC 6762 §3)":                       func(r *unicast.Registrar) { r.Instance.Domain = "local" },
			"unicast: register: www.local belongs to multicast DNS (RFC 6762 §3)":                                  func(r *unicast.Registrar) { r.Host = "www.local" },
			`unicast: register: host: dnswire: name "" is empty`:                                                   func(r *unicast.Registrar) { r.Host = "" },
			"unicast: register: dnswire: TXT of Web._http._tcp.example.com: string 1 has 300 bytes, more than 255": func(r *unicast.Registrar) { r.TXT = []string{strings.Repeat("x", 300)} },
		} {
			r := n.register(change)
			if err := <-r.ended; err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			r.stop()
		}
	})
}
