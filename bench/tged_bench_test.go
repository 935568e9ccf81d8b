package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/test/lab"
	"github.com/lanfolk/lanfolk/tged"
)

// tgedFile is a services file of 10,000 services. n makes it another one.
func tgedFile(n int) []byte {
	m := map[string]map[string]any{}
	for i := range 10_000 {
		m["SERVICE"+strconv.Itoa(i)] = map[string]any{"HOST": "test", "FQDN": "test.example.com", "IP": "192.168.0.34", "PORT": n, "USER": "john"}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// BenchmarkTGED asks the real server over the loopback, in a namespace of its own.
// The server runs Go code on one processor. Its file of 10,000 services is replaced ten times
// meanwhile, and no request may get lost. "full": as fast as it answers, 64 requests are
// under way at any time; CPU is that of its threads, by the kernel's account. "paced": one
// after the other, with a pause.
//
// Reload is the time from just before the file is renamed to the first answer out of the new
// one: seeing the change, reading, parsing, answering.
func BenchmarkTGED(b *testing.B) {
	for name, outstanding := range map[string]int{"full": 64, "paced": 1} {
		b.Run(name, func(b *testing.B) { benchmarkTGED(b, outstanding) })
	}
}

func benchmarkTGED(b *testing.B, outstanding int) {
	lab.Require(b, "root", "ip")
	l := lab.New(b)
	h := l.Host("server").Join(l.Subnet("a", "10.99.1.0/24"))
	path := filepath.Join(l.Dir(), "services.json")
	write := func(n int) {
		if err := os.WriteFile(path+".tmp", tgedFile(n), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	replace := func() time.Time {
		at := time.Now()
		if err := os.Rename(path+".tmp", path); err != nil {
			b.Fatal(err)
		}
		return at
	}
	write(1)
	replace()
	server := h.Lanfolk("tged", "serve", "--services", path, "--rate-limit", "off")
	server.Env = []string{"GOMAXPROCS=1"}
	p := server.Start()
	p.WaitLine(20*time.Second, "ready", func(line string) bool { return line == "ready" })
	version := 1
	for b.Loop() {
		before := cpu(b, p.Pid())
		c := startRole(h, "tged-load", strconv.Itoa(outstanding))
		renamed := map[int]time.Time{}
		for range 10 {
			version++
			write(version) // the work of another process, if not for the bench
			time.Sleep(400 * time.Millisecond)
			renamed[version] = replace()
			time.Sleep(100 * time.Millisecond)
		}
		var got tgedOutcome
		line := c.WaitLine(30*time.Second, "figures", func(line string) bool { return json.Unmarshal([]byte(line), &got) == nil })
		used := cpu(b, p.Pid()) - before
		if got.Lost > 0 || got.Unknown > 0 {
			b.Errorf("lost or unknown: %s", line)
		}
		var reloads []time.Duration
		for v, at := range renamed {
			first, ok := got.First[v]
			if !ok {
				b.Errorf("nothing of version %d was answered", v)
				continue
			}
			reloads = append(reloads, time.Unix(0, first).Sub(at))
		}
		slices.Sort(reloads)
		b.ReportMetric(float64(got.Replies)/got.Seconds, "requests/s")
		b.ReportMetric(float64(used.Microseconds())/float64(got.Replies), "µs-cpu/request")
		b.ReportMetric(used.Seconds()/got.Seconds, "cores")
		b.ReportMetric(float64(got.Lost), "lost")
		b.ReportMetric(reloads[len(reloads)/2].Seconds()*1000, "ms-reload-p50")
		b.ReportMetric(reloads[len(reloads)-1].Seconds()*1000, "ms-reload-max")
	}
	b.ReportMetric(0, "ns/op")
}

type tgedOutcome struct {
	Replies, Unknown, Lost int
	Seconds                float64
	// First says when the first answer out of each version of the file came, in
	// nanoseconds since 1970.
	First map[int]int64
}

// roleTGEDLoad asks for six seconds, with a number of requests under way; one alone is
// followed by a pause.
func roleTGEDLoad(args []string) error {
	outstanding, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	links, err := lan.Links()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == "lo" })
	conn, err := lan.ListenBroadcast(links[i], 0)
	if err != nil {
		return err
	}
	// A request that is lost would make us wait for ever.
	watchdog := time.AfterFunc(20*time.Second, func() { _ = conn.Close() })
	defer watchdog.Stop()
	out, in := make([]packet.Datagram, outstanding), make([]packet.Datagram, outstanding)
	for n := range out {
		out[n].Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), tged.Port)
	}
	o := tgedOutcome{First: map[int]int64{}}
	last := 0
	start := time.Now()
	waiting, asked := 0, 0
	for {
		over := time.Since(start) > 6*time.Second
		if over && waiting == 0 {
			break
		}
		if n := outstanding - waiting; n > 0 && !over {
			for k := range n {
				out[k].Data = fmt.Appendf(out[k].Data[:0], "TGED DISCOVERY 1.0\r\nRQ:SERVICE%d\r\n\r\n", asked%10_000)
				asked++
			}
			if _, err := conn.WriteBatch(out[:n]); err != nil {
				return err
			}
			waiting += n
		}
		n, err := conn.ReadBatch(in)
		if err != nil {
			o.Lost = waiting
			break
		}
		for _, d := range in[:n] {
			if v := tgedVersion(d.Data); v > 0 {
				if o.Replies++; v != last && o.First[v] == 0 {
					last, o.First[v] = v, time.Now().UnixNano()
				}
			} else {
				o.Unknown++
			}
		}
		waiting -= n
		if outstanding == 1 {
			time.Sleep(500 * time.Microsecond)
		}
	}
	o.Seconds = time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(o)
}

// tgedVersion returns which version of the file an answer is out of: its PORT. 0: it is no
// reply.
func tgedVersion(b []byte) (v int) {
	const key = "\r\nPORT: "
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0
	}
	for _, c := range b[i+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		v = 10*v + int(c-'0')
	}
	return v
}
