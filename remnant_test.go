package lanfolk

import (
	"slices"
	"testing"
	"time"
)

// TestNothingIsLeftOfAHostThatEnds: what a host says by mDNS ends piece by piece. When
// the piece with its MAC is the first to go, and somebody else claims the address, too,
// the other piece is nobody's for a moment. It must not stay as a device of its own.
func TestNothingIsLeftOfAHostThatEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		between string // the ends of the two pieces
		want    []string
	}{
		{"one right after the other", "61s", []string{"d1", "d2"}},
		{"a good deal later", "90s", []string{"d1", "d2", "d3"}}, // somebody else may have it
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCore()
			c.observe(t0, sight("arp/host", "mac=00:00:5e:00:53:01", "ip=10.0.0.5", "life=30m"), sight("arp/liar", "mac=00:00:5e:00:53:02", "ip=10.0.0.5", "life=30m"),
				sight("mdns/claim", "mac=00:00:5e:00:53:01", "host=nas.local", "ip=10.0.0.5", "life=60s"),
				sight("mdns/a", "host=nas.local", "ip=10.0.0.5", "name=nas", "life="+tt.between))
			if got := c.groups(); !slices.Equal(got, []string{"arp/host mdns/a mdns/claim", "arp/liar"}) {
				t.Fatalf("before: %q", got)
			}
			c.expire(t0.Add(60 * time.Second))
			if got := c.groups(); !slices.Contains(got, "mdns/a") {
				t.Fatalf("between: %q", got)
			}
			for now := c.next(); now.Before(t0.Add(95 * time.Second)); now = c.next() {
				c.expire(now)
				c.check(t)
			}
			var ids []string
			for id := range c.devices {
				ids = append(ids, id)
			}
			if slices.Sort(ids); !slices.Equal(ids, tt.want) {
				t.Errorf("devices %q, want %q", ids, tt.want)
			}
		})
	}
}

// TestGatewayIsCalledByItsOwnName: others may say that our host has another name.
func TestGatewayIsCalledByItsOwnName(t *testing.T) {
	c := testCore()
	self := sight("self/eth0", "mac=00:00:5e:00:53:01", "name=gateway")
	self.Kind = KindGateway
	c.observe(t0, sight("dhcp/a", "mac=00:00:5e:00:53:01", "name=evil", "host=evil"), self)
	for _, d := range c.devices {
		if got := c.picture(d).Names; len(got) == 0 || got[0] != "gateway" {
			t.Errorf("names %q", got)
		}
	}
}
