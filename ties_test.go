package lanfolk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// macN is the word for the n-th MAC.
func macN(n int) string { return fmt.Sprintf("mac=00:00:5e:00:53:%02x", n) }

// TestMates: which ids make two MACs one device. Every case is held against the
// model in every order.
func TestMates(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    []Sighting
		want []string
	}{
		{"a machine's own id joins two MACs", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/b", macN(2), "id=duid:1"), sight("arp/b", macN(2), "ip=10.0.0.2"),
		}, []string{"arp/b dhcp/a dhcp/b"}},
		{"an id of any other kind needs a second sign", []Sighting{
			sight("ssdp/a", macN(1), "id=uuid:1"), sight("ssdp/b", macN(2), "id=uuid:1"),
		}, []string{"ssdp/a", "ssdp/b"}},
		{"a name that they share is one, in whatever domain", []Sighting{
			sight("ssdp/a", macN(1), "id=uuid:1"), sight("ssdp/b", macN(2), "id=uuid:1"),
			sight("dhcp/a", macN(1), "host=NAS"), sight("mdns/b", macN(2), "host=nas.local"),
		}, []string{"dhcp/a mdns/b ssdp/a ssdp/b"}},
		{"a name alone joins no MACs", []Sighting{
			sight("dhcp/a", "mac=02:00:5e:00:53:01", "host=iPhone"), sight("dhcp/b", "mac=02:00:5e:00:53:02", "host=iPhone"),
		}, []string{"dhcp/a", "dhcp/b"}},
		{"a name that only one has is no sign", []Sighting{
			sight("ssdp/a", macN(1), "id=uuid:1", "host=nas"), sight("ssdp/b", macN(2), "id=uuid:1"),
		}, []string{"ssdp/a", "ssdp/b"}},
		{"a UUID that holds the MAC of one of them is one of theirs", []Sighting{
			sight("ssdp/a", macN(1), "id=uuid:2fac1234313f11b490f600005e005301"), sight("ssdp/b", macN(2), "id=uuid:2fac1234313f11b490f600005e005301"),
		}, []string{"ssdp/a ssdp/b"}},
		{"different names contradict", []Sighting{ // machines cloned from one image
			sight("dhcp/a", macN(1), "id=duid:1", "host=web1"), sight("dhcp/b", macN(2), "id=duid:1", "host=web2"),
		}, []string{"dhcp/a", "dhcp/b"}},
		{"a copy with a name of its own doesn't part a host with two MACs", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1", "host=nas"), sight("dhcp/b", macN(2), "id=duid:1", "host=nas.local"), sight("dhcp/c", macN(3), "id=duid:1", "host=web2"),
		}, []string{"dhcp/a dhcp/b", "dhcp/c"}},
		{"so do different ids of another kind", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/b", macN(2), "id=duid:1"),
			sight("ssdp/a", macN(1), "id=uuid:1"), sight("ssdp/b", macN(2), "id=uuid:2"),
		}, []string{"dhcp/a ssdp/a", "dhcp/b ssdp/b"}},
		{"an id that the other doesn't tell contradicts nothing", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/b", macN(2), "id=duid:1"), sight("ssdp/a", macN(1), "id=uuid:1"),
		}, []string{"dhcp/a dhcp/b ssdp/a"}},
		{"who tells the ids of two devices is neither, and joins them with nothing", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/b", macN(2), "id=duid:2"),
			sight("liar/a", macN(9), "id=duid:1"), sight("liar/b", macN(9), "id=duid:2"),
		}, []string{"dhcp/a", "dhcp/b", "liar/a liar/b"}},
		{"a chain of liars joins nobody either", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:a"), sight("dhcp/b", macN(2), "id=duid:b"),
			sight("l/1", macN(8), "id=duid:a", "id=duid:x"), sight("l/2", macN(9), "id=duid:x", "id=duid:b"),
		}, []string{"dhcp/a", "dhcp/b", "l/1", "l/2"}},
		{"who speaks in the name of two MACs doesn't join them if they have names", []Sighting{
			sight("dhcp/a", macN(1), "host=a"), sight("dhcp/b", macN(2), "host=b"), sight("liar/a", macN(1), "id=duid:x"), sight("liar/b", macN(2), "id=duid:x"),
		}, []string{"dhcp/a liar/a", "dhcp/b liar/b"}},
		{"a liar can't part a device by telling one of its ids", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1", "id=uuid:1"), sight("dhcp/b", macN(2), "id=duid:1", "id=uuid:1"), sight("liar/a", macN(9), "id=uuid:1"),
		}, []string{"dhcp/a dhcp/b", "liar/a"}},
		{"nor by telling it with another", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1", "id=uuid:1"), sight("dhcp/b", macN(2), "id=duid:1"), sight("liar/a", macN(9), "id=uuid:1"), sight("liar/b", macN(9), "id=uuid:2"),
		}, []string{"dhcp/a dhcp/b", "liar/a liar/b"}},
		{"what only names the id goes to the device that alone tells it", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcpv6/r", "id=duid:1", "ip=fd00::1"), sight("mdns/a", "host=a.local", "ip=fd00::1"),
		}, []string{"dhcp/a dhcpv6/r mdns/a"}},
		{"and to none if two tell it that aren't one", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1", "host=a"), sight("dhcp/b", macN(2), "id=duid:1", "host=b"),
			sight("dhcpv6/r", "id=duid:1", "ip=fd00::1"), sight("ndp/a", macN(1), "ip=fd00::1"), sight("x/id", "id=duid:1"),
		}, []string{"dhcp/a dhcpv6/r ndp/a", "dhcp/b", "x/id"}},
		{"what names the ids of two devices belongs to neither", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/b", macN(2), "id=duid:2"), sight("x/r", "id=duid:1", "id=duid:2"),
		}, []string{"dhcp/a", "dhcp/b", "x/r"}},
		{"two-homed: one Syncthing ID and one name are two signs", []Sighting{
			sight("arp/a", macN(1), "ip=10.0.0.5"), sight("arp/b", macN(2), "ip=10.1.0.5"), sight("dhcp/a", macN(1), "host=nas"), sight("dhcp/b", macN(2), "host=nas"),
			sight("st/a", macN(1), "id=syncthing:P56", "ip=10.0.0.5"), sight("st/b", macN(2), "id=syncthing:P56", "ip=10.1.0.5"),
			sight("syncthing/x", "id=syncthing:P56", "ip=10.0.0.5"), sight("syncthing/y", "id=syncthing:P56", "ip=10.1.0.5"),
		}, []string{"arp/a arp/b dhcp/a dhcp/b st/a st/b syncthing/x syncthing/y"}},
		{"an id of lanfolk's own is certain", []Sighting{
			sight("self/a", macN(1), "id=lanfolk:1", "host=a"), sight("self/b", macN(2), "id=lanfolk:1", "host=b"),
		}, []string{"self/a self/b"}},
		{"a MAC that routers pass among each other ties none of them", []Sighting{
			sight("dhcp/a", macN(1), "id=duid:1"), sight("dhcp/v", "mac=00:00:5e:00:01:07", "id=duid:1"), sight("arp/v", "mac=00:00:5e:00:01:07", "ip=10.0.0.1"),
		}, []string{"arp/v dhcp/v", "dhcp/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				c := testCore()
				for _, n := range perm(len(tt.s)) {
					c.observe(t0, tt.s[n])
					c.check(t)
				}
				if diff := cmp.Diff(tt.want, c.groups()); diff != "" {
					t.Fatal(diff)
				}
				for _, n := range perm(len(tt.s)) {
					bye := tt.s[n]
					bye.Gone = true
					c.observe(t0, bye)
					c.check(t)
				}
			}
		})
	}
}

// TestTooMany: ids that too many MACs tell, and MACs that tell too many ids, on
// both sides of the bounds, with what a lie costs gone when it is.
func TestTooMany(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int // how many are one device still
		make  func(k int) Sighting
		after int // devices with one more
	}{
		{"MACs of an id", maxMates, func(k int) Sighting { return sight(fmt.Sprint("dhcp/", k), macN(k), "id=duid:1") }, maxMates + 1},
		{"ids of a MAC", maxTies, func(k int) Sighting { return sight(fmt.Sprint("dhcp/", k), macN(1), fmt.Sprint("id=duid:", k)) }, 2},
		{"names of a MAC", maxCalls, func(k int) Sighting {
			return sight(fmt.Sprint("dhcp/", k), macN(1), "id=duid:1", fmt.Sprintf("host=%d.local", k))
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testCore()
			for _, k := range perm(tt.n) {
				c.observe(t0, tt.make(k))
				if tt.name == "ids of a MAC" {
					c.observe(t0, sight(fmt.Sprint("dhcp/b", k), macN(200), fmt.Sprint("id=duid:", k)))
				} else {
					c.observe(t0, sight("dhcp/b", macN(0), "id=duid:1"))
				}
				c.check(t)
			}
			if got := len(c.groups()); got != 1 {
				t.Fatalf("%d devices of %d, want 1:\n%s", got, tt.n, strings.Join(c.groups(), "\n"))
			}
			c.observe(t0, tt.make(tt.n))
			c.check(t)
			if got := len(c.groups()); got != tt.after {
				t.Fatalf("%d devices with one more, want %d", got, tt.after)
			}
			bye := tt.make(tt.n)
			bye.Gone = true
			c.observe(t0, bye)
			c.check(t)
			if got := len(c.groups()); got != 1 {
				t.Fatalf("%d devices without it again, want 1", got)
			}
		})
	}
	// Past maxHeld an id is not looked at any more.
	c := testCore()
	for k := range maxHeld + 8 {
		c.observe(t0, sight(fmt.Sprint("dhcp/", k), macN(k), "id=duid:1"))
		c.check(t)
	}
	for k := range maxHeld + 8 {
		c.expire(t0.Add(time.Duration(k)))
		bye := sight(fmt.Sprint("dhcp/", k))
		bye.Gone = true
		c.observe(t0, bye)
		c.check(t)
	}
}

// TestLieEnds: a liar becomes part of a device by its id, and no longer is when
// the lie runs out; the device keeps its id throughout.
func TestLieEnds(t *testing.T) {
	c := testCore()
	c.observe(t0, sight("dhcp/a", macN(1), "id=duid:1", "life=1h"), sight("dhcp/b", macN(2), "id=duid:2", "life=1h"))
	c.observe(t0.Add(1), at(sight("arp/l", macN(9), "ip=10.0.0.9", "life=1h"), 1), at(sight("liar/a", macN(9), "id=duid:1"), 1))
	if got, want := c.lines(), "d1=d3 reachable: arp/l dhcp/a liar/a\nd2 reachable: dhcp/b"; got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	c.observe(t0, sight("liar/b", macN(9), "id=duid:2", "life=30s")) // greedy: it is neither's now
	if got, want := c.lines(), "d1 reachable: dhcp/a\nd2 reachable: dhcp/b\nd3 reachable: arp/l liar/a liar/b"; got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	c.expire(t0.Add(61 * time.Second))
	c.check(t)
	if got, want := c.lines(), "d1 reachable: dhcp/a\nd2 reachable: dhcp/b\nd3 reachable: arp/l"; got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

// TestNoSpareDevice: a MAC that is heard after what names its id makes no device
// of its own first.
func TestNoSpareDevice(t *testing.T) {
	for _, second := range []Sighting{sight("dhcp/b", macN(2), "id=duid:1"), sight("dhcpv6/r", "id=duid:1", "ip=fd00::1")} {
		c := testCore()
		c.observe(t0, second)
		c.observe(t0, sight("dhcp/a", macN(1), "id=duid:1"))
		if got := c.lines(); strings.ContainsAny(got, "=\n") {
			t.Errorf("%s first: %s", second.Key, got)
		}
	}
}

// TestExplainTies: what ids join is said, and what they don't.
func TestExplainTies(t *testing.T) {
	c := testCore()
	c.observe(t0, sight("arp/a", macN(1), "ip=10.0.0.5"), sight("dhcp/a", macN(1), "id=duid:1", "host=nas"), sight("dhcp/b", macN(2), "id=duid:1", "host=nas.lan"),
		sight("ssdp/a", macN(1), "id=uuid:1"), sight("ssdp/c", macN(3), "id=uuid:1"))
	why := func(id string) (out []string) {
		for _, e := range c.explain(c.devices[id]) {
			out = append(out, e.What+": "+e.WhyJoined)
		}
		return out
	}
	want := []string{
		"heard arp/a: first evidence",
		"heard dhcp/a: shares mac 00:00:5e:00:53:01 with arp heard arp/a",
		"heard ssdp/a: shares mac 00:00:5e:00:53:01 with arp heard arp/a; id uuid:1 doesn't join mac 00:00:5e:00:53:01 with mac 00:00:5e:00:53:03, which claims it, too: it isn't of a kind that tells machines apart, and they share no name",
	}
	want = append(want[:2:2], append([]string{"heard dhcp/b: shares id duid:1 with dhcp heard dhcp/a"}, want[2:]...)...)
	if got := why("d1"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
