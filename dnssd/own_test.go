package dnssd_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// An engine doesn't hear itself: what a publisher announces is included.
func TestOwnServicesAreFoundBesideOthers(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.publisher()
		plain := r.source
		r.source = p.Include(plain)
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		own := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 8080, TXT: dnssd.TXT{"path=/"}, Subtypes: []string{"_admin"}})
		r.capture.Take()

		same(t, "found", picture(r.once(resolveHTTP)), []string{
			`NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`,
			`Web._http._tcp.local dut.local:8080 [10.0.0.1 fe80::1] ["path=/"] on eth0`,
		})
		for _, q := range r.questions() {
			if strings.HasPrefix(q, "Web.") || strings.HasPrefix(q, "dut.") {
				t.Errorf("the network was asked for what is our own: %s", q)
			}
		}
		if got := r.once(dnssd.Browser{Type: "_http._tcp", Subtype: "_admin"}); len(got) != 2 || !strings.HasPrefix(got[0], "add Web.") {
			t.Errorf("by subtype: %q", got)
		}
		if got := r.once(dnssd.Browser{}); len(got) != 2 || got[0] != "add _http._tcp.local unresolved on eth0" {
			t.Errorf("types: %q", got)
		}
		services, err := dnssd.Resolve(r.t.Context(), r.source, dnssd.Instance{Name: "Web", Service: "_http._tcp"})
		if err != nil || len(services) != 1 || services[0].Port != 8080 {
			t.Errorf("resolved: %+v, %v", services, err)
		}
		addresses, err := dnssd.LookupHost(r.t.Context(), r.source, "dut.local")
		if err != nil || len(addresses) != 2 {
			t.Errorf("addresses: %+v, %v", addresses, err)
		}

		// It follows what happens.
		go func() {
			time.Sleep(2 * time.Second)
			a := dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 8081, TXT: dnssd.TXT{"path=/new"}}
			if err := own.Update(a); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
			own.Withdraw()
			time.Sleep(2 * time.Second)
			if _, err := p.Publish(a); err != nil {
				t.Error(err)
			}
		}()
		var seen []string // in one word each
		for _, line := range r.during(resolveHTTP, 10*time.Second) {
			fields := strings.Fields(line)
			if strings.HasPrefix(fields[2], "Web.") && !slices.Contains(seen[max(0, len(seen)-1):], fields[1]+" "+fields[3]) {
				seen = append(seen, fields[1]+" "+fields[3])
			}
		}
		want := []string{"add dut.local:8080", "update dut.local:8081", "remove dut.local:8081", "add dut.local:8081"}
		seen = slices.DeleteFunc(seen, func(s string) bool { return s == "update dut.local:8080" }) // an address more
		if len(seen) < len(want) || !slices.Equal(seen[:len(want)], want) {
			t.Errorf("events %q, want %q", seen, want)
		}
	})
}

// questions returns what the rig's own host asked since the last call.
func (r *rig) questions() []string {
	r.t.Helper()
	var out []string
	for _, p := range r.capture.Take() {
		m, err := dnswire.Parse(p.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if p.Host != "dut" || m.Response {
			continue
		}
		for q := range m.Questions() {
			out = append(out, q.Name.String()+" "+q.Type.String())
		}
	}
	return out
}

func TestIncludePassesOnWhatDidNotWork(t *testing.T) {
	inBubble(t, func(r *rig) {
		src := r.publisher().Include(r.source)
		if src.Via() != "mdns" {
			t.Errorf("via %s", src.Via())
		}
		r.capture.Take()
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		x.send(x.records, nil)
		time.Sleep(time.Second)
		reconfirm, ok := src.(dnssd.Reconfirmer)
		if !ok {
			t.Fatal("it can't be told")
		}
		reconfirm.Reconfirm(mdns.Zone{}, addr("nas.local", "10.0.0.9"))
		time.Sleep(2 * time.Second)
		if len(r.questions()) == 0 {
			t.Error("nobody was asked")
		}
	})
}
