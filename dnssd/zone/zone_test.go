package zone_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
)

// start is when the tests' zones begin: their first serial number is 1000000.
var start = time.Unix(1_000_000, 0)

func newZone(t testing.TB, change ...func(*zone.Config)) *zone.Zone {
	t.Helper()
	c := zone.Config{
		Domain:      "Lan.Example.com.",
		Nameservers: []dnssd.Host{{Name: "ns", Addresses: addrs("192.0.2.1", "2001:db8::1")}},
		Contact:     "dns.admin@example.com",
	}
	for _, f := range change {
		f(&c)
	}
	z, err := zone.New(c, start)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func laser() zone.Service {
	return zone.Service{
		Name: "Laser 2.0 Büro", Type: "_ipp._tcp", Subtypes: []string{"_universal"}, TTL: 10 * time.Second,
		Targets: []dnssd.Target{{Host: "laser", Port: 631, Addresses: addrs("192.0.2.7", "2001:db8::7")}},
		TXT:     []dnssd.TXT{{"txtvers=1", "rp=ipp/print"}},
	}
}

func web(i int) zone.Service {
	return zone.Service{
		Name: fmt.Sprintf("Page number %d", i), Type: "_http._tcp", TTL: 10 * time.Second,
		Targets: []dnssd.Target{{Host: fmt.Sprintf("host%d", i), Port: 80, Addresses: addrs(fmt.Sprintf("198.51.%d.%d", i/250, i%250+1))}},
	}
}

func put(t testing.TB, z *zone.Zone, s zone.Service) {
	t.Helper()
	if err := z.Put(start, s.Type+" "+s.Name, s); err != nil {
		t.Fatal(err)
	}
}

// ask asks by TCP unless size says how much UDP carries.
func ask(t testing.TB, z *zone.Zone, name string, typ uint16, udp ...uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	for _, size := range udp {
		if size > 0 {
			m.SetEdns0(size, false)
		}
	}
	out, _ := answer(t, &zone.Answerer{Zones: []*zone.Zone{z}}, m, len(udp) == 0)
	return out
}

func answer(t testing.TB, a *zone.Answerer, m *dns.Msg, tcp bool) (*dns.Msg, zone.Verdict) {
	t.Helper()
	q, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	b, v := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.99:4000"), TCP: tcp, Time: start})
	if b == nil {
		return nil, v
	}
	out := new(dns.Msg)
	if err := out.Unpack(b); err != nil {
		t.Fatalf("%v in the answer to %v", err, m.Question)
	}
	if out.Id != m.Id || !out.Response {
		t.Fatalf("not an answer: %v", out)
	}
	return out, v
}

// lines are records without names' spacing, sorted.
func lines(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

const instance = `Laser\ 2\.0\ B\195\188ro._ipp._tcp.lan.example.com.`

func TestAnswers(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	for _, c := range []struct {
		name       string
		typ        uint16
		answer     string
		additional string
	}{
		{"lan.example.com", dns.TypeSOA, "lan.example.com. 3600 IN SOA ns.lan.example.com. dns\\.admin.example.com. 1000000 3600 300 86400 10", ""},
		{"lan.example.com", dns.TypeNS, "lan.example.com. 3600 IN NS ns.lan.example.com.",
			"ns.lan.example.com. 3600 IN A 192.0.2.1\nns.lan.example.com. 3600 IN AAAA 2001:db8::1"},
		{"b._dns-sd._udp.lan.example.com", dns.TypePTR, "b._dns-sd._udp.lan.example.com. 3600 IN PTR lan.example.com.", ""},
		{"db._dns-sd._udp.lan.example.com", dns.TypePTR, "db._dns-sd._udp.lan.example.com. 3600 IN PTR lan.example.com.", ""},
		{"lb._dns-sd._udp.lan.example.com", dns.TypePTR, "lb._dns-sd._udp.lan.example.com. 3600 IN PTR lan.example.com.", ""},
		{"_services._dns-sd._udp.lan.example.com", dns.TypePTR, "_services._dns-sd._udp.lan.example.com. 10 IN PTR _ipp._tcp.lan.example.com.", ""},
		{"_ipp._tcp.lan.example.com", dns.TypePTR, "_ipp._tcp.lan.example.com. 10 IN PTR " + instance,
			instance + " 10 IN SRV 0 0 631 laser.lan.example.com.\n" + instance + " 10 IN TXT \"txtvers=1\" \"rp=ipp/print\"\n" +
				"laser.lan.example.com. 10 IN A 192.0.2.7\nlaser.lan.example.com. 10 IN AAAA 2001:db8::7"},
		{"_universal._sub._ipp._tcp.lan.example.com", dns.TypePTR, "_universal._sub._ipp._tcp.lan.example.com. 10 IN PTR " + instance, "*"},
		{instance, dns.TypeSRV, instance + " 10 IN SRV 0 0 631 laser.lan.example.com.",
			"laser.lan.example.com. 10 IN A 192.0.2.7\nlaser.lan.example.com. 10 IN AAAA 2001:db8::7"},
		{instance, dns.TypeTXT, instance + " 10 IN TXT \"txtvers=1\" \"rp=ipp/print\"", ""},
		{strings.ToUpper(instance[:8]) + instance[8:], dns.TypeTXT, strings.ToUpper(instance[:8]) + instance[8:] + " 10 IN TXT \"txtvers=1\" \"rp=ipp/print\"", ""},
		{"LASER.lan.EXAMPLE.com", dns.TypeA, "LASER.lan.EXAMPLE.com. 10 IN A 192.0.2.7", ""},
	} {
		got := ask(t, z, c.name, c.typ)
		if got.Rcode != dns.RcodeSuccess || !got.Authoritative || got.RecursionAvailable || len(got.Ns) > 0 {
			t.Errorf("%s: %v", c.name, got)
		}
		if s := lines(got.Answer); !strings.EqualFold(s, c.answer) {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.name, dns.TypeToString[c.typ], s, c.answer)
		}
		if s := lines(got.Extra); s != c.additional && c.additional != "*" {
			t.Errorf("%s %s brings along\n%s\nwant\n%s", c.name, dns.TypeToString[c.typ], s, c.additional)
		}
	}
}

func TestNegativeAnswers(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	for _, c := range []struct {
		name  string
		typ   uint16
		rcode int
	}{
		{"lan.example.com", dns.TypeA, dns.RcodeSuccess},
		{"_tcp.lan.example.com", dns.TypePTR, dns.RcodeSuccess}, // an empty non-terminal
		{"_udp.lan.example.com", dns.TypeANY, dns.RcodeSuccess},
		{"_sub._ipp._tcp.lan.example.com", dns.TypePTR, dns.RcodeSuccess},
		{"laser.lan.example.com", dns.TypeMX, dns.RcodeSuccess},
		{"_http._tcp.lan.example.com", dns.TypePTR, dns.RcodeNameError},
		{"nobody.lan.example.com", dns.TypeA, dns.RcodeNameError},
		{"x.laser.lan.example.com", dns.TypeA, dns.RcodeNameError},
		{"*.lan.example.com", dns.TypeA, dns.RcodeNameError},
	} {
		got := ask(t, z, c.name, c.typ, 0)
		if got.Rcode != c.rcode || !got.Authoritative || len(got.Answer) > 0 ||
			lines(got.Ns) != "lan.example.com. 10 IN SOA ns.lan.example.com. dns\\.admin.example.com. 1000000 3600 300 86400 10" {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	for _, name := range []string{"example.com", "com", ".", "xlan.example.com", "lan.example.org", "lan.example.com.org"} {
		if got := ask(t, z, name, dns.TypeA, 0); got.Rcode != dns.RcodeRefused || got.Authoritative || len(got.Ns) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestChanges(t *testing.T) {
	z := newZone(t)
	changed := z.Changed()
	if n := z.Serial(); n != 1_000_000 {
		t.Fatalf("it begins with %d", n)
	}
	put(t, z, laser())
	select {
	case <-changed:
	default:
		t.Error("nobody is told of a change")
	}
	put(t, z, web(1)) // nobody has seen the serial in between
	if n := z.Serial(); n != 1_000_001 {
		t.Errorf("after changes %d", n)
	}
	changed = z.Changed()
	put(t, z, web(1))
	select {
	case <-changed:
		t.Error("told of a change that is none")
	default:
	}
	if n := z.Serial(); n != 1_000_001 {
		t.Errorf("after no change %d", n)
	}
	moved := web(1)
	moved.Targets[0].Addresses = addrs("192.0.2.200")
	if err := z.Put(start.Add(time.Hour), moved.Type+" "+moved.Name, moved); err != nil {
		t.Fatal(err)
	}
	if n := z.Serial(); n != 1_003_600 {
		t.Errorf("an hour later %d", n)
	}
	if s := lines(ask(t, z, "host1.lan.example.com", dns.TypeA).Answer); s != "host1.lan.example.com. 10 IN A 192.0.2.200" {
		t.Errorf("moved: %s", s)
	}
	// Two services of a host keep its addresses as long as one is there.
	other := laser()
	other.Type, other.TTL = "_printer._tcp", 5*time.Second
	put(t, z, other)
	if got := ask(t, z, "laser.lan.example.com", dns.TypeA); got.Answer[0].Header().Ttl != 5 {
		t.Errorf("the lower TTL isn't taken: %v", got)
	}
	if !z.Remove(start, "_ipp._tcp "+other.Name) || z.Remove(start, "_ipp._tcp "+other.Name) {
		t.Error("removed never or twice")
	}
	if got := ask(t, z, "laser.lan.example.com", dns.TypeA); len(got.Answer) != 1 {
		t.Errorf("the host is gone: %v", got)
	}
	if got := ask(t, z, "_ipp._tcp.lan.example.com", dns.TypePTR); got.Rcode != dns.RcodeNameError {
		t.Errorf("the type is there: %v", got)
	}
	z.Remove(start, "_printer._tcp "+other.Name)
	z.Remove(start, "_http._tcp "+web(1).Name)
	for _, name := range []string{"_tcp", "laser", "_services._dns-sd._udp"} {
		if got := ask(t, z, name+".lan.example.com", dns.TypeA); got.Rcode != dns.RcodeNameError {
			t.Errorf("%s is left: %v", name, got)
		}
	}
	if services, records := z.Size(); services != 0 || records != 7 {
		t.Errorf("%d services and %d records are left", services, records)
	}
}

// A serial never goes back, whatever the clock does and where it ends.
func TestSerialNeverGoesBack(t *testing.T) {
	for _, c := range []struct{ last, now, want uint32 }{
		{0, 1_000_000, 1_000_000},
		{999_000, 1_000_000, 1_000_000},
		{1_000_000, 1_000_000, 1_000_001},
		{1_005_000, 1_000_000, 1_005_001},
		{0xFFFFFFFF, 5, 5},
		{0xFFFFFFFF, 0xFFFFFFF0, 1}, // 0 would be a fine serial, and means here that there is none
	} {
		z, err := zone.New(zone.Config{Domain: "lan.example.com", Serial: c.last}, time.Unix(int64(c.now), 0))
		if err != nil {
			t.Fatal(err)
		}
		if n := z.Serial(); n != c.want {
			t.Errorf("after %d at %d: %d, want %d", c.last, c.now, n, c.want)
		}
	}
}

func TestWhatCantBePublished(t *testing.T) {
	z := newZone(t)
	for want, change := range map[string]func(*zone.Service){
		"want a name and a target":        func(s *zone.Service) { s.Targets = nil },
		"has no address":                  func(s *zone.Service) { s.Targets[0].Addresses = nil },
		"is no address of a host":         func(s *zone.Service) { s.Targets[0].Addresses = addrs("127.0.0.1") },
		"is no service type":              func(s *zone.Service) { s.Type = "ipp" },
		"has a label longer than 63":      func(s *zone.Service) { s.Name = strings.Repeat("x", 64) },
		"host: dnswire: name \"\" is emp": func(s *zone.Service) { s.Targets[0].Host = "" },
		"subtype":                         func(s *zone.Service) { s.Subtypes = []string{""} },
		"has 32896 bytes, more than 32768": func(s *zone.Service) {
			s.TXT = []dnssd.TXT{slices.Repeat(dnssd.TXT{strings.Repeat("x", 127)}, 257)}
		},
		"more than 255": func(s *zone.Service) { s.TXT = []dnssd.TXT{{strings.Repeat("x", 256)}} },
	} {
		s := laser()
		change(&s)
		if err := z.Put(start, "k", s); err == nil || !strings.HasPrefix(err.Error(), "zone: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if services, _ := z.Size(); services != 0 {
		t.Error("something was published after all")
	}
	s := laser()
	s.Targets[0].Host, s.Targets[0].Addresses = "www.example.org", nil // another zone's
	put(t, z, s)
	for want, c := range map[string]zone.Config{
		"the root":               {Domain: "."},
		"belongs to multicast":   {Domain: "x.local"},
		"domain: dnswire":        {Domain: "a..b"},
		"want an e-mail address": {Domain: "x.example", Contact: "me"},
		"name server: dnswire":   {Domain: "x.example", Nameservers: []dnssd.Host{{Name: "a..b"}}},
	} {
		if _, err := zone.New(c, start); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func TestTenThousandServices(t *testing.T) {
	z := newZone(t)
	begin := time.Now()
	for i := range 10_000 {
		put(t, z, web(i))
	}
	if services, records := z.Size(); services != 10_000 || records != 7+1+4*10_000 {
		t.Errorf("%d services, %d records", services, records)
	}
	got := ask(t, z, "_http._tcp.lan.example.com", dns.TypePTR)
	if !got.Truncated || len(got.Answer) < 1000 {
		t.Errorf("by TCP %d answers, truncated %v", len(got.Answer), got.Truncated)
	}
	if got = ask(t, z, "_http._tcp.lan.example.com", dns.TypePTR, 1232); !got.Truncated || len(got.Answer) != 0 {
		t.Errorf("by UDP %d answers, truncated %v", len(got.Answer), got.Truncated)
	}
	for i := range 10_000 {
		z.Remove(start, "_http._tcp "+web(i).Name)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, records := z.Size(); records != 7 {
		t.Errorf("%d records are left", records)
	}
}
