package lanfolk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// step is one moment of a story: what is heard then, and what the inventory
// looks like afterwards.
type step struct {
	after time.Duration
	hear  []Sighting
	gone  []string // keys of device sightings that say goodbye
	say   func(c *core)
	// events is the operations that come of it, in order: "add device d1".
	events string
	// want is a line a device: id, aliases, state, what was separated, and the
	// keys of its live sightings.
	want string
}

func (c *core) lines() string {
	var out []string
	for _, d := range c.order {
		if d == nil {
			continue
		}
		var keys []string
		for _, f := range d.facts {
			if f.live() {
				keys = append(keys, f.key())
			}
		}
		slices.Sort(keys)
		v := c.picture(d)
		line := v.ID
		if len(v.Aliases) > 0 {
			line += "=" + strings.Join(v.Aliases, "=")
		}
		line += " " + string(v.State)
		for _, id := range v.Separated {
			line += " not by " + id.String()
		}
		out = append(out, line+": "+strings.Join(keys, " "))
	}
	return strings.Join(out, "\n")
}

func ops(events []Event) string {
	var out []string
	for _, e := range events {
		if e.Device != nil {
			out = append(out, fmt.Sprintf("%s device %s", e.Op, e.Device.ID))
		} else {
			out = append(out, fmt.Sprintf("%s service %s %s", e.Op, e.Service.Name, e.Service.State))
		}
	}
	return strings.Join(out, ", ")
}

const (
	macA = "mac=00:00:5e:00:53:0a"
	macB = "mac=00:00:5e:00:53:0b"
)

// separate has a person separate these identifiers of a device, and no others.
func separate(id string, ids ...Identifier) func(*core) {
	return func(c *core) {
		c.hear(c.devices[id].change(func(s *Said) { s.Separated = ids }))
	}
}

func TestSteps(t *testing.T) {
	ip5 := Identifier{Kind: IDIP, Value: "10.0.0.5", Link: "eth0"}
	tests := map[string][]step{
		"what nobody can tell of is unknown, unless somebody else hears it": {
			{0, []Sighting{sight("mqtt/lamp", "type=light", "host=lamp.local", "state=lost")}, nil, nil,
				"add device d1, add service mqtt/lamp unknown", "d1 unknown: mqtt/lamp"},
			{time.Second, []Sighting{sight("arp/a", "host=lamp.local")}, nil, nil, "update device d1", "d1 reachable: arp/a mqtt/lamp"},
			{2 * time.Second, []Sighting{sight("mqtt/lamp", "type=light", "host=lamp.local")}, nil, nil,
				"update device d1, update service mqtt/lamp reachable", "d1 reachable: arp/a mqtt/lamp"},
		},
		"a killed host's service becomes unreachable when it runs out, and is removed a day later": {
			{0, []Sighting{sight("mdns/web", "type=_http._tcp", "host=nas.local", "life=120s")}, nil, nil,
				"add device d1, add service mdns/web reachable", "d1 reachable: mdns/web"},
			{119 * time.Second, nil, nil, nil, "", "d1 reachable: mdns/web"},
			{120 * time.Second, nil, nil, nil, "update device d1, update service mdns/web unreachable", "d1 unreachable: "},
			{120*time.Second + DefaultServiceRetention, nil, nil, nil, "remove service mdns/web unreachable, update device d1", "d1 unreachable: "},
			{DefaultRetention + time.Hour, nil, nil, nil, "remove device d1", ""},
		},
		"a refresh keeps it, and a change is told": {
			{0, []Sighting{sight("mdns/web", "type=_http._tcp", "host=nas.local", "life=120s")}, nil, nil,
				"add device d1, add service mdns/web reachable", "d1 reachable: mdns/web"},
			{100 * time.Second, []Sighting{sight("mdns/web", "type=_http._tcp", "host=nas.local", "life=120s")}, nil, nil, "", "d1 reachable: mdns/web"},
			{219 * time.Second, nil, nil, nil, "", "d1 reachable: mdns/web"},
			{219 * time.Second, []Sighting{sight("mdns/web", "type=_https._tcp", "host=nas.local", "life=120s")}, nil, nil,
				"update device d1, update service mdns/web reachable", "d1 reachable: mdns/web"},
		},
		"a goodbye removes the service and its name is forgotten with it": {
			{0, []Sighting{sight("mdns/web", "type=_http._tcp", macA), sight("arp/a", macA)}, nil, nil,
				"add device d1, add service mdns/web reachable", "d1 reachable: arp/a mdns/web"},
			{time.Second, []Sighting{func() Sighting { s := sight("mdns/web", "type=_http._tcp"); s.Gone = true; return s }()}, nil, nil,
				"remove service mdns/web reachable, update device d1", "d1 reachable: arp/a"},
		},
		"in a merge the oldest survives": {
			{0, []Sighting{sight("mdns/a", "host=nas.local", "ip=10.0.0.5", "life=1h")}, nil, nil, "add device d1", "d1 reachable: mdns/a"},
			{1, []Sighting{sight("arp/a", macA, "ip=10.0.0.6", "life=1h")}, nil, nil, "add device d2", "d1 reachable: mdns/a\nd2 reachable: arp/a"},
			{2, []Sighting{sight("ndp/a", macA, "ip=10.0.0.5", "life=1h")}, nil, nil,
				"remove device d2, update device d1", "d1=d2 reachable: arp/a mdns/a ndp/a"},
			{3, nil, []string{"ndp/a"}, nil, // split: the MAC is the strongest evidence
				"update device d1, add device d3", "d1=d2 reachable: arp/a\nd3 reachable: mdns/a"},
			{4, []Sighting{sight("ndp/b", macA, "ip=10.0.0.5", "life=1h")}, nil, nil,
				"remove device d3, update device d1", "d1=d3=d2 reachable: arp/a mdns/a ndp/b"},
			{5, nil, []string{"ndp/b"}, nil, // the same split gives the same id again
				"update device d1, add device d3", "d1=d2 reachable: arp/a\nd3 reachable: mdns/a"},
		},
		"a MAC that comes back gets its id back": {
			{0, []Sighting{sight("arp/a", macA, "ip=10.0.0.5")}, nil, nil, "add device d1", "d1 reachable: arp/a"},
			{time.Hour, nil, nil, nil, "update device d1", "d1 unreachable: "},
			{2 * time.Hour, []Sighting{sight("arp/b", macB, "ip=10.0.0.5", "life=3h")}, nil, nil, "add device d2, update device d1", "d1 unreachable: \nd2 reachable: arp/b"},
			{3 * time.Hour, []Sighting{sight("dhcp/a", macA, "ip=10.0.0.7")}, nil, nil, "update device d1", "d1 reachable: dhcp/a\nd2 reachable: arp/b"},
		},
		"a name that comes back gets its id back, an address doesn't": {
			{0, []Sighting{sight("mdns/a", "host=nas.local", "ip=10.0.0.5")}, nil, nil, "add device d1", "d1 reachable: mdns/a"},
			{time.Hour, []Sighting{sight("tged/x", "ip=10.0.0.5")}, nil, nil, "update device d1, add device d2, update device d1", "d1 unreachable: \nd2 reachable: tged/x"},
			{2 * time.Hour, []Sighting{sight("mdns/b", "host=nas.local", "ip=10.0.0.9")}, nil, nil,
				"update device d2, update device d1", "d1 reachable: mdns/b\nd2 unreachable: "},
		},
		"what a person named is not forgotten": {
			{0, []Sighting{sight("arp/a", macA)}, nil, nil, "add device d1", "d1 reachable: arp/a"},
			{time.Second, nil, nil, func(c *core) {
				c.hear(c.devices["d1"].change(func(s *Said) { s.Names = []string{"printer"} }))
			}, "update device d1", "d1 reachable: arp/a"},
			{2 * DefaultRetention, nil, nil, nil, "update device d1", "d1 unreachable: "},
			{2*DefaultRetention + time.Second, nil, nil, func(c *core) {
				c.hear(c.devices["d1"].change(func(s *Said) { s.Names = nil }))
			}, "update device d1", "d1 unreachable: "},
			{2*DefaultRetention + time.Minute, nil, nil, nil, "remove device d1", ""},
		},
		"a separation splits, and taking it back joins": {
			{0, []Sighting{sight("arp/a", macA, "ip=10.0.0.5", "life=1h"), sight("mdns/a", "host=nas.local", "ip=10.0.0.5", "life=1h")}, nil, nil,
				"add device d1", "d1 reachable: arp/a mdns/a"},
			{1, nil, nil, separate("d1", ip5), "update device d1, add device d2", "d1 reachable not by ip 10.0.0.5 on eth0: arp/a\nd2 reachable not by ip 10.0.0.5 on eth0: mdns/a"},
			{2, nil, nil, separate("d1"), "remove device d2, update device d1", "d1=d2 reachable: arp/a mdns/a"},
		},
		"all who hold or remember a separated identifier show it": {
			{0, []Sighting{sight("arp/a", macA, "ip=10.0.0.5", "life=60s"), sight("arp/b", macB, "ip=10.0.0.5", "life=90s"), sight("arp/c", "mac=00:00:5e:00:53:0c", "life=1h")}, nil, nil,
				"add device d1, add device d2, add device d3", "d1 reachable: arp/a\nd2 reachable: arp/b\nd3 reachable: arp/c"},
			{1, nil, nil, separate("d1", ip5), "update device d1, update device d2",
				"d1 reachable not by ip 10.0.0.5 on eth0: arp/a\nd2 reachable not by ip 10.0.0.5 on eth0: arp/b\nd3 reachable: arp/c"},
			{60 * time.Second, nil, nil, nil, "update device d1",
				"d1 unreachable not by ip 10.0.0.5 on eth0: \nd2 reachable not by ip 10.0.0.5 on eth0: arp/b\nd3 reachable: arp/c"},
			{90 * time.Second, nil, nil, nil, "update device d2",
				"d1 unreachable not by ip 10.0.0.5 on eth0: \nd2 unreachable not by ip 10.0.0.5 on eth0: \nd3 reachable: arp/c"},
			{91 * time.Second, []Sighting{sight("dhcp/c", "mac=00:00:5e:00:53:0c", "ip=10.0.0.5", "life=1h")}, nil, nil, "update device d3, update device d2",
				"d1 unreachable not by ip 10.0.0.5 on eth0: \nd2 unreachable: \nd3 reachable not by ip 10.0.0.5 on eth0: arp/c dhcp/c"},
			{92 * time.Second, nil, nil, separate("d1"), "update device d3, update device d1",
				"d1 unreachable: \nd2 unreachable: \nd3 reachable: arp/c dhcp/c"},
		},
		"what was separated of an alias is shown of the device that it is, in a fixed order": {
			{0, []Sighting{sight("arp/a", macA, "ip=10.0.0.6", "life=1h"), sight("arp/b", macB, "ip=10.0.0.5", "host=b", "life=1h")}, nil, nil,
				"add device d1, add device d2", "d1 reachable: arp/a\nd2 reachable: arp/b"},
			{1, nil, nil, separate("d2", ip5, Identifier{Kind: IDHost, Value: "b", Link: "eth0"}), "update device d2",
				"d1 reachable: arp/a\nd2 reachable not by host b on eth0 not by ip 10.0.0.5 on eth0: arp/b"},
			{2, []Sighting{sight("lldp/x", macA, macB, "life=1h")}, nil, nil, "remove device d2, update device d1",
				"d1=d2 reachable not by host b on eth0 not by ip 10.0.0.5 on eth0: arp/a arp/b lldp/x"},
		},
		"what lanfolk said itself is no news, nor is what ran out before it came": {
			{time.Hour, []Sighting{func() Sighting { s := sight("mdns/a", "host=me.local"); s.Origin.Self = true; return s }()}, nil, nil, "", ""},
			{time.Hour, []Sighting{func() Sighting { s := sight("mdns/b", "host=old.local"); s.What = "late"; return s }()}, nil, nil, "", ""},
		},
		"two links of a chain that end in one step leave two devices": {
			{0, []Sighting{sight("arp/a", macA, "host=c.local", "life=1h"), sight("x/3", "id=p:1", "host=c.local", "life=59s"),
				sight("x/1", "id=p:1", "id=p:2", "life=60s"), sight("x/0", "id=p:2", "life=1h")}, nil, nil,
				"add device d1", "d1 reachable: arp/a x/0 x/1 x/3"},
			{time.Minute, nil, nil, nil, "update device d1, add device d2", "d1 reachable: arp/a\nd2 reachable: x/0"},
		},
		"an address that moves is ambiguous until the old claim runs out": {
			{0, []Sighting{sight("arp/a", macA, "ip=10.0.0.5", "life=60s"), sight("mdns/x", "host=x.local", "ip=10.0.0.5", "life=1h")}, nil, nil,
				"add device d1", "d1 reachable: arp/a mdns/x"},
			{30 * time.Second, []Sighting{sight("arp/b", macB, "ip=10.0.0.5", "life=60s")}, nil, nil,
				"add device d2, update device d1, add device d3", "d1 reachable: arp/a\nd2 reachable: arp/b\nd3 reachable: mdns/x"},
			{60 * time.Second, nil, nil, nil, // d3 was made of a sighting older than d2's
				"remove device d2, update device d1, update device d3", "d1 unreachable: \nd3=d2 reachable: arp/b mdns/x"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			c := testCore()
			for n, s := range steps {
				now := t0.Add(s.after)
				events := c.expire(now)
				for _, x := range s.hear {
					if x.What != "late" {
						x.Time = now
					}
					events = append(events, c.observe(now, x)...)
					c.check(t)
				}
				for _, key := range s.gone {
					x := sight(key)
					x.Gone, x.Time = true, now
					events = append(events, c.observe(now, x)...)
				}
				if s.say != nil {
					s.say(c)
					c.settle()
					events = append(events, c.drain()...)
				}
				c.check(t)
				got := ops(events)
				if len(s.hear) > 1 { // what the first brought, the second adds to
					parts := strings.Split(got, ", ")
					got = strings.Join(slices.DeleteFunc(parts, func(p string) bool { return n == 0 && strings.HasPrefix(p, "update") }), ", ")
				}
				if got != s.events {
					t.Errorf("step %d: events\n got %s\nwant %s", n, got, s.events)
				}
				if got := c.lines(); got != s.want {
					t.Errorf("step %d: devices\n got %s\nwant %s", n, got, s.want)
				}
			}
		})
	}
}

func TestPicture(t *testing.T) {
	c := testCore()
	s := sight("mdns/Living Room._ipp._tcp", "host=Printer.local", "type=_ipp._tcp", macA)
	s.Name, s.Attributes, s.Port = "Living Room", map[string]string{"rp": "ipp/print"}, 631
	d := sight("dhcp/x", macA, "ip=10.0.0.9", "ip=fe80::1", "name=printer")
	d.State = Unreachable
	c.observe(t0, s, d, sight("arp/x", macA, "ip=10.0.0.9"))
	v := c.picture(c.devices["d1"])
	want := "[printer printer.local Living Room] [00:00:5e:00:53:0a] [10.0.0.9 fe80::1] Acme reachable [arp dhcp mdns] false"
	if got := fmt.Sprint(v.Names, v.MACs, v.Addresses, " ", v.Vendor, " ", v.State, " ", v.Protocols, " ", v.RandomMAC); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if v.Aliases == nil || v.Tags == nil || v.Services[0].Addresses == nil || v.Services[0].Attributes["rp"] != "ipp/print" || v.Services[0].Port != 631 {
		t.Errorf("%+v", v.Services[0])
	}
	if again := c.picture(c.devices["d1"]); again != v {
		t.Error("an unchanged device was painted again")
	}
	c.observe(t0.Add(1), at(s, 1))
	fresh := c.picture(c.devices["d1"])
	if fresh == v || !fresh.LastSeen.After(v.LastSeen) || !fresh.Services[0].Expires.After(v.Services[0].Expires) {
		t.Error("a refresh didn't move the times of the picture")
	}
	random := sight("arp/r", "mac=02:00:5e:00:53:01")
	c.observe(t0, random)
	if !c.picture(c.devices["d2"]).RandomMAC {
		t.Error("a locally administered MAC is not marked")
	}
}

func TestExplain(t *testing.T) {
	c := testCore()
	c.observe(t0, sight("arp/a", macA, "ip=10.0.0.5"))
	c.observe(t0, sight("dhcp/a", macA, "host=nas"), sight("mdns/a", "ip=10.0.0.5", "host=nas.local"),
		sight("mdns/s", "type=_http._tcp", "host=nas.local", "life=120s"))
	var got []string
	for _, e := range c.explain(c.devices["d1"]) {
		got = append(got, e.Protocol+": "+e.WhyJoined)
	}
	want := []string{
		"arp: first evidence",
		"dhcp: shares mac 00:00:5e:00:53:0a with arp heard arp/a",
		"mdns: ip 10.0.0.5 on eth0 is claimed by this device alone",
		"mdns: host nas.local on eth0 is claimed by this device alone",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c.expire(t0.Add(time.Hour))
	e := c.explain(c.devices["d1"])
	if len(e) != 2 || e[0].WhyJoined != "no sighting holds any more" || e[1].WhyJoined != "ran out at 2026-03-01T12:02:00Z" {
		t.Errorf("%+v", e)
	}
}

func TestResolve(t *testing.T) {
	c := testCore()
	c.observe(t0, sight("arp/a", macA, "ip=10.0.0.5", "life=1h"), sight("dhcp/a", macA, "host=nas", "life=1h"),
		sight("arp/b", macB, "ip=10.0.0.6"), sight("dhcp/b", macB, "host=nas"), sight("syncthing/b", "id=syncthing:P56", "ip=10.0.0.6"))
	c.hear(c.devices["d1"].change(func(s *Said) { s.Names = []string{"The Box"} }))
	for ref, want := range map[string]string{
		"d1": "d1", "00-00-5E-00-53-0A": "d1", "10.0.0.6": "d2", "the box": "d1", "syncthing:P56": "d2",
		"syncthing:P57": `lanfolk: device "syncthing:P57": not found`,
		"nas":           `lanfolk: device "nas": ambiguous: it may be any of d1, d2`,
		"nosy":          `lanfolk: device "nosy": not found`,
	} {
		var got string
		if d, err := c.resolve(ref); err != nil {
			got = err.Error()
		} else {
			got = d.id
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
	c.expire(t0.Add(2 * time.Minute)) // d2 is only remembered now
	if d, err := c.resolve("NAS."); err != nil || d.id != "d1" {
		t.Errorf("the one that can be heard: %v, %v", d, err)
	}
}
