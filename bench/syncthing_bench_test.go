//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// syncthingRounds is how often each server is measured; the medians count.
const syncthingRounds = 5

// syncthingServer is a server that is measured.
type syncthingServer struct {
	name    string
	port    int
	command []string
	role    string // of this program, instead of a command
	ready   string // its first line; empty if it has none
	// onlyFor is a kind of load, echoed says that it answers announcements, too.
	onlyFor string
	echoed  bool
	process *lab.Process
}

// BenchmarkSyncthing measures what a request costs a global server: CPU time in the kernel's account,
// requests a second, loss, and how long an answer takes. The server has one
// core and the load the other, on the loopback of a namespace of their own.
//
// The floor is an echo in C whose answers are as long, which knows nothing; and for announcements, which aren't
// answered, a sink besides, the same echo that only answers queries. With discosrv, the real old
// server (leveldb build of the repository syncthing/discosrv), in the folder that peersVariable names, that
// is measured, too. They take turns, and the
// ratios are medians of those of each turn: so others that use the machine meet all of them.
func BenchmarkSyncthing(b *testing.B) {
	lab.Require(b, "root", "ip", "gcc", "taskset")
	echo := filepath.Join(b.TempDir(), "echo")
	if out, err := exec.Command("gcc", "-O2", "-o", echo, "testdata/echo.c").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for _, devices := range []int{10_000, 200_000} {
		b.Run(fmt.Sprintf("devices=%d", devices), func(b *testing.B) { syncthingSize(b, devices, echo) })
	}
}

// syncthingAnswer is how long an answer with one IPv4 address is, in bytes.
const syncthingAnswer = 60

func syncthingSize(b *testing.B, devices int, echo string) {
	l := lab.New(b)
	h := l.Host("server")
	servers := []*syncthingServer{
		{name: "lanfolk", port: 22026, role: "syncthing-serve", ready: "ready"},
		{name: "echo", port: 22027, command: []string{echo, "22027", strconv.Itoa(syncthingAnswer)}, ready: "ready", echoed: true},
		{name: "sink", port: 22028, command: []string{echo, "22028", strconv.Itoa(syncthingAnswer), "deaf"}, ready: "ready", onlyFor: "announcements"},
	}
	if path := filepath.Join(os.Getenv(peersVariable), "discosrv"); os.Getenv(peersVariable) != "" {
		if _, err := os.Stat(path); err != nil {
			b.Fatal(err)
		}
		const none = "1000000000"
		servers = append(servers, &syncthingServer{name: "discosrv", port: 22029, command: []string{
			path, "-listen", "127.0.0.1:22029", "-db-dir", filepath.Join(l.Dir(), "db"), "-stats-file", filepath.Join(l.Dir(), "stats"),
			"-limit-cache", "100000", "-limit-avg", none, "-limit-burst", none}})
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range servers {
		command := s.command
		if s.role != "" {
			command = []string{self, strconv.Itoa(s.port), "1"}
		}
		c := h.Command(append([]string{"taskset", "-c", "0"}, command...)...)
		c.Env = []string{roleVariable + "=" + s.role, profileVariable + "=" + os.Getenv(profileVariable)}
		c.Limit = time.Hour
		s.process = c.Start()
		if s.ready != "" {
			s.process.WaitLine(10*time.Second, "ready", func(line string) bool { return line == s.ready })
		} else {
			time.Sleep(time.Second)
		}
		defer s.process.Stop()
	}
	run := func(b *testing.B, s *syncthingServer, t syncthingTask) syncthingFigures {
		t.Port, t.Devices, t.Pid, t.Echoed = s.port, devices, s.process.Pid(), s.echoed
		in, err := json.Marshal(t)
		if err != nil {
			b.Fatal(err)
		}
		c := h.Command("taskset", "-c", "1", self)
		c.Env, c.Stdin = []string{roleVariable + "=syncthing-load"}, string(in)
		var f syncthingFigures
		if r := c.Run(); json.Unmarshal([]byte(r.Stdout), &f) != nil {
			b.Fatalf("%s: the load said %q %q", s.name, r.Stdout, r.Stderr)
		}
		return f
	}
	for _, s := range servers {
		if f := run(b, s, syncthingTask{Kind: "fill", Outstanding: 32}); f.Lost > 0 {
			b.Errorf("%s: %d lost when it was filled", s.name, f.Lost)
		}
	}
	for _, kind := range []string{"queries", "announcements"} {
		for _, outstanding := range []int{1, 32, 256, 1024} {
			b.Run(fmt.Sprintf("%s/outstanding=%d", kind, outstanding), func(b *testing.B) {
				figures := map[string][]syncthingFigures{}
				for range syncthingRounds {
					for _, s := range servers {
						if s.onlyFor == "" || s.onlyFor == kind {
							figures[s.name] = append(figures[s.name], run(b, s, syncthingTask{Kind: kind, Outstanding: outstanding, Seconds: 1}))
						}
					}
				}
				for _, s := range servers {
					if f := figures[s.name]; f != nil {
						b.Run(s.name, func(b *testing.B) { reportSyncthing(b, f, figures["lanfolk"]) })
					}
				}
			})
		}
	}
}

// reportSyncthing reports medians of a server's rounds.
func reportSyncthing(b *testing.B, f, ours []syncthingFigures) {
	for b.Loop() { // it was measured before
	}
	median := func(of func(i int) float64) float64 {
		var v []float64
		for i := range f {
			v = append(v, of(i))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	lost := 0
	for _, r := range f {
		lost += r.Lost + r.Dropped
	}
	b.ReportMetric(median(func(i int) float64 { return f[i].perRequest() }), "cpu-µs/request")
	b.ReportMetric(median(func(i int) float64 { return float64(f[i].Requests) / f[i].Took.Seconds() }), "requests/s")
	b.ReportMetric(median(func(i int) float64 { return float64(f[i].P50.Microseconds()) }), "p50-µs")
	b.ReportMetric(median(func(i int) float64 { return float64(f[i].P99.Microseconds()) }), "p99-µs")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(median(func(i int) float64 { return ours[i].perRequest() / f[i].perRequest() }), "lanfolk/this")
	b.ReportMetric(0, "ns/op")
}

// perRequest is in µs.
func (f syncthingFigures) perRequest() float64 {
	return float64(f.CPU.Nanoseconds()) / 1000 / float64(f.Requests)
}
