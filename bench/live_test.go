//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// Who hears and who sends has a core each. The sender's does the kernel's part of
// receiving, too, as interrupts of a network card would on a core of theirs.
const (
	hearCore  = "0"
	blastCore = "1"
)

// pinned is the command that runs this program in a role.
func pinned(role, self string) []string {
	switch role {
	case "blast":
		return []string{"taskset", "-c", blastCore, self}
	case "hear":
		return []string{"taskset", "-c", hearCore, self}
	}
	return []string{self}
}

// liveLoad is what is sent, and how fast.
type liveLoad struct {
	name    string
	kind    string // roleBlast's
	devices int
	rate    int // frames a second, 0 for as many as go
	seconds float64
}

// discoveryRate is how many packets a second must be taken without loss.
const discoveryRate = 500_000

var liveLoads = []liveLoad{
	{"devices=20", "devices", 20, discoveryRate, 5},
	{"devices=50", "devices", 50, discoveryRate, 5},
	{"anew", "anew", 20, discoveryRate, 5},
	{"95%bulk", "bulk", 20, 0, 5},
	{"95%upload", "upload", 20, 0, 5},
}

// listener is a program that hears the load.
type listener struct {
	name  string
	start func(b *testing.B, h *lab.Host) *lab.Process
	// result is what it says at the end: how many frames it got, and how many the
	// kernel dropped before it could.
	result func(b *testing.B, p *lab.Process) (got, lost uint64)
	// most bounds the load where it is far too much, in frames.
	most int
}

func listeners() []listener {
	hear := func(args ...string) func(*testing.B, *lab.Host) *lab.Process {
		return func(_ *testing.B, h *lab.Host) *lab.Process {
			p := startRole(h, "hear", args...)
			p.WaitText(10*time.Second, "ready")
			return p
		}
	}
	heard := func(b *testing.B, p *lab.Process) (got, lost uint64) {
		p.Stop()
		var h heard
		if err := json.Unmarshal([]byte(strings.TrimPrefix(p.Stdout(), "ready\n")), &h); err != nil {
			b.Fatal(err, p.Stdout(), p.Stderr())
		}
		if h.Recorded+h.RowsLost < h.Frames/2 || len(h.Drops) > 0 && h.Dropped == 0 {
			b.Errorf("of %d frames %d are in rows, %d rows were let go, dropped %v", h.Frames, h.Recorded, h.RowsLost, h.Drops)
		}
		b.ReportMetric(float64(h.Facts)/float64(h.Frames), "facts/packet")
		b.ReportMetric(float64(h.RowsLost), "rows-lost")
		b.ReportMetric(float64(h.Registry.Observed)/float64(h.Frames), "sightings/packet")
		b.ReportMetric(float64(h.MaxRSS)/1024, "MiB")
		return h.Frames, h.Dropped
	}
	return []listener{
		{name: "lanfolk", start: hear(), result: heard},
		{name: "lanfolk+inventory", start: hear("registry"), result: heard},
		{name: "tcpdump", start: func(_ *testing.B, h *lab.Host) *lab.Process {
			p := h.Start("taskset", "-c", hearCore, "tcpdump", "-i", "eth0", "-n", "-B", "16384", "-w", "/dev/null")
			p.WaitText(10*time.Second, "listening on")
			return p
		}, result: func(b *testing.B, p *lab.Process) (got, lost uint64) {
			p.Stop()
			return number(b, p, `(\d+) packets captured`), number(b, p, `(\d+) packets dropped by kernel`)
		}},
		{name: "tshark", most: discoveryRate / 4, start: func(b *testing.B, h *lab.Host) *lab.Process {
			lab.Require(b, "tshark")
			// Its decoder reads behind dumpcap from a file.
			p := h.Start("taskset", "-c", hearCore, "tshark", "-i", "eth0", "-n", "-B", "16", "-l", "-T", "fields", "-e", "frame.number")
			p.WaitText(20*time.Second, "Capturing on")
			time.Sleep(2 * time.Second)
			return p
		}, result: func(b *testing.B, p *lab.Process) (got, lost uint64) {
			p.Stop()
			got = uint64(strings.Count(p.Stdout(), "\n"))
			if strings.Contains(p.Stderr(), "dropped") {
				lost = number(b, p, `(\d+) packets? dropped`)
			}
			return got, lost
		}},
	}
}

// number finds a number in what a program said.
func number(b *testing.B, p *lab.Process, pattern string) uint64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(p.Stderr())
	if m == nil {
		b.Fatalf("no %s in %q", pattern, p.Stderr())
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkLive sends discovery packets, and them among bulk traffic, over a veth pair
// to who hears: lanfolk as a node has it, from the kernel's ring to the rows in SQLite,
// also with the inventory; and tcpdump and tshark, which write and dissect them. Lost
// is what the kernel's own counters say, cpu the listener's per frame that was sent.
// sender is the other core's time per frame, of which sender-alone is what it takes
// when nobody hears: the rest is the kernel's filter and its copy into the ring.
//
// 500,000 a second must come without loss, and bulk as fast as it can be sent. Of devices
// each says 89 different things again and again; "anew" is a flood of which no two packets
// are alike.
func BenchmarkLive(b *testing.B) {
	lab.Require(b, "root", "ip", "taskset", "tcpdump")
	for _, load := range liveLoads {
		alone := 0.0
		b.Run(load.name+"/nobody", func(b *testing.B) {
			for b.Loop() {
				l := lab.New(b)
				from, to := l.Host("from"), l.Host("to")
				veth(b, to, "eth0", from, "10.77.1")
				s := load.send(b, from, 1<<30)
				alone = s.perFrame()
				b.ReportMetric(alone, "sender-ns/packet")
				b.ReportMetric(float64(s.Sent)/s.Seconds, "sent/s")
				b.ReportMetric(0, "ns/op")
			}
		})
		for _, who := range listeners() {
			b.Run(load.name+"/"+who.name, func(b *testing.B) {
				for b.Loop() {
					l := lab.New(b)
					from, to := l.Host("from"), l.Host("to")
					veth(b, to, "eth0", from, "10.77.1")
					p := who.start(b, to)
					before := familyCPU(b, p.Pid())
					s := load.send(b, from, max(who.most, 0))
					spent := settledCPU(b, p.Pid()) - before
					got, lost := who.result(b, p)
					n := float64(s.Sent)
					b.ReportMetric(n/s.Seconds, "sent/s")
					b.ReportMetric(float64(got), "got")
					b.ReportMetric(float64(lost), "lost")
					b.ReportMetric(float64(spent.Nanoseconds())/float64(max(got, 1)), "cpu-ns/got")
					b.ReportMetric(float64(spent.Nanoseconds())/n, "cpu-ns/packet")
					b.ReportMetric(s.perFrame(), "sender-ns/packet")
					if alone > 0 {
						b.ReportMetric(s.perFrame()-alone, "kernel-ns/packet")
					}
					b.ReportMetric(0, "ns/op") // it is the load's
				}
			})
		}
	}
}

func (s blast) perFrame() float64 { return 1e9 * (s.User + s.Sys) / float64(s.Sent) }

// send sends the load, at most so many frames if that isn't 0.
func (l liveLoad) send(b *testing.B, from *lab.Host, most int) blast {
	b.Helper()
	total := int(l.seconds * discoveryRate)
	if l.rate == 0 {
		total *= 2 // it goes faster
	}
	if most > 0 {
		total = min(total, most)
	}
	p := startRole(from, "blast", l.kind, strconv.Itoa(l.devices), strconv.Itoa(l.rate), strconv.Itoa(total))
	if code := p.Wait(time.Minute); code != 0 {
		b.Fatal(p.Stderr())
	}
	var s blast
	if err := json.Unmarshal([]byte(p.Stdout()), &s); err != nil {
		b.Fatal(err, p.Stdout())
	}
	return s
}

// familyCPU is the CPU time of a process and its children so far.
func familyCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	sum := cpu(b, pid)
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that ended
		}
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += cpu(b, n)
			}
		}
	}
	return sum
}

// settledCPU is the same once the process has done what it has to do.
func settledCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	last := familyCPU(b, pid)
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); {
		time.Sleep(time.Second)
		now := familyCPU(b, pid)
		if now-last < 20*time.Millisecond {
			return now
		}
		last = now
	}
	return last
}
