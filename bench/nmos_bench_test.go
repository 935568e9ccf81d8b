//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/test/lab"
	"github.com/lanfolk/lanfolk/test/registry"
)

const (
	nmosType   = "_nmos-netctrl._tcp"
	nmosRounds = 21
	// bestAdvert and nextAdvert have the priorities 0 and 1, the others less.
	bestAdvert, nextAdvert = 117, 58
)

// nmosTXT is what the ith API says of itself.
func nmosTXT(i int) []string {
	pri := 2 + i*7%98
	switch i {
	case bestAdvert:
		pri = 0
	case nextAdvert:
		pri = 1
	}
	return []string{"api_proto=http", "api_ver=v1.0,v1.1", "api_auth=false", fmt.Sprintf("pri=%d", pri)}
}

// nmosZone advertises APIs, each on a host of its own. All of these have
// the address; best is the port of the best one, the others have 8080.
func nmosZone(address string, best int) lab.Zone {
	z := lab.Zone{Name: advertDomain}
	for i := range many {
		name, port := fmt.Sprintf("Control\\ %03d.%s", i, nmosType), 8080
		if i == bestAdvert {
			port = best
		}
		z.Records = append(z.Records,
			nmosType+" PTR "+name,
			fmt.Sprintf("%s SRV 0 0 %d ctl-%03d", name, port, i),
			fmt.Sprintf(`%s TXT "%s"`, name, strings.Join(nmosTXT(i), `" "`)),
			fmt.Sprintf("ctl-%03d A %s", i, address))
	}
	return z
}

// startBIND serves the zone. BIND has a limit of 100 records of a type at a name.
func startBIND(h *lab.Host, z lab.Zone, options ...string) *lab.Process {
	return h.BIND(lab.BIND{Zones: []lab.Zone{z}, Options: append(options, "max-records-per-type 0;")})
}

// runRoleJSON runs a role to its end and reads what it prints.
func runRoleJSON(b *testing.B, h *lab.Host, v any, role string, args ...string) {
	b.Helper()
	p := startRole(h, role, args...)
	if code := p.Wait(time.Minute); code != 0 {
		b.Fatalf("%s: exit %d: %s", role, code, p.Stderr())
	}
	if err := json.Unmarshal([]byte(p.Stdout()), v); err != nil {
		b.Fatalf("%s: %v", role, err)
	}
}

// middle returns the median.
func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkNMOSSelect measures how long a client takes from its start to its
// selection among 200 advertisements.
//
// "bind" has them on a BIND, which sends no records along with PTR records, "zone" on
// a server of package zone, which does. Beside it is the bare loop of
// BenchmarkUnicast. "queries" is how many questions a server heard for one
// selection. "cli" is the time of `lanfolk nmos select`, the program's start
// included, beside that of `lanfolk version`.
//
// "mdns" has them on one link by 200 responders; what RFC 6762 has everyone wait
// is in it, and that a look by mDNS is complete only when nobody answers a second
// query. "last-answer-ms" is from the first query to the last answer. avahi-browse
// finds and resolves the same, on another host; it doesn't choose.
func BenchmarkNMOSSelect(b *testing.B) {
	b.Run("bind=200", func(b *testing.B) {
		selectUnicast(b, func(h *lab.Host) func() int {
			p := startBIND(h, nmosZone("10.99.1.99", 8080), "querylog yes;")
			return func() int { return strings.Count(p.Stderr(), " query: ") }
		})
	})
	b.Run("zone=200", func(b *testing.B) {
		selectUnicast(b, func(h *lab.Host) func() int { return serveOwnZone(b, h) })
	})
	b.Run("mdns=200", selectMulticast)
}

// serveOwnZone serves the advertisements until the benchmark ends. The function
// counts the queries.
func serveOwnZone(b *testing.B, h *lab.Host) func() int {
	b.Helper()
	now := time.Now()
	z, err := zone.New(zone.Config{Domain: advertDomain}, now)
	if err != nil {
		b.Fatal(err)
	}
	for i := range many {
		err := z.Put(now, fmt.Sprint(i), zone.Service{
			Name: fmt.Sprintf("Control %03d", i), Type: nmosType, TXT: []dnssd.TXT{nmosTXT(i)}, TTL: time.Minute,
			Targets: []dnssd.Target{{Host: fmt.Sprintf("ctl-%03d", i), Port: 8080, Addresses: []netip.Addr{netip.MustParseAddr("10.99.1.99")}}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	var conn net.PacketConn
	var listener net.Listener
	err = h.Do(func() error {
		var udp, tcp error
		conn, udp = net.ListenPacket("udp", ":53")
		listener, tcp = net.Listen("tcp", ":53")
		return errors.Join(udp, tcp)
	})
	if err != nil {
		b.Fatal(err)
	}
	s := &zone.Server{Zones: []*zone.Zone{z}}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.ServePacket(ctx, conn); err != nil {
			b.Error(err)
		}
	})
	group.Go(func() {
		if err := s.Serve(ctx, listener); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return func() (n int) {
		for _, k := range s.Stats().Verdicts {
			n += int(k)
		}
		return n
	}
}

// selectUnicast selects by what serve serves in a host.
func selectUnicast(b *testing.B, serve func(*lab.Host) (queries func() int)) {
	l := lab.New(b)
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	queries := serve(server)
	for b.Loop() {
		var ours, floor, cli, version []float64
		before := queries()
		runRoleJSON(b, desk, &ours, "nmos-select", "unicast", "10.99.1.10", advertDomain, "1")
		asked := queries() - before
		for range rounds {
			var loop []looked
			runRoleJSON(b, desk, &loop, "dns-loop", "10.99.1.10:53")
			for _, o := range loop {
				floor = append(floor, milliseconds(o.Took))
			}
		}
		runRoleJSON(b, desk, &ours, "nmos-select", "unicast", "10.99.1.10", advertDomain, fmt.Sprint(nmosRounds))
		for range nmosRounds / 2 {
			r := desk.Lanfolk("nmos", "select", "--type", "netctrl", "--api-version", "v1.1", "--mode", "unicast", "--domain", advertDomain, "--server", "10.99.1.10").Run()
			if r.Exit != 0 {
				b.Fatalf("nmos select: exit %d: %s", r.Exit, r.Stderr)
			}
			cli = append(cli, milliseconds(r.Took))
			version = append(version, milliseconds(desk.Lanfolk("version").Run().Took))
		}
		b.Logf("lanfolk %v ms, floor %v ms, cli %v ms, version %v ms", ours, floor, cli, version)
		mine, bare := middle(ours), middle(floor)
		b.ReportMetric(mine, "lanfolk-ms")
		b.ReportMetric(bare, "floor-ms")
		b.ReportMetric(mine/bare, "lanfolk/floor")
		b.ReportMetric(float64(asked), "queries")
		b.ReportMetric(middle(cli), "cli-ms")
		b.ReportMetric(middle(version), "version-ms")
		if mine > 50 {
			b.Errorf("%.1f ms from start to selection, want less than 50", mine)
		}
	}
	b.ReportMetric(0, "ns/op") // it would be the sum of everything above
}

func selectMulticast(b *testing.B) {
	lab.Require(b, "avahi-browse", "avahi-daemon", "dbus-daemon")
	l := lab.New(b)
	a := l.Subnet("a", "10.99.0.0/16")
	for i := range many {
		l.Host(fmt.Sprintf("ctl-%03d", i)).Join(a).Links[0].Respond(lab.Responder{Quiet: true, Services: []lab.Service{
			{Name: fmt.Sprintf("Control %03d", i), Type: nmosType, Port: 8080, TXT: nmosTXT(i)},
		}})
	}
	desk, peer := l.Host("desk").Join(a), l.Host("peer").Join(a)
	for b.Loop() {
		var ours, wire, avahi []float64
		found := many
		for range rounds {
			settle()
			c := desk.Link(a).Capture()
			var took []float64
			runRoleJSON(b, desk, &took, "nmos-select", "mdns", "", "", "1")
			first, _ := asked(c)
			wire = append(wire, milliseconds(answered(c, time.Now()).Sub(first)))
			ours = append(ours, took...)

			d := peer.Avahi(lab.Avahi{DBus: true})
			settle()
			r := d.Command("avahi-browse", "-rpt", nmosType).Run()
			avahi = append(avahi, milliseconds(r.Took))
			found = min(found, resolvedByAvahi(r.Stdout))
			d.Stop()
		}
		b.Logf("lanfolk %v ms, last answer after the first query %v ms, avahi-browse %v ms", ours, wire, avahi)
		b.ReportMetric(middle(ours), "lanfolk-ms")
		b.ReportMetric(middle(avahi), "avahi-ms")
		b.ReportMetric(middle(ours)/middle(avahi), "lanfolk/avahi")
		b.ReportMetric(float64(found), "avahi-found")
		b.ReportMetric(middle(wire), "last-answer-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkNMOSFailOver measures how long a client with 200 advertisements takes
// from the beginning of a check of the best API to the choice of the next: where the
// connection is refused, and where it is accepted and nobody answers for the
// configured second.
func BenchmarkNMOSFailOver(b *testing.B) {
	l := lab.New(b)
	a := l.Subnet("a", "10.99.1.0/24")
	server, apis, desk := l.Host("server").Join(a), l.Host("apis").Join(a), l.Host("desk").Join(a)
	listen := func(address string) func() (net.Listener, error) {
		return func() (l net.Listener, err error) {
			err = apis.Do(func() error {
				l, err = net.Listen("tcp", address)
				return err
			})
			return l, err
		}
	}
	registry.Serve(b, listen("10.99.1.11:8080"))
	registry.Serve(b, listen("10.99.1.11:8081")).Silence()
	registry.Serve(b, listen("10.99.1.11:8082")).Answer(http.StatusServiceUnavailable)
	for _, how := range []struct {
		name    string
		port    int
		timeout time.Duration
		most    float64 // milliseconds over the time-out
	}{
		{"refused", 8083, 0, 10}, {"silent", 8081, time.Second, 50}, {"503", 8082, 0, 10},
	} {
		b.Run(how.name, func(b *testing.B) {
			bind := startBIND(server, nmosZone("10.99.1.11", how.port))
			defer bind.Stop()
			for b.Loop() {
				var took []float64
				runRoleJSON(b, desk, &took, "nmos-failover", "10.99.1.10", advertDomain, fmt.Sprint(nmosRounds/2))
				b.Log(took)
				worst := slices.Max(took) - milliseconds(how.timeout)
				over := middle(took) - milliseconds(how.timeout)
				b.ReportMetric(over, "over-timeout-ms")
				b.ReportMetric(worst, "worst-ms")
				if over > how.most {
					b.Errorf("%.1f ms after the time-out of %v, want less than %v", over, how.timeout, how.most)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
