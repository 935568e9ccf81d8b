package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// discoveryFrames are real frames of one kind ("arp", "mdns"), or of all with "".
func discoveryFrames(b testing.TB, kind string) [][]byte {
	files, err := filepath.Glob("../passive/testdata/" + kind + "*.hex")
	if err != nil || len(files) == 0 {
		b.Fatalf("no frames of %q: %v", kind, err)
	}
	var frames [][]byte
	for _, file := range files {
		if strings.Contains(file, "fragments") || strings.Contains(file, "dns-tcp") || kind == "dns" && strings.Contains(file, "mdns") {
			continue // gopacket's layers don't put them together
		}
		more, err := hexFrames(file)
		if err != nil {
			b.Fatal(err)
		}
		frames = append(frames, more...)
	}
	return frames
}

// hexFrames reads the frames of a file of the passive package's.
func hexFrames(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	_, rest, _ := strings.Cut(string(text), "\n")
	for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
		f, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// bulkFrame is a full segment of a TCP connection that is of no interest.
func bulkFrame() []byte {
	f := make([]byte, 1514)
	copy(f, []byte{2, 0, 0x5e, 0x10, 0, 1, 2, 0, 0x5e, 0x10, 0, 2, 8, 0, 0x45})
	binary.BigEndian.PutUint16(f[16:], 1500)
	f[22], f[23] = 64, 6
	copy(f[26:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(f[34:], 443)
	binary.BigEndian.PutUint16(f[36:], 50000)
	f[46], f[47] = 0x50, 16
	return f
}

// gopacketDecoder decodes the same protocols with gopacket's fastest way: layers
// that are set up once and used again.
func gopacketDecoder() func([]byte) int {
	var (
		eth   layers.Ethernet
		dot1q layers.Dot1Q
		arp   layers.ARP
		ip4   layers.IPv4
		ip6   layers.IPv6
		udp   layers.UDP
		tcp   layers.TCP
		icmp6 layers.ICMPv6
		rs    layers.ICMPv6RouterSolicitation
		ra    layers.ICMPv6RouterAdvertisement
		ns    layers.ICMPv6NeighborSolicitation
		na    layers.ICMPv6NeighborAdvertisement
		dns   layers.DNS
		dhcp  layers.DHCPv4
		load  gopacket.Payload
	)
	p := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &dot1q, &arp, &ip4, &ip6, &udp, &tcp,
		&icmp6, &rs, &ra, &ns, &na, &dns, &dhcp, &load)
	p.IgnoreUnsupported = true
	var decoded []gopacket.LayerType
	return func(b []byte) int {
		// gopacket knows port 53 as DNS, but not 5353.
		udp.DstPort = 0 // of the frame before, if this one has none
		if err := p.DecodeLayers(b, &decoded); err != nil {
			return -1
		}
		if last := decoded[len(decoded)-1]; last == gopacket.LayerTypePayload && udp.DstPort == 5353 {
			if err := dns.DecodeFromBytes(load, gopacket.NilDecodeFeedback); err != nil {
				return -1
			}
		}
		return len(decoded)
	}
}

// decodeCase is a kind of frames. change is applied to each of them before it is
// decoded, in the time that is measured; n counts them.
type decodeCase struct {
	name   string
	frames [][]byte
	change func(f []byte, n uint32)
}

// again changes what a sender changes when it says the same again: IP's id, and the
// transaction ids of DNS and DHCP.
func again(f []byte, n uint32) {
	be := binary.BigEndian
	if len(f) < 60 || be.Uint16(f[12:]) != 0x0800 {
		return
	}
	be.PutUint16(f[18:], uint16(n))
	if f[14] != 0x45 || f[23] != 17 {
		return
	}
	switch src, dst := be.Uint16(f[34:]), be.Uint16(f[36:]); {
	case src == 53 || dst == 53:
		be.PutUint16(f[42:], uint16(n))
	case src == 67 || dst == 67:
		be.PutUint32(f[46:], n)
		be.PutUint16(f[50:], uint16(n>>8))
	}
}

// another gives each frame a sender of its own, so that none comes again.
func another(f []byte, n uint32) { binary.BigEndian.PutUint32(f[8:], n) }

// fresh changes a ClientHello's random values and its session id.
func fresh(f []byte, n uint32) {
	if len(f) > 66+76 && f[66] == 22 {
		binary.BigEndian.PutUint32(f[66+11:], n)
		binary.BigEndian.PutUint32(f[66+44:], n)
	}
}

// newNames are DNS questions of which no two ask for the same name.
func newNames(b testing.TB) (frames [][]byte) {
	o := newOffice(b)
	for i := range 20_000 {
		var m dnswire.Builder
		m.Reset(nil, dnswire.Header{ID: uint16(i), RecursionDesired: true}, 0)
		name, err := dnswire.ParseName(fmt.Sprintf("host-%d.example.com", i))
		if err != nil {
			b.Fatal(err)
		}
		m.Question(name, dnswire.TypeA, dnswire.ClassIN, false)
		frames = append(frames, slices.Clone(o.udp(1, officeIP(2), 0, uint16(20000+i), 53, m.Bytes())))
	}
	return frames
}

// BenchmarkPassiveDecode turns frames into facts: such as come again and again but
// for ids that are picked anew, as most do, and such of which no two are alike. It
// reports the best time of many turns ("best-ns", which says more on a busy machine),
// and how many times longer gopacket takes only to decode the same frames
// ("x-gopacket"): the two in turns, medians compared. gopacket doesn't look into TLS,
// QUIC, HTTP and SSDP, nor for fingerprints in anything. One operation is one frame.
func BenchmarkPassiveDecode(b *testing.B) {
	var mixed [][]byte
	for _, f := range discoveryFrames(b, "") {
		for range 19 {
			mixed = append(mixed, bulkFrame())
		}
		mixed = append(mixed, f)
	}
	of := func(kind string) [][]byte { return discoveryFrames(b, kind) }
	for _, c := range []decodeCase{
		{"arp", of("arp"), again},
		{"ndp", of("ndp"), again},
		{"dhcp", of("dhcp"), again},
		{"dns", of("dns"), again},
		{"mdns", of("mdns"), again},
		{"ssdp", of("ssdp"), again},
		{"tcp", of("tcp"), again},
		{"tls", of("tls"), fresh},
		{"quic, new connections", quicConnections(b), func([]byte, uint32) {}},
		{"http", of("http"), again},
		{"all", of(""), again},
		{"95% bulk TCP", mixed, again},
		{"dhcp, new senders", of("dhcp"), another},
		{"dns, new senders", of("dns"), another},
		{"dns, new names", newNames(b), func([]byte, uint32) {}},
		{"mdns, new senders", of("mdns"), another},
		{"what gopacket reads, new senders", slices.Concat(of("arp"), of("ndp"), of("dhcp"), of("dns"), of("mdns")), another},
		{"all, new senders", of(""), another},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkDecode(b, c) })
	}
}

func benchmarkDecode(b *testing.B, c decodeCase) {
	d := passive.NewDecoder(passive.Options{})
	facts := 0
	emit := func(*passive.Fact) { facts++ }
	frames := make([]packet.Frame, len(c.frames))
	bytes := 0
	for i, f := range c.frames {
		frames[i] = packet.Frame{Data: f, Length: len(f), LinkType: packet.LinkEthernet, Time: time.Unix(1_700_000_000, 0)}
		bytes += len(f)
	}
	n := uint32(0)
	ours := func() {
		for _, f := range frames {
			n++
			c.change(f.Data, n)
			d.Decode(f, emit)
		}
	}
	decode := gopacketDecoder()
	theirs := func() {
		for _, f := range frames {
			n++
			c.change(f.Data, n)
			if decode(f.Data) < 0 {
				b.Fatal("gopacket can't decode a frame")
			}
		}
	}
	best, ratio := inTurns(ours, theirs, len(frames))
	if drops := d.Stats().Drops; len(drops) > 0 {
		b.Fatalf("dropped: %v", drops)
	}
	facts = 0
	b.SetBytes(int64(bytes / len(frames)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n++
		c.change(frames[i].Data, n)
		d.Decode(frames[i], emit)
		if i++; i == len(frames) {
			i = 0
		}
	}
	b.ReportMetric(best, "best-ns")
	b.ReportMetric(ratio, "x-gopacket")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(facts)/float64(b.N), "facts/frame")
}

// inTurns runs two functions in turns. It returns the best time of the first, in
// nanoseconds a frame, and how many times longer the second takes, by their medians.
// n is how many frames one call handles.
func inTurns(ours, theirs func(), n int) (best, ratio float64) {
	calls := max(1, 1000/n)
	var a, z []time.Duration
	for range 60 {
		start := time.Now()
		for range calls {
			ours()
		}
		a = append(a, time.Since(start))
		start = time.Now()
		for range calls {
			theirs()
		}
		z = append(z, time.Since(start))
	}
	slices.Sort(a)
	slices.Sort(z)
	return float64(a[0].Nanoseconds()) / float64(calls*n), float64(z[len(z)/2]) / float64(a[len(a)/2])
}

// quicConnections are the first packets of QUIC clients, each with an id and keys of
// its own.
func quicConnections(b testing.TB) (frames [][]byte) {
	message := discoveryFrames(b, "tls-curl")[0][66+5:]
	o := newOffice(b)
	be := binary.BigEndian
	for i := range 500 {
		id := binary.BigEndian.AppendUint64(nil, uint64(i))
		key, iv, hp := quicKeys(b, id)
		head := slices.Concat([]byte{0xc0, 0, 0, 0, 1, 8}, id, []byte{0, 0})
		plain := be.AppendUint16([]byte{6, 0}, uint16(len(message))|0x4000)
		plain = append(plain, message...)
		plain = append(plain, make([]byte, 1162-len(plain))...)
		head = be.AppendUint16(head, uint16(1+len(plain)+16)|0x4000)
		head = append(head, 0) // the packet's number
		block, err := aes.NewCipher(key)
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		packet := aead.Seal(slices.Clone(head), iv, plain, head)
		var mask [16]byte
		if block, err = aes.NewCipher(hp); err != nil {
			b.Fatal(err)
		}
		at := len(head) - 1
		block.Encrypt(mask[:], packet[at+4:])
		packet[0] ^= mask[0] & 15
		packet[at] ^= mask[1]
		frames = append(frames, slices.Clone(o.udp(i%officeHosts, officeIP(1), 0, uint16(20000+i), 443, packet)))
	}
	return frames
}

// quicKeys derives a client's keys (RFC 9001 §5.2).
func quicKeys(b testing.TB, id []byte) (key, iv, hp []byte) {
	salt, _ := hex.DecodeString("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
	expand := func(secret []byte, label string, size int) []byte {
		info := string([]byte{0, byte(size), byte(6 + len(label))}) + "tls13 " + label + "\x00"
		out, err := hkdf.Expand(sha256.New, secret, info, size)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	initial, err := hkdf.Extract(sha256.New, id, salt)
	if err != nil {
		b.Fatal(err)
	}
	client := expand(initial, "client in", 32)
	return expand(client, "quic key", 16), expand(client, "quic iv", 12), expand(client, "quic hp", 16)
}

// BenchmarkPassiveFilter runs the kernel's filter in bpf's own machine over bulk
// traffic: only its number of steps is of interest, a kernel compiles it.
func BenchmarkPassiveFilter(b *testing.B) {
	raw := passive.Filter()
	ops, ok := bpf.Disassemble(raw)
	if !ok {
		b.Fatal("a filter that can't be read back")
	}
	vm, err := bpf.NewVM(ops)
	if err != nil {
		b.Fatal(err)
	}
	f := bulkFrame()
	for b.Loop() {
		if n, err := vm.Run(f); n != 0 || err != nil {
			b.Fatalf("%d, %v", n, err)
		}
	}
	b.ReportMetric(float64(len(raw)), "instructions")
}

// repeated is a reader that gives a file's header once and its records many times.
type repeated struct {
	header, records []byte
	times           int
	rest            []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.header != nil {
		r.rest, r.header = r.header, nil
	}
	for len(r.rest) == 0 {
		if r.times == 0 {
			return 0, os.ErrClosed
		}
		r.times--
		r.rest = r.records
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// BenchmarkPassiveFile reads a pcap file's frames and decodes them, as
// `lanfolk monitor -r` does. One operation is one frame.
func BenchmarkPassiveFile(b *testing.B) {
	le := binary.LittleEndian
	header := le.AppendUint32(nil, 0xa1b2c3d4)
	header = le.AppendUint16(le.AppendUint16(header, 2), 4)
	for _, v := range []uint32{0, 0, 65535, 1} {
		header = le.AppendUint32(header, v)
	}
	var records []byte
	frames := discoveryFrames(b, "")
	for _, f := range frames {
		for _, v := range []uint32{1_700_000_000, 0, uint32(len(f)), uint32(len(f))} {
			records = le.AppendUint32(records, v)
		}
		records = append(records, f...)
	}
	b.SetBytes(int64(len(records) / len(frames)))
	r, err := passive.NewReader(&repeated{header: header, records: records, times: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	d := passive.NewDecoder(passive.Options{})
	b.ReportAllocs()
	for b.Loop() {
		f, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		d.Decode(f, func(*passive.Fact) {})
	}
}
