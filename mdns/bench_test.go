package mdns

import (
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// BenchmarkHearKnown measures the reading and applying of a response that
// tells nothing new, without sockets and goroutines; bench/ has the whole way.
func BenchmarkHearKnown(b *testing.B) {
	now := time.Now()
	z := testZone(now)
	data := typicalResponse()
	p := testPacket(now, "10.0.0.9:5353", data)
	z.hear(p)
	b.ReportAllocs()
	for b.Loop() {
		m, err := dnswire.Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		p.Message = m
		if _, ok := z.accept(p); ok {
			z.hear(p)
		}
	}
}
