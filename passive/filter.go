package passive

import (
	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/passive/internal/bpfasm"
	"github.com/lanfolk/lanfolk/passive/internal/group"
	"github.com/lanfolk/lanfolk/passive/internal/quic"
)

// snapLength is what the filter has the kernel hand over of a frame, in bytes.
const snapLength = maxFrame

// Filter returns a program for a capture of Ethernet frames that lets through
// what a Decoder can use, tagged with up to two VLAN tags or not, and as little
// else as can be told from one frame: fragments of UDP and packets with IPv6
// extension headers come along.
func Filter() []bpf.RawInstruction {
	ops, err := filterProgram()
	if err != nil {
		return nil // lets all through; a test holds that it can't happen
	}
	raw, err := bpf.Assemble(ops)
	if err != nil {
		return nil
	}
	return raw
}

// filterProgram: X holds the bytes of the VLAN tags, then also those of the IP
// header; all offsets are relative to it, so that one copy will do.
func filterProgram() ([]bpf.Instruction, error) {
	var p bpfasm.Program
	accept, reject := p.NewLabel(), p.NewLabel()
	network, ip4, ip6 := p.NewLabel(), p.NewLabel(), p.NewLabel()

	// anyOf goes on at yes if A is one of the values, else at no.
	anyOf := func(yes, no bpfasm.Label, values ...uint32) {
		for i, v := range values {
			next := no
			if i+1 < len(values) {
				next = p.NewLabel()
			}
			p.JumpIf(bpf.JumpEqual, v, yes, next)
			if next != no {
				p.Bind(next)
			}
		}
	}

	for tags := range uint32(maxTags) {
		tagged := p.NewLabel()
		p.Op(bpf.LoadConstant{Dst: bpf.RegX, Val: 4 * tags}, bpf.LoadAbsolute{Off: 12 + 4*tags, Size: 2})
		anyOf(tagged, network, etherVLAN, etherQinQ, etherQinQ2)
		p.Bind(tagged)
	}
	p.Op(bpf.LoadConstant{Dst: bpf.RegX, Val: 4 * maxTags}, bpf.LoadAbsolute{Off: 12 + 4*maxTags, Size: 2})

	p.Bind(network)
	not4, not6 := p.NewLabel(), p.NewLabel()
	p.JumpIf(bpf.JumpEqual, etherIPv4, ip4, not4)
	p.Bind(not4)
	p.JumpIf(bpf.JumpEqual, etherIPv6, ip6, not6)
	p.Bind(not6)
	notARP, llc, snap := p.NewLabel(), p.NewLabel(), p.NewLabel()
	anyOf(accept, notARP, etherARP, etherLLDP, etherPTP)
	p.Bind(notARP)
	p.JumpIf(bpf.JumpGreaterThan, etherMax, reject, llc)
	p.Bind(llc)
	p.Op(bpf.LoadIndirect{Off: 14, Size: 4})
	p.JumpIf(bpf.JumpEqual, be.Uint32(snapCDP[:4]), snap, reject)
	p.Bind(snap)
	p.Op(bpf.LoadIndirect{Off: 14 + 4, Size: 4})
	p.JumpIf(bpf.JumpEqual, be.Uint32(snapCDP[4:]), accept, reject)

	udp, tcp := p.NewLabel(), p.NewLabel()

	// IPv4: offsets from the frame's begin are 14 more than in its header.
	p.Bind(ip4)
	udp4, tcp4, tcp4first, notUDP4, header4 := p.NewLabel(), p.NewLabel(), p.NewLabel(), p.NewLabel(), p.NewLabel()
	addHeader := func() {
		p.Op(bpf.LoadIndirect{Off: 14, Size: 1},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
			bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	}
	p.Op(bpf.LoadIndirect{Off: 14 + 9, Size: 1})
	p.JumpIf(bpf.JumpEqual, ipUDP, udp4, notUDP4)
	p.Bind(notUDP4)
	notTCP4 := p.NewLabel()
	p.JumpIf(bpf.JumpEqual, ipTCP, tcp4, notTCP4)
	p.Bind(notTCP4)
	p.JumpIf(bpf.JumpEqual, ipIGMP, accept, reject)
	p.Bind(tcp4)
	p.Op(bpf.LoadIndirect{Off: 14 + 6, Size: 2})
	p.JumpIf(bpf.JumpBitsSet, 0x1fff, reject, tcp4first)
	p.Bind(tcp4first)
	addHeader()
	p.Jump(tcp)
	p.Bind(udp4)
	p.Op(bpf.LoadIndirect{Off: 14 + 6, Size: 2})
	p.JumpIf(bpf.JumpBitsSet, 0x1fff, accept, header4)
	p.Bind(header4)
	addHeader()
	p.Jump(udp)

	// IPv6.
	p.Bind(ip6)
	v6udp, v6tcp, icmp6, fragment := p.NewLabel(), p.NewLabel(), p.NewLabel(), p.NewLabel()
	p.Op(bpf.LoadIndirect{Off: 14 + 6, Size: 1})
	for _, x := range []struct {
		next uint32
		to   bpfasm.Label
	}{{ipUDP, v6udp}, {ipTCP, v6tcp}, {ipICMPv6, icmp6}, {ipFragment, fragment}} {
		other := p.NewLabel()
		p.JumpIf(bpf.JumpEqual, x.next, x.to, other)
		p.Bind(other)
	}
	anyOf(accept, reject, ipHopByHop, ipRouting, ipDestOpts, ipAuth)
	p.Bind(fragment)
	p.Op(bpf.LoadIndirect{Off: 14 + 40, Size: 1})
	anyOf(accept, reject, ipUDP, ipDestOpts)
	p.Bind(icmp6)
	p.Op(bpf.LoadIndirect{Off: 14 + 40, Size: 1})
	anyOf(accept, reject, ndpNS, ndpNA, ndpRS, ndpRA, group.MLDQuery, group.MLDReport, group.MLDDone, group.MLDReport2)
	p.Bind(v6tcp)
	p.Op(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})
	p.Jump(tcp)
	p.Bind(v6udp)
	p.Op(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})

	// Ports.
	p.Bind(udp)
	either, destination := udpPorts()
	other := p.NewLabel()
	p.Op(bpf.LoadIndirect{Off: 14 + 2, Size: 2})
	anyOf(accept, other, append(destination, either...)...)
	p.Bind(other)
	p.Op(bpf.LoadIndirect{Off: 14, Size: 2})
	quicFirst := p.NewLabel()
	anyOf(accept, quicFirst, either...)
	p.Bind(quicFirst)
	quicFilter(&p, accept, reject)
	p.Bind(tcp)
	tcpFilter(&p, accept, reject)

	p.Bind(accept)
	p.Op(bpf.RetConstant{Val: snapLength})
	p.Bind(reject)
	p.Op(bpf.RetConstant{Val: 0})
	return p.Assemble()
}

// helloPorts are the servers' ports whose clients may send a ClientHello in two
// segments: those of HTTPS, and of TLS for mail, DNS, MQTT and Apple's push.
var helloPorts = [...]uint32{443, 8443, 465, 853, 993, 5223, 8883}

// maxRest bounds the frame, in bytes, that may hold the rest of a ClientHello:
// the segments of bulk traffic are longer.
const maxRest = 1400

// tcpFilter goes on behind the IP header, of which X holds the end. What passes:
//
//   - DNS;
//   - how connections are opened: SYN, with ACK or without;
//   - a segment that begins with a ClientHello's record, or with the words of an
//     HTTP head;
//   - what may be the second and last segment of a ClientHello. A filter has no
//     memory, so it goes by the form: to a port of helloPorts, with PSH, shorter
//     than bulk traffic's segments, and not the begin of a record with data. The
//     rests of a client's long requests come along. Of a ClientHello in three segments the
//     one in the middle can't be told from an upload, so it stays out.
func tcpFilter(p *bpfasm.Program, accept, reject bpfasm.Label) {
	label := p.NewLabel
	// equal goes to yes if A is the value, else on.
	equal := func(v uint32, yes bpfasm.Label) {
		next := label()
		p.JumpIf(bpf.JumpEqual, v, yes, next)
		p.Bind(next)
	}
	const base = 0 // the scratch cell that keeps X
	p.Op(bpf.LoadIndirect{Off: 14 + 2, Size: 2})
	equal(portDNS, accept)
	p.Op(bpf.LoadIndirect{Off: 14, Size: 2})
	equal(portDNS, accept)
	quiet := label()
	p.Op(bpf.LoadIndirect{Off: 14 + 13, Size: 1})
	p.JumpIf(bpf.JumpBitsSet, tcpSYN, accept, quiet)
	p.Bind(quiet)
	// X becomes where the data begin.
	p.Op(bpf.StoreScratch{Src: bpf.RegX, N: base}, bpf.LoadIndirect{Off: 14 + 12, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadIndirect{Off: 14, Size: 4})
	for _, w := range httpWords {
		equal(w, accept)
	}
	handshake, other, push, named := label(), label(), label(), label()
	p.Op(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16})
	equal(0x1603, handshake)
	equal(0x1403, reject)
	equal(0x1503, reject)
	equal(0x1703, reject)
	p.Jump(other)
	p.Bind(handshake)
	p.Op(bpf.LoadIndirect{Off: 14 + 5, Size: 1})
	equal(1, accept)
	p.Bind(other)
	p.Op(bpf.LoadScratch{Dst: bpf.RegX, N: base}, bpf.LoadIndirect{Off: 14 + 2, Size: 2})
	for _, port := range helloPorts {
		equal(port, named)
	}
	mqtt := label()
	equal(portMQTT, mqtt)
	p.Jump(reject)
	p.Bind(mqtt)
	p.Op(bpf.LoadIndirect{Off: 14 + 12, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadIndirect{Off: 14, Size: 1})
	p.JumpIf(bpf.JumpEqual, mqttConnectType, accept, reject)
	p.Bind(named)
	p.Op(bpf.LoadIndirect{Off: 14 + 13, Size: 1})
	p.JumpIf(bpf.JumpBitsSet, tcpPSH, push, reject)
	p.Bind(push)
	p.Op(bpf.LoadExtension{Num: bpf.ExtLen})
	p.JumpIf(bpf.JumpGreaterThan, maxRest, reject, accept)
}

// quicFilter goes on where X holds the end of the IP header, before UDP's: QUIC's
// Initial packets of the versions that are read pass, whatever their ports.
func quicFilter(p *bpfasm.Program, accept, reject bpfasm.Label) {
	one, other, draft, early, two := p.NewLabel(), p.NewLabel(), p.NewLabel(), p.NewLabel(), p.NewLabel()
	p.Op(bpf.LoadIndirect{Off: 14 + 8 + 1, Size: 4})
	p.JumpIf(bpf.JumpEqual, quic.Version2, two, other)
	p.Bind(other)
	p.JumpIf(bpf.JumpEqual, quic.Version1, one, draft)
	p.Bind(draft)
	p.JumpIf(bpf.JumpGreaterOrEqual, quic.FirstDraft, early, reject)
	p.Bind(early)
	p.JumpIf(bpf.JumpGreaterThan, quic.LastDraft, reject, one)
	for _, x := range []struct {
		label bpfasm.Label
		form  uint32
	}{{one, 0xc0}, {two, 0xd0}} {
		p.Bind(x.label)
		p.Op(bpf.LoadIndirect{Off: 14 + 8, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		p.JumpIf(bpf.JumpEqual, x.form, accept, reject)
	}
}
