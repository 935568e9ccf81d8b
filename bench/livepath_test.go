//go:build linux

package bench

import (
	"context"
	"encoding/binary"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/store"
)

// nowhere is a database that keeps nothing.
type nowhere struct{ store.Observations }

func (nowhere) SaveObservations(context.Context, []lanfolk.Observation) error { return nil }

// ownCPU is the CPU time of this process so far.
func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLivePath is what a captured frame costs from the decoder to the
// recorder, without the kernel and the database: of so many devices with 72 packets
// each, and of such that no two are alike.
func BenchmarkLivePath(b *testing.B) {
	for _, c := range []struct {
		name            string
		devices         int
		anew, inventory bool
	}{{"devices=20", 20, false, false}, {"devices=20/inventory", 20, false, true}, {"devices=1000", 1000, false, false},
		{"devices=1000/inventory", 1000, false, true}, {"anew", 20, true, false}, {"anew/inventory", 20, true, true}} {
		b.Run(c.name, func(b *testing.B) {
			frames, err := devices(c.devices)
			if err != nil {
				b.Fatal(err)
			}
			d := passive.NewDecoder(passive.Options{})
			r := store.NewRecorder(nowhere{}, store.RecorderOptions{})
			h := &source.Heard{From: &source.Passive{}, Record: r.Record}
			sightings := 0
			if c.inventory {
				h.Observe = func(s ...lanfolk.Sighting) { sightings += len(s) }
			}
			emit := h.Fact
			start := time.Now()
			i, n := 0, uint32(0)
			one := func() {
				f := frames[i]
				if i++; i == len(frames) {
					i = 0
				}
				if n++; c.anew {
					binary.BigEndian.PutUint32(f[8:], n)
				}
				d.Decode(packet.Frame{Data: f, Length: len(f), LinkType: packet.LinkEthernet, Interface: "eth0", Time: start.Add(time.Duration(n) * 2 * time.Microsecond)}, emit)
				if n%1000 == 0 {
					h.Pause()
				}
				if n%500_000 == 0 {
					_ = r.Flush(context.Background())
				}
			}
			for range 4 * len(frames) {
				one()
			}
			sightings = 0
			b.ReportAllocs()
			b.ResetTimer()
			before := ownCPU(b)
			for b.Loop() {
				one()
			}
			b.ReportMetric(float64(ownCPU(b)-before)/float64(b.N), "cpu-ns/packet")
			b.ReportMetric(float64(sightings)/float64(b.N), "sightings/packet")
		})
	}
}
