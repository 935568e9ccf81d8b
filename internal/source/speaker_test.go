package source_test

import (
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
)

// TestSpeakersWithoutAnAddress: those that ask for their first address all do so from 0.0.0.0
// or "::". If they were one speaker to the inventory, who floods it in that name would keep every newcomer out.
func TestSpeakersWithoutAnAddress(t *testing.T) {
	for _, addr := range []string{"0.0.0.0", "::", "192.0.2.7"} {
		mac := passive.MAC{0x02, 0, 0x5e, 0x10, 0, 1}
		f := &passive.Fact{
			Protocol: passive.ProtoDHCP, Interface: "eth0", SrcMAC: mac, SrcIP: netip.MustParseAddr(addr),
			Claims: []passive.Claim{{MAC: mac, Host: "newcomer"}},
		}
		want := mac.String()
		if addr == "192.0.2.7" {
			want = addr
		}
		if addr == "192.0.2.7" {
			arp := *f
			arp.Protocol = passive.ProtoARP
			new(source.Passive).Sightings(&arp, func(s lanfolk.Sighting) {
				if s.Origin.Source != mac.String() {
					t.Errorf("by ARP the speaker is %q, want %v", s.Origin.Source, mac)
				}
			})
		}
		n := 0
		new(source.Passive).Sightings(f, func(s lanfolk.Sighting) {
			if n++; s.Origin.Source != want {
				t.Errorf("from %s: the speaker is %q, want %q", addr, s.Origin.Source, want)
			}
		})
		if n == 0 {
			t.Errorf("from %s: no sighting", addr)
		}
	}
}
