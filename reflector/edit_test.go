package reflector

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// F9: addresses that mean nothing on another link don't cross.
func TestUselessAddressesAreTakenOut(t *testing.T) {
	p := newPassing(t, RulesOptions{})
	p.main.link.Prefixes = append(p.main.link.Prefixes, netip.MustParsePrefix("fd00:1::1/64"))
	for _, c := range []struct{ what, in, want string }{
		{"link-local beside others", "10.0.1.5 169.254.3.4 fe80::5 fd00:1::5 2001:db8::5", "10.0.1.5 fd00:1::5 2001:db8::5"},
		{"a private one that is on none of the link's subnets", "10.0.1.5 172.17.0.1 fd99::1 fd00:1::5", "10.0.1.5 fd00:1::5"},
		{"only such", "172.17.0.1", "172.17.0.1"},
		{"shared address space", "10.0.1.5 100.64.1.1", "10.0.1.5"},
		{"loopback and nothing", "127.0.0.1 :: ::1 10.0.1.5", "10.0.1.5"},
		{"nothing else", "fe80::5", ""},
	} {
		var rrs []dnswire.RR
		for a := range strings.FieldsSeq(c.in) {
			rrs = append(rrs, addrRR("nas.local", a))
		}
		var got []string
		for s := range strings.SplitSeq(p.fromMain(answers(rrs...)), "; ") {
			if f := strings.Fields(s); len(f) > 0 {
				got = append(got, f[len(f)-1])
			}
		}
		wantText(t, c.what, strings.Join(got, " "), c.want)
	}
}

// F9: a service whose host has nothing but such addresses is withheld whole,
// until the host has another.
func TestServiceOfAHostWithoutUsefulAddressesIsWithheld(t *testing.T) {
	p := newPassing(t, RulesOptions{})
	wantText(t, "all of it", p.fromMain(answers(append(printer(), addrRR("nas.local", "169.254.1.2"))...)), "")
	wantText(t, "its PTR record alone", p.fromMain(answers(printer()[0])), "")
	wantText(t, "its goodbye", p.fromMain(answers(goodbye(printer()[0]))), "AN _ipp._tcp.local PTR Laser._ipp._tcp.local")
	wantText(t, "another host", p.fromMain(answers(addrRR("pi.local", "10.0.1.9"))), "AN pi.local A 10.0.1.9")
	wantText(t, "a good address", p.fromMain(answers(addrRR("nas.local", "10.0.1.5"))), "AN nas.local A 10.0.1.5")
	wantText(t, "the PTR record", p.fromMain(answers(printer()[0])), "AN _ipp._tcp.local PTR Laser._ipp._tcp.local")
	if n := p.main.book.numStranded.Load(); n != 0 {
		t.Errorf("%d hosts are still withheld", n)
	}
}

// F10: what stays of an edited message is right, pointers and all, for an
// independent reader, and types that we don't know stay as they were.
func TestEditedMessageIsReadAlikeByAnIndependentReader(t *testing.T) {
	p := newPassing(t, RulesOptions{Deny: []string{"_smb._tcp"}})
	odd := dnswire.RR{Name: mustName("nas.local"), Type: 65280, Class: dnswire.ClassIN, TTL: 7, Data: "\xc0\x0c\x00opaque"}
	opt := dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: 0x1194, TTL: 0x1100, Data: "\x00\x04\x00\x02ab"}
	msg := build(true, nil, append(files(), printer()...), nil, []dnswire.RR{addrRR("nas.local", "10.0.1.5"), nsecRR("nas.local", dnswire.TypeA), odd, opt})
	out := p.pass(p.main, p.guest, "10.0.1.5:5353", msg)
	if len(out) != 1 {
		t.Fatalf("%d messages", len(out))
	}
	var want, got dns.Msg
	if err := want.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	if err := got.Unpack(out[0]); err != nil {
		t.Fatalf("%x: %v", out[0], err)
	}
	denied := func(rr dns.RR) bool { return strings.Contains(rr.String(), "_smb") }
	want.Answer = slices.DeleteFunc(want.Answer, denied)
	if want.String() != got.String() {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want.String())
	}
	if len(out[0]) >= len(msg) {
		t.Errorf("%d bytes of %d: not compressed", len(out[0]), len(msg))
	}
	for _, rr := range got.Answer {
		if rr.Header().Rrtype != dns.TypePTR && rr.Header().Class != dns.ClassINET|1<<15 {
			t.Errorf("the cache-flush bit is lost: %v", rr)
		}
	}
}

// F12: additional records go along, of an edited message, too.
func TestAdditionalRecordsSurvive(t *testing.T) {
	rest := []dnswire.RR{srvRR("Laser._ipp._tcp.local", "nas.local"), txtRR("Laser._ipp._tcp.local", "a=b"), addrRR("nas.local", "10.0.1.5"), nsecRR("nas.local", dnswire.TypeA)}
	const want = `AN _ipp._tcp.local PTR Laser._ipp._tcp.local; AR Laser._ipp._tcp.local SRV 0 0 631 nas.local; AR Laser._ipp._tcp.local TXT "a=b"; AR nas.local A 10.0.1.5; AR nas.local NSEC nas.local A`
	p := newPassing(t, RulesOptions{Deny: []string{"_smb._tcp"}})
	wantText(t, "as it was", p.fromMain(build(true, nil, printer()[:1], nil, rest)), want)
	wantText(t, "edited", p.fromMain(build(true, nil, append(files()[:1:1], printer()[0]), nil, append(files()[1:], rest...))), want)
}

// An NSEC record that can't be read harms nothing (RFC 6762 §6.1).
func TestMalformedRecordIsLeftOutOfAnEditedMessage(t *testing.T) {
	p := newPassing(t, RulesOptions{Deny: []string{"_smb._tcp"}})
	msg := answers(append(printer(), files()...)...)
	whole := bytes.Replace(msg, []byte{0, byte(dnswire.TypeTXT), 0x80, 1}, []byte{0, byte(dnswire.TypeNSEC), 0x80, 1}, 1)
	wantText(t, "edited", p.fromMain(whole), "AN _ipp._tcp.local PTR Laser._ipp._tcp.local; AN Laser._ipp._tcp.local SRV 0 0 631 nas.local; AN Laser._ipp._tcp.local NSEC Laser._ipp._tcp.local TXT SRV")
}

// F13: what is larger than the out link carries is split between records.
func TestLargeMessageIsSplitByRecord(t *testing.T) {
	p := newPassing(t, RulesOptions{})
	p.guest.link.MTU = 576
	var want []string
	var rrs []dnswire.RR
	for i := range 40 {
		rr := srvRR(fmt.Sprintf("Service %d of many._http._tcp.local", i), "nas.local")
		rrs = append(rrs, rr)
		want = append(want, rr.String())
	}
	big := txtRR("big._http._tcp.local", strings.Repeat("x", 255), strings.Repeat("y", 255), strings.Repeat("z", 255))
	rrs = append(rrs, big, addrRR("nas.local", "10.0.1.5"))
	want = append(want, big.String(), rrs[len(rrs)-1].String())
	out := p.pass(p.main, p.guest, "10.0.1.5:5353", build(true, nil, rrs[:20], nil, rrs[20:]))
	if len(out) < 4 {
		t.Fatalf("%d messages", len(out))
	}
	var got []string
	for i, b := range out {
		m, err := dnswire.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for r := range m.Records() {
			got = append(got, r.RR().String())
			n++
		}
		if len(b) > 576-28 && n != 1 {
			t.Errorf("message %d has %d bytes and %d records", i, len(b), n)
		}
		if !m.Response || !m.Authoritative || m.Truncated || m.ANCount == 0 {
			t.Errorf("message %d: %+v", i, m.Header)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// F13, §7.2: known answers that don't fit follow in packets without questions.
func TestLargeQueryIsSplitIntoAChain(t *testing.T) {
	p := newPassing(t, RulesOptions{})
	p.guest.link.MTU = 576
	var known []dnswire.RR
	for i := range 30 {
		known = append(known, ptrRR("_http._tcp.local", fmt.Sprintf("Service %d of many, many._http._tcp.local", i)))
	}
	out := p.pass(p.main, p.guest, "10.0.1.5:5353", build(false, []string{"_http._tcp.local PTR"}, known))
	all := 0
	for i, b := range out {
		m, err := dnswire.Parse(b)
		if err != nil || len(b) > 576-28 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if (m.QDCount == 1) != (i == 0) || m.Truncated != (i < len(out)-1) {
			t.Errorf("message %d of %d: %+v", i, len(out), m.Header)
		}
		all += int(m.ANCount)
	}
	if len(out) < 3 || all != 30 {
		t.Errorf("%d messages with %d known answers", len(out), all)
	}
	// A probe keeps its proposals beside its question.
	probe := build(false, []string{"nas.local ANY"}, nil, []dnswire.RR{addrRR("nas.local", "10.0.1.5"), txtRR("nas.local", strings.Repeat("x", 255), strings.Repeat("y", 255), strings.Repeat("z", 255))})
	if out := p.pass(p.main, p.guest, "10.0.1.5:5353", probe); len(out) != 1 {
		t.Errorf("a probe became %d messages", len(out))
	}
}

// A packet that passes costs no allocation, rules on.
func TestPassingAllocatesNothing(t *testing.T) {
	for name, o := range map[string]RulesOptions{
		"no rules": {}, "a type": {Deny: []string{"_smb._tcp"}}, "guests": {Guests: []string{"guest"}},
		"hosts": {Rules: []Rule{{Action: Deny, Hosts: []string{"other*"}}}},
	} {
		p := newPassing(t, o)
		msg := answers(append(printer(), addrRR("nas.local", "10.0.1.5"))...)
		m, err := dnswire.Parse(msg)
		if err != nil {
			t.Fatal(err)
		}
		pk := &mdns.Packet{Zone: p.main.zone, Src: netip.MustParseAddrPort("10.0.1.5:5353"), Dst: mdns.IPv4.Group(), Time: p.now, Message: m, Data: msg}
		f := func() {
			p.guest.editor.reset()
			if data, why := p.rules.apply(&p.guest.editor, p.main, p.guest, pk); why != passed || &data[0] != &msg[0] {
				t.Errorf("%s: %v", name, why)
			}
		}
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name string
		o    RulesOptions
	}{{"none", RulesOptions{}}, {"deny", RulesOptions{Deny: []string{"_smb._tcp"}}}, {"guests", RulesOptions{Guests: []string{"guest"}}}, {"edit", RulesOptions{Deny: []string{"_ipp._tcp"}}}} {
		b.Run(c.name, func(b *testing.B) {
			r, err := NewRules(c.o)
			if err != nil {
				b.Fatal(err)
			}
			from, to := testSide(1, "main", 1500, "10.0.1.1/24"), testSide(2, "guest", 1500, "10.0.2.1/24")
			rrs := append(printer(), addrRR("nas.local", "10.0.1.5"))
			if c.name == "edit" {
				rrs = append(rrs, files()...)
			}
			msg := answers(rrs...)
			m, err := dnswire.Parse(msg)
			if err != nil {
				b.Fatal(err)
			}
			pk := &mdns.Packet{Zone: from.zone, Src: netip.MustParseAddrPort("10.0.1.5:5353"), Message: m, Data: msg}
			b.ReportAllocs()
			for b.Loop() {
				to.editor.reset()
				r.apply(&to.editor, from, to, pk)
			}
		})
	}
}

// FuzzApply passes any message by rules of every sort. What comes out can be
// read, by us and by another, and keeps to the size of the link.
func FuzzApply(f *testing.F) {
	seeds, err := filepath.Glob("../dnswire/testdata/*.hex")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, s := range seeds {
		text, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		var digits string
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			digits += strings.Join(strings.Fields(line), "")
		}
		if msg, err := hex.DecodeString(digits); err == nil {
			f.Add(msg, uint16(1500), true)
		}
	}
	f.Add(answers(append(files(), printer()...)...), uint16(200), true)
	f.Add(build(false, []string{"_ipp._tcp.local PTR"}, printer(), files()), uint16(600), false)
	f.Fuzz(func(t *testing.T, msg []byte, mtu uint16, forth bool) {
		if len(msg) > 8952 {
			return
		}
		if _, err := dnswire.Parse(msg); err != nil {
			return
		}
		p := newPassing(t, RulesOptions{
			Rules: []Rule{
				{Action: Deny, Hosts: []string{"n*"}, Types: []string{"_http._tcp"}},
				{Action: Allow, Subtypes: []string{"_printer"}}, {Action: Deny, Instances: []string{"*e*"}},
			},
			Guests: []string{"guest"},
		})
		p.guest.link.MTU = int(mtu)
		from, to := p.main, p.guest
		if !forth {
			from, to = to, from
		}
		for _, out := range p.pass(from, to, "10.0.1.5:5353", msg) {
			m, err := dnswire.Parse(out)
			if err != nil {
				t.Fatalf("%x: %v", out, err)
			}
			if n := int(m.ANCount) + int(m.NSCount) + int(m.ARCount); len(out) > messageLimit(to) && n > 1 && (m.Response || m.NSCount == 0) {
				t.Errorf("%d bytes with %d records, %d fit", len(out), n, messageLimit(to))
			}
		}
	})
}
