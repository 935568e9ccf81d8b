package passive

import "net/netip"

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// arp reads an ARP packet for IPv4 over Ethernet (RFC 826).
//
//	0        2        4    5    6     8          14         18         24
//	| hardw. | proto. | hl | pl | op. | sender's | sender's | target's | target's |
//	| type   | type   |    |    |     | MAC      | IP       | MAC      | IP       |
func (d *Decoder) arp(c *context, b []byte) drop {
	if len(b) < 28 { // behind them the link may pad
		return dropARPForm
	}
	// Hardware type 6 is IEEE 802, which some old stacks say on Ethernet.
	hw, op := be.Uint16(b), be.Uint16(b[6:])
	if hw != 1 && hw != 6 || be.Uint16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		return dropARPForm
	}
	if op != arpRequest && op != arpReply {
		return dropARPForm // reverse and inverse ARP are not in use
	}
	sender, senderIP := MAC(b[8:14]), netip.AddrFrom4([4]byte(b[14:18]))
	target, targetIP := MAC(b[18:24]), netip.AddrFrom4([4]byte(b[24:28]))
	if sender == (MAC{}) || sender.Group() || senderIP.IsMulticast() || senderIP == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return dropARPSender
	}
	d.packet(protoARP)

	f := d.start(c, ProtoARP)
	f.SrcIP, f.DstIP = senderIP, targetIP
	// RFC 5227 §1.1: a probe asks with no sender address whether one is in use;
	// an announcement says that it now is.
	kind := "request"
	switch {
	case op == arpReply:
		kind, f.Response = "reply", true
		if senderIP == targetIP {
			kind = "announcement"
		}
	case senderIP.IsUnspecified():
		kind = "probe"
	case senderIP == targetIP:
		kind, f.Response = "announcement", true
	}
	if f.Response {
		f.Query = d.addrText(senderIP)
	} else {
		f.Query = d.addrText(targetIP)
	}
	// Who fills in what in a request's unused target MAC differs by stack; so
	// does whether a request for a known neighbour goes to it alone.
	f.Fingerprint = arpFingerprint(kind, op, target, c.dstMAC)
	if op == arpRequest {
		d.field("operation", "request")
	} else {
		d.field("operation", "reply")
	}
	d.field("kind", kind)
	d.fieldMAC("sender_mac", sender)
	d.fieldText("sender_ip", senderIP.AppendTo(d.buf[:0]))
	d.fieldMAC("target_mac", target)
	d.fieldText("target_ip", targetIP.AppendTo(d.buf[:0]))

	claim := Claim{MAC: sender, Hearsay: c.srcMAC != (MAC{}) && sender != c.srcMAC}
	if !senderIP.IsUnspecified() {
		claim.IP = senderIP
	}
	d.claims = append(d.claims, claim)
	d.learn(c, claim)
	d.finish(c)
	return dropNone
}

// arpForms are the fingerprints of requests: by kind, and by what the unused
// target MAC was filled with.
var arpForms = map[string][3]string{
	"request":      {"arp1:request;tha=zero", "arp1:request;tha=ones", "arp1:request;tha=set"},
	"unicast":      {"arp1:request;unicast;tha=zero", "arp1:request;unicast;tha=ones", "arp1:request;unicast;tha=set"},
	"probe":        {"arp1:probe;tha=zero", "arp1:probe;tha=ones", "arp1:probe;tha=set"},
	"announcement": {"arp1:announce=request;tha=zero", "arp1:announce=request;tha=ones", "arp1:announce=request;tha=set"},
}

func arpFingerprint(kind string, op uint16, target, frameDst MAC) string {
	if op == arpReply {
		if kind == "announcement" {
			return "arp1:announce=reply"
		}
		return "arp1:reply"
	}
	if kind == "request" && !frameDst.Group() && frameDst != (MAC{}) {
		kind = "unicast"
	}
	switch target {
	case MAC{}:
		return arpForms[kind][0]
	case MAC{255, 255, 255, 255, 255, 255}:
		return arpForms[kind][1]
	}
	return arpForms[kind][2]
}
