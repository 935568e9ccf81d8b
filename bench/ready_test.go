package bench

import (
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// BenchmarkReady measures how long `lanfolk up` takes from its start, with an
// empty state folder, until it says that it is ready, beside the floor: a run
// of the same program that only prints its version.
func BenchmarkReady(b *testing.B) {
	l := lab.New(b)
	desk := l.Host("desk").Join(l.Subnet("a", "10.99.1.0/24", "fd99:1::/64"))
	desk.Lanfolk("version").Run() // from the disk, once
	var ready, floor time.Duration
	n := 0
	for b.Loop() {
		floor += desk.Lanfolk("version").Run().Took
		node := desk.Up(lab.Node{})
		ready += node.Ready
		node.Stop()
		n++
	}
	b.ReportMetric(float64(ready.Milliseconds())/float64(n), "ready-ms")
	b.ReportMetric(float64(floor.Milliseconds())/float64(n), "version-ms")
	b.ReportMetric(0, "ns/op") // it would count the stop, too
}
