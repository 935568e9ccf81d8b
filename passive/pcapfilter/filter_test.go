package pcapfilter_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// frame builds an Ethernet frame from MACs, tags and what is inside.
func frame(t testing.TB, header string, parts ...[]byte) []byte {
	return slices.Concat(append([][]byte{unhex(t, header)}, parts...)...)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	macs     = "02005e000002 02005e000001" // to 02:00:5e:00:00:02 from …:01
	toAll    = "ffffffffffff 02005e000001"
	toGroup  = "01005e0000fb 02005e000001"
	ip4      = "0800"
	ip6      = "86dd"
	address4 = "0a000001 0a000002" // 10.0.0.1 to 10.0.0.2
	address6 = "fe800000000000000000000000000001 ff0200000000000000000000000000fb"
)

// v4 is an IPv4 header with 4 bytes of options where asked, and what follows.
func v4(t testing.TB, proto byte, options bool, flags uint16, addresses string, body []byte) []byte {
	h := unhex(t, "4500 0000 0001 0000 40 00 0000"+addresses)
	if options {
		h[0] = 0x46
		h = append(h, 1, 1, 1, 0)
	}
	h[9] = proto
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(body)))
	binary.BigEndian.PutUint16(h[6:], flags)
	return append(h, body...)
}

func v6(t testing.TB, next byte, body []byte) []byte {
	h := unhex(t, "60000000 0000 00 ff"+address6)
	h[6] = next
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	return append(h, body...)
}

func udp(src, dst uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], 20)
	return b
}

func tcp(src, dst uint16, flags byte) []byte {
	b := make([]byte, 24)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 0x50, flags
	return b
}

// packets are frames that filters are tried on, by name.
func packets(t testing.TB) (names []string, frames [][]byte) {
	add := func(name string, f []byte) { names, frames = append(names, name), append(frames, f) }
	other := "c0a80107 0a000002" // 192.168.1.7 to 10.0.0.2
	add("dns", frame(t, macs+ip4, v4(t, 17, false, 0, address4, udp(40000, 53))))
	add("answer", frame(t, macs+ip4, v4(t, 17, true, 0, other, udp(53, 40000))))
	add("fragment", frame(t, macs+ip4, v4(t, 17, false, 0x00b9, address4, udp(53, 53))))
	add("mdns4", frame(t, toGroup+ip4, v4(t, 17, false, 0, "0a000001 e00000fb", udp(5353, 5353))))
	add("mdns6", frame(t, "3333000000fb 02005e000001"+ip6, v6(t, 17, udp(5353, 5353))))
	add("dns6frag", frame(t, macs+ip6, v6(t, 44, append(unhex(t, "11 00 0001 00000001"), udp(53, 53)...))))
	add("syn", frame(t, macs+ip4, v4(t, 6, false, 0x4000, address4, tcp(50000, 22, 2))))
	add("ack", frame(t, macs+ip4, v4(t, 6, true, 0x4000, other, tcp(443, 50001, 16))))
	add("syn6", frame(t, macs+ip6, v6(t, 6, tcp(50000, 22, 2))))
	add("arp", frame(t, toAll+"0806", unhex(t, "0001 0800 06 04 0001 02005e000001 0a000001 000000000000 0a000002")))
	add("ns", frame(t, "3333ff000001 02005e000001"+ip6, v6(t, 58, unhex(t, "87000000 00000000 fe800000000000000000000000000001"))))
	add("ping", frame(t, macs+ip4, v4(t, 1, false, 0, address4, unhex(t, "08000000 00010001"))))
	add("igmp", frame(t, toGroup+ip4, v4(t, 2, true, 0, "0a000001 e00000fb", unhex(t, "16000000e00000fb"))))
	add("vlan5", frame(t, macs+"8100 0005"+ip4, v4(t, 17, false, 0, address4, udp(68, 67))))
	add("vlan6", frame(t, macs+"8100 2006"+"0806", unhex(t, "0001 0800 06 04 0001 02005e000001 0a000001 000000000000 0a000002")))
	add("qinq", frame(t, macs+"88a8 0007 8100 0005"+ip4, v4(t, 17, false, 0, address4, udp(1000, 53))))
	add("lldp", frame(t, "0180c200000e 02005e000003 88cc", make([]byte, 46)))
	add("dhcp", frame(t, toAll+ip4, v4(t, 17, false, 0, "00000000 ffffffff", udp(68, 67))))
	add("big", frame(t, macs+ip4, v4(t, 17, false, 0, address4, append(udp(9, 9), make([]byte, 1000)...))))
	return names, frames
}

// cases are expressions and the packets that match, as tcpdump has it too.
var cases = []struct{ expr, want string }{
	{"", "dns answer fragment mdns4 mdns6 dns6frag syn ack syn6 arp ns ping igmp vlan5 vlan6 qinq lldp dhcp big"},
	{"udp port 53", "dns answer"},
	{"port 53", "dns answer"},
	{"udp port 53 or 5353", "dns answer mdns4 mdns6"},
	{"udp port domain or mdns", "dns answer mdns4 mdns6"},
	{"udp", "dns answer fragment mdns4 mdns6 dns6frag dhcp big"},
	{"tcp", "syn ack syn6"},
	{"host 10.0.0.1", "dns fragment mdns4 syn arp ping igmp big"},
	{"src host 10.0.0.1", "dns fragment mdns4 syn arp ping igmp big"},
	{"dst host 10.0.0.1", ""},
	{"src or dst host 192.168.1.7", "answer ack"},
	{"src and dst host 10.0.0.1", ""},
	{"ip host 10.0.0.1", "dns fragment mdns4 syn ping igmp big"},
	{"arp host 10.0.0.2", "arp"},
	{"arp or icmp6", "arp ns"},
	{"arp || icmp6 || igmp", "arp ns igmp"},
	{"not port 22", "dns answer fragment mdns4 mdns6 dns6frag ack arp ns ping igmp vlan5 vlan6 qinq lldp dhcp big"},
	{"!tcp and not udp", "arp ns ping igmp vlan5 vlan6 qinq lldp"},
	{"not (tcp or udp)", "arp ns ping igmp vlan5 vlan6 qinq lldp"},
	{"ether host 02:00:5e:00:00:03", "lldp"},
	{"ether src 02:00:5e:00:00:01 and arp", "arp"},
	{"ether dst 01:00:5e:00:00:fb", "mdns4 igmp"},
	{"ether proto 0x88cc", "lldp"},
	{`ether proto \arp`, "arp"},
	{"ether broadcast", "arp dhcp"},
	{"broadcast", "arp dhcp"},
	{"ether multicast", "mdns4 mdns6 arp ns igmp lldp dhcp"},
	{"ip multicast", "mdns4 igmp dhcp"},
	{"ip6 multicast", "mdns6 dns6frag syn6 ns"},
	{"ip", "dns answer fragment mdns4 syn ack ping igmp dhcp big"},
	{"ip6", "mdns6 dns6frag syn6 ns"},
	{"ip proto 17", "dns answer fragment mdns4 dhcp big"},
	{`ip proto \icmp`, "ping"},
	{"ip6 proto 58", "ns"},
	{"proto 6", "syn ack syn6"},
	{"net 10.0.0.0/8 and tcp", "syn ack"},
	{"src net 192.168.0.0/16", "answer ack"},
	{"net 192.168", "answer ack"},
	{"net 192.168.1.0 mask 255.255.255.0", "answer ack"},
	{"net fe80::/10", "mdns6 dns6frag syn6 ns"},
	{"host fe80::1 and udp", "mdns6 dns6frag"},
	{"dst host ff02::fb", "mdns6 dns6frag syn6 ns"},
	{"portrange 67-68", "dhcp"},
	{"udp portrange 5000-6000", "mdns4 mdns6"},
	{"tcp src port 50000", "syn syn6"},
	{"tcp dst port 22 or 443", "syn syn6"},
	{"tcp port (22 or 443)", "syn ack syn6"},
	{"src port 53", "answer"},
	{"vlan", "vlan5 vlan6 qinq"},
	{"vlan 5", "vlan5"},
	{"vlan 5 and udp port 67", "vlan5"},
	{"vlan and arp", "vlan6"},
	{"vlan 7 and vlan 5 and port 53", "qinq"},
	{"arp or (vlan and arp)", "arp vlan6"},
	{"udp port 53 or arp and host 10.0.0.2", "dns answer arp"},
	{"less 42", "arp ping"},
	{"greater 1000", "big"},
	{"len > 500", "big"},
	{"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "syn"},
	{"tcp[13] & 2 != 0", "syn"},
	{"(tcp[13] & 2) != 0 or arp", "syn arp"},
	{"tcp[tcpflags]==tcp-ack", "ack"},
	{"udp[2:2] = 53", "dns"},
	{"udp[2:2] - udp[0:2] = 0", "mdns4 big"},
	{"ip[0] & 0xf != 5", "answer ack igmp"},
	{"(ip[0]&0xf)*4 > 20 and tcp", "ack"},
	{"ip[8] > 63 and icmp[icmptype] = icmp-echo", "ping"},
	{"ether[0] & 1 = 0 and icmp", "ping"},
	{"icmp6[0] = 135", "ns"},
	{"ip6[6] = 17", "mdns6"},
	{"arp[6:2] = 1", "arp"},
	{"2 < ip[9] and ip[9] < 7", "syn ack"},
	{"ip[2:2] << 1 >= 2000", "big"},
	{"ip[ip[0] & 0xf] = 1 and icmp", "ping"},
	{"len - 2*4 = 34", "arp ping"},
}

func TestMatch(t *testing.T) {
	names, frames := packets(t)
	for _, c := range cases {
		f, err := pcapfilter.Parse(c.expr)
		if err != nil {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		m := f.Matcher()
		var got []string
		for i, b := range frames {
			ok, err := m.Match(packet.Frame{Data: b, Length: len(b), LinkType: packet.LinkEthernet})
			if err != nil {
				t.Errorf("%q: %v", c.expr, err)
			}
			if ok {
				got = append(got, names[i])
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q matches %q, want %q", c.expr, s, c.want)
		}
		if raw, err := f.Raw(packet.LinkEthernet); err != nil || len(raw) == 0 {
			t.Errorf("%q: %v", c.expr, err)
		}
	}
}

// TestMatchLikeTcpdump holds the cases against tcpdump itself.
func TestMatchLikeTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
			t.Fatal("tcpdump is missing: make packages installs it")
		}
		t.Skip("tcpdump is missing")
	}
	names, frames := packets(t)
	file := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	file = append(file, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for i, b := range frames {
		for _, v := range []int{i, 0, len(b), len(b)} { // the second is the number
			file = binary.LittleEndian.AppendUint32(file, uint32(v))
		}
		file = append(file, b...)
	}
	for _, c := range cases {
		cmd := exec.Command("tcpdump", "-nn", "-tt", "-r", "-", c.expr)
		cmd.Stdin = bytes.NewReader(file)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("tcpdump %q: %v: %s", c.expr, err, stderr.String())
			continue
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			if n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(line, ".", 2)[0])); err == nil && n < len(names) {
				got = append(got, names[n])
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("tcpdump %q matches %q, want %q", c.expr, s, c.want)
		}
	}
}

// TestOtherLinkTypes: the same packet matches below other headers.
func TestOtherLinkTypes(t *testing.T) {
	four := v4(t, 17, true, 0, address4, udp(40000, 53))
	six := v6(t, 17, udp(5353, 5353))
	arp := unhex(t, "0001 0800 06 04 0001 02005e000001 0a000001 000000000000 0a000002")
	sll := "0000 0001 0006 02005e000001 0000"
	sll2 := "0000 00000002 0001 00 06 02005e000001 0000"
	for _, x := range []struct {
		name, expr string
		link       packet.LinkType
		data       []byte
		want       bool
	}{
		{"sll", "udp port 53", packet.LinkSLL, frame(t, sll+ip4, four), true},
		{"sll arp", "arp host 10.0.0.1", packet.LinkSLL, frame(t, sll+"0806", arp), true},
		{"sll2", "udp port 5353 and host fe80::1", packet.LinkSLL2, frame(t, ip6+sll2, six), true},
		{"raw 4", "ip and udp[2:2] = 53", packet.LinkRaw, four, true},
		{"raw 6", "ip6 and port 5353", packet.LinkRaw, six, true},
		{"raw 6 no", "ip", packet.LinkRaw, six, false},
		{"ipv4", "host 10.0.0.2", packet.LinkIPv4, four, true},
		{"null little", "port 53", packet.LinkNull, frame(t, "02000000", four), true},
		{"null big", "port 53", packet.LinkNull, frame(t, "00000002", four), true},
		{"null macOS 6", "port 5353", packet.LinkNull, frame(t, "1e000000", six), true},
		{"loop", "port 5353", packet.LinkLoop, frame(t, "00000018", six), true},
		{"loop no", "arp", packet.LinkLoop, frame(t, "00000018", six), false},
	} {
		f, err := pcapfilter.Parse(x.expr)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Matcher().Match(packet.Frame{Data: x.data, LinkType: x.link})
		if got != x.want || err != nil {
			t.Errorf("%s: %q: %v, %v; want %v", x.name, x.expr, got, err, x.want)
		}
	}
	for expr, want := range map[string]string{
		"ether host 02:00:5e:00:00:01": "pcapfilter: ether needs frames with an Ethernet header",
		"vlan 5":                       "pcapfilter: vlan needs frames with an Ethernet header",
	} {
		f, err := pcapfilter.Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Matcher().Match(packet.Frame{Data: four, LinkType: packet.LinkRaw}); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", expr, err, want)
		}
	}
}

// TestBareAddress: an address alone is a host; older versions of tcpdump want
// the word before it.
func TestBareAddress(t *testing.T) {
	f, err := pcapfilter.Parse("10.0.0.1 or fe80::1")
	if err != nil {
		t.Fatal(err)
	}
	names, frames := packets(t)
	for i, name := range names {
		want := slices.Contains(strings.Fields("dns fragment mdns4 mdns6 dns6frag syn syn6 arp ns ping igmp big"), name)
		if got, err := f.Matcher().Match(packet.Frame{Data: frames[i], LinkType: packet.LinkEthernet}); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
}

// TestStrippedTag: a tag that the network card took off counts.
func TestStrippedTag(t *testing.T) {
	f, err := pcapfilter.Parse("vlan 5 and udp port 53")
	if err != nil {
		t.Fatal(err)
	}
	b := frame(t, macs+ip4, v4(t, 17, false, 0, address4, udp(40000, 53)))
	for id, want := range map[uint16]bool{5: true, 6: false, 0: false} {
		if got, err := f.Matcher().Match(packet.Frame{Data: b, LinkType: packet.LinkEthernet, VLAN: id}); got != want || err != nil {
			t.Errorf("VLAN %d: %v, %v; want %v", id, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"udp prot 53":            `pcapfilter: column 5: "udp" needs a word like host or port before "prot"`,
		"foo":                    `pcapfilter: column 1: unknown word "foo"`,
		"udp and":                `pcapfilter: column 8: ends too early`,
		"(udp":                   `pcapfilter: column 5: ends too early`,
		"udp)":                   `pcapfilter: column 4: ")" is out of place`,
		"host nas.local":         `pcapfilter: column 6: "nas.local" is no address; names are not looked up`,
		"port 70000":             `pcapfilter: column 6: "70000" is no port`,
		"portrange 5-x":          `pcapfilter: column 11: "5-x" is no range of ports`,
		"vlan 5000":              `pcapfilter: column 6: VLAN 5000 is greater than 4095`,
		"tcp host 10.0.0.1":      `pcapfilter: column 1: "tcp host" makes no sense`,
		"arp port 53":            `pcapfilter: column 1: "arp port" makes no sense`,
		"net 10.0.0.1/8":         `pcapfilter: column 5: 10.0.0.1/8 has bits set behind its prefix length`,
		"net 10.0.0.0/33":        `pcapfilter: column 5: "33" is no prefix length`,
		"ether host 02:00":       `pcapfilter: column 12: "02:00" is no MAC`,
		"ip broadcast":           `pcapfilter: column 4: ip broadcast is not supported: the link's mask isn't known`,
		"tcp[0:3] = 1":           `pcapfilter: column 7: 3 bytes can't be read at once: 1, 2 or 4`,
		"tcp[0] / 0 = 1":         `pcapfilter: column 8: division by zero`,
		"foo[0] = 1":             `pcapfilter: column 1: "foo" has no bytes to look at`,
		"udp port 53 tcp":        `pcapfilter: column 13: "tcp" is out of place`,
		"ip6 host 10.0.0.1":      `pcapfilter: column 10: ip6 has no address like 10.0.0.1`,
		"ether proto 5":          `pcapfilter: column 13: EtherTypes below 0x600 are lengths of LLC frames, which are not supported`,
		strings.Repeat("(", 100): `pcapfilter: column 66: nested deeper than 64`,
	} {
		if _, err := pcapfilter.Parse(expr); err == nil || err.Error() != want {
			t.Errorf("%q: error %v\nwant %s", expr, err, want)
		}
	}
}

// TestLongExpression: what is too long for a kernel is an error, and what needs
// far jumps works.
func TestLongExpression(t *testing.T) {
	long := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, "udp port "+strconv.Itoa(1000+i))
		}
		return strings.Join(parts, " or ")
	}
	f, err := pcapfilter.Parse(long(100) + " or arp")
	if err != nil {
		t.Fatal(err)
	}
	arp := frame(t, toAll+"0806", make([]byte, 28))
	if ok, err := f.Matcher().Match(packet.Frame{Data: arp, LinkType: packet.LinkEthernet}); !ok || err != nil {
		t.Errorf("far jump: %v, %v", ok, err)
	}
	if f, err = pcapfilter.Parse(long(400)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Program(packet.LinkEthernet); err == nil || err.Error() != "pcapfilter: the program is longer than 4096 instructions" {
		t.Errorf("error %v", err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, c := range cases {
		f.Add(c.expr)
	}
	if len(cases) == 0 {
		f.Fatal("no seeds")
	}
	_, frames := packets(f)
	f.Fuzz(func(t *testing.T, expr string) {
		x, err := pcapfilter.Parse(expr)
		if err != nil {
			return
		}
		for _, link := range []packet.LinkType{packet.LinkEthernet, packet.LinkRaw, packet.LinkNull} {
			ops, err := x.Program(link)
			if err != nil {
				continue
			}
			vm, err := bpf.NewVM(ops)
			if err != nil {
				t.Fatalf("%q: a program that can't run: %v", expr, err)
			}
			if _, err := bpf.Assemble(ops); err != nil {
				t.Fatalf("%q: %v", expr, err)
			}
			for _, b := range frames {
				if _, err := vm.Run(b); err != nil {
					t.Fatalf("%q: %v", expr, err)
				}
			}
		}
	})
}
