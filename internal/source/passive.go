package source

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// Passive turns the facts of passive monitoring on one link into the domain's
// words. It takes the facts of one decoder, in their order, in one goroutine.
type Passive struct {
	Gateway string // this node's name, "" for a node alone
	// Link is the link that the facts come from. Its zero value, for a capture
	// file, knows no address of our own.
	Link packet.Link
	// Device is the ID of the Syncthing device that this node announces, "" for none.
	Device string
	// TGED says that this node hears TGED requests with a socket: those count there.
	TGED bool
	// Tells says of a signal whether it can make a difference to what a device is taken
	// to be, and under which slot it is kept; nil: none does.
	Tells func(lanfolk.Signal) (slot string, ok bool)

	last    flow    // of the packet in hand
	number  int     // of the last fact in it
	counted queries // that it counts for
}

// flow tells one packet's facts from those of the next.
type flow struct {
	time           time.Time
	protocol       string
	response       bool
	srcMAC, dstMAC passive.MAC
	src, dst       netip.AddrPort
}

// Observation returns the row of the fingerprint database that f counts for,
// and whether there is one: what lanfolk itself asked isn't news, EDNS options
// are no name that anybody asks for, and a packet counts once for a row, however
// many records it has for the name.
func (p *Passive) Observation(f *passive.Fact) (lanfolk.Observation, bool) {
	if p.self(f) || p.heard(f) || edns(f) || p.again(f) {
		return lanfolk.Observation{}, false
	}
	return lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Gateway: p.Gateway, Link: f.Interface, VLAN: f.VLAN,
			Protocol: f.Protocol, Response: f.Response,
			Query: rowQuery(f), Fingerprint: f.Fingerprint,
			SrcMAC: lanfolk.MAC(f.SrcMAC), DstMAC: lanfolk.MAC(f.DstMAC),
			DstClass: class(lanfolk.MAC(f.DstMAC)),
		},
		SrcIP: f.SrcIP, DstIP: f.DstIP,
		First: f.Time, Last: f.Time, Count: 1,
	}, true
}

// edns says whether the fact is a message's EDNS options, which are told as a record.
func edns(f *passive.Fact) bool { return f.Record != nil && f.QType == uint16(dnswire.TypeOPT) }

// again says whether the packet has counted for the fact's row already. The
// rest of a row's key is the same for all facts of a packet.
func (p *Passive) again(f *passive.Fact) bool {
	this := flow{
		f.Time, f.Protocol, f.Response, f.SrcMAC, f.DstMAC,
		netip.AddrPortFrom(f.SrcIP, f.SrcPort), netip.AddrPortFrom(f.DstIP, f.DstPort),
	}
	// Two packets may bear one time, as clocks and files have it.
	if this != p.last || f.Number <= p.number {
		p.last = this
		p.counted.clear()
	}
	p.number = f.Number
	return p.counted.add(rowQuery(f))
}

// queries is a set of names: mostly of one, now and then of hundreds.
type queries struct {
	few  []string
	many map[string]struct{}
}

const fewQueries = 8

func (q *queries) clear() {
	q.few = q.few[:0]
	clear(q.many)
}

// add says whether the name was there before.
func (q *queries) add(name string) bool {
	if slices.Contains(q.few, name) {
		return true
	}
	if len(q.few) < fewQueries {
		q.few = append(q.few, name)
		return false
	}
	if q.many == nil {
		q.many = make(map[string]struct{})
	}
	_, there := q.many[name]
	q.many[name] = struct{}{}
	return there
}

// rowQuery is the name that a row is kept under. Resolvers that play with the
// case of letters, as a protection, must not make a row of each play; mDNS
// keeps the case that an owner chose.
func rowQuery(f *passive.Fact) string {
	switch {
	case f.Protocol == passive.ProtoTGED:
		return capitals(f.Query) // as a request is kept that the node's own socket got
	case f.Protocol == passive.ProtoMDNS || f.QType == 0:
		return f.Query
	}
	return fold(f.Query)
}

// Sightings calls emit with a sighting for each device that f tells about.
func (p *Passive) Sightings(f *passive.Fact, emit func(lanfolk.Sighting)) {
	for _, c := range f.Claims {
		o := lanfolk.Origin{Protocol: f.Protocol, Gateway: p.Gateway, Link: f.Interface, Self: p.self(f)}
		// The inventory bounds what each speaker says. Who has no address yet is somebody, too, and the
		// address in an ARP message is what it says, not who says it.
		if f.SrcIP.IsValid() && !f.SrcIP.IsUnspecified() && f.Protocol != passive.ProtoARP {
			o.Source = f.SrcIP.String()
		} else {
			o.Source = f.SrcMAC.String()
		}
		s := lanfolk.Sighting{
			Origin: o, Kind: lanfolk.KindDevice, Name: bareName(c.Host), Host: c.Host,
			What: what(f, c), State: lanfolk.Reachable, Time: f.Time,
			Lifetime: lifetime(f.Protocol, c), Gone: c.Gone,
			Identifiers: identifiers(lanfolk.MAC(c.MAC), c.ID, c.Host, o),
		}
		if c.IP.IsValid() && !c.IP.IsUnspecified() {
			s.Addresses = append(s.Addresses, c.IP)
			s.Identifiers = append(s.Identifiers, addressOf(lanfolk.MAC(c.MAC), c.IP, o)...)
		}
		if len(s.Identifiers) == 0 {
			continue
		}
		s.Key = claimKey(f, c)
		if c.Hearsay {
			s.State = lanfolk.Unknown // somebody else said so: no sign of life
		}
		switch {
		case answers(f, c):
			s.Type = lanfolk.TypeAnswer
		case c.Router:
			s.Type = "router"
		}
		s.Attributes = attributes(f)
		emit(s)
		if id, ok := lasting(s, f, c); ok {
			emit(id)
		}
	}
	p.signalSightings(f, emit)
}

// answers says whether a claim by ARP or neighbour discovery may be a proxy's, who
// answers in its own name when it is asked for another's address. In whose name a host
// asks, and what it announces unasked, is its own.
func answers(f *passive.Fact, c passive.Claim) bool {
	switch f.Protocol {
	case passive.ProtoARP:
		return c.Hearsay || f.Field("kind") == "reply"
	case passive.ProtoNDP:
		return c.Hearsay || f.Field("message") == "na" && strings.Contains(f.Field("flags"), "s")
	}
	return false
}

// self says whether lanfolk itself sent the packet: a question by mDNS that
// left from this link, or an announcement of its own Syncthing device. Another program on
// this machine may have asked the question, too; nothing is lost with it.
func (p *Passive) self(f *passive.Fact) bool {
	if len(p.Link.MAC) != 6 || [6]byte(p.Link.MAC) != [6]byte(f.SrcMAC) {
		return false
	}
	switch f.Protocol {
	case passive.ProtoMDNS:
		return !f.Response
	case passive.ProtoSyncthing:
		return p.Device != "" && f.Query == p.Device
	}
	return false
}

// heard says whether the node's own socket got the packet, too.
func (p *Passive) heard(f *passive.Fact) bool {
	return p.TGED && f.Protocol == passive.ProtoTGED && !f.Response &&
		(f.DstMAC.Group() || len(p.Link.MAC) == 6 && [6]byte(p.Link.MAC) == [6]byte(f.DstMAC))
}

// claimKey names the claim within its protocol and link. A device holds many
// addresses by ARP and NDP at once, but one lease by DHCP: there a new address
// replaces the old one.
func claimKey(f *passive.Fact, c passive.Claim) string {
	parts := []string{c.MAC.String(), c.ID}
	if f.Protocol != passive.ProtoDHCP || (parts[0] == "" && parts[1] == "") {
		if c.IP.IsValid() {
			parts = append(parts, c.IP.String())
		}
		parts = append(parts, c.Host)
	}
	if c.Hearsay {
		// What others say must not take the place of what the device says.
		parts = append(parts, "hearsay")
	} else if answers(f, c) {
		parts = append(parts, "answer") // nor what a proxy would say, too
	}
	return strings.Join(parts, " ")
}

// neighbourLifetime is how long an address that ARP or NDP told holds. The
// kernels of quiet hosts renew what they know of their router well within it.
const neighbourLifetime = 30 * time.Minute

func lifetime(protocol string, c passive.Claim) time.Duration {
	if c.Lifetime > 0 {
		return c.Lifetime
	}
	if protocol == passive.ProtoARP || protocol == passive.ProtoNDP {
		return neighbourLifetime
	}
	return lanfolk.DefaultLifetime
}

// attributes are the protocol's fields that describe the device, nil for a
// protocol that describes none. A device announces itself by SSDP in many
// messages: only what is the same in all of them is kept, so that no message
// changes what the one before it said.
func attributes(f *passive.Fact) map[string]string {
	a := make(map[string]string, len(f.Fields)+1)
	switch f.Protocol {
	case passive.ProtoSSDP:
		return pick(a, f, "server", "location")
	case passive.ProtoHTTP:
		if !f.Response || f.Field("server") == "" {
			return nil
		}
		return pick(a, f, "server")
	case passive.ProtoWSD:
		return pick(a, f, "types", "scopes", "addresses")
	case passive.ProtoDHCP, passive.ProtoDHCPv6, passive.ProtoLLDP, passive.ProtoCDP:
	default:
		return nil
	}
	for _, x := range f.Fields {
		a[x.Key] = x.Value
	}
	if f.Fingerprint != "" {
		a["fingerprint"] = f.Fingerprint
	}
	return a
}

// pick puts some of the fields into a.
func pick(a map[string]string, f *passive.Fact, keys ...string) map[string]string {
	for _, key := range keys {
		if v := f.Field(key); v != "" {
			a[key] = v
		}
	}
	return a
}

// what writes the evidence for people: "10.0.0.5 is at 02:00:5e:10:00:01".
func what(f *passive.Fact, c passive.Claim) string {
	var b strings.Builder
	if m := cmp.Or(f.Field("message"), f.Field("kind")); m != "" {
		b.WriteString(m + ": ")
	}
	mac := c.MAC.String()
	if mac == "" {
		mac = c.ID
	}
	switch {
	case c.IP.IsValid() && mac != "":
		b.WriteString(c.IP.String() + " is at " + mac)
	case c.IP.IsValid():
		b.WriteString(c.IP.String() + " is there")
	default:
		b.WriteString(mac + " is there")
	}
	if c.Host != "" {
		b.WriteString(", named " + c.Host)
	}
	if c.Router {
		b.WriteString(", a router")
	}
	if c.Gone {
		b.WriteString(", given up")
	}
	return b.String()
}
