package passive_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/passive"
)

// fingerprint is that of the one message in a UDP payload.
func fingerprint(t *testing.T, src, dst uint16, b []byte) string {
	t.Helper()
	got := "none"
	d := passive.NewDecoder(passive.Options{})
	d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, client, netip.MustParseAddr("224.0.0.251"), 255, 1, 0, nil, udp(src, dst, b)))), func(f *passive.Fact) {
		if got != "none" && got != f.Fingerprint {
			t.Errorf("two fingerprints of one packet: %q, %q", got, f.Fingerprint)
		}
		got = f.Fingerprint
	})
	return got
}

// TestNamesInFingerprints: what is particular to one network is left out.
func TestNamesInFingerprints(t *testing.T) {
	for asked, want := range map[string]string{
		"_ipp._tcp.local":                          "_ipp._tcp.local",
		"_IPP._TCP.Local":                          "_ipp._tcp.local",
		`Lab Printer v1\.2._ipp._tcp.local`:        "*._ipp._tcp.local",
		"_universal._sub._ipp._tcp.local":          "_universal._sub._ipp._tcp.local",
		"9561082d._sub._apple-mobdev2._tcp.local":  "*._sub._apple-mobdev2._tcp.local",
		"_services._dns-sd._udp.local":             "_services._dns-sd._udp.local",
		"lb._dns-sd._udp.0.0.168.192.in-addr.arpa": "lb._dns-sd._udp.*.in-addr.arpa",
		"5.0.0.10.in-addr.arpa":                    "*.in-addr.arpa",
		"1.0.0.0.8.e.f.ip6.arpa":                   "*.ip6.arpa",
		"nas.local":                                "*.local",
		"a.b.local":                                "*.local",
		"local":                                    "local",
		"www.example.org":                          "*",
		".":                                        "*",
		`_a\,b\;c._tcp.local`:                      "_a%2cb%3bc._tcp.local",
	} {
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{}, 0)
		b.Question(name(t, asked), dnswire.TypePTR, dnswire.ClassIN, false)
		if got := fingerprint(t, 5353, 5353, b.Bytes()); got != "mdns1:q="+want+"/PTR/QM" {
			t.Errorf("%s: %s, want %s", asked, got, want)
		}
	}
}

// TestQuestionFingerprint: questions in order, once each; how they were asked.
func TestQuestionFingerprint(t *testing.T) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: 9}, 0)
	b.Question(name(t, "_ipp._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, true)
	b.Question(name(t, "nas.local"), dnswire.TypeA, dnswire.ClassIN, false)
	b.Question(name(t, "tv.local"), dnswire.TypeA, dnswire.ClassIN, false)
	b.Question(name(t, "_http._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, true)
	b.Answer(dnswire.NewPTR(name(t, "_ipp._tcp.local"), name(t, "x._ipp._tcp.local"), 4000))
	b.Additional(dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: 1440, Data: "\x00\x04\x00\x00"})
	want := "mdns1:q=_ipp._tcp.local/PTR/QU,*.local/A/QM,_http._tcp.local/PTR/QU"
	if got := fingerprint(t, 5353, 5353, b.Bytes()); got != want+";id;edns=1440;opt=4" {
		t.Error(got)
	}
	if got := fingerprint(t, 40000, 5353, b.Bytes()); got != want+";legacy;id;edns=1440;opt=4" {
		t.Error(got)
	}
}

// TestAnnouncementFingerprint: types, TTLs, TXT keys and models; not too long.
func TestAnnouncementFingerprint(t *testing.T) {
	instance := name(t, "tv._googlecast._tcp.local")
	txt, err := dnswire.NewTXT(instance, 4500, "id=0123456789", "md=Example, TV+", "fn=Living room", "", "=x", "rs")
	if err != nil {
		t.Fatal(err)
	}
	got := fingerprint(t, 5353, 5353, announcement(t, dnswire.NewPTR(name(t, "_googlecast._tcp.local"), instance, 120), txt, dnswire.NewAddr(name(t, "tv.local"), client, 120)))
	if want := "mdns1:a=_googlecast._tcp.local/PTR/120,*._googlecast._tcp.local/TXT/4500{id+md=Example%2c TV%2b+fn+rs},*.local/A/120"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	var many []dnswire.RR
	for i := range 200 {
		many = append(many, dnswire.NewAddr(name(t, "x.local"), client, uint32(i)))
	}
	if got = fingerprint(t, 5353, 5353, announcement(t, many...)); !strings.HasSuffix(got, "*.local/A/31,+") {
		t.Error(got)
	}
}

// TestResolverFingerprint: flags and EDNS options of a unicast question.
func TestResolverFingerprint(t *testing.T) {
	for want, build := range map[string]func(b *dnswire.Builder){
		"dns1:rd=0": func(b *dnswire.Builder) {
			b.Reset(nil, dnswire.Header{}, 0)
			b.Question(name(t, "Johns-iPhone.lab"), dnswire.TypeA, dnswire.ClassIN, false)
		},
		"dns1:rd=1;ad=1;cd=1;edns=1232;do=1;opt=10;mixed=1": func(b *dnswire.Builder) {
			b.Reset(nil, dnswire.Header{RecursionDesired: true, AuthenticData: true, CheckingDisabled: true}, 0)
			b.Question(name(t, "wWw.ExAmPlE.oRg"), dnswire.TypeA, dnswire.ClassIN, false)
			b.Additional(dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: 1232, TTL: 0x8000, Data: "\x00\x0a\x00\x01x"})
		},
	} {
		var b dnswire.Builder
		build(&b)
		if got := fingerprint(t, 40000, 53, b.Bytes()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := fingerprint(t, 40000, 5355, query(t, "wpad")); got != "llmnr1:q" {
		t.Error(got)
	}
}
