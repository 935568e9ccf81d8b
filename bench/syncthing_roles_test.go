//go:build linux

package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/syncthing"
)

// roleSyncthingServe is a global server without limits on a port: port, sockets. It writes
// a profile of its CPU time where profileVariable says.
func roleSyncthingServe(args []string) error {
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	conns, err := sockets.ListenUDP(netip.AddrPortFrom(netip.Addr{}, uint16(port)), n, lan.UDPOptions{}, nil)
	if err != nil {
		return err
	}
	s := &syncthing.Server{PerPrefix: -1}
	for _, c := range conns {
		s.Conns = append(s.Conns, c)
	}
	if path := os.Getenv(profileVariable); path != "" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Println("ready")
	return s.Run(ctx)
}

// profileVariable names a file for a profile of our Syncthing server.
const profileVariable = "LANFOLK_BENCH_PROFILE"

// syncthingTask is what roleSyncthingLoad does.
type syncthingTask struct {
	Port, Devices int
	// Kind is "fill", which announces each device once, "queries" or "announcements".
	Kind string
	// Echoed says that announcements are answered, too.
	Echoed bool
	// Outstanding is how many requests are under way at any time.
	Outstanding int
	// Pid is of the server, whose CPU time is measured.
	Pid int
	// Seconds is how long that takes, after a tenth of it to warm up.
	Seconds float64
}

// syncthingFigures is what it prints.
type syncthingFigures struct {
	Requests, Lost int
	Dropped        int           // by the kernel, for want of room in a socket
	Took, CPU      time.Duration // CPU is the server's
	P50, P99       time.Duration // from a query to its answer
}

// roleSyncthingLoad does a task that comes in as JSON.
//
// The loop is closed: queries wait for answers, so that as many as the task says are under way.
// Nobody answers an announcement: so as many of them are sent at once, with a query behind them whose
// answer says that they were dealt with.
func roleSyncthingLoad([]string) error {
	var t syncthingTask
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	c, err := dialBatches(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(t.Port)))
	if err != nil {
		return err
	}
	defer c.close()
	l := &syncthingLoad{conn: c, task: t, random: rand.New(rand.NewPCG(1, uint64(t.Outstanding))), asked: make([]int64, t.Devices)}
	for i := range t.Devices {
		l.ids = append(l.ids, device(i))
	}
	if err := l.run(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.did)
}

// syncthingLoad is a task under way.
type syncthingLoad struct {
	conn   *batches
	task   syncthingTask
	random *rand.Rand
	ids    []syncthing.DeviceID
	asked  []int64 // when a device was asked for last
	// waiting is how many answers are.
	waiting int
	filled  int // devices announced
	times   []time.Duration
	did     syncthingFigures
}

func (l *syncthingLoad) run() error {
	step := l.ask
	if l.task.Kind != "queries" {
		step = l.announce
	}
	if l.task.Kind == "fill" {
		for l.filled < l.task.Devices {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	measure := time.Duration(l.task.Seconds * float64(time.Second))
	for start := time.Now(); time.Since(start) < measure/10; {
		if err := step(); err != nil {
			return err
		}
	}
	l.did, l.times = syncthingFigures{}, l.times[:0]
	cpu, dropped, start := threadsTime(l.task.Pid), udpDrops(), time.Now()
	for time.Since(start) < measure {
		if err := step(); err != nil {
			return err
		}
	}
	l.did.Took, l.did.CPU, l.did.Dropped = time.Since(start), threadsTime(l.task.Pid)-cpu, udpDrops()-dropped
	if slices.Sort(l.times); len(l.times) > 0 {
		l.did.P50, l.did.P99 = l.times[len(l.times)/2], l.times[len(l.times)*99/100]
	}
	return nil
}

// device is a device's ID. Its number can be read out of it.
func device(n int) (id syncthing.DeviceID) {
	r := rand.NewPCG(uint64(n), 22026)
	for i := 8; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], r.Uint64())
	}
	binary.BigEndian.PutUint64(id[:], uint64(n)*oddFactor)
	return id
}

const oddFactor = 0x9E3779B97F4A7C15

// deviceNumber is the inverse of device. The factor's inverse modulo 2⁶⁴ is found by Newton's method.
func deviceNumber(id []byte) int {
	inverse := uint64(oddFactor)
	for range 5 {
		inverse *= 2 - uint64(oddFactor)*inverse
	}
	return int(binary.BigEndian.Uint64(id) * inverse)
}

// ask fills up what is under way with queries, and then waits for answers.
func (l *syncthingLoad) ask() error {
	now := time.Now().UnixNano()
	for ; l.waiting < l.task.Outstanding; l.waiting++ {
		k := l.random.IntN(l.task.Devices)
		l.asked[k] = now
		l.conn.add(func(b []byte) []byte { return syncthing.Query{ID: l.ids[k]}.Append(b) })
	}
	if err := l.conn.send(); err != nil {
		return err
	}
	got, err := l.conn.receive()
	if err != nil {
		return err
	}
	if len(got) == 0 {
		l.did.Lost += l.waiting
		l.waiting = 0
	}
	now = time.Now().UnixNano()
	for _, b := range got {
		k := deviceNumber(b[8:16])
		l.times = append(l.times, time.Duration(now-l.asked[k]))
	}
	l.waiting -= len(got)
	l.did.Requests += len(got)
	return nil
}

// announce sends announcements and a query, and waits until that is answered.
func (l *syncthingLoad) announce() error {
	k := 0
	for range l.task.Outstanding {
		if l.task.Kind == "fill" {
			k = l.filled % l.task.Devices
			l.filled++
		} else {
			k = l.random.IntN(l.task.Devices)
		}
		l.did.Requests++
		a := syncthing.Announcement{Device: syncthing.Device{ID: l.ids[k], Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 22000)}}}
		l.conn.add(func(b []byte) []byte { return a.Append(b) })
	}
	l.did.Requests++
	l.conn.add(func(b []byte) []byte { return syncthing.Query{ID: l.ids[k]}.Append(b) })
	start := time.Now()
	if err := l.conn.send(); err != nil {
		return err
	}
	answers := 1
	if l.task.Echoed {
		answers += l.task.Outstanding
	}
	for answers > 0 {
		got, err := l.conn.receive()
		if err != nil {
			return err
		}
		if len(got) == 0 {
			l.did.Lost += answers
			break
		}
		answers -= len(got)
	}
	l.times = append(l.times, time.Since(start))
	return nil
}

// threadsTime is the CPU time of a process's threads so far, in the kernel's account.
func threadsTime(pid int) time.Duration {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, t := range tasks {
		s, _ := os.ReadFile(t) // of a thread that ended: empty
		if f := strings.Fields(string(s)); len(f) > 0 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// udpDrops is how many datagrams the namespace's sockets had no room for.
func udpDrops() int {
	table, _ := os.ReadFile("/proc/thread-self/net/snmp")
	var names, values []string
	for line := range strings.Lines(string(table)) {
		if strings.HasPrefix(line, "Udp:") {
			names, values = values, strings.Fields(line)
		}
	}
	i := slices.Index(names, "RcvbufErrors")
	if i < 0 {
		return 0
	}
	n, _ := strconv.Atoi(values[i])
	return n
}
