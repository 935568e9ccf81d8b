package dnswire_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

func TestBuilderKeepsToItsLimit(t *testing.T) {
	host := mustName(t, "host.local")
	for limit := 12; limit < 400; limit++ {
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{Response: true}, limit)
		n := 0
		for i := range 20 {
			before := bytes.Clone(b.Bytes())
			inst, err := host.Prepend(fmt.Sprintf("instance %d", i))
			if err != nil {
				t.Fatal(err)
			}
			if b.Answer(dnswire.NewPTR(host, inst, 120)) {
				n++
				continue
			}
			if !bytes.Equal(before, b.Bytes()) {
				t.Fatalf("limit %d: a record that didn't fit changed the message", limit)
			}
			owner := 2 // a pointer to the first record's
			if n == 0 {
				owner = len(host)
			}
			if len(before)+owner+10+1+len(inst.Label(0))+2 <= limit {
				t.Fatalf("limit %d: a record that fits behind %d bytes was refused", limit, len(before))
			}
		}
		m := parse(t, b.Bytes())
		if len(b.Bytes()) > limit || int(m.ANCount) != n || len(records(m)) != n {
			t.Fatalf("limit %d: %d bytes, %d records, %d accepted", limit, len(b.Bytes()), m.ANCount, n)
		}
	}
}

// What was taken back must not be pointed to.
func TestBuilderForgetsWhatDidntFit(t *testing.T) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 60)
	long := mustName(t, strings.Repeat("x", 60)+".a.b.c")
	if b.Answer(dnswire.NewPTR(mustName(t, "a.b.c"), long, 1)) {
		t.Fatal("a record of more than 60 bytes went into 60")
	}
	short := dnswire.NewPTR(mustName(t, "d"), mustName(t, "a.b.c"), 1)
	if !b.Answer(short) {
		t.Fatal("a short record was refused")
	}
	if got := records(parse(t, b.Bytes())); len(got) != 1 || got[0] != short {
		t.Errorf("wrote %v, want %v", got, short)
	}
}

func TestBuilderCompression(t *testing.T) {
	a := mustName(t, "a.example.local")
	upper := mustName(t, "B.EXAMPLE.local")
	rr := func(ty dnswire.Type, data string) dnswire.RR {
		return dnswire.RR{Name: a, Type: ty, Class: dnswire.ClassIN, Data: data}
	}
	const pointerLen = 2
	for _, c := range []struct {
		name   string
		rr     dnswire.RR
		legacy bool
		size   int // of the rdata on the wire
	}{
		{"PTR", rr(dnswire.TypePTR, string(a)), false, pointerLen},
		{"PTR in another case", rr(dnswire.TypePTR, string(upper)), false, 2 + 8 + pointerLen}, // .local alone
		{"CNAME", rr(dnswire.TypeCNAME, string(a)), false, pointerLen},
		{"NS", rr(dnswire.TypeNS, string(a)), false, pointerLen},
		{"DNAME", rr(dnswire.TypeDNAME, string(a)), false, pointerLen},
		{"MX", rr(dnswire.TypeMX, "\x00\x01"+string(a)), false, 2 + pointerLen},
		{"AFSDB", rr(dnswire.TypeAFSDB, "\x00\x01"+string(a)), false, 2 + pointerLen},
		{"RT", rr(dnswire.TypeRT, "\x00\x01"+string(a)), false, 2 + pointerLen},
		{"KX", rr(dnswire.TypeKX, "\x00\x01"+string(a)), false, 2 + pointerLen},
		{"RP", rr(dnswire.TypeRP, string(a)+string(a)), false, 2 * pointerLen},
		{"PX", rr(dnswire.TypePX, "\x00\x01"+string(a)+string(a)), false, 2 + 2*pointerLen},
		{"SOA", rr(dnswire.TypeSOA, string(a)+string(a)+strings.Repeat("\x01", 20)), false, 2*pointerLen + 20},
		{"SRV", rr(dnswire.TypeSRV, "\x00\x01\x00\x01\x00\x01"+string(a)), false, 6 + pointerLen},
		{"SRV, legacy", rr(dnswire.TypeSRV, "\x00\x01\x00\x01\x00\x01"+string(a)), true, 6 + len(a)},
		{"PTR, legacy", rr(dnswire.TypePTR, string(a)), true, pointerLen},
		{"NSEC", rr(dnswire.TypeNSEC, string(a)+"\x00\x01\x40"), false, pointerLen + 3},
		// Not in the list of RFC 6762 §18.14.
		{"MB", rr(dnswire.TypeMB, string(a)), false, len(a)},
		{"MINFO", rr(dnswire.TypeMINFO, string(a)+string(a)), false, 2 * len(a)},
		{"NAPTR", rr(dnswire.TypeNAPTR, "\x00\x01\x00\x01\x00\x00\x00"+string(a)), false, 7 + len(a)},
		{"SIG", rr(dnswire.TypeSIG, strings.Repeat("\x01", 18)+string(a)+"x"), false, 19 + len(a)},
		{"SVCB", rr(dnswire.TypeSVCB, "\x00\x01"+string(a)), false, 2 + len(a)},
		{"unknown", rr(65280, string(a)), false, len(a)},
	} {
		b := dnswire.Builder{Legacy: c.legacy}
		b.Reset(nil, dnswire.Header{}, 0)
		if !b.Answer(c.rr) {
			t.Errorf("%s: refused", c.name)
			continue
		}
		m := parse(t, b.Bytes())
		for r := range m.Records() {
			if got := len(r.RData()); got != c.size {
				t.Errorf("%s: rdata of %d bytes, want %d", c.name, got, c.size)
			}
			if r.RR() != c.rr {
				t.Errorf("%s: reads back as %v, want %v", c.name, r.RR(), c.rr)
			}
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	ok := dnswire.NewAddr(mustName(t, "a.local"), netip.MustParseAddr("10.0.0.1"), 1)
	var b dnswire.Builder
	if b.Answer(ok) || b.Question(ok.Name, ok.Type, ok.Class, false) || len(b.Bytes()) != 0 {
		t.Error("a Builder works without a Reset")
	}
	b.Reset(nil, dnswire.Header{}, 0)
	for _, c := range []struct {
		name string
		rr   dnswire.RR
	}{
		{"no name", dnswire.RR{Type: dnswire.TypeA, Data: "\x0a\x00\x00\x01"}},
		{"A of 3 bytes", dnswire.RR{Name: ok.Name, Type: dnswire.TypeA, Data: "\x0a\x00\x00"}},
		{"A without data", dnswire.RR{Name: ok.Name, Type: dnswire.TypeA}},
		{"TXT without data", dnswire.RR{Name: ok.Name, Type: dnswire.TypeTXT}},
		{"TXT cut off", dnswire.RR{Name: ok.Name, Type: dnswire.TypeTXT, Data: "\x02a"}},
		{"PTR with bytes behind", dnswire.RR{Name: ok.Name, Type: dnswire.TypePTR, Data: "\x01a\x00x"}},
		{"PTR with a pointer", dnswire.RR{Name: ok.Name, Type: dnswire.TypePTR, Data: "\xc0\x0c"}},
		{"NSEC with a broken bitmap", dnswire.RR{Name: ok.Name, Type: dnswire.TypeNSEC, Data: "\x00\x00\x00"}},
		{"address that is none", dnswire.NewAddr(ok.Name, netip.Addr{}, 1)},
		{"more than 65535 bytes", dnswire.RR{Name: ok.Name, Type: 65280, Data: strings.Repeat("x", 65536)}},
	} {
		if b.Answer(c.rr) || !b.Empty() {
			t.Errorf("%s: accepted", c.name)
		}
	}
	if !b.Authority(ok) || b.Answer(ok) || b.Question(ok.Name, ok.Type, ok.Class, false) {
		t.Error("sections can be written out of order")
	}
	if !b.Additional(ok) || b.Authority(ok) {
		t.Error("sections can be written out of order")
	}
	b.Reset(nil, dnswire.Header{Opcode: dnswire.OpcodeUpdate}, 0)
	if !b.Answer(dnswire.RR{Name: ok.Name, Type: dnswire.TypeA, Class: dnswire.ClassANY}) {
		t.Error("an update can't hold a record without data")
	}
	parse(t, b.Bytes())
}

func TestBuilderTruncatedAndLen(t *testing.T) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: 7, ANCount: 99}, 0)
	b.Question(mustName(t, "a.local"), dnswire.TypeANY, dnswire.ClassIN, true)
	b.SetTruncated(true)
	if m := parse(t, b.Bytes()); !m.Truncated || m.ID != 7 || m.QDCount != 1 || m.ANCount != 0 {
		t.Errorf("header %+v", m.Header)
	}
	b.SetTruncated(false)
	if m := parse(t, b.Bytes()); m.Truncated || b.Len() != len(b.Bytes()) || b.Empty() {
		t.Errorf("header %+v, length %d", m.Header, b.Len())
	}
}

// Offsets from 16384 on can't be pointed to.
func TestBuilderLargeMessage(t *testing.T) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true}, 0)
	domain := mustName(t, "_x._tcp.local")
	var want []dnswire.RR
	for i := 0; ; i++ {
		inst, err := domain.Prepend(fmt.Sprintf("instance number %d", i))
		if err != nil {
			t.Fatal(err)
		}
		rr := dnswire.NewSRV(inst, dnswire.SRV{Port: uint16(i), Target: mustName(t, fmt.Sprintf("h%d.some.where.local", i/2))}, 120)
		if !b.Answer(rr) {
			break
		}
		want = append(want, rr)
	}
	if len(want) < 1000 || b.Len() < 65000 {
		t.Fatalf("only %d records in %d bytes", len(want), b.Len())
	}
	got := records(parse(t, b.Bytes()))
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("record %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// A record whose owner is that of the one before, where no pointer reaches.
func TestBuilderSameOwnerBehindPointers(t *testing.T) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true}, 0)
	filler := dnswire.RR{Name: dnswire.Root, Type: 65280, Class: dnswire.ClassIN, Data: strings.Repeat("x", 0x4000-100)}
	want := []dnswire.RR{filler}
	for i := range 12 { // across the last offset that can be pointed to
		n := mustName(t, fmt.Sprintf("owner%d.local", i/2))
		want = append(want, dnswire.NewAddr(n, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1))
	}
	for _, rr := range want {
		if !b.Answer(rr) {
			t.Fatalf("refused %s", rr)
		}
	}
	if b.Len() < 0x4000+100 {
		t.Fatalf("only %d bytes", b.Len())
	}
	if got := records(parse(t, b.Bytes())); !slices.Equal(got, want) {
		t.Errorf("wrote %v, read %v", want[1:], got[1:])
	}
}

// Names of the same few labels in any order, short and long: each reads back as itself.
func TestBuilderTellsNamesApart(t *testing.T) {
	labels := []string{"a", "A", "b", "ab", "abc", "local", "LOCAL", "_tcp", "_udp", "seven77", "eight888", "nine99999", "nine99998", strings.Repeat("x", 62), strings.Repeat("x", 63)}
	rnd := rand.New(rand.NewPCG(5, 6))
	var b dnswire.Builder
	for range 200 {
		b.Reset(nil, dnswire.Header{}, 0)
		var want []dnswire.RR
		for range 60 {
			var name [2]dnswire.Name
			for i := range name {
				var ls []string
				for range rnd.IntN(4) {
					ls = append(ls, labels[rnd.IntN(len(labels))])
				}
				n, err := dnswire.NameOf(ls...)
				if err != nil {
					t.Fatal(err)
				}
				name[i] = n
			}
			rr := dnswire.NewPTR(name[0], name[1], 1)
			if !b.Answer(rr) {
				t.Fatalf("refused %s", rr)
			}
			want = append(want, rr)
		}
		if got := records(parse(t, b.Bytes())); !slices.Equal(got, want) {
			t.Fatalf("wrote\n%v, read\n%v", want, got)
		}
	}
}

func TestBuilderAllocatesNothingWhenWarm(t *testing.T) {
	rrs := httpService(t)
	buf := make([]byte, 0, 9000)
	var b dnswire.Builder
	write := func() {
		b.Reset(buf, dnswire.Header{Response: true}, 1440)
		b.Question(rrs[0].Name, dnswire.TypePTR, dnswire.ClassIN, false)
		for _, rr := range rrs {
			b.Answer(rr)
		}
		_ = b.Bytes()
	}
	write()
	first := bytes.Clone(b.Bytes())
	if a := testing.AllocsPerRun(100, write); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if !bytes.Equal(first, b.Bytes()) {
		t.Error("a used Builder writes something else than a new one")
	}
	if &b.Bytes()[0] != &buf[:1][0] {
		t.Error("the message isn't in the caller's buffer")
	}
}

// RFC 6762 §16 and §10.2: case, TTL and the cache-flush bit don't make another record.
func TestSameData(t *testing.T) {
	a, b := mustName(t, "Host.local"), mustName(t, "hOST.LOCAL")
	txt1, _ := dnswire.NewTXT(a, 1, "Key=a")
	txt2, _ := dnswire.NewTXT(b, 1, "key=a")
	flushed := dnswire.NewPTR(b, a, 120)
	flushed.Flush = true
	for _, c := range []struct {
		name string
		x, y dnswire.RR
		want bool
	}{
		{"case, TTL, flush", dnswire.NewPTR(a, b, 1), flushed, true},
		{"SRV target's case", dnswire.NewSRV(a, dnswire.SRV{Port: 0x4142, Target: a}, 1), dnswire.NewSRV(b, dnswire.SRV{Port: 0x4142, Target: b}, 2), true},
		{"a port that looks like a letter", dnswire.NewSRV(a, dnswire.SRV{Port: 0x4142, Target: a}, 1), dnswire.NewSRV(a, dnswire.SRV{Port: 0x6162, Target: a}, 1), false},
		{"strings keep their case", txt1, txt2, false},
		{"NSEC bits that look like letters", dnswire.RR{Name: a, Type: dnswire.TypeNSEC, Data: string(a) + "\x00\x01\x41"}, dnswire.RR{Name: a, Type: dnswire.TypeNSEC, Data: string(a) + "\x00\x01\x61"}, false},
		{"NSEC", dnswire.NewNSEC(a, a, 1, dnswire.TypeA), dnswire.NewNSEC(b, b, 1, dnswire.TypeA), true},
		{"type", dnswire.NewPTR(a, b, 1), dnswire.RR{Name: a, Type: dnswire.TypeCNAME, Class: dnswire.ClassIN, Data: string(b)}, false},
		{"class", dnswire.NewPTR(a, b, 1), dnswire.RR{Name: a, Type: dnswire.TypePTR, Class: dnswire.ClassCH, Data: string(b)}, false},
		{"opaque", dnswire.RR{Name: a, Type: 65280, Data: "A"}, dnswire.RR{Name: a, Type: 65280, Data: "a"}, false},
		{"A", dnswire.NewAddr(a, netip.MustParseAddr("65.66.67.68"), 1), dnswire.NewAddr(b, netip.MustParseAddr("97.98.99.100"), 1), false},
		{"an address in IPv6 form", dnswire.NewAddr(a, netip.MustParseAddr("::ffff:10.0.0.1"), 1), dnswire.NewAddr(b, netip.MustParseAddr("10.0.0.1"), 1), true},
	} {
		if got := c.x.SameData(c.y); got != c.want {
			t.Errorf("%s: SameData = %v", c.name, got)
		}
		x, y := c.x.Fold(), c.y.Fold()
		x.TTL, y.TTL, x.Flush, y.Flush = 0, 0, false, false
		if got := x == y; got != c.want {
			t.Errorf("%s: folded == is %v", c.name, got)
		}
	}
}

func TestRRAccessors(t *testing.T) {
	a, h := mustName(t, "a.local"), mustName(t, "h.local")
	if got, ok := dnswire.NewPTR(a, h, 1).PTR(); !ok || got != h {
		t.Errorf("PTR = %v, %v", got, ok)
	}
	srv := dnswire.SRV{Priority: 1, Weight: 2, Port: 65535, Target: h}
	if got, ok := dnswire.NewSRV(a, srv, 1).SRV(); !ok || got != srv {
		t.Errorf("SRV = %v, %v", got, ok)
	}
	addr := netip.MustParseAddr("fe80::1%eth0")
	if got, ok := dnswire.NewAddr(a, addr, 1).Addr(); !ok || got != addr.WithZone("") {
		t.Errorf("Addr = %v, %v", got, ok)
	}
	cname := dnswire.RR{Name: a, Type: dnswire.TypeCNAME, Data: string(h)}
	if got, ok := cname.Target(); !ok || got != h {
		t.Errorf("Target = %v, %v", got, ok)
	}
	if _, ok := cname.PTR(); ok {
		t.Error("a CNAME is a PTR")
	}
	for ty := range dnswire.Type(70) {
		bad := dnswire.RR{Name: a, Type: ty, Data: "\x05x"}
		_, ptr := bad.PTR()
		_, target := bad.Target()
		_, srv := bad.SRV()
		_, addr := bad.Addr()
		_, txt := bad.TXT()
		_, _, nsec := bad.NSEC()
		if ptr || target || srv || addr || txt || nsec {
			t.Errorf("%s with broken data reads as something", ty)
		}
		_ = bad.Fold()
		if got := bad.DataString(); got != `\# 2 0578` {
			t.Errorf("%s with broken data prints as %s", ty, got)
		}
	}
}

func TestTypeAndClassStrings(t *testing.T) {
	for v, want := range map[fmt.Stringer]string{
		dnswire.TypeAAAA: "AAAA", dnswire.TypeDNSKEY: "DNSKEY", dnswire.TypeANY: "ANY", dnswire.Type(1234): "TYPE1234",
		dnswire.ClassIN: "IN", dnswire.ClassNONE: "NONE", dnswire.Class(1440): "CLASS1440",
		dnswire.Answer: "answer", dnswire.Section(9): "section 9",
		dnswire.ReasonPointer: "pointer not backward", dnswire.Reason(200): "reason 200",
	} {
		if got := v.String(); got != want {
			t.Errorf("%#v prints as %q, want %q", v, got, want)
		}
	}
}

// Names of some types are written in full though the message has them already. A
// later one must point to the first, whatever the Builder's table has been through.
func TestBuilderPointsToTheFirst(t *testing.T) {
	var used dnswire.Builder
	for round := range 50 {
		var fresh dnswire.Builder
		for _, b := range []*dnswire.Builder{&used, &fresh} {
			b.Reset(nil, dnswire.Header{}, 0)
			for i := range 40 {
				n := mustName(t, fmt.Sprintf("n%d.r%d.mb.local", i%5, round))
				b.Answer(dnswire.RR{Name: mustName(t, fmt.Sprintf("owner%d.local", i)), Type: dnswire.TypeMB, Class: dnswire.ClassIN, Data: string(n)})
				b.Answer(dnswire.NewPTR(dnswire.Root, n, 1))
			}
		}
		if !bytes.Equal(used.Bytes(), fresh.Bytes()) {
			t.Fatalf("round %d: a used Builder writes something else than a new one", round)
		}
	}
}
