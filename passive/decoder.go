package passive

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/internal/cdp"
	"github.com/lanfolk/lanfolk/passive/internal/dhcpv6"
	"github.com/lanfolk/lanfolk/passive/internal/group"
	"github.com/lanfolk/lanfolk/passive/internal/hello"
	"github.com/lanfolk/lanfolk/passive/internal/lldp"
	"github.com/lanfolk/lanfolk/passive/internal/mqtt"
	"github.com/lanfolk/lanfolk/passive/internal/quic"
	"github.com/lanfolk/lanfolk/passive/internal/recent"
	"github.com/lanfolk/lanfolk/passive/internal/ssdp"
	"github.com/lanfolk/lanfolk/passive/internal/wsd"
	"github.com/lanfolk/lanfolk/syncthing"
)

// Options say how a Decoder works. The zero value is useful.
type Options struct {
	// OnLink says whether an address lies in a subnet of the named interface.
	// Only then, or where the protocol itself proves it, is a frame's source
	// MAC taken for its IP source's. Nil: no subnet is known, as for a file; then
	// it is taken for that if ARP or neighbour discovery said so before.
	OnLink func(iface string, a netip.Addr) bool
}

// Decoder turns frames into facts. It keeps what is needed to put fragments and
// TCP segments together, so the frames of one capture go to one Decoder in
// their order. It is for one goroutine; Stats may be called from others.
type Decoder struct {
	options    Options
	count      tally
	text       interner
	opens      recent.Map[string] // fingerprints of TCP's SYNs, by what they tell
	memo       memo
	frags      fragments
	neighbours neighbours // where no subnet is known
	streams    streams    // DNS over TCP
	hellos     streams    // ClientHellos that are not whole yet
	quics      streams    // the same by QUIC
	quicDone   connections

	// What belongs to the packet in hand stands here and not on the stack, so
	// that it needs no memory anew.
	context   context
	message   dnsContext
	fact      Fact
	facts     int // handed out of the frame in hand
	record    Record
	fields    []Field
	claims    []Claim
	buf       []byte // scratch for text
	buf2      []byte
	dns       dnsScratch
	dhcp      dhcpScratch
	hello     hello.Hello  // a TLS client's
	first     hello.Stream // of a segment that begins one
	quicBuf   []byte       // a QUIC packet's frames
	quicFirst quic.Crypto  // of a datagram that begins a connection

	announcement syncthing.Announcement // Syncthing's
	dhcpv6       dhcpv6.Message
	group        group.Message
	netbios      netbiosScratch
	mqtt         mqtt.Connect
	ssdp         ssdp.Message
	wsd          wsd.Message
	lldp         lldp.Message
	cdp          cdp.Message
}

// NewDecoder returns a Decoder that has seen nothing.
func NewDecoder(o Options) *Decoder {
	return &Decoder{options: o, buf: make([]byte, 0, 1024), buf2: make([]byte, 0, 1024)}
}

// context is what the outer layers say about the packet in hand.
type context struct {
	time   time.Time
	iface  string
	vlan   uint16
	srcMAC MAC
	dstMAC MAC
	src    netip.AddrPort
	dst    netip.AddrPort
	ttl    uint8 // TTL or hop limit
	whole  bool  // the frame was captured to its end
	tcp    bool  // the message came over TCP
	emit   func(*Fact)
}

// Decode reads one frame and calls emit for each fact in it, or in a packet
// that it completes. Nothing in the frame is kept. The Fact is valid until emit
// returns.
func (d *Decoder) Decode(f packet.Frame, emit func(*Fact)) {
	if f.LinkType == packet.LinkEthernet && d.boring(f.Data) {
		d.count.frame(len(f.Data), numProtos, 0)
		return
	}
	if d.known(&f, emit) {
		return
	}
	d.facts = 0
	d.context = context{time: f.Time, iface: f.Interface, vlan: f.VLAN, whole: f.Length <= len(f.Data), emit: emit}
	why := d.link(&d.context, f.LinkType, f.Data)
	if why == dropNone {
		d.memo.end()
	} else {
		d.count.drop(why)
	}
	d.count.frame(len(f.Data), numProtos, d.facts)
	d.context.emit = nil
}

// boring says quickly of most Ethernet frames that they hold nothing to decode:
// the bulk of what a network carries. Of others it says nothing.
func (d *Decoder) boring(b []byte) bool {
	if len(b) < 14+20+4 {
		return false
	}
	var proto uint8
	ports := 14 + 40
	switch be.Uint16(b[12:]) {
	case etherIPv4:
		// No fragment, and a header that is right.
		if b[14]>>4 != 4 || b[14]&15 < 5 || be.Uint16(b[20:])&0x3fff != 0 {
			return false
		}
		proto, ports = b[23], 14+int(b[14]&15)*4
	case etherIPv6:
		proto = b[20]
	default:
		return false
	}
	if proto != ipTCP && proto != ipUDP || len(b) < ports+4 {
		return false
	}
	b = b[ports:]
	if _, known := byPort(proto, be.Uint16(b), be.Uint16(b[2:])); known {
		return false
	}
	if proto == ipTCP {
		return len(d.hellos.flows) == 0 && boringTCP(b)
	}
	return len(b) < 8 || !quic.Opens(b[8:]) && !opensAnswer(b[8:])
}

// start fills the fact in hand with what the outer layers say.
func (d *Decoder) start(c *context, protocol string) *Fact {
	d.fields, d.claims = d.fields[:0], d.claims[:0]
	d.fact = Fact{
		Time: c.time, Interface: c.iface, VLAN: c.vlan, Protocol: protocol,
		SrcMAC: c.srcMAC, DstMAC: c.dstMAC,
		SrcIP: c.src.Addr(), DstIP: c.dst.Addr(), SrcPort: c.src.Port(), DstPort: c.dst.Port(),
	}
	return &d.fact
}

// finish hands the fact in hand out.
func (d *Decoder) finish(c *context) {
	d.fact.Fields, d.fact.Claims, d.fact.Number = d.fields, d.claims, d.facts
	d.facts++
	d.memo.add(&d.fact)
	if c.emit != nil {
		c.emit(&d.fact)
	}
}

// packet counts a well-formed packet of a protocol.
func (d *Decoder) packet(p proto) {
	d.count.packet(p)
	d.memo.counted(p)
}

// field adds a field to the fact in hand, with text that is kept.
func (d *Decoder) field(key, value string) {
	d.fields = append(d.fields, Field{key, value})
}

// fieldText adds a field whose value is the scratch buffer's.
func (d *Decoder) fieldText(key string, value []byte) {
	d.fields = append(d.fields, Field{key, d.text.get(value)})
}

// fieldAddr adds a field with an address, unless it is the unspecified one.
func (d *Decoder) fieldAddr(key string, a netip.Addr) {
	if a.IsValid() && !a.IsUnspecified() {
		d.buf = a.AppendTo(d.buf[:0])
		d.fieldText(key, d.buf)
	}
}

// fieldMAC adds a field with a hardware address.
func (d *Decoder) fieldMAC(key string, m MAC) {
	d.buf = m.appendText(d.buf[:0])
	d.fieldText(key, d.buf)
}

// addrText returns an address as text.
func (d *Decoder) addrText(a netip.Addr) string {
	d.buf = a.AppendTo(d.buf[:0])
	return d.text.get(d.buf)
}

// direct says whether the frame came straight from the host that its IP source
// names, so that the frame's source MAC is that host's.
func (d *Decoder) direct(c *context) bool {
	a := c.src.Addr()
	if c.srcMAC == (MAC{}) || c.srcMAC.Group() || !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return false
	}
	// Routers don't forward link-local addresses (RFC 3927 §7, RFC 4291 §2.5.6).
	if a.IsLinkLocalUnicast() {
		return true
	}
	if routed(c.ttl) {
		return false
	}
	n := neighbour{a, c.srcMAC, c.vlan}
	onLink := d.onLink(c.iface, n)
	d.memo.ask(n, onLink)
	return onLink
}

// onLink says whether the host with an address is itself the one that speaks with
// the MAC.
func (d *Decoder) onLink(iface string, n neighbour) bool {
	if d.options.OnLink != nil {
		return d.options.OnLink(iface, n.addr)
	}
	return d.neighbours.has(n)
}
