package source_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

func TestTGEDHeard(t *testing.T) {
	var rows []lanfolk.Observation
	var sightings []lanfolk.Sighting
	x := source.TGEDHeard{
		Gateway: "g",
		Own:     func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") },
		MAC: func(link int, host netip.Addr) (net.HardwareAddr, bool) {
			return net.HardwareAddr{2, 0, 0, 0, 0, 9}, link == 3 && host == netip.MustParseAddr("10.0.0.9")
		},
		Record:  func(o ...lanfolk.Observation) { rows = append(rows, o...) },
		Observe: func(s ...lanfolk.Sighting) { sightings = append(sightings, s...) },
	}
	link := &packet.Link{Index: 3, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}
	now := time.Unix(1000, 0)
	hear := func(src, dst, service string) {
		x.Hear(now, tged.Request{Link: link, Src: netip.MustParseAddrPort(src + ":1024"), Dst: netip.MustParseAddrPort(dst + ":4745"), Service: []byte(service)})
	}
	hear("10.0.0.9", "10.0.0.255", "sql")
	hear("10.0.0.8", "10.0.0.1", "Wiki pages")
	hear("10.0.0.1", "255.255.255.255", "own")  // asked here
	hear("10.0.0.9", "255.255.255.255", "a\nb") // no name
	hear("10.0.0.9", "255.255.255.255", "")
	everybody, us, nine := lanfolk.MAC{255, 255, 255, 255, 255, 255}, lanfolk.MAC{2, 0, 0, 0, 0, 1}, lanfolk.MAC{2, 0, 0, 0, 0, 9}
	row := func(query, src, dst string, from, to lanfolk.MAC, class lanfolk.DstClass) lanfolk.Observation {
		return lanfolk.Observation{
			ObservationKey: lanfolk.ObservationKey{Gateway: "g", Link: "eth0", Protocol: "tged", Query: query, SrcMAC: from, DstMAC: to, DstClass: class},
			SrcIP:          netip.MustParseAddr(src), DstIP: netip.MustParseAddr(dst), First: now, Last: now, Count: 1,
		}
	}
	want := []lanfolk.Observation{
		row("SQL", "10.0.0.9", "10.0.0.255", nine, everybody, lanfolk.Broadcast),
		row("WIKI PAGES", "10.0.0.8", "10.0.0.1", lanfolk.MAC{}, us, lanfolk.Unicast),
	}
	if diff := cmp.Diff(want, rows, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if len(sightings) != 2 || sightings[0].What != "10.0.0.9 asked where SQL is" || sightings[0].Kind != lanfolk.KindDevice {
		t.Errorf("%+v", sightings)
	}

	// An asker is told of now and then only; what is made up is bounded.
	sightings = nil
	for range 60 {
		hear("10.0.0.9", "10.0.0.255", "SQL")
		now = now.Add(time.Second)
	}
	if len(sightings) != 1 {
		t.Errorf("told of %d times in a minute", len(sightings))
	}
	sightings, link.Prefixes = nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}
	for n := range 10_000 {
		hear(fmt.Sprintf("10.7.%d.%d", n/250, 1+n%250), "10.255.255.255", "SQL")
	}
	if n := len(sightings); n < 4000 || n > 4096 {
		t.Errorf("%d askers of a flood are told of", n)
	}
	now = now.Add(time.Minute)
	sightings = nil
	if hear("10.9.0.1", "10.255.255.255", "SQL"); len(sightings) != 1 {
		t.Error("after the flood nobody is told of")
	}
}
