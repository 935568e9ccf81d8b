package lab

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/judge"
)

// MDNS returns the mDNS packets so far as the judge reads them, put together
// where they came in fragments.
func (c *Capture) MDNS() []judge.Packet {
	var all []judge.Packet
	var a assembler
	for _, f := range c.Frames() {
		if p, ok := a.add(f); ok && (p.Src.Port() == 5353 || p.Dst.Port() == 5353) {
			all = append(all, p)
		}
	}
	return all
}

// assembler puts fragments together. It is given the frames of a test's own
// link, so it bounds nothing.
type assembler struct {
	parts map[fragmentKey]*fragments
}

type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
}

type fragments struct {
	data []byte
	have int
	all  int // bytes of the whole, 0 while the last fragment is missing
}

// add returns the datagram that the frame is, or that it is the last part of.
func (a *assembler) add(f Frame) (judge.Packet, bool) {
	p := judge.Packet{Time: f.Time}
	var k fragmentKey
	var payload []byte
	offset, more := 0, false
	switch ip := f.NetworkLayer().(type) {
	case *layers.IPv4:
		if ip.Protocol != layers.IPProtocolUDP {
			return p, false
		}
		k.src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		k.dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
		k.id, p.TTL = uint32(ip.Id), int(ip.TTL)
		offset, more, payload = int(ip.FragOffset)*8, ip.Flags&layers.IPv4MoreFragments != 0, ip.Payload
	case *layers.IPv6:
		k.src, _ = netip.AddrFromSlice(ip.SrcIP)
		k.dst, _ = netip.AddrFromSlice(ip.DstIP)
		p.TTL, payload = int(ip.HopLimit), ip.Payload
		if fr, ok := f.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
			k.id, offset, more, payload = fr.Identification, int(fr.FragmentOffset)*8, fr.MoreFragments, fr.Payload
		} else if ip.NextHeader != layers.IPProtocolUDP {
			return p, false
		}
	default:
		return p, false
	}
	if offset > 0 || more {
		p.Fragmented = true
		if payload = a.join(k, payload, offset, more); payload == nil {
			return p, false
		}
	}
	if len(payload) < 8 {
		return p, false
	}
	p.Src = netip.AddrPortFrom(k.src, binary.BigEndian.Uint16(payload))
	p.Dst = netip.AddrPortFrom(k.dst, binary.BigEndian.Uint16(payload[2:]))
	// Short frames are padded.
	p.Data = payload[8:max(8, min(len(payload), int(binary.BigEndian.Uint16(payload[4:]))))]
	return p, true
}

func (a *assembler) join(k fragmentKey, payload []byte, offset int, more bool) []byte {
	if a.parts == nil {
		a.parts = make(map[fragmentKey]*fragments)
	}
	x := a.parts[k]
	if x == nil {
		x = &fragments{}
		a.parts[k] = x
	}
	if need := offset + len(payload); need > len(x.data) {
		x.data = append(x.data, make([]byte, need-len(x.data))...)
	}
	x.have += copy(x.data[offset:], payload)
	if !more {
		x.all = offset + len(payload)
	}
	if x.all == 0 || x.have < x.all {
		return nil
	}
	delete(a.parts, k)
	return x.data[:x.all]
}

// Tester speaks mDNS on a link as a test's script says, right or wrong. It sends
// frames, so that source, port and hop limit may be any; and it holds port 5353,
// so that what others send to it is no error.
type Tester struct {
	Link *Link
	wire *Capture
}

// Tester starts to listen on the link.
func (k *Link) Tester() *Tester {
	t := k.host.lab.t
	t.Helper()
	if err := k.host.ns.do(func() error { return holdPort(t.Cleanup) }); err != nil {
		t.Fatalf("lab: tester on %s: %v", k, err)
	}
	return &Tester{Link: k, wire: k.Capture()}
}

// Datagram says how a Tester sends; the zero value sends from the link's own
// IPv4 address and port 5353 to the group with hop limit 255.
type Datagram struct {
	Src, Dst netip.AddrPort
	TTL      uint8
	To       *Link // whose MAC a unicast datagram goes to
	IPv6     bool  // of the defaults
}

// Send sends one datagram.
func (x *Tester) Send(d Datagram, data []byte) {
	x.Link.host.lab.t.Helper()
	if !d.Src.IsValid() {
		a := x.Link.V4
		if d.IPv6 {
			a = x.Link.V6
		}
		d.Src = netip.AddrPortFrom(a, 5353)
	}
	if !d.Dst.IsValid() {
		if d.Dst = mdnsGroup; d.Src.Addr().Is6() {
			d.Dst = mdnsGroup6
		}
	}
	if d.TTL == 0 {
		d.TTL = 255
	}
	eth := &layers.Ethernet{SrcMAC: x.Link.MAC}
	switch {
	case d.To != nil:
		eth.DstMAC = d.To.MAC
	case d.Dst.Addr().Is4():
		b := d.Dst.Addr().As4()
		eth.DstMAC = []byte{0x01, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	default:
		b := d.Dst.Addr().As16()
		eth.DstMAC = []byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
	}
	var ip gopacket.SerializableLayer
	if d.Dst.Addr().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip = &layers.IPv4{Version: 4, TTL: d.TTL, Protocol: layers.IPProtocolUDP, SrcIP: d.Src.Addr().AsSlice(), DstIP: d.Dst.Addr().AsSlice()}
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: d.TTL, NextHeader: layers.IPProtocolUDP, SrcIP: d.Src.Addr().AsSlice(), DstIP: d.Dst.Addr().AsSlice()}
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(d.Src.Port()), DstPort: layers.UDPPort(d.Dst.Port())}
	x.Link.Send(eth, ip, udp, gopacket.Payload(data))
}

// Wait returns the first mDNS packet after a time that ok is true of, and fails
// the test if there is none within d from now.
func (x *Tester) Wait(after time.Time, d time.Duration, what string, ok func(*judge.Message) bool) *judge.Message {
	x.Link.host.lab.t.Helper()
	var found *judge.Message
	x.wire.Wait(d, what, func(f Frame) bool {
		if !f.Time.After(after) || f.Sent {
			return false
		}
		var a assembler
		p, isUDP := a.add(f)
		if !isUDP {
			return false
		}
		if t := judge.Read([]judge.Packet{p}); len(t.Messages) == 1 && t.Messages[0].Err == nil && ok(t.Messages[0]) {
			found = t.Messages[0]
		}
		return found != nil
	})
	return found
}

// Trace returns what was heard and sent so far.
func (x *Tester) Trace() *judge.Trace { return judge.Read(x.wire.MDNS()) }
