//go:build linux

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
	"github.com/lanfolk/lanfolk/test/lab"
)

const million = 1_000_000

// keepMillion makes a state of a million devices with an IPv4 and an IPv6 address each, as it is
// right after its file was written anew (times is 1), or as it is at its worst, when
// all of it is there once more and is about to be written anew (2). It returns how long the file is.
func keepMillion(b *testing.B, dir string, times int) int64 {
	b.Helper()
	s, err := directory.Open(dir, directory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	log, whole := s.Directory.Tails(&mu)
	six := netip.MustParseAddr("2001:db8::1")
	for range times {
		now := time.Now()
		for i := range million {
			four := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			dev := syncthing.Device{ID: device(i), Addresses: []netip.AddrPort{netip.AddrPortFrom(four, 22000), netip.AddrPortFrom(six, 22000)}}
			if o := s.Directory.Put(now, &dev, four); o != syncthing.Stored {
				b.Fatal(i, o)
			}
		}
		if err := s.Save(now, log, whole); err != nil {
			b.Fatal(err)
		}
	}
	size := s.Stats().Size
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return size
}

// BenchmarkSyncthingRestore opens the state of a million devices, beside a floor: reading the file.
func BenchmarkSyncthingRestore(b *testing.B) {
	for _, times := range []int{1, 2} {
		dir := b.TempDir()
		size := keepMillion(b, dir, times)
		b.Run(fmt.Sprintf("written=%d/floor=read", times), func(b *testing.B) {
			buf := make([]byte, 64<<10)
			for b.Loop() {
				f, err := os.Open(filepath.Join(dir, "syncthing.state"))
				for err == nil {
					_, err = f.Read(buf)
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				f.Close()
			}
		})
		b.Run(fmt.Sprintf("written=%d/restore", times), func(b *testing.B) {
			b.ReportAllocs()
			used := time.Duration(0)
			for b.Loop() {
				before := processorTime(b)
				s, err := directory.Open(dir, directory.Options{})
				if err != nil || s.Directory.Len() != million {
					b.Fatal(err, s.Stats())
				}
				b.StopTimer()
				used += processorTime(b) - before
				s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(size)/million, "B/device")
		})
	}
}

// BenchmarkSyncthingState starts the real server with the state of a million devices, at its worst: how long that
// takes until it is ready, and how much of it is CPU time (others may use the machine), and how much memory it needs then and while all devices are announced as fast
// as it goes. Another one without a state says what it costs to keep one: the CPU time
// of an announcement, in the kernel's account. They take turns.
func BenchmarkSyncthingState(b *testing.B) {
	lab.Require(b, "root", "ip", "taskset")
	l := lab.New(b)
	h := l.Host("server")
	dir := filepath.Join(l.Dir(), "state")
	size := keepMillion(b, dir, 2)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	start := func(port int, args ...string) *lab.Process {
		c := h.Lanfolk(append([]string{"syncthing", "serve", "--rate-limit", "off", "--listen", "127.0.0.1:" + strconv.Itoa(port)}, args...)...)
		c.Limit = time.Hour
		p := c.Start()
		p.WaitLine(30*time.Second, "ready", func(line string) bool { return line == "ready" })
		return p
	}
	load := func(p *lab.Process, t syncthingTask) syncthingFigures {
		t.Devices, t.Pid = million, p.Pid()
		in, err := json.Marshal(t)
		if err != nil {
			b.Fatal(err)
		}
		c := h.Command(self)
		c.Env, c.Stdin, c.Limit = []string{roleVariable + "=syncthing-load"}, string(in), 5*time.Minute
		var f syncthingFigures
		if r := c.Run(); json.Unmarshal([]byte(r.Stdout), &f) != nil || f.Lost > 0 {
			b.Fatalf("the load said %q %q", r.Stdout, r.Stderr)
		}
		return f
	}
	const kept, bare = 22026, 22027
	var took, used time.Duration
	const restarts = 3
	var p *lab.Process
	for range restarts {
		if p != nil {
			p.Kill()
		}
		p = start(kept, "--state", dir)
		took += time.Since(p.Started())
		used += cpu(b, p.Pid())
	}
	after := peak(b, p.Pid())
	load(p, syncthingTask{Port: kept, Kind: "queries", Outstanding: 64, Seconds: 1}) // all are known
	other := start(bare)
	load(other, syncthingTask{Port: bare, Kind: "fill", Outstanding: 64})
	var with, without float64
	const turns = 4
	for range turns {
		f := load(p, syncthingTask{Port: kept, Kind: "announcements", Outstanding: 64, Seconds: 3})
		with += f.perRequest() / turns
		f = load(other, syncthingTask{Port: bare, Kind: "announcements", Outstanding: 64, Seconds: 3})
		without += f.perRequest() / turns
	}
	for b.Loop() {
	}
	b.ReportMetric(took.Seconds()*1000/restarts, "restart-ms")
	b.ReportMetric(used.Seconds()*1000/restarts, "restart-cpu-ms")
	b.ReportMetric(float64(size)/million, "B/device")
	b.ReportMetric(after, "MB-restarted")
	b.ReportMetric(peak(b, p.Pid()), "MB-announced")
	b.ReportMetric(peak(b, other.Pid()), "MB-without")
	b.ReportMetric(with, "cpu-µs/announcement")
	b.ReportMetric(without, "cpu-µs/without")
	b.ReportMetric(0, "ns/op")
	p.Stop()
	other.Stop()
}

// peak returns the most memory that a process ever had, in MB.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	s, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(s), "VmHWM:")
	var kb float64
	if _, err := fmt.Sscanf(rest, "%f kB", &kb); err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
