package bench

import (
	"errors"
	"fmt"
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

// walk parses a message and looks at each entry: what a rate limiter, or anyone who
// looks for one type, does for a packet.
func walk(msg []byte) (sum int, err error) {
	m, err := dnswire.Parse(msg)
	if err != nil {
		return 0, err
	}
	for q := range m.Questions() {
		sum += int(q.Type) + int(q.Class)
	}
	for r := range m.Records() {
		sum += int(r.Type) + int(r.Class) + int(r.TTL)
	}
	return sum, nil
}

// readAll parses a message and makes something of all that it says: what a cache
// does for a packet that it hasn't seen.
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

// besideMiekg measures ours for a message of size bytes, and reports how many times
// longer miekg/dns takes for the same ("x-miekg"): batches of the two in turns, so that both
// meet the same machine, and the fastest of each compared, which had the processor
// alone. Ours must not allocate.
func besideMiekg(b *testing.B, size int, ours, theirs func() error) {
	b.Helper()
	const batch = 500 // packets
	run := func(f func() error) time.Duration {
		start := time.Now()
		for range batch {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	var us, them []time.Duration
	for range 200 {
		us, them = append(us, run(ours)), append(them, run(theirs))
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if err := ours(); err != nil {
			b.Fatal(err)
		}
	}
	best, miekg := float64(slices.Min(us))/batch, float64(slices.Min(them))/batch
	b.ReportMetric(best, "best-ns/op")
	b.ReportMetric(miekg, "miekg-best-ns/op")
	b.ReportMetric(miekg/best, "x-miekg")
	if a := testing.AllocsPerRun(100, func() { _ = ours() }); a != 0 {
		b.Errorf("%v allocations a packet, want none", a)
	}
}

// BenchmarkDNSWireParse checks a response of 430 bytes and walks over its records, whose
// names and data it leaves in the message. The goal is 150 ns.
func BenchmarkDNSWireParse(b *testing.B) {
	msg := mdnsResponse(b)
	besideMiekg(b, len(msg), func() error { _, err := walk(msg); return err }, func() error { return new(dns.Msg).Unpack(msg) })
}

// BenchmarkDNSWireRead reads the same packet, decodes every name, folded, and all data.
func BenchmarkDNSWireRead(b *testing.B) {
	msg := mdnsResponse(b)
	buf := make([]byte, 0, 256)
	besideMiekg(b, len(msg), func() error { _, err := readAll(msg, buf); return err }, func() error { return new(dns.Msg).Unpack(msg) })
}

// BenchmarkDNSWireWalk goes over the five records of a parsed message.
func BenchmarkDNSWireWalk(b *testing.B) {
	m, err := dnswire.Parse(mdnsResponse(b))
	if err != nil {
		b.Fatal(err)
	}
	sum := 0
	b.ReportAllocs()
	for b.Loop() {
		for r := range m.Records() {
			sum += int(r.Type) + int(r.Class)
		}
	}
	if sum == 0 {
		b.Fatal("no records")
	}
}

// BenchmarkDNSWireName reads the compressed name of a service instance.
func BenchmarkDNSWireName(b *testing.B) {
	m, err := dnswire.Parse(mdnsResponse(b))
	if err != nil {
		b.Fatal(err)
	}
	var view dnswire.NameView
	for r := range m.Records() {
		if r.Type == dnswire.TypeTXT {
			view = r.Name
		}
	}
	name := view.Name()
	b.Run("AppendFolded", func(b *testing.B) {
		buf := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			buf = view.AppendFolded(buf[:0])
		}
	})
	b.Run("Equal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !view.Equal(name) {
				b.Fatal("a name isn't itself")
			}
		}
	})
}

// BenchmarkDNSWirePack writes the same packet anew, names compressed, from owned
// records. The goal is 450 ns.
func BenchmarkDNSWirePack(b *testing.B) {
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
	ours := func() error {
		w.Reset(buf, m.Header, 1440)
		for _, rr := range rrs {
			if !w.Answer(rr) {
				return errFit
			}
		}
		if n := len(w.Bytes()); n != len(msg) {
			return fmt.Errorf("we pack %d bytes, want %d", n, len(msg))
		}
		return nil
	}
	besideMiekg(b, len(msg), ours, miekgPack(b, msg))
}

// BenchmarkDNSWireCopy writes the same packet anew from the records of a parsed message.
func BenchmarkDNSWireCopy(b *testing.B) {
	msg := mdnsResponse(b)
	m, err := dnswire.Parse(msg)
	if err != nil {
		b.Fatal(err)
	}
	var w dnswire.Builder
	buf := make([]byte, 0, 1500)
	ours := func() error {
		w.Reset(buf, m.Header, 1440)
		for r := range m.Records() {
			if !w.Copy(r) {
				return errFit
			}
		}
		if n := len(w.Bytes()); n != len(msg) {
			return fmt.Errorf("we pack %d bytes, want %d", n, len(msg))
		}
		return nil
	}
	besideMiekg(b, len(msg), ours, miekgPack(b, msg))
}

var errFit = errors.New("a record doesn't fit")

// miekgPack returns what packs the message with miekg/dns, compressed, into a buffer of its own.
func miekgPack(b *testing.B, msg []byte) func() error {
	b.Helper()
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		b.Fatal(err)
	}
	m.Compress = true
	buf := make([]byte, 1500)
	return func() error {
		out, err := m.PackBuffer(buf)
		if err == nil && (len(out) < len(msg) || len(out) > len(msg)+8) { // it never compresses an SRV target
			err = fmt.Errorf("miekg/dns packs %d bytes, we %d", len(out), len(msg))
		}
		return err
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
