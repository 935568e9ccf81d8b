//go:build linux

package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// peersVariable names a folder with plain copiers in C, built from the public
// repositories kennylevinsen/mdns-repeater and vfreex/mdns-reflector under
// these names. Those that aren't there are left out.
const peersVariable = "LANFOLK_BENCH_PEERS"

// contender is a program that passes packets on between the links va and vb.
type contender struct {
	name  string
	start func(b *testing.B, router *lab.Host) *lab.Process
	// most is the highest rate in packets a second that makes sense for it.
	most int
}

func contenders(b *testing.B) []contender {
	b.Helper()
	all := []contender{
		{name: "lanfolk", start: func(_ *testing.B, h *lab.Host) *lab.Process { return startRole(h, "reflect") }},
		{name: "go-copy", start: func(_ *testing.B, h *lab.Host) *lab.Process { return startRole(h, "copy", "va", "vb") }},
		{name: "avahi-daemon", most: 1000, start: func(b *testing.B, h *lab.Host) *lab.Process {
			lab.Require(b, "avahi-daemon")
			return h.Avahi(lab.Avahi{Reflector: true}).Process
		}},
	}
	for name, args := range map[string][]string{
		"mdns-repeater":  {"-f", "va", "vb"},
		"mdns-reflector": {"-f", "-n", "-4", "va", "vb"},
	} {
		path := filepath.Join(os.Getenv(peersVariable), name)
		all = append(all, contender{name: name, start: func(b *testing.B, h *lab.Host) *lab.Process {
			if _, err := os.Stat(path); err != nil || os.Getenv(peersVariable) == "" {
				b.Skipf("no %s: set %s to the folder that has it", name, peersVariable)
			}
			return h.Start(append([]string{path}, args...)...)
		}})
	}
	slices.SortStableFunc(all, func(a, b contender) int { return cmp.Compare(order(a.name), order(b.name)) })
	return all
}

// order puts ours before the rest, since they are compared to it.
func order(name string) int {
	return slices.Index([]string{"lanfolk", "go-copy", "mdns-repeater"}, name) & 0xff
}

func startRole(h *lab.Host, role string, args ...string) *lab.Process {
	self, err := os.Executable()
	if err != nil {
		panic(err) // it is running
	}
	c := h.Command(append(pinned(role, self), args...)...)
	c.Env = []string{roleVariable + "=" + role}
	return c.Start()
}

// BenchmarkReflect passes 418-byte answers of 200 hosts, each with records of
// its own, on between two namespaces: ours with its guard and rules, a bare loop
// in Go that copies in batches, avahi-daemon, and plain copiers in C. CPU is
// that of the program's threads; loss and latency are as seen by the receiver.
// There are no latencies where packets are written anew, as by avahi: their stamps
// don't tell any more which packet they were of.
// The pace of the sender matters: single packets wake a reader for each, and
// bursts, as they come when many answer one question, for many.
func BenchmarkReflect(b *testing.B) {
	lab.Require(b, "root", "ip")
	ours := map[string]outcome{}
	for _, c := range contenders(b) {
		for _, l := range []struct{ rate, burst int }{{800, 1}, {5000, 1}, {5000, 5}, {20000, 1}, {20000, 20}} {
			if c.most > 0 && l.rate > c.most {
				continue
			}
			load := fmt.Sprintf("rate=%d/burst=%d", l.rate, l.burst)
			b.Run(load+"/"+c.name, func(b *testing.B) {
				var o outcome
				for b.Loop() {
					o = runLoad(b, c, l.rate, l.burst)
				}
				b.ReportMetric(o.cpu, "cpu-µs/packet")
				b.ReportMetric(o.lost, "%lost")
				if o.Rewritten == 0 { // else there are none to go by
					b.ReportMetric(float64(o.P50.Microseconds()), "p50-µs")
					b.ReportMetric(float64(o.P99.Microseconds()), "p99-µs")
				}
				b.ReportMetric(0, "ns/op") // it would be the time that sending takes
				if c.name == "lanfolk" {
					ours[load] = o
				} else if us, ok := ours[load]; ok {
					b.ReportMetric(us.cpu/o.cpu, "lanfolk/this")
				}
			})
		}
	}
}

// outcome is what a load cost and what came of it.
type outcome struct {
	received
	cpu, lost float64 // µs a packet; per cent
}

// loadTime is for how long a load is sent, in seconds.
const loadTime = 3

func runLoad(b *testing.B, c contender, rate, burst int) outcome {
	b.Helper()
	l := lab.New(b)
	from, router, to := l.Host("from"), l.Host("router"), l.Host("to")
	veth(b, router, "va", from, "10.77.1")
	veth(b, router, "vb", to, "10.77.2")
	if r := from.Run("sh", "-c", "for i in $(seq 10 209); do ip addr add 10.77.1.$i/24 dev eth0 || exit 1; done"); r.Exit != 0 {
		b.Fatal(r.Stderr)
	}
	receiver := startRole(to, "receive")
	receiver.WaitText(5*time.Second, "ready")
	p := c.start(b, router)
	defer p.Stop()
	time.Sleep(time.Second) // until it has opened its sockets
	before := cpu(b, p.Pid())
	sender := startRole(from, "send", strconv.Itoa(rate), strconv.Itoa(burst), strconv.Itoa(loadTime), "200")
	sender.WaitText(time.Minute, "sent")
	time.Sleep(200 * time.Millisecond)
	spent := cpu(b, p.Pid()) - before
	receiver.Stop()
	var o outcome
	if err := json.Unmarshal([]byte(strings.TrimPrefix(receiver.Stdout(), "ready\n")), &o.received); err != nil {
		b.Fatalf("the receiver said %q: %v", receiver.Stdout(), err)
	}
	n := float64(rate * loadTime)
	o.cpu, o.lost = float64(spent.Nanoseconds())/1000/n, 100*(1-float64(o.Distinct)/n)
	return o
}

// veth joins two hosts without a bridge between them.
func veth(b *testing.B, router *lab.Host, name string, h *lab.Host, net string) {
	p := h.Start("sh", "-c", "echo there; exec sleep 600")
	p.WaitText(5*time.Second, "there")
	for _, c := range []struct {
		in   *lab.Host
		line string
	}{
		{router, fmt.Sprintf("link add name %s type veth peer name eth0 netns %d", name, p.Pid())},
		{router, fmt.Sprintf("addr add %s.1/24 dev %s", net, name)},
		{router, fmt.Sprintf("link set %s up", name)},
		{h, fmt.Sprintf("addr add %s.2/24 dev eth0", net)},
		{h, "link set eth0 up"},
	} {
		if r := c.in.Run(append([]string{"ip"}, strings.Fields(c.line)...)...); r.Exit != 0 {
			b.Fatalf("ip %s: %s", c.line, r.Stderr)
		}
	}
}

// cpu returns the CPU time of a process's threads so far.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatal(err, tasks)
	}
	var sum time.Duration
	for _, t := range tasks {
		s, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(s))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}
