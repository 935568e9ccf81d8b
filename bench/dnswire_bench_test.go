package bench

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
)

// mdnsResponse is a response of about 430 bytes as a printer sends it: PTR, SRV,
// TXT, A and AAAA, compressed.
func mdnsResponse(b testing.TB) []byte {
	name := func(labels ...string) dnswire.Name {
		n, err := dnswire.NameOf(labels...)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	service := name("_ipp", "_tcp", "local")
	instance := name("Büro Drucker v1.2 (3. OG)", "_ipp", "_tcp", "local")
	host := name("printer-02005e100001", "local")
	txt, err := dnswire.NewTXT(instance, 4500, "txtvers=1", "qtotal=1", "rp=ipp/print", "ty=Example LaserPrinter 4000 series",
		"adminurl=http://printer-02005e100001.local./#hId-pgAirPrint", "note=Third floor", "priority=50",
		"product=(Example LaserPrinter 4000)", "pdl=application/pdf,image/urf,image/jpeg", "Color=T", "Duplex=T")
	if err != nil {
		b.Fatal(err)
	}
	rrs := []dnswire.RR{
		dnswire.NewSRV(instance, dnswire.SRV{Port: 631, Target: host}, 120),
		txt,
		dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.5"), 120),
		dnswire.NewAddr(host, netip.MustParseAddr("fe80::5eff:fe10:1"), 120),
	}
	var w dnswire.Builder
	w.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 1440)
	ok := w.Answer(dnswire.NewPTR(service, instance, 4500))
	for _, rr := range rrs {
		rr.Flush = true
		ok = ok && w.Additional(rr)
	}
	if !ok || w.Len() < 410 || w.Len() > 450 {
		b.Fatalf("the response has %d bytes, want about 430", w.Len())
	}
	return w.Bytes()
}

// readAll parses a message and looks at all that it says: what a cache does for
// a packet that changes nothing.
func readAll(msg, buf []byte) (sum int, err error) {
	m, err := dnswire.Parse(msg)
	if err != nil {
		return 0, err
	}
	for q := range m.Questions() {
		buf = q.Name.AppendFolded(buf[:0])
		sum += len(buf) + int(q.Type)
	}
	for r := range m.Records() {
		buf = r.Name.AppendFolded(buf[:0])
		sum += len(buf) + int(r.TTL)
		switch r.Type {
		case dnswire.TypePTR:
			n, _ := r.PTR()
			buf = n.AppendFolded(buf[:0])
			sum += len(buf)
		case dnswire.TypeSRV:
			s, _ := r.SRV()
			buf = s.Target.AppendFolded(buf[:0])
			sum += len(buf) + int(s.Port)
		case dnswire.TypeA, dnswire.TypeAAAA:
			a, _ := r.Addr()
			sum += a.BitLen()
		case dnswire.TypeTXT:
			for s := range r.TXT() {
				sum += len(s)
			}
		}
	}
	return sum, nil
}

// BenchmarkDNSWireParse reads a response of 430 bytes and reports how many times
// longer miekg/dns's Unpack takes for it ("x-miekg"): the two in turns, medians compared, so
// that both meet the same machine. The goal is 5 or more, and no allocation.
func BenchmarkDNSWireParse(b *testing.B) {
	msg := mdnsResponse(b)
	buf := make([]byte, 0, 256)
	const batch = 500 // packets
	var ours, theirs []time.Duration
	for range 200 {
		start := time.Now()
		for range batch {
			if _, err := readAll(msg, buf); err != nil {
				b.Fatal(err)
			}
		}
		ours = append(ours, time.Since(start))
		start = time.Now()
		for range batch {
			var m dns.Msg
			if err := m.Unpack(msg); err != nil {
				b.Fatal(err)
			}
		}
		theirs = append(theirs, time.Since(start))
	}
	slices.Sort(ours)
	slices.Sort(theirs)

	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readAll(msg, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(theirs[len(theirs)/2])/float64(ours[len(ours)/2]), "x-miekg")
	if a := testing.AllocsPerRun(100, func() { _, _ = readAll(msg, buf) }); a != 0 {
		b.Errorf("%v allocations a packet, want none", a)
	}
}

// BenchmarkMiekgUnpack is the same packet read by miekg/dns.
func BenchmarkMiekgUnpack(b *testing.B) {
	msg := mdnsResponse(b)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDNSWireBuild writes the same packet anew, names compressed.
func BenchmarkDNSWireBuild(b *testing.B) {
	msg := mdnsResponse(b)
	m, err := dnswire.Parse(msg)
	if err != nil {
		b.Fatal(err)
	}
	var rrs []dnswire.RR
	for r := range m.Records() {
		rrs = append(rrs, r.RR())
	}
	var w dnswire.Builder
	buf := make([]byte, 0, 1500)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(buf, m.Header, 1440)
		for _, rr := range rrs {
			if !w.Answer(rr) {
				b.Fatal("the response doesn't fit")
			}
		}
		if len(w.Bytes()) != len(msg) {
			b.Fatalf("%d bytes, want %d", len(w.Bytes()), len(msg))
		}
	}
}

// BenchmarkDNSWireHostile reads a message made to cost much: each name points to
// another label of one long name. It is refused when it has taken too many steps. Compare ns/byte with that of a plain message.
func BenchmarkDNSWireHostile(b *testing.B) {
	const answers = 250
	var w []byte
	w = append(w, 0, 0, 0x84, 0, 0, 1, answers>>8, answers&0xFF, 0, 0, 0, 0)
	for range 126 {
		w = append(w, 1, 'a')
	}
	w = append(w, 0, 0, 1, 0, 1)
	for i := range answers {
		w = append(w, 0xC0, byte(12+i%90*2), 0, 12, 0, 1, 0, 0, 0, 120, 0, 2, 0xC0, byte(12+(i+40)%90*2))
	}
	b.SetBytes(int64(len(w)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := dnswire.Parse(w)
		if e, ok := err.(*dnswire.Error); err != nil && (!ok || e.Reason != dnswire.ReasonWork) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w)), "ns/byte")
}
