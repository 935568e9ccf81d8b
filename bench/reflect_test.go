//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// reflectors are what BenchmarkReflect sets side by side.
type peerReflector struct {
	name  string
	start func(h *lab.Host) *lab.Process
}

// BenchmarkReflect passes answers on between two namespaces.
func BenchmarkReflect(b *testing.B) {
	lab.Require(b, "root", "ip")
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	role := func(h *lab.Host, name string, args ...string) *lab.Process {
		c := h.Command(append([]string{self}, args...)...)
		c.Env = []string{roleVariable + "=" + name, "GOMAXPROCS=" + os.Getenv("BENCH_PROCS")}
		return c.Start()
	}
	peers := []peerReflector{
		{"lanfolk", func(h *lab.Host) *lab.Process { return role(h, "reflect") }},
		{"go-copy", func(h *lab.Host) *lab.Process { return role(h, "copy", "va", "vb") }},
	}
	for _, p := range []string{"repeater", "vfreex"} {
		path := filepath.Join(os.Getenv("LANFOLK_BENCH_PEERS"), p)
		if _, err := os.Stat(path); err != nil || p == path {
			continue
		}
		peers = append(peers, peerReflector{p, func(h *lab.Host) *lab.Process {
			if p == "vfreex" {
				return h.Start(path, "-f", "-n", "-4", "va", "vb")
			}
			return h.Start(path, "-f", "va", "vb")
		}})
	}
	for _, load := range [][2]int{{5000, 1}, {5000, 5}, {20000, 1}, {20000, 20}} {
		for _, p := range peers {
			b.Run(fmt.Sprintf("rate=%d/burst=%d/%s", load[0], load[1], p.name), func(b *testing.B) {
				l := lab.New(b)
				from, router, to := l.Host("from"), l.Host("router"), l.Host("to")
				veth(b, router, "va", from, "10.77.1")
				veth(b, router, "vb", to, "10.77.2")
				r := from.Run("sh", "-c", "for i in $(seq 10 209); do ip addr add 10.77.1.$i/24 dev eth0 || exit 1; done")
				if r.Exit != 0 {
					b.Fatal(r.Stderr)
				}
				time.Sleep(200*time.Millisecond)
				recv := role(to, "receive")
				recv.WaitText(5*time.Second, "ready")
				refl := p.start(router)
				time.Sleep(700 * time.Millisecond)
				seconds := 3
				before := cpu(b, refl.Pid())
				s := from.Command(self, strconv.Itoa(load[0]), strconv.Itoa(load[1]), strconv.Itoa(seconds), "200")
				s.Env = []string{roleVariable + "=send"}
				res := s.Run()
				if res.Exit != 0 {
					b.Fatal(res.Stderr)
				}
				time.Sleep(100 * time.Millisecond)
				spent := cpu(b, refl.Pid()) - before
				recv.Stop()
				var got received
				if err := json.Unmarshal([]byte(strings.TrimPrefix(recv.Stdout(), "ready\n")), &got); err != nil {
					b.Fatal(err, recv.Stdout())
				}
				n := load[0] * seconds
				b.ReportMetric(float64(spent.Nanoseconds())/1000/float64(n), "cpu-µs/packet")
				b.ReportMetric(100*(1-float64(got.Distinct)/float64(n)), "%lost")
				b.ReportMetric(float64(got.P50.Microseconds()), "p50-µs")
				b.ReportMetric(float64(got.P99.Microseconds()), "p99-µs")
				b.ReportMetric(0, "ns/op")
				b.Log(strings.TrimSpace(res.Stdout), got.Packets, got.Distinct)
				refl.Stop()
			})
		}
	}
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
