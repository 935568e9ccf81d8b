package mdns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns/internal/respond"
	"github.com/lanfolk/lanfolk/packet"
)

func mustName(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func testZone(now time.Time) *zone {
	l := packet.Link{
		Index: 2, Name: "eth0", MTU: 1500, Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	}
	z := newZone(now, Zone{Link: 2, Interface: "eth0", Family: IPv4}, l, &counters{}, DefaultMaxRecords, DefaultMaxRecordsPerSource)
	z.restart(now)
	return z
}

func testPacket(now time.Time, src string, data []byte) *Packet {
	m, err := dnswire.Parse(data)
	if err != nil {
		panic(err)
	}
	return &Packet{Src: netip.MustParseAddrPort(src), Dst: groupIPv4, Time: now, Message: m, Data: data}
}

// typicalResponse is what a host with one service answers: PTR, SRV, TXT, A
// and AAAA, about 430 bytes.
func typicalResponse() []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 1472)
	service, host := mustName("_http._tcp.local"), mustName("build-server-7.local")
	instance, _ := service.Prepend("Build Server v1.2 (Room 3)")
	txt, _ := dnswire.NewTXT(instance, 4500, "txtvers=1", "path=/jobs/overview", "note="+strings.Repeat("nightly builds and their logs; ", 7)+"see the wiki", "ro")
	b.Answer(dnswire.NewPTR(service, instance, 4500))
	for _, rr := range []dnswire.RR{
		dnswire.NewSRV(instance, dnswire.SRV{Port: 8080, Target: host}, 120), txt,
		dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.9"), 120),
		dnswire.NewAddr(host, netip.MustParseAddr("fe80::9"), 120),
	} {
		rr.Flush = true
		b.Additional(rr)
	}
	return slices.Clone(b.Bytes())
}

func TestResponseThatChangesNothingAllocatesNothing(t *testing.T) {
	now := time.Now()
	z := testZone(now)
	data := typicalResponse()
	if len(data) < 420 || len(data) > 440 {
		t.Fatalf("the response has %d bytes, want about 430", len(data))
	}
	w := &want{q: Question{Name: mustName("_http._tcp.local"), Type: dnswire.TypePTR}, to: &Subscription{ready: make(chan struct{}, 1)}}
	z.attach(now, w)
	p := testPacket(now, "10.0.0.9:5353", data)
	z.hear(p)
	n := testing.AllocsPerRun(1000, func() {
		m, err := dnswire.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Millisecond)
		p.Message, p.Time = m, now
		if _, ok := z.accept(p); !ok {
			t.Fatal("dropped")
		}
		z.hear(p)
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if got := len(z.records); got != 5 {
		t.Errorf("%d records, want 5", got)
	}
	if _, again := z.memos.find(data); !again {
		t.Error("the response isn't remembered")
	}
	// Once one of its records is gone it is news again.
	now = now.Add(121 * time.Second)
	z.advance(now)
	if got := len(z.records); got != 2 {
		t.Fatalf("%d records after 121 s, want 2", got)
	}
	p.Time = now
	z.hear(p)
	if got := len(z.records); got != 5 {
		t.Errorf("%d records after the response came again, want 5", got)
	}
	checkCache(t, &z.cache)
}

func TestQueryOfOthersAllocatesNothing(t *testing.T) {
	now := time.Now()
	z := testZone(now)
	z.attach(now, &want{q: Question{Name: mustName("_http._tcp.local"), Type: dnswire.TypePTR}, to: &Subscription{ready: make(chan struct{}, 1)}})
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 1472)
	b.Question(mustName("_http._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, false)
	b.Answer(dnswire.NewPTR(mustName("_http._tcp.local"), mustName("x._http._tcp.local"), 4500))
	p := testPacket(now, "10.0.0.9:5353", b.Bytes())
	if n := testing.AllocsPerRun(100, func() { z.hear(p) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func hostile(buf []byte, i int) []byte {
	// One A record with a name of 8 hexadecimal digits and a day to live.
	buf = append(buf[:0], 0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8)
	buf = fmt.Appendf(buf, "%08x", i)
	buf = append(buf, 5, 'l', 'o', 'c', 'a', 'l', 0, 0, 1, 0x80, 1)
	buf = binary.BigEndian.AppendUint32(buf, 86400)
	return append(buf, 0, 4, 10, 0, byte(i>>8), byte(i))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestFloodOfHostileNamesKeepsMemoryFlat(t *testing.T) {
	const flood = 120_000 // names, 6 seconds of them
	now := time.Now()
	z := testZone(now)
	z.maxRecords, z.maxBytes = 4096, 4096*2*entryCost
	// Somebody asks for this one: no flood drives it out.
	sub := &Subscription{ready: make(chan struct{}, 1)}
	z.attach(now, &want{q: Question{Name: mustName("_http._tcp.local"), Type: dnswire.TypePTR}, to: sub})
	z.hear(testPacket(now, "10.0.0.9:5353", typicalResponse()))
	before := uint64(0)
	var buf []byte
	for i := range flood {
		buf = hostile(buf, i)
		m, err := dnswire.Parse(buf)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(50 * time.Microsecond) // 20,000 a second
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Port)
		z.hear(&Packet{Src: src, Dst: groupIPv4, Time: now, Message: m, Data: buf})
		z.advance(now)
		if len(z.records) > 4096 || len(z.names) > 4096 || len(z.sources) > 4096 || len(z.alarms) > 4096 {
			t.Fatalf("after %d names: %d records, %d names, %d sources, %d alarms", i+1, len(z.records), len(z.names), len(z.sources), len(z.alarms))
		}
		if i == flood/4 {
			before = heap()
		}
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
	if z.stats.evicted.Load() < flood-8192 {
		t.Errorf("%d evictions, want nearly %d", z.stats.evicted.Load(), flood)
	}
	key := recordKeyOf(dnswire.NewPTR(mustName("_http._tcp.local"), mustName(`Build Server v1\.2 (Room 3)._http._tcp.local`), 0))
	if z.records[key] == nil {
		t.Error("the record that somebody asks for was evicted")
	}
	checkCache(t, &z.cache)
}

func TestKeyOfARecordIsThatOfTheWire(t *testing.T) {
	txt, _ := dnswire.NewTXT(mustName("A.local"), 1, "X")
	for _, rr := range []dnswire.RR{
		dnswire.NewPTR(mustName("_HTTP._tcp.local"), mustName("Web._http._tcp.LOCAL"), 1), txt,
		dnswire.NewSRV(mustName("A.local"), dnswire.SRV{Priority: 1, Weight: 2, Port: 'A', Target: mustName("Nas.local")}, 1),
		dnswire.NewAddr(mustName("A.local"), netip.MustParseAddr("65.66.67.68"), 1), dnswire.NewAddr(mustName("A.local"), netip.MustParseAddr("fe80::41"), 1),
		dnswire.NewNSEC(mustName("A.local"), mustName("A.local"), 1, dnswire.TypeA),
		{Name: mustName("A.local"), Type: 4711, Class: dnswire.ClassIN, Data: "ABC"},
	} {
		if got, want := keyOf(rr), recordKeyOf(rr); got != want {
			t.Errorf("key of %v is %q, want %q", rr, got, want)
		}
		if got, want := keyOf(rr.Fold()), recordKeyOf(rr); rr.Type != dnswire.TypeNSEC && got != want {
			t.Errorf("key of %v folded is %q, want %q", rr, got, want)
		}
	}
}

func recordKeyOf(rr dnswire.RR) string {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 0)
	b.Answer(rr)
	m, err := dnswire.Parse(b.Bytes())
	if err != nil {
		panic(err)
	}
	for r := range m.Records() {
		return string(recordKey(nil, &r))
	}
	return ""
}

func TestOneHostCanNotFillTheCache(t *testing.T) {
	now := time.Now()
	z := testZone(now)
	z.maxRecords, z.maxPerSource, z.maxBytes = 4096, 100, 1<<30
	for i := range 1000 {
		z.hear(testPacket(now, "10.0.0.66:5353", hostile(nil, i)))
	}
	z.hear(testPacket(now, "10.0.0.9:5353", typicalResponse()))
	if len(z.records) != 105 || z.stats.dropped[dropSourceFull].Load() != 900 {
		t.Errorf("%d records, %d dropped; want 105 and 900", len(z.records), z.stats.dropped[dropSourceFull].Load())
	}
	// What ran out makes room again.
	now = now.Add(25 * time.Hour)
	z.advance(now)
	z.hear(testPacket(now, "10.0.0.66:5353", hostile(nil, 1000)))
	if len(z.records) != 1 || len(z.sources) != 1 {
		t.Errorf("%d records of %d sources a day later, want 1 of 1", len(z.records), len(z.sources))
	}
	checkCache(t, &z.cache)
}

func TestLargeRecordsAreBoundedByTheirBytes(t *testing.T) {
	now := time.Now()
	z := testZone(now)
	z.maxRecords, z.maxBytes = 16384, 16384*2*entryCost
	big := strings.Repeat(strings.Repeat("x", 255)+"\x00", 1)
	for i := range 2000 {
		var texts []string
		for range 30 {
			texts = append(texts, big[:255])
		}
		rr, err := dnswire.NewTXT(mustName(fmt.Sprintf("n%d.local", i)), 4500, texts...)
		if err != nil {
			t.Fatal(err)
		}
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{Response: true}, 9000)
		b.Answer(rr)
		z.hear(testPacket(now, fmt.Sprintf("10.0.%d.%d:5353", i>>8, i&255), b.Bytes()))
	}
	if z.bytes > z.maxBytes || len(z.records) > 1200 {
		t.Errorf("%d records of 7 kB take %d bytes, want at most %d", len(z.records), z.bytes, z.maxBytes)
	}
	checkCache(t, &z.cache)
}

// checkCache holds the cache's structures against each other.
func checkCache(t *testing.T, c *cache) {
	t.Helper()
	entries, bytes := 0, 0
	sources := map[*source]int{}
	for key, n := range c.names {
		if n.key != key || len(n.slots) == 0 {
			t.Fatalf("name %q is kept for nothing", n.name)
		}
		for _, s := range n.slots {
			if s.node != n || len(s.entries) == 0 && s.ask == nil && s.check == nil {
				t.Fatalf("slot %s %s is kept for nothing", n.name, s.typ)
			}
			for i, e := range s.entries {
				entries++
				bytes += e.cost()
				sources[e.from]++
				if e.slot != s || e.place != i || c.records[e.key] != e {
					t.Fatalf("record %v is not where it says", e.rr)
				}
				if e.index == 0 || c.alarms[e.index-1] != e || e.at.After(e.expires) {
					t.Fatalf("record %v has no alarm in time", e.rr)
				}
			}
		}
	}
	if entries != len(c.records) || entries != len(c.alarms) || bytes != c.bytes || len(sources) != len(c.sources) {
		t.Fatalf("%d entries, %d records, %d alarms; %d bytes counted as %d; %d sources counted as %d",
			entries, len(c.records), len(c.alarms), bytes, c.bytes, len(sources), len(c.sources))
	}
	for s, n := range sources {
		if s.records != n {
			t.Fatalf("source %v has %d records, counted as %d", s.addr, n, s.records)
		}
	}
	for i := range c.alarms {
		if p := (i - 1) / 2; i > 0 && c.alarms[i].at.Before(c.alarms[p].at) {
			t.Fatal("the heap of alarms is out of order")
		}
	}
}

func TestRefreshTimesStayInTheirWindows(t *testing.T) {
	now := time.Now()
	for _, ttl := range []uint32{1, 5, 20, 100, 120, 4500, 86400} {
		for j := range 256 {
			e := &entry{rr: dnswire.RR{TTL: ttl}, seen: now, jitter: uint8(j)}
			for step := range uint8(refreshSteps) {
				share := float64(e.refreshAt(step, now.Add(-time.Hour)).Sub(now)) / float64(time.Duration(ttl)*time.Second)
				if least := 0.80 + 0.05*float64(step); share < least-1e-9 || share > least+0.02+1e-9 {
					t.Fatalf("TTL %d, step %d, jitter %d: at %.4f of the TTL", ttl, step, j, share)
				}
			}
		}
	}
}

func TestHostThatSleptAsksAgain(t *testing.T) {
	c := newCore(&Engine{})
	now := c.began
	z := testZone(now)
	z.hear(testPacket(now, "10.0.0.9:5353", typicalResponse()))
	p := &place{zone: z, answers: respond.New(c.book, &c.engine.stats.respond), port: &port{out: make(chan packet.Datagram, 8)}, up: true}
	c.places[placeKey{2, IPv4}] = p
	p.answers.Open(now)
	claim := p.answers.NewClaim(nil)
	p.answers.Set(now, claim, []respond.Record{{RR: dnswire.NewPTR(mustName("a.local"), mustName("b.local"), 0), Unique: true}}, false)
	for range 8 { // probes and announcements
		at := p.answers.Next()
		p.answers.Advance(at)
		p.answers.Take(at)
	}
	if claim.State() != respond.Announced {
		t.Fatalf("state %v", claim.State())
	}
	c.checkClock(now.Add(time.Second))
	c.began = c.began.Add(0)
	// The wall clock is a minute further on than the monotonic one.
	c.skew -= time.Minute
	c.checkClock(now.Add(time.Second))
	z.advance(now.Add(time.Second + doubtGrace))
	if len(z.records) != 0 {
		t.Errorf("%d records %v after the host slept, want none", len(z.records), doubtGrace)
	}
	if claim.State() != respond.Probing {
		t.Errorf("state %v after the host slept, want the names probed again", claim.State())
	}
}
