package source_test

import (
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
)

// What a host says when it is asked may be a proxy's answer; what it says of its own accord
// is its own, and neither takes the place of the other.
func TestAnswersAreToldFromWhatAHostSaysUnasked(t *testing.T) {
	ip := netip.MustParseAddr("10.0.0.5")
	keys := map[string]string{}
	for _, c := range []struct {
		protocol string
		fields   []passive.Field
		hearsay  bool
		want     string
	}{
		{passive.ProtoARP, []passive.Field{{Key: "kind", Value: "request"}}, false, ""},
		{passive.ProtoARP, []passive.Field{{Key: "kind", Value: "announcement"}}, false, ""},
		{passive.ProtoARP, []passive.Field{{Key: "kind", Value: "reply"}}, false, lanfolk.TypeAnswer},
		{passive.ProtoARP, []passive.Field{{Key: "kind", Value: "request"}}, true, lanfolk.TypeAnswer},
		{passive.ProtoNDP, []passive.Field{{Key: "message", Value: "ns"}}, false, ""},
		{passive.ProtoNDP, []passive.Field{{Key: "message", Value: "na"}, {Key: "flags", Value: "ro"}}, false, "router"},
		{passive.ProtoNDP, []passive.Field{{Key: "message", Value: "na"}, {Key: "flags", Value: "rso"}}, false, lanfolk.TypeAnswer},
		{passive.ProtoMDNS, nil, true, ""},
	} {
		f := &passive.Fact{
			Time: noon, Interface: "eth0", Protocol: c.protocol, SrcMAC: printer, SrcIP: ip, Fields: c.fields,
			Claims: []passive.Claim{{MAC: printer, IP: ip, Hearsay: c.hearsay, Router: c.want == "router"}},
		}
		(&source.Passive{}).Sightings(f, func(s lanfolk.Sighting) {
			if s.Type != c.want {
				t.Errorf("%s %v: type %q, want %q", c.protocol, c.fields, s.Type, c.want)
			}
			if was, there := keys[c.protocol+s.Key]; there && was != s.Type && was+s.Type != "router" {
				t.Errorf("%s %v takes the place of what is of type %q", c.protocol, c.fields, was)
			}
			keys[c.protocol+s.Key] = s.Type
		})
	}
}
