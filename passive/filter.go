package passive

import (
	"slices"

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
//
// Of a ClientHello in three segments or more those in the middle can't be told from
// an upload: see WideFilter.
func Filter() []bpf.RawInstruction { return assembled(false) }

// WideFilter lets through all that Filter does, and besides what may be the middle of a
// ClientHello: with it come all uploads to the ports that HTTPS and its like
// have. It is for links on which there is no such upload at present.
func WideFilter() []bpf.RawInstruction { return assembled(true) }

func assembled(wide bool) []bpf.RawInstruction {
	ops, err := filterProgram(wide)
	if err != nil {
		return nil // lets all through; a test holds that it can't happen
	}
	raw, err := bpf.Assemble(ops)
	if err != nil {
		return nil
	}
	return raw
}

// filterProgram has the tests that most frames meet first. What follows the link
// header is written out for each number of tags, so that its loads are at fixed
// places.
func filterProgram(wide bool) ([]bpf.Instruction, error) {
	w := filterWriter{wide: wide}
	w.accept, w.reject = w.p.NewLabel(), w.p.NewLabel()
	w.link(0)
	w.p.Bind(w.accept)
	w.p.Op(bpf.RetConstant{Val: snapLength})
	w.p.Bind(w.reject)
	w.p.Op(bpf.RetConstant{Val: 0})
	return w.p.Assemble()
}

// filterWriter writes the parts of the filter. They end at accept or reject.
type filterWriter struct {
	p              bpfasm.Program
	accept, reject bpfasm.Label
	wide           bool
}

// equal goes to yes if A is the value, else on.
func (w *filterWriter) equal(v uint32, yes bpfasm.Label) {
	next := w.p.NewLabel()
	w.p.JumpIf(bpf.JumpEqual, v, yes, next)
	w.p.Bind(next)
}

// anyOf goes to yes if A is one of the values, else to no. It halves what is left with
// each test.
func (w *filterWriter) anyOf(yes, no bpfasm.Label, values ...uint32) {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	for len(values) > 3 {
		half := len(values) / 2
		low, high := w.p.NewLabel(), w.p.NewLabel()
		w.p.JumpIf(bpf.JumpGreaterOrEqual, values[half], high, low)
		w.p.Bind(high)
		w.anyOf(yes, no, values[half:]...)
		w.p.Bind(low)
		values = values[:half]
	}
	for i, v := range values {
		next := no
		if i+1 < len(values) {
			next = w.p.NewLabel()
		}
		w.p.JumpIf(bpf.JumpEqual, v, yes, next)
		if next != no {
			w.p.Bind(next)
		}
	}
}

// link goes by the EtherType behind so many tags.
func (w *filterWriter) link(tags uint32) {
	at := 14 + 4*tags // of what follows
	ip4, ip6, tagged, other := w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.LoadAbsolute{Off: at - 2, Size: 2})
	w.equal(etherIPv4, ip4)
	w.equal(etherIPv6, ip6)
	if tags < maxTags {
		w.anyOf(tagged, other, etherVLAN, etherQinQ, etherQinQ2)
		w.p.Bind(other)
	}
	rest := w.p.NewLabel()
	w.anyOf(w.accept, rest, etherARP, etherLLDP, etherPTP)
	w.p.Bind(rest)
	llc, snap := w.p.NewLabel(), w.p.NewLabel()
	w.p.JumpIf(bpf.JumpGreaterThan, etherMax, w.reject, llc)
	w.p.Bind(llc)
	w.p.Op(bpf.LoadAbsolute{Off: at, Size: 4})
	w.p.JumpIf(bpf.JumpEqual, be.Uint32(snapCDP[:4]), snap, w.reject)
	w.p.Bind(snap)
	w.p.Op(bpf.LoadAbsolute{Off: at + 4, Size: 4})
	w.p.JumpIf(bpf.JumpEqual, be.Uint32(snapCDP[4:]), w.accept, w.reject)

	udp, tcp := w.p.NewLabel(), w.p.NewLabel()
	w.p.Bind(ip4)
	w.ipv4(at, tcp, udp)
	w.p.Bind(ip6)
	w.ipv6(at, tcp, udp)
	w.p.Bind(tcp)
	w.tcp(at)
	w.p.Bind(udp)
	w.udp(at)
	if tags < maxTags {
		w.p.Bind(tagged)
		w.link(tags + 1)
	}
}

// ipv4 goes on with the header's length in X.
func (w *filterWriter) ipv4(at uint32, tcp, udp bpfasm.Label) {
	tcp4, udp4, other, notUDP := w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.LoadAbsolute{Off: at + 9, Size: 1})
	w.p.JumpIf(bpf.JumpEqual, ipTCP, tcp4, other)
	w.p.Bind(other)
	w.p.JumpIf(bpf.JumpEqual, ipUDP, udp4, notUDP)
	w.p.Bind(notUDP)
	w.p.JumpIf(bpf.JumpEqual, ipIGMP, w.accept, w.reject)
	for _, x := range []struct {
		begin, next, fragment bpfasm.Label
	}{{tcp4, tcp, w.reject}, {udp4, udp, w.accept}} {
		first := w.p.NewLabel()
		w.p.Bind(x.begin)
		w.p.Op(bpf.LoadAbsolute{Off: at + 6, Size: 2})
		w.p.JumpIf(bpf.JumpBitsSet, 0x1fff, x.fragment, first)
		w.p.Bind(first)
		w.p.Op(bpf.LoadMemShift{Off: at})
		w.p.Jump(x.next)
	}
}

// ipv6 goes on with the header's length in X.
func (w *filterWriter) ipv6(at uint32, tcp, udp bpfasm.Label) {
	tcp6, udp6, icmp6, fragment := w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.LoadConstant{Dst: bpf.RegX, Val: 40}, bpf.LoadAbsolute{Off: at + 6, Size: 1})
	w.equal(ipTCP, tcp6)
	w.equal(ipUDP, udp6)
	w.equal(ipICMPv6, icmp6)
	w.equal(ipFragment, fragment)
	w.anyOf(w.accept, w.reject, ipHopByHop, ipRouting, ipDestOpts, ipAuth)
	w.p.Bind(fragment)
	w.p.Op(bpf.LoadAbsolute{Off: at + 40, Size: 1})
	w.anyOf(w.accept, w.reject, ipUDP, ipDestOpts)
	w.p.Bind(icmp6)
	w.p.Op(bpf.LoadAbsolute{Off: at + 40, Size: 1})
	w.anyOf(w.accept, w.reject, ndpNS, ndpNA, ndpRS, ndpRA, group.MLDQuery, group.MLDReport, group.MLDDone, group.MLDReport2)
	w.p.Bind(tcp6)
	w.p.Jump(tcp)
	w.p.Bind(udp6)
	w.p.Jump(udp)
}

// udp goes by the ports. Besides, an answer by SSDP goes from any port to any: it
// begins like a response of HTTP.
func (w *filterWriter) udp(at uint32) {
	either, destination := udpPorts()
	source, payload := w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.LoadIndirect{Off: at + 2, Size: 2})
	w.anyOf(w.accept, source, append(destination, either...)...)
	w.p.Bind(source)
	w.p.Op(bpf.LoadIndirect{Off: at, Size: 2})
	w.anyOf(w.accept, payload, either...)
	w.p.Bind(payload)
	w.p.Op(bpf.LoadIndirect{Off: at + 8, Size: 4})
	w.equal(httpAnswer, w.accept)
	w.quic(at)
}

// quic: QUIC's Initial packets of the versions that are read pass, whatever their ports.
func (w *filterWriter) quic(at uint32) {
	one, other, draft, early, two := w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.LoadIndirect{Off: at + 8 + 1, Size: 4})
	w.p.JumpIf(bpf.JumpEqual, quic.Version2, two, other)
	w.p.Bind(other)
	w.p.JumpIf(bpf.JumpEqual, quic.Version1, one, draft)
	w.p.Bind(draft)
	w.p.JumpIf(bpf.JumpGreaterOrEqual, quic.FirstDraft, early, w.reject)
	w.p.Bind(early)
	w.p.JumpIf(bpf.JumpGreaterThan, quic.LastDraft, w.reject, one)
	for _, x := range []struct {
		label bpfasm.Label
		form  uint32
	}{{one, 0xc0}, {two, 0xd0}} {
		w.p.Bind(x.label)
		w.p.Op(bpf.LoadIndirect{Off: at + 8, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		w.p.JumpIf(bpf.JumpEqual, x.form, w.accept, w.reject)
	}
}

// helloPorts are the servers' ports whose clients may send a ClientHello in several
// segments: those of HTTPS, and of TLS for mail, DNS, MQTT and Apple's push.
var helloPorts = [...]uint32{443, 8443, 465, 853, 993, 5223, 8883}

// maxRest bounds the frame, in bytes, that may hold the rest of a ClientHello:
// the segments of bulk traffic are longer. minMiddle bounds the one that may hold a
// middle: it is as long as the path allows, and every path allows 576 bytes of IPv4.
const (
	maxRest   = 1400
	minMiddle = 14 + 576
)

// tcp: what passes is
//
//   - DNS;
//   - how connections are opened: SYN, with ACK or without;
//   - a segment that begins with a ClientHello's record, or with the words of an
//     HTTP head;
//   - what may be the second and last segment of a ClientHello. A filter has no
//     memory, so it goes by the form: to a port of helloPorts, with PSH, shorter
//     than bulk traffic's segments, and not the begin of a record with data. The
//     rests of a client's long requests come along;
//   - if it is to be wide, longer ones without PSH, too.
func (w *filterWriter) tcp(at uint32) {
	const port, header = 0, 1 // scratch cells: the destination port, the length of IP's header
	w.p.Op(bpf.LoadIndirect{Off: at + 2, Size: 2})
	w.equal(portDNS, w.accept)
	w.p.Op(bpf.StoreScratch{Src: bpf.RegA, N: port}, bpf.LoadIndirect{Off: at, Size: 2})
	w.equal(portDNS, w.accept)
	quiet := w.p.NewLabel()
	w.p.Op(bpf.LoadIndirect{Off: at + 13, Size: 1})
	w.p.JumpIf(bpf.JumpBitsSet, tcpSYN, w.accept, quiet)
	w.p.Bind(quiet)
	// X becomes where the data begin.
	w.p.Op(bpf.StoreScratch{Src: bpf.RegX, N: header}, bpf.LoadIndirect{Off: at + 12, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadIndirect{Off: at, Size: 4})
	// Of bulk data most is no text.
	text, record := w.p.NewLabel(), w.p.NewLabel()
	w.p.JumpIf(bpf.JumpBitsSet, 0x80808080, record, text)
	w.p.Bind(text)
	w.anyOf(w.accept, record, httpWords[:]...)
	w.p.Bind(record)
	handshake, data, other, named, mqttPort := w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel(), w.p.NewLabel()
	w.p.Op(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16})
	w.equal(0x1603, handshake)
	w.anyOf(w.reject, other, 0x1403, 0x1503, 0x1703)
	w.p.Bind(handshake)
	w.p.Op(bpf.LoadIndirect{Off: at + 5, Size: 1})
	w.equal(1, w.accept)
	w.p.Bind(other)
	w.p.Op(bpf.LoadScratch{Dst: bpf.RegA, N: port})
	w.equal(portMQTT, mqttPort)
	w.anyOf(named, w.reject, helloPorts[:]...)
	w.p.Bind(mqttPort)
	w.p.Op(bpf.LoadIndirect{Off: at, Size: 1})
	w.p.JumpIf(bpf.JumpEqual, mqttConnectType, w.accept, w.reject)
	w.p.Bind(named)
	w.p.Op(bpf.LoadScratch{Dst: bpf.RegX, N: header}, bpf.LoadIndirect{Off: at + 13, Size: 1})
	if !w.wide {
		w.p.JumpIf(bpf.JumpBitsSet, tcpPSH, data, w.reject)
		w.p.Bind(data)
		w.p.Op(bpf.LoadExtension{Num: bpf.ExtLen})
		w.p.JumpIf(bpf.JumpGreaterThan, maxRest, w.reject, w.accept)
		return
	}
	w.p.JumpIf(bpf.JumpBitsSet, tcpPSH, w.accept, data)
	w.p.Bind(data)
	w.p.Op(bpf.LoadExtension{Num: bpf.ExtLen})
	w.p.JumpIf(bpf.JumpGreaterOrEqual, minMiddle, w.accept, w.reject)
}
