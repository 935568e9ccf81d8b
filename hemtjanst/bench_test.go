package hemtjanst_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// snapshot returns what a broker retains of one bridge's devices, as a watcher gets it, and how many
// bytes of it are metadata.
func snapshot(n int) (all []hemtjanst.Message, metadata int) {
	add := func(topic, payload string) {
		all = append(all, hemtjanst.Message{Topic: topic, Payload: []byte(payload), Retain: true})
	}
	add("provider/P1", "{}")
	for i := range n {
		doc := fmt.Sprintf(`{"name":"Kitchen","type":"light","features":{"on":{},"brightness":{"min":10}},"root":"u1/bulk/%d","providerID":"P1"}`, i)
		metadata += len(doc)
		add(fmt.Sprintf("device/bulk-%d", i), doc)
	}
	for i := range n {
		add(fmt.Sprintf("current/u1/bulk/%d/reachable", i), "1")
	}
	return all, metadata
}

func BenchmarkSnapshot(b *testing.B) {
	all, _ := snapshot(100_000)
	b.ReportAllocs()
	for b.Loop() {
		var m hemtjanst.Model
		m.Begin()
		for _, msg := range all {
			m.Observe(time.Time{}, msg, nil)
		}
		m.Complete(time.Time{}, true, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/device")
}

// A device takes less than 300 bytes beside its metadata: its id, its root and all that joins them.
func TestADeviceTakesLittleMemory(t *testing.T) {
	const n = 100_000
	all, metadata := snapshot(n)
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	m := &hemtjanst.Model{}
	m.Begin()
	for _, msg := range all {
		m.Observe(time.Time{}, msg, nil)
	}
	m.Complete(time.Time{}, true, nil)
	each := (float64(heap()-before) - float64(metadata)) / n
	t.Logf("%.0f bytes a device beside %d of metadata", each, metadata/n)
	if each > 300 {
		t.Errorf("a device takes %.0f bytes beside its metadata", each)
	}
	runtime.KeepAlive(m)
	runtime.KeepAlive(all)
}
