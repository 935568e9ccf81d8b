package mdns

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// FuzzZoneHear feeds packets to the state that receives them: each is a byte
// that says how long after the last it comes and from whom, a byte with its
// length in units of four bytes, and its bytes.
func FuzzZoneHear(f *testing.F) {
	for _, seed := range hearSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.Unix(1e9, 0)
		z := testZone(now)
		z.maxRecords, z.maxPerSource = 64, 32
		z.unicast = true
		z.observe = func(Event) {}
		var subs []*want
		for _, q := range []Question{
			{Name: mustName("_http._tcp.local"), Type: dnswire.TypePTR}, {Name: mustName("build-server-7.local"), Type: dnswire.TypeANY},
			{Name: mustName("build-server-7.local"), Type: dnswire.TypeAAAA, Tries: 2},
		} {
			w := &want{q: q, to: &Subscription{ready: make(chan struct{}, 1)}}
			z.attach(now, w)
			subs = append(subs, w)
		}
		for n := 0; len(b) > 2 && n < 64; n++ {
			how, size := b[0], min(int(b[1])*4, len(b)-2)
			data := b[2 : 2+size]
			b = b[2+size:]
			now = now.Add(time.Duration(how>>2) * 700 * time.Millisecond)
			p := &Packet{Time: now, Data: data, Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, how & 3}), Port), Dst: groupIPv4}
			if how&3 == 3 {
				p.Dst = netip.MustParseAddrPort("10.0.0.1:5353")
			}
			m, err := dnswire.Parse(data)
			if err == nil {
				p.Message = m
				if _, ok := z.accept(p); ok {
					z.hear(p)
				}
			}
			if how&7 == 6 {
				for _, e := range z.records {
					z.reconfirm(now, e.rr)
					break
				}
				z.reconfirm(now, dnswire.RR{Name: mustName("build-server-7.local"), Type: dnswire.TypeA, Class: dnswire.ClassIN})
			}
			z.advance(now)
			for _, out := range z.out {
				if m, err := dnswire.Parse(out); err != nil || m.Response || len(out) > 1472 {
					t.Fatalf("sent %x: %v", out, err)
				}
			}
			z.out = z.out[:0]
			if len(z.records) > 64 {
				t.Fatalf("%d records, want at most 64", len(z.records))
			}
			checkCache(t, &z.cache)
			if at := z.nextAlarm(); !at.IsZero() && !at.After(now) {
				t.Fatal("advance left something undone")
			}
		}
		for _, w := range subs {
			z.detach(w)
		}
		z.advance(now.Add(2 * maxTTL))
		if len(z.records)+len(z.names)+len(z.asks)+len(z.checks)+z.asking+z.bytes != 0 {
			t.Fatalf("in the end %d records, %d names, %d questions, %d bytes are left", len(z.records), len(z.names), z.asking, z.bytes)
		}
	})
}

// hearSeeds are sequences of packets as FuzzZoneHear reads them.
func hearSeeds() [][]byte {
	record := func(how byte, data []byte) []byte {
		for len(data)%4 != 0 {
			data = append(data, 0) // bytes after a message mean nothing
		}
		return append([]byte{how, byte(len(data) / 4)}, data...)
	}
	build := func(response bool, rrs ...dnswire.RR) []byte {
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{Response: response}, 1000)
		if !response {
			b.Question(mustName("_http._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, false)
		}
		for _, rr := range rrs {
			b.Answer(rr)
		}
		return b.Bytes()
	}
	host := mustName("build-server-7.local")
	a, b := dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.9"), 120), dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.8"), 120)
	a.Flush, b.Flush = true, true
	gone := a
	gone.TTL = 0
	typical := record(1, typicalResponse())
	seeds := [][]byte{
		typical,
		append(record(9, build(true, a)), record(9, build(true, b))...),
		append(record(9, build(true, a)), record(13, build(true, gone))...),
		append(typical, record(2, build(false, dnswire.NewPTR(mustName("_http._tcp.local"), mustName("x._http._tcp.local"), 4500)))...),
		record(3, build(true, dnswire.NewNSEC(host, host, 120, dnswire.TypeA))),
		append(record(1, typicalResponse()), record(6, build(false))...),
		append(record(1, typicalResponse()), append(record(10, build(false)), record(10, build(false))...)...),
	}
	return seeds
}

func TestFuzzSeeds(t *testing.T) {
	seeds := hearSeeds()
	files, err := filepath.Glob("testdata/fuzz/FuzzZoneHear/*")
	if err != nil || len(seeds) == 0 {
		t.Fatal("no seeds for FuzzZoneHear")
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	for i, s := range seeds {
		if _, err := dnswire.Parse(s[2 : 2+4*int(s[1])]); err != nil {
			t.Errorf("seed %d: %v", i+1, err)
		}
	}
}
