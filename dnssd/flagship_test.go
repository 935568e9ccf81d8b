package dnssd_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// A printer that speaks two protocols is one printer, by the better of the two
// as long as it has it (RFC 6763 §8).
func TestTypesOfOneFunctionAreToldOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		ipp := ptr("_ipp._tcp.local", "laser._ipp._tcp.local")
		lpr := ptr("_printer._tcp.local", "Laser._printer._tcp.local")
		old := ptr("_printer._tcp.local", "Old._printer._tcp.local")
		x := r.respond(r.wire, "printer", "10.0.0.9/16", false, ipp, lpr, old)
		// at has the host say that it has these records, and no others.
		at := func(after time.Duration, now, gone []dnswire.RR) {
			time.Sleep(after)
			x.become(now)
			for i := range gone {
				gone[i].TTL = 0
			}
			x.send(append(slices.Clone(now), gone...), nil)
		}
		go func() {
			at(5*time.Second, []dnswire.RR{lpr, old}, []dnswire.RR{ipp})
			at(5*time.Second, []dnswire.RR{ipp, lpr, old}, nil)
			at(5*time.Second, []dnswire.RR{ipp, old}, []dnswire.RR{lpr})
			at(5*time.Second, []dnswire.RR{old}, []dnswire.RR{ipp})
		}()
		var got []string
		for _, s := range r.during(dnssd.Browser{Type: "_ipp._tcp", Also: []string{"_printer._tcp"}}, 30*time.Second) {
			_, s, _ = strings.Cut(s, " ")
			got = append(got, s)
		}
		slices.Sort(got[:2]) // both come in one packet
		same(t, "events", got, []string{
			"add Old._printer._tcp.local unresolved on eth0",
			"add laser._ipp._tcp.local unresolved on eth0",
			"update Laser._printer._tcp.local unresolved on eth0", // the better type went
			"update laser._ipp._tcp.local unresolved on eth0",     // and came back; then the lesser went
			"remove laser._ipp._tcp.local unresolved on eth0",
		})
	})
}
