package lanfolk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testCore returns a core that counts its ids and makes events.
func testCore() *core {
	n := 0
	c := newCore(limits{
		sightings: 100000, perSource: 50000, devices: 100000,
		answered4: 2, answered6: 1, retention: DefaultRetention, serviceRetention: DefaultServiceRetention,
	}, func() string { n++; return fmt.Sprintf("d%d", n) }, func(m MAC) string {
		if m[0] == 0 {
			return "Acme"
		}
		return ""
	})
	c.watching = true
	return c
}

// eth0 is the origin of a protocol's sightings on one link.
func eth0(protocol string) Origin { return Origin{Protocol: protocol, Link: "eth0"} }

// sight makes a sighting of a device from words: "mac=02:…", "ip=10.0.0.5",
// "host=nas.local", "id=syncthing:X", and for a service "type=_http._tcp".
func sight(key string, words ...string) Sighting {
	proto, _, _ := strings.Cut(key, "/")
	s := Sighting{Origin: eth0(proto), Key: key, Kind: KindDevice, Time: t0, Lifetime: time.Minute, What: "heard " + key}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "mac":
			m, err := ParseMAC(v)
			if err != nil {
				panic(err)
			}
			s.Identifiers = append(s.Identifiers, MACIdentifier(m, s.Origin))
		case "ip":
			a := netip.MustParseAddr(v)
			s.Identifiers = append(s.Identifiers, IPIdentifier(a, s.Origin))
		case "host":
			s.Identifiers = append(s.Identifiers, HostIdentifier(v, s.Origin))
			s.Host = v
		case "id":
			p, id, _ := strings.Cut(v, ":")
			s.Identifiers = append(s.Identifiers, ProtocolIdentifier(p, id))
		case "type":
			s.Kind, s.Type, s.Name = KindService, v, key
		case "life":
			d, err := time.ParseDuration(v)
			if err != nil {
				panic(err)
			}
			s.Lifetime = d
		case "name":
			s.Name = v
		case "state":
			s.State = State(v)
		default:
			panic(w)
		}
	}
	return s
}

// at returns the sighting as heard later.
func at(s Sighting, after time.Duration) Sighting {
	s.Time = t0.Add(after)
	return s
}

// groups returns the keys of the live sightings of each device, sorted.
func (c *core) groups() []string {
	by := map[*device][]string{}
	for _, f := range c.facts.items {
		if f != nil && f.live() {
			by[f.dev] = append(by[f.dev], f.key())
		}
	}
	var out []string
	for _, keys := range by {
		slices.Sort(keys)
		out = append(out, strings.Join(keys, " "))
	}
	slices.Sort(out)
	return out
}

func TestJoin(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    []Sighting
		want []string
	}{
		{"a MAC joins what several protocols say", []Sighting{
			sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"), sight("dhcp/a", "mac=00:00:5e:00:53:01", "host=nas"),
		}, []string{"arp/a dhcp/a"}},
		{"a protocol's id joins two MACs", []Sighting{
			sight("arp/a", "mac=00:00:5e:00:53:01"), sight("arp/b", "mac=00:00:5e:00:53:02"),
			sight("lldp/x", "mac=00:00:5e:00:53:01", "id=lldp:x"), sight("lldp/y", "mac=00:00:5e:00:53:02", "id=lldp:x"),
		}, []string{"arp/a arp/b lldp/x lldp/y"}},
		{"an address leads to the one MAC that has it", []Sighting{
			sight("mdns/a", "host=nas.local", "ip=10.0.0.5"), sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"),
		}, []string{"arp/a mdns/a"}},
		{"an address that two MACs claim leads nowhere", []Sighting{
			sight("mdns/a", "ip=10.0.0.5"), sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"), sight("arp/b", "mac=00:00:5e:00:53:02", "ip=10.0.0.5"),
		}, []string{"arp/a", "arp/b", "mdns/a"}},
		{"an ambiguous address doesn't spoil a name that is not", []Sighting{
			sight("mdns/a", "ip=10.0.0.5", "host=b"), sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"),
			sight("arp/b", "mac=00:00:5e:00:53:02", "ip=10.0.0.5"), sight("dhcp/b", "mac=00:00:5e:00:53:02", "host=b"),
		}, []string{"arp/a", "arp/b dhcp/b mdns/a"}},
		{"two addresses of two MACs are a conflict", []Sighting{
			sight("mdns/a", "host=l.local", "ip=10.0.0.5", "ip=10.0.0.6"), sight("mdns/s", "host=l.local", "type=_ssh._tcp"),
			sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"), sight("arp/b", "mac=00:00:5e:00:53:02", "ip=10.0.0.6"),
		}, []string{"arp/a", "arp/b", "mdns/a mdns/s"}},
		{"a name finds the MAC through the sighting that says its address", []Sighting{
			sight("mdns/srv", "host=nas.local", "type=_http._tcp"), sight("mdns/a", "host=nas.local", "ip=10.0.0.5"),
			sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"),
		}, []string{"arp/a mdns/a mdns/srv"}},
		{"the address of a virtual bridge that all hosts mention changes nothing", []Sighting{
			sight("mdns/a", "host=a.local", "ip=10.0.0.5", "ip=172.17.0.1"), sight("mdns/b", "host=b.local", "ip=10.0.0.6", "ip=172.17.0.1"),
			sight("arp/a", "mac=00:00:5e:00:53:01", "ip=10.0.0.5"), sight("arp/b", "mac=00:00:5e:00:53:02", "ip=10.0.0.6"),
		}, []string{"arp/a mdns/a", "arp/b mdns/b"}},
		{"without a MAC names and addresses join", []Sighting{
			sight("mdns/srv", "host=nas.local", "type=_http._tcp"), sight("mdns/a", "host=nas.local", "ip=10.0.0.5"), sight("tged/x", "ip=10.0.0.5"),
		}, []string{"mdns/a mdns/srv tged/x"}},
		{"an address with too many names joins none of them", []Sighting{
			sight("mdns/1", "host=1.local", "ip=172.17.0.1"), sight("mdns/2", "host=2.local", "ip=172.17.0.1"),
			sight("mdns/3", "host=3.local", "ip=172.17.0.1"), sight("mdns/4", "host=4.local", "ip=172.17.0.1"), sight("mdns/5", "host=5.local", "ip=172.17.0.1"),
		}, []string{"mdns/1", "mdns/2", "mdns/3", "mdns/4", "mdns/5"}},
		{"what names nobody joins nothing", []Sighting{
			sight("a/1", "ip=127.0.0.1"), sight("a/2", "ip=127.0.0.1"), sight("a/3", "host=localhost"), sight("a/4", "host=localhost"),
			sight("a/5", "mac=ff:ff:ff:ff:ff:ff"), sight("a/6", "mac=ff:ff:ff:ff:ff:ff"),
		}, []string{"a/1", "a/2", "a/3", "a/4", "a/5", "a/6"}},
		{"without identifiers a device is its key's", []Sighting{sight("a/1"), sight("a/2")}, []string{"a/1", "a/2"}},
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
			}
		})
	}
}

// TestRestartRemembersNoMore: a service that ran out is shown for a while, and
// its device's memory, which is bounded, may have let go of its name by then.
// A restart must not bring the name back at the cost of another.
func TestRestartRemembersNoMore(t *testing.T) {
	a := testCore()
	a.saving = true
	now := t0
	a.observe(now, sight("arp/a", "mac=00:00:5e:00:53:01", "life=1h"),
		sight("mdns/s", "mac=00:00:5e:00:53:01", "host=old.local", "type=_http._tcp"))
	now = now.Add(2 * time.Minute)
	a.expire(now) // the service is shown as unreachable from now on
	for n := range maxWeakMemory {
		s := sight(fmt.Sprint("mdns/", n), "mac=00:00:5e:00:53:01", fmt.Sprintf("host=%d.local", n))
		s.Time = now
		a.observe(now, s)
		now = now.Add(2 * time.Minute)
		a.expire(now)
	}
	before := a.snapshot()
	b := testCore()
	if err := b.restore(now, before); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(before), sorted(b.snapshot()), addrs); diff != "" {
		t.Errorf("the restart changed what is saved (-before +after):\n%s", diff)
	}
	// What ends while nobody runs is remembered in spite of that.
	late := sight("mdns/x", "mac=00:00:5e:00:53:01", "host=late.local", "type=_http._tcp")
	late.Time = now
	before = a.snapshot()
	a.observe(now, late)
	before.Sightings = a.snapshot().Sightings // the record is from before
	c := testCore()
	c.saving = true
	if err := c.restore(now.Add(time.Hour), before); err != nil {
		t.Fatal(err)
	}
	want := Identifier{Kind: IDHost, Value: "late.local", Link: "eth0"}
	if d := c.devices["d1"].record(); !slices.Contains(d.Identifiers, want) {
		t.Errorf("%s is forgotten: %v", want, d.Identifiers)
	}
	if o := c.unsaved(); !slices.ContainsFunc(o.Sightings, func(s StoredSighting) bool { return s.Sighting.Key == "mdns/x" && s.Ended }) {
		t.Errorf("that mdns/x ended is not saved: %+v", o.Sightings)
	}
}
