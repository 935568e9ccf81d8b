package bench

import (
	"encoding/json"
	"errors"
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

// BenchmarkTGED asks the real server over the loopback, in a namespace of its own,
// as fast as it answers: 64 requests are under way at any time. The server runs Go
// code on one processor. CPU is that of its threads, by the kernel's account. Its file of 10,000 services
// is replaced ten times meanwhile, and no request may get lost.
func BenchmarkTGED(b *testing.B) {
	lab.Require(b, "root", "ip")
	l := lab.New(b)
	h := l.Host("server").Join(l.Subnet("a", "10.99.1.0/24"))
	path := filepath.Join(l.Dir(), "services.json")
	replace := func(n int) {
		if err := errors.Join(os.WriteFile(path+".tmp", tgedFile(n), 0o644), os.Rename(path+".tmp", path)); err != nil {
			b.Fatal(err)
		}
	}
	replace(0)
	server := h.Lanfolk("tged", "serve", "--services", path, "--rate-limit", "off")
	server.Env = []string{"GOMAXPROCS=1"}
	p := server.Start()
	p.WaitLine(20*time.Second, "ready", func(line string) bool { return line == "ready" })
	for b.Loop() {
		before := cpu(b, p.Pid())
		c := startRole(h, "tged-load")
		for n := range 10 {
			time.Sleep(500 * time.Millisecond)
			replace(n + 1)
		}
		var got tgedOutcome
		line := c.WaitLine(30*time.Second, "figures", func(line string) bool { return json.Unmarshal([]byte(line), &got) == nil })
		used := cpu(b, p.Pid()) - before
		if got.Lost > 0 || got.Unknown > 0 {
			b.Errorf("lost or unknown: %s", line)
		}
		b.ReportMetric(float64(got.Replies)/got.Seconds, "requests/s")
		b.ReportMetric(float64(used.Microseconds())/float64(got.Replies), "µs-cpu/request")
		b.ReportMetric(used.Seconds()/got.Seconds, "cores")
		b.ReportMetric(float64(got.Lost), "lost")
	}
	b.ReportMetric(0, "ns/op")
}

type tgedOutcome struct {
	Replies, Unknown, Lost int
	Seconds                float64
}

// roleTGEDLoad asks for six seconds.
func roleTGEDLoad([]string) error {
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
	const outstanding = 64
	out, in := make([]packet.Datagram, outstanding), make([]packet.Datagram, outstanding)
	for n := range out {
		out[n].Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), tged.Port)
	}
	var o tgedOutcome
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
			if len(d.Data) > 40 {
				o.Replies++
			} else {
				o.Unknown++
			}
		}
		waiting -= n
	}
	o.Seconds = time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(o)
}
