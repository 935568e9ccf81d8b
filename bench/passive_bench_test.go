package bench

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"

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
		if strings.Contains(file, "fragments") || strings.Contains(file, "dns-tcp") {
			continue // gopacket's layers don't put them together
		}
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
			f, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				b.Fatal(err)
			}
			frames = append(frames, f)
		}
	}
	return frames
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

// BenchmarkPassiveDecode turns frames into facts: those of devices that say the
// same again and again, as they do, and such of which no two are alike. It reports
// how many times longer gopacket takes only to decode the same frames
// ("x-gopacket"): the two in turns, medians compared. One operation is one frame.
func BenchmarkPassiveDecode(b *testing.B) {
	var mixed [][]byte
	for _, f := range discoveryFrames(b, "") {
		for range 19 {
			mixed = append(mixed, bulkFrame())
		}
		mixed = append(mixed, f)
	}
	for _, c := range []struct {
		name   string
		frames [][]byte
		anew   bool // each frame comes from another MAC: no repeats
	}{
		{"mdns, no repeats", discoveryFrames(b, "mdns"), true}, {"all, no repeats", discoveryFrames(b, ""), true},
		{"arp", discoveryFrames(b, "arp"), false}, {"ndp", discoveryFrames(b, "ndp"), false}, {"dhcp", discoveryFrames(b, "dhcp"), false},
		{"dns", discoveryFrames(b, "dns"), false}, {"mdns", discoveryFrames(b, "mdns"), false},
		{"tcp", discoveryFrames(b, "tcp"), false}, {"tls", discoveryFrames(b, "tls"), false}, {"quic", discoveryFrames(b, "quic"), false},
		{"http", discoveryFrames(b, "http"), false},
		{"all", discoveryFrames(b, ""), false}, {"95% bulk TCP", mixed, false},
	} {
		b.Run(c.name, func(b *testing.B) {
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
			decodeOne := func(f packet.Frame) {
				if c.anew {
					n++
					binary.BigEndian.PutUint32(f.Data[8:], n)
				}
				d.Decode(f, emit)
			}
			ours := func() {
				for _, f := range frames {
					decodeOne(f)
				}
			}
			decode := gopacketDecoder()
			theirs := func() {
				for _, f := range c.frames {
					if decode(f) < 0 {
						b.Fatal("gopacket can't decode a frame")
					}
				}
			}
			ratio := inTurns(ours, theirs, len(frames))
			if drops := d.Stats().Drops; len(drops) > 0 {
				b.Fatalf("dropped: %v", drops)
			}
			facts = 0
			b.SetBytes(int64(bytes / len(frames)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				decodeOne(frames[i])
				if i++; i == len(frames) {
					i = 0
				}
			}
			b.ReportMetric(ratio, "x-gopacket")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64(facts)/float64(b.N), "facts/frame")
		})
	}
}

// inTurns runs two functions in turns and returns how many times longer the
// second takes, by their medians. n is how many frames one call handles.
func inTurns(ours, theirs func(), n int) float64 {
	calls := max(1, 2000/n)
	var a, z []time.Duration
	for range 50 {
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
	return float64(z[len(z)/2]) / float64(a[len(a)/2])
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
	r, err := passive.NewReader(&repeated{header: header, records: records, times: 1 << 40})
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
