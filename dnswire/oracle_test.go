package dnswire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
)

// compareWithOracle parses b with miekg/dns and with dnswire and reports where
// they differ. What is allowed to differ is written down here.
func compareWithOracle(t testing.TB, b []byte) {
	t.Helper()
	if len(b) > 65535 {
		return
	}
	m, err := dnswire.Parse(b)
	var oracle dns.Msg
	if oerr := unpack(&oracle, b); oerr != nil {
		return // it is stricter inside of types that are opaque to us
	}
	if err != nil {
		if !mayRefuse(t, err, &oracle, b) {
			t.Errorf("dnswire refuses what miekg/dns reads: %v\n%s\n%s", err, hex.EncodeToString(b), &oracle)
		}
		return
	}

	if m.ID != oracle.Id || m.Response != oracle.Response || int(m.Opcode) != oracle.Opcode || m.Authoritative != oracle.Authoritative ||
		m.Truncated != oracle.Truncated || m.RecursionDesired != oracle.RecursionDesired || m.RecursionAvailable != oracle.RecursionAvailable ||
		m.Zero != oracle.Zero || m.AuthenticData != oracle.AuthenticatedData || m.CheckingDisabled != oracle.CheckingDisabled ||
		int(m.Rcode) != oracle.Rcode&0xF {
		t.Errorf("header %+v, miekg/dns %+v", m.Header, oracle.MsgHdr)
	}
	i := 0
	for q := range m.Questions() {
		if i >= len(oracle.Question) {
			t.Fatalf("miekg/dns has only %d questions", i)
		}
		o := oracle.Question[i]
		class := uint16(q.Class)
		if q.Unicast {
			class |= dnswire.TopBit
		}
		if !sameName(t, q.Name.Name(), o.Name) || uint16(q.Type) != o.Qtype || class != o.Qclass {
			t.Errorf("question %d: %s %d %d, miekg/dns %s %d %d", i, q.Name, q.Type, class, o.Name, o.Qtype, o.Qclass)
		}
		i++
	}
	if i != len(oracle.Question) {
		t.Errorf("%d questions, miekg/dns has %d", i, len(oracle.Question))
	}

	var rrs []dns.RR
	for s, section := range [][]dns.RR{oracle.Answer, oracle.Ns, oracle.Extra} {
		if int([]uint16{m.ANCount, m.NSCount, m.ARCount}[s]) != len(section) {
			// miekg/dns takes an end of the message for an end of the section.
			t.Fatalf("section %d has %d records, miekg/dns %d", s, []uint16{m.ANCount, m.NSCount, m.ARCount}[s], len(section))
		}
		rrs = append(rrs, section...)
	}
	i = 0
	for r := range m.Records() {
		compareRecord(t, r, rrs[i])
		i++
	}
}

// unpack guards against panics of the oracle: they aren't what is tested here.
func unpack(m *dns.Msg, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return m.Unpack(b)
}

// mayRefuse says whether dnswire may refuse what miekg/dns reads.
func mayRefuse(t testing.TB, err error, oracle *dns.Msg, b []byte) bool {
	var e *dnswire.Error
	if !errors.As(err, &e) {
		t.Errorf("error %v isn't an *Error", err)
		return false
	}
	switch e.Reason {
	case dnswire.ReasonPointer, dnswire.ReasonWork:
		// Pointers forward or into the header, RFC 1035 §4.1.4: "a prior occurrence".
		return true
	case dnswire.ReasonCounts:
		return true // miekg/dns corrects counts by what is there
	case dnswire.ReasonShort:
		// So, too, where the last ones are missing; and a question may end early.
		if e.Offset == len(b) && (e.Part == "name" || e.Where == "question") {
			return true
		}
	}
	// miekg/dns takes rdata that ends between two fields.
	typ, isRData := strings.CutSuffix(e.Part, " rdata")
	if isRData && slices.Contains([]string{"SOA", "HINFO", "MINFO", "MX", "RP", "AFSDB", "RT", "SIG", "PX", "SRV", "NAPTR", "KX"}, typ) &&
		(e.Reason == dnswire.ReasonRDataShort || e.Reason == dnswire.ReasonShort || e.Reason == dnswire.ReasonRDataLength && typ == "SOA") {
		return true
	}
	// miekg/dns takes any type without data, not only in an update.
	for _, section := range [][]dns.RR{oracle.Answer, oracle.Ns, oracle.Extra} {
		for _, rr := range section {
			if rr.Header().Rdlength == 0 {
				return true
			}
		}
	}
	return false
}

// sameName compares a name with what miekg/dns makes of it, byte by byte, through the wire.
func sameName(t testing.TB, n dnswire.Name, text string) bool {
	t.Helper()
	var buf [300]byte
	end, err := dns.PackDomainName(text, buf[:], 0, nil, false)
	if err != nil {
		t.Errorf("miekg/dns doesn't pack its own %q: %v", text, err)
		return false
	}
	return string(buf[:end]) == string(n)
}

func compareRecord(t testing.TB, r dnswire.Record, o dns.RR) {
	t.Helper()
	h := o.Header()
	rr := r.RR()
	class := uint16(rr.Class)
	if rr.Flush {
		class |= dnswire.TopBit
	}
	if !sameName(t, rr.Name, h.Name) || uint16(rr.Type) != h.Rrtype || class != h.Class || rr.TTL != h.Ttl {
		t.Errorf("record %s, miekg/dns %s", rr, o)
		return
	}
	if h.Rdlength == 0 {
		return // miekg/dns takes any type without data
	}
	if r.Malformed {
		t.Errorf("%s is marked as malformed, miekg/dns reads %s", rr, o)
		return
	}
	// Uncompressed, miekg/dns must write the bytes that we hold. For types that are
	// opaque to us it may write them in another order or form.
	switch rr.Type {
	case dnswire.TypeA, dnswire.TypeNS, dnswire.TypeMD, dnswire.TypeMF, dnswire.TypeCNAME, dnswire.TypeSOA, dnswire.TypeMB, dnswire.TypeMG,
		dnswire.TypeMR, dnswire.TypePTR, dnswire.TypeHINFO, dnswire.TypeMINFO, dnswire.TypeMX, dnswire.TypeTXT, dnswire.TypeRP, dnswire.TypeAFSDB,
		dnswire.TypeRT, dnswire.TypePX, dnswire.TypeAAAA, dnswire.TypeSRV, dnswire.TypeNAPTR, dnswire.TypeKX, dnswire.TypeDNAME, dnswire.TypeSPF:
	case dnswire.TypeNSEC:
		n := o.(*dns.NSEC)
		next, types, ok := r.NSEC()
		var got []uint16
		for ty := range types.Types() {
			got = append(got, uint16(ty))
		}
		if !ok || !sameName(t, next.Name(), n.NextDomain) || fmt.Sprint(got) != fmt.Sprint(n.TypeBitMap) {
			t.Errorf("NSEC %s %v, miekg/dns %s %v", next, got, n.NextDomain, n.TypeBitMap)
		}
		return
	default:
		return
	}
	buf := make([]byte, 70000)
	end, err := dns.PackRR(o, buf, 0, nil, false)
	if err != nil {
		if rr.Type == dnswire.TypeTXT || rr.Type == dnswire.TypeSPF || rr.Type == dnswire.TypeHINFO || rr.Type == dnswire.TypeNAPTR {
			return // it reads strings that it can't write
		}
		t.Errorf("miekg/dns doesn't pack its own %s: %v", o, err)
		return
	}
	want := buf[len(rr.Name)+10 : end]
	if string(want) != rr.Data {
		t.Errorf("%s has rdata\n%x, miekg/dns\n%x", rr, rr.Data, want)
	}
}

func TestOracleReadsTheSame(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) { compareWithOracle(t, g.msg) })
	}
}

// TestOracleReadsTheSameOfDamagedPackets turns bytes of golden packets over.
func TestOracleReadsTheSameOfDamagedPackets(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	read := 0
	for _, g := range goldens(t) {
		for range 400 {
			b := bytes.Clone(g.msg)
			for range 1 + rnd.IntN(3) {
				i := rnd.IntN(len(b))
				switch rnd.IntN(4) {
				case 0:
					b[i] = byte(rnd.Uint32())
				case 1:
					b[i]++
				case 2:
					b[i] ^= 1 << rnd.IntN(8)
				case 3:
					b[i] = 0xC0
				}
			}
			if rnd.IntN(4) == 0 {
				b = b[:rnd.IntN(len(b))]
			}
			if _, err := dnswire.Parse(b); err == nil {
				read++
			}
			compareWithOracle(t, b)
			if t.Failed() {
				t.Fatalf("damaged %s: %x", g.name, b)
			}
		}
	}
	if read < 1000 {
		t.Errorf("only %d damaged packets could be read: this tests little", read)
	}
}

// What the Builder writes miekg/dns reads, for every type that it knows the layout of.
func TestOracleReadsWhatWeWrite(t *testing.T) {
	lines := []string{
		`a.local. 120 IN A 10.0.0.5`,
		`a.local. 120 IN AAAA fe80::5`,
		`a.local. 120 IN NS b.local.`,
		`a.local. 120 IN MD b.local.`,
		`a.local. 120 IN MF b.local.`,
		`a.local. 120 IN CNAME b.local.`,
		`a.local. 120 IN SOA ns.local. host.local. 1 2 3 4 4294967295`,
		`a.local. 120 IN MB b.local.`,
		`a.local. 120 IN MG b.local.`,
		`a.local. 120 IN MR b.local.`,
		`Build\032v1\.2._http._tcp.local. 4500 IN PTR Build\032v1\.2._http._tcp.local.`,
		`a.local. 120 IN HINFO "amd64" "Li\"nux\\"`,
		`a.local. 120 IN MINFO b.local. c.local.`,
		`a.local. 120 IN MX 10 b.local.`,
		`a.local. 120 IN TXT "txtvers=1" "" "a\000b\255" "dot.dot"`,
		`a.local. 120 IN RP b.local. c.local.`,
		`a.local. 120 IN AFSDB 1 b.local.`,
		`a.local. 120 IN RT 1 b.local.`,
		`a.local. 120 IN PX 1 b.local. c.local.`,
		`a.local. 120 IN SRV 1 2 8080 b.local.`,
		`a.local. 120 IN NAPTR 100 10 "u" "sip+E2U" "!^.*$!sip:info@example.com!" b.local.`,
		`a.local. 120 IN KX 1 b.local.`,
		`a.local. 120 IN DNAME b.local.`,
		`a.local. 120 IN NSEC a.local. A PTR TXT AAAA SRV CAA`,
		`a.local. 120 IN SPF "v=spf1 -all"`,
		`a.local. 120 IN SVCB 1 b.local. alpn="h2"`,
		`a.local. 120 IN CAA 0 issue "ca.example.net"`,
		`a.local. 120 CH TXT "version"`,
	}
	for _, compress := range []bool{false, true} {
		var m dns.Msg
		m.Id, m.Response, m.Compress = 4711, true, compress
		m.Question = []dns.Question{{Name: "a.local.", Qtype: dns.TypeANY, Qclass: dns.ClassINET}}
		for i, l := range lines {
			rr, err := dns.NewRR(l)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 3 {
			case 0:
				m.Answer = append(m.Answer, rr)
			case 1:
				m.Ns = append(m.Ns, rr)
			case 2:
				m.Extra = append(m.Extra, rr)
			}
		}
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		compareWithOracle(t, packed)

		var b dnswire.Builder
		ours := rebuild(t, &b, nil, parse(t, packed))
		var again dns.Msg
		if err := again.Unpack(ours); err != nil {
			t.Fatalf("miekg/dns doesn't read what we wrote: %v", err)
		}
		if got, want := tidy(again.String()), tidy(m.String()); got != want {
			t.Errorf("miekg/dns reads\n%s, want\n%s", got, want)
		}
		if len(ours) > len(packed) {
			t.Errorf("we need %d bytes, miekg/dns %d (compressed: %v)", len(ours), len(packed), compress)
		}
		if i := strings.Index(again.String(), "10.0.0.5"); i < 0 {
			t.Error("the A record is gone")
		}
	}
}

func tidy(s string) string { return strings.Join(strings.Fields(s), " ") }

// miekg/dns's text of a name reads as the same name here, and ours there.
func TestOracleNames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var labels []string
		for range rnd.IntN(6) {
			l := make([]byte, 1+rnd.IntN(30))
			for i := range l {
				l[i] = byte(rnd.Uint32())
				if rnd.IntN(3) > 0 {
					l[i] = ` .\"();@$abcXYZ09_-`[rnd.IntN(19)]
				}
			}
			labels = append(labels, string(l))
		}
		n, err := dnswire.NameOf(labels...)
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := dns.UnpackDomainName([]byte(n), 0)
		if err != nil {
			t.Fatalf("%q: %v", string(n), err)
		}
		if back, err := dnswire.ParseName(text); err != nil || back != n {
			t.Errorf("miekg/dns's text %q reads as %q, %v, want %q", text, string(back), err, string(n))
		}
		if !sameName(t, n, dns.Fqdn(n.String())) {
			t.Errorf("our text %q is another name to miekg/dns", n)
		}
	}
}

func TestOracleAddresses(t *testing.T) {
	a := netip.MustParseAddr("2001:db8::1")
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 0)
	b.Answer(dnswire.NewAddr(mustName(t, "a.local"), a, 1))
	var m dns.Msg
	if err := m.Unpack(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if got := m.Answer[0].(*dns.AAAA).AAAA.String(); got != a.String() {
		t.Errorf("miekg/dns reads %s", got)
	}
}
