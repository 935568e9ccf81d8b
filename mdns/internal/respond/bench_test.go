package respond

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// BenchmarkQuery measures what a query costs a responder with 10,000 services
// that answers it, at once and alone, and one that has nothing to answer.
func BenchmarkQuery(b *testing.B) {
	now := time.Unix(1e9, 0)
	r := New(NewBook(), new(Counters))
	r.Open(now)
	service := parseName("_http._tcp.local")
	for i := range 10_000 {
		name, err := service.Prepend(fmt.Sprintf("Service number %d", i))
		if err != nil {
			b.Fatal(err)
		}
		r.Set(now, r.NewClaim(nil), []Record{
			{RR: dnswire.NewPTR(service, name, 0)},
			{RR: dnswire.NewSRV(name, dnswire.SRV{Port: 80, Target: parseName("server.local")}, 0), Unique: true, NoProbe: true},
		}, false)
	}
	r.Events()
	for at := r.Next(); !at.IsZero(); at = r.Next() {
		now = at
		r.Advance(now)
		r.Take(now)
	}
	for name, asked := range map[string]string{"ours": "service number 4711._http._tcp.local", "other": "another one._http._tcp.local"} {
		b.Run(name, func(b *testing.B) {
			var build dnswire.Builder
			build.Reset(nil, dnswire.Header{}, 0)
			build.Question(parseName(asked), dnswire.TypeSRV, dnswire.ClassIN, false)
			q, err := dnswire.Parse(build.Bytes())
			if err != nil {
				b.Fatal(err)
			}
			m := Message{Src: netip.MustParseAddrPort("10.0.0.9:5353"), Dst: netip.MustParseAddrPort("224.0.0.251:5353"), OnLink: true, Message: &q}
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				now = now.Add(limitAnswer)
				m.Time = now
				r.Query(&m)
				r.Advance(now)
				sent += len(r.Take(now))
			}
			if want := map[string]int{"ours": b.N, "other": 0}[name]; sent != want {
				b.Fatalf("%d answers to %d queries", sent, b.N)
			}
		})
	}
}
