package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role, os.Args[1:]))
	}
	os.Exit(lab.Main(m))
}

// many is how many services are to be found.
const many = 200

// rounds is how often both programs run; the medians are compared.
const rounds = 3

// BenchmarkBrowse sets `lanfolk browse --once --resolve` beside
// `avahi-browse --resolve --terminate`, both with nothing in their caches: each
// round starts a new avahi-daemon, which is not timed, while lanfolk's own
// start is. They take turns, on two hosts of one link.
//
// The 200 hosts are 200 network namespaces, each with a link, an address and an
// mDNS socket of its own, all served by this one process: 200 avahi-daemons
// would measure how two cores run 200 daemons.
func BenchmarkBrowse(b *testing.B) {
	b.Run("hosts=200", func(b *testing.B) {
		l := lab.New(b)
		a := l.Subnet("a", "10.99.0.0/16")
		for i := range many {
			h := l.Host(fmt.Sprintf("web%03d", i)).Join(a)
			h.Links[0].Respond(lab.Responder{Quiet: true, Services: []lab.Service{
				{Name: fmt.Sprintf("Web %03d", i), Type: "_http._tcp", Port: 8000, TXT: []string{"path=/", "n=" + fmt.Sprint(i)}},
			}})
		}
		compare(b, l, a)
	})
	b.Run("services=200", func(b *testing.B) {
		l := lab.New(b)
		a := l.Subnet("a", "10.99.0.0/16")
		var services []lab.Service
		for i := range many {
			services = append(services, lab.Service{Name: fmt.Sprintf("Web %03d", i), Type: "_http._tcp", Port: uint16(8000 + i), TXT: []string{"path=/", "n=" + fmt.Sprint(i)}})
		}
		l.Host("web").Join(a).Avahi(lab.Avahi{Services: services})
		compare(b, l, a)
	})
}

func compare(b *testing.B, l *lab.Lab, a *lab.Subnet) {
	lab.Require(b, "avahi-browse", "avahi-daemon", "dbus-daemon")
	peer, desk := l.Host("peer").Join(a), l.Host("desk").Join(a)
	for b.Loop() {
		var theirs, ours []time.Duration
		theirsFound, oursFound := many, many
		for range rounds {
			settle()
			r := desk.Lanfolk("browse", "_http._tcp", "--once", "--resolve", "--json").Run()
			if r.Exit != 0 {
				b.Fatalf("lanfolk browse: exit %d: %s", r.Exit, r.Stderr)
			}
			ours = append(ours, r.Took)
			oursFound = min(oursFound, resolvedByLanfolk(b, r.Stdout))

			d := peer.Avahi(lab.Avahi{DBus: true})
			settle()
			r = d.Command("avahi-browse", "-rpt", "_http._tcp").Run()
			if r.Exit != 0 {
				b.Fatalf("avahi-browse: exit %d: %s", r.Exit, r.Stderr)
			}
			theirs = append(theirs, r.Took)
			theirsFound = min(theirsFound, resolvedByAvahi(r.Stdout))
			d.Stop()
		}
		if oursFound < many {
			b.Errorf("lanfolk found %d of %d", oursFound, many)
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		mine, avahi := ours[rounds/2], theirs[rounds/2]
		b.ReportMetric(float64(mine.Milliseconds()), "lanfolk-ms")
		b.ReportMetric(float64(avahi.Milliseconds()), "avahi-ms")
		b.ReportMetric(mine.Seconds()/avahi.Seconds(), "lanfolk/avahi")
		b.ReportMetric(float64(oursFound), "lanfolk-found")
		b.ReportMetric(float64(theirsFound), "avahi-found")
		b.Logf("lanfolk %v, avahi-browse %v", ours, theirs)
	}
	b.ReportMetric(0, "ns/op") // it would be the sum of everything above
}

// settle waits until answers to the last questions may be given again: no
// record is multicast twice within a second (RFC 6762 §6).
func settle() { time.Sleep(1500 * time.Millisecond) }

func resolvedByLanfolk(b *testing.B, out string) int {
	found := make(map[string]bool)
	for line := range strings.Lines(out) {
		var e struct {
			Name      string   `json:"name"`
			Port      uint16   `json:"port"`
			Addresses []string `json:"addresses"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.Fatalf("line %s: %v", line, err)
		}
		if e.Port != 0 && len(e.Addresses) > 0 {
			found[e.Name] = true
		}
	}
	return len(found)
}

func resolvedByAvahi(out string) int {
	found := make(map[string]bool)
	for line := range strings.Lines(out) {
		// =;eth0;IPv4;name;type;domain;host;address;port;txt
		if f := strings.Split(line, ";"); f[0] == "=" && len(f) > 8 {
			found[f[3]] = true
		}
	}
	return len(found)
}
