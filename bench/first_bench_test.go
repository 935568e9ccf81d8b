package bench

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// BenchmarkFirstLook measures how long `lanfolk browse --resolve` takes to tell
// all services, host, port and addresses included, from its first query on the
// wire: §5.2 delays that by 20 to 120 ms and it isn't the browser's to hurry.
// The answers have a delay of 20 to 120 ms of their own (RFC 6762 §6).
//
// "full" hosts send SRV, TXT and address along with the PTR record; "bare" ones
// only what was asked for, so that everything takes two more questions; these
// are counted in packets. The thousand share a namespace and have an address each: a bridge
// to a thousand others loses their packets. "avahi" is one host with 200 services. avahi-browse beside
// it does the same on a machine of its own, with an avahi-daemon that has just started,
// from its first query on the wire.
func BenchmarkFirstLook(b *testing.B) {
	one := func(i int) []lab.Service {
		return []lab.Service{{Name: fmt.Sprintf("Web %04d", i), Type: "_http._tcp", Port: 8000, TXT: []string{"path=/", "n=" + fmt.Sprint(i)}}}
	}
	hosts := func(n int, bare bool) func(*lab.Lab, *lab.Subnet) {
		return func(l *lab.Lab, a *lab.Subnet) {
			for i := range n {
				l.Host(fmt.Sprintf("web%04d", i)).Join(a).Links[0].Respond(lab.Responder{Quiet: true, Bare: bare, Services: one(i)})
			}
		}
	}
	b.Run("full=200", func(b *testing.B) { firstLook(b, 200, hosts(200, false)) })
	b.Run("bare=200", func(b *testing.B) { firstLook(b, 200, hosts(200, true)) })
	b.Run("avahi=200", func(b *testing.B) {
		firstLook(b, 200, func(l *lab.Lab, a *lab.Subnet) {
			var services []lab.Service
			for i := range 200 {
				services = append(services, one(i)...)
			}
			l.Host("web").Join(a).Avahi(lab.Avahi{Services: services})
		})
	})
	b.Run("full=1000", func(b *testing.B) {
		firstLook(b, 1000, func(l *lab.Lab, a *lab.Subnet) {
			var addrs []netip.Addr
			for i := range 1000 {
				addrs = append(addrs, netip.AddrFrom4([4]byte{10, 99, byte(100 + i/250), byte(1 + i%250)}))
			}
			crowd := l.Host("crowd").Join(a).Links[0]
			crowd.AddAddresses(addrs...)
			for i := range 1000 {
				crowd.Respond(lab.Responder{HostName: fmt.Sprintf("web%04d", i), Address: addrs[i], Quiet: true, Services: one(i)})
			}
		})
	})
}

func firstLook(b *testing.B, n int, publish func(*lab.Lab, *lab.Subnet)) {
	lab.Require(b, "avahi-browse", "avahi-daemon", "dbus-daemon")
	l := lab.New(b)
	a := l.Subnet("a", "10.99.0.0/16")
	publish(l, a)
	desk, peer := l.Host("desk").Join(a), l.Host("peer").Join(a)
	for b.Loop() {
		var ours, floor, queries []float64
		found := n
		var theirs []float64
		theirsFound := n
		for range rounds {
			settle()
			wire := desk.Link(a).Capture()
			p := desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json", "--direct").Start()
			got, last := collect(p, n, 6*time.Second)
			found = min(found, got)
			first, count := asked(wire)
			ours = append(ours, float64(last.Sub(first).Microseconds())/1000)
			queries = append(queries, float64(count))
			floor = append(floor, float64(answered(wire, last).Sub(first).Microseconds())/1000)
			p.Stop()

			d := peer.Avahi(lab.Avahi{DBus: true})
			settle()
			wire = peer.Link(a).Capture()
			r := d.Command("avahi-browse", "-rpt", "_http._tcp").Run()
			first, _ = asked(wire)
			theirs = append(theirs, float64(time.Since(first).Microseconds())/1000)
			theirsFound = min(theirsFound, resolvedByAvahi(r.Stdout))
			d.Stop()
		}
		if found < n {
			b.Errorf("lanfolk found %d of %d", found, n)
		}
		b.Logf("lanfolk %v ms, last answer %v ms, queries %v; avahi-browse %v ms", ours, floor, queries, theirs)
		slices.Sort(ours)
		slices.Sort(floor)
		slices.Sort(queries)
		slices.Sort(theirs)
		b.ReportMetric(ours[rounds/2], "lanfolk-ms")
		b.ReportMetric(floor[rounds/2], "last-answer-ms")
		b.ReportMetric(theirs[rounds/2], "avahi-ms")
		b.ReportMetric(queries[rounds/2], "queries")
		b.ReportMetric(float64(found), "lanfolk-found")
		b.ReportMetric(float64(theirsFound), "avahi-found")
	}
	b.ReportMetric(0, "ns/op") // it would be the sum of everything above
}

// collect waits until the browser has told n resolved services, and returns how
// many it did and when the last came.
func collect(p *lab.Process, n int, d time.Duration) (int, time.Time) {
	found := map[string]bool{}
	var last time.Time
	end := time.Now().Add(d)
	for seen := 0; len(found) < n && time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		out := p.Stdout()
		whole := strings.LastIndexByte(out, '\n') + 1
		for line := range strings.Lines(out[seen:whole]) {
			var e struct {
				Name      string   `json:"name"`
				Port      uint16   `json:"port"`
				Addresses []string `json:"addresses"`
			}
			if json.Unmarshal([]byte(line), &e) == nil && e.Port != 0 && len(e.Addresses) > 0 && !found[e.Name] {
				found[e.Name] = true
				last = time.Now()
			}
		}
		seen = whole
	}
	return len(found), last
}

// asked returns when the host of the capture sent its first query, and how many
// packets of queries it sent so far.
func asked(c *lab.Capture) (first time.Time, n int) {
	for _, f := range c.Frames() {
		if b, _, port, ok := f.UDP(); ok && port == 5353 && f.Sent && len(b) >= 12 && b[2]&0x80 == 0 {
			if n == 0 {
				first = f.Time
			}
			n++
		}
	}
	return first, n
}

// answered returns when the last answer came before the end of the first look:
// no browser can be done earlier.
func answered(c *lab.Capture, end time.Time) (last time.Time) {
	for _, f := range c.Frames() {
		if b, _, port, ok := f.UDP(); ok && port == 5353 && !f.Sent && len(b) >= 12 && b[2]&0x80 != 0 && f.Time.Before(end) {
			last = f.Time
		}
	}
	return last
}
