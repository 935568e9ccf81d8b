package bench

import (
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

const million = 1_000_000

// putDevices announces devices with two addresses each, of which the first differ by when.
func putDevices(b *testing.B, d *syncthing.Directory, n int, when byte) {
	b.Helper()
	dev := syncthing.Device{Addresses: make([]netip.AddrPort, 2)}
	now := time.Now()
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(dev.ID[:], i*2654435761)
		dev.Addresses[0] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 22000)
		dev.Addresses[1] = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: when}), 22000)
		if o := d.Put(now, &dev, dev.Addresses[0].Addr()); o != syncthing.Stored {
			b.Fatal(i, o)
		}
	}
}

func saveAll(b *testing.B, s *directory.State, log, whole *syncthing.Tail) {
	b.Helper()
	if err := s.Save(time.Now(), log, whole); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSyncthingRestart opens the state of a million devices with two addresses each, as it
// is right after it was written anew and as it is at its worst, when every device
// is in it twice; beside a floor: reading the same file.
func BenchmarkSyncthingRestart(b *testing.B) {
	for _, c := range []struct {
		name  string
		times byte
	}{{"once", 1}, {"twice", 2}} {
		dir := b.TempDir()
		s, err := directory.Open(dir, directory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		var mu sync.Mutex
		log, whole := s.Directory.Tails(&mu)
		for n := range c.times {
			putDevices(b, s.Directory, million, n)
			saveAll(b, s, log, whole)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(dir, "syncthing.state")
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/floor=read", func(b *testing.B) {
			buf := make([]byte, 256<<10)
			for b.Loop() {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = f.Read(buf)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				f.Close()
			}
		})
		b.Run(c.name+"/restore", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := directory.Open(dir, directory.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if n := s.Directory.Len(); n != million {
					b.Fatal(n, s.Stats())
				}
				b.StopTimer()
				s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(info.Size())/million, "B/device")
		})
	}
}
