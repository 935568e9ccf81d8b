package passive_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/passive"
	folder "github.com/lanfolk/lanfolk/test/captures"
)

// captures returns the capture files in the folder that a variable names. A
// clone without them is legal, and then the test says what it left out; a
// variable that names no folder with captures is an error.
func captures(t testing.TB, variable string) []string {
	dir := folder.Folder(t, variable)
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	var files []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".pcap", ".pcapng", ".cap", ".gz":
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		t.Fatalf("%s: no captures in %s", variable, dir)
	}
	return files
}

// readAll decodes a file and calls emit with the number of the frame, from 1.
// What is wrong with the file is returned.
func readAll(t testing.TB, file string, emit func(frame int, f *passive.Fact)) (passive.Stats, error) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	d := passive.NewDecoder(passive.Options{})
	r, err := passive.NewReader(in)
	if err != nil {
		return d.Stats(), err
	}
	for n := 1; ; n++ {
		f, err := r.Next()
		if err == io.EOF {
			return d.Stats(), nil
		}
		if err != nil {
			return d.Stats(), err
		}
		d.Decode(f, func(x *passive.Fact) { emit(n, x) })
	}
}

// rows reads a .tsv beside a capture; nil if there is none.
func rows(t testing.TB, file, kind string) [][]string {
	in, err := os.Open(file + "." + kind + ".tsv")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var all [][]string
	for s := bufio.NewScanner(in); s.Scan(); {
		if line := s.Text(); !strings.HasPrefix(line, "#") {
			all = append(all, strings.Split(line, "\t"))
		}
	}
	return all
}

// flat writes a name as the other decoder does: labels with dots between, none
// of them escaped.
func flat(t testing.TB, name string) string {
	n, err := dnswire.ParseName(name)
	if err != nil {
		t.Fatalf("name %q in a fact: %v", name, err)
	}
	if n == dnswire.Root {
		return "<Root>"
	}
	return strings.Join(slices.Collect(n.Labels()), ".")
}

// pairs are what was found: by kind of table, a row as text, and in how many
// frames.
type pairs map[string]map[string]int

func newPairs() pairs {
	return pairs{"questions": {}, "records": {}, "arp": {}, "ndp": {}, "dhcp": {}, "tls": {}, "http": {}, "ssdp": {}, "l2": {}, "dhcpv6": {}, "igmp": {}, "nbns": {}}
}

func (p pairs) add(kind string, cells ...string) {
	for i, c := range cells {
		if c == "00:00:00:00:00:00" {
			cells[i] = "" // no MAC, to us
		}
	}
	p[kind][strings.Join(cells, " ")]++
}

// truth is what the other decoder found in a file, by kind of table, as keys.
func truth(t testing.TB, file string) pairs {
	found := newPairs()
	for _, r := range rows(t, file, "truth") {
		if r[0] != "nbns" {
			found.add("questions", r[:6]...)
			continue
		}
		// The other prints what a suffix means behind the name of a record.
		name, _, _ := strings.Cut(r[4], " (")
		found.add("nbns", r[2], r[3], name)
	}
	for _, r := range rows(t, file, "answers") {
		found.add("records", r[:6]...)
	}
	for _, r := range rows(t, file, "arp") {
		found.add("arp", r[:6]...)
	}
	for _, r := range rows(t, file, "ndp") {
		if r[2] >= "133" && r[2] <= "136" {
			found.add("ndp", r[:6]...)
		}
	}
	for _, r := range rows(t, file, "tls") {
		found.add("tls", r[:4]...)
	}
	for _, r := range rows(t, file, "http") {
		found.add("http", r[:6]...)
	}
	for _, r := range rows(t, file, "dhcp") {
		// Frame, MACs, client's MAC without what else was found in options,
		// type, host name, parameters, vendor class, domain name, options.
		r[3], _, _ = strings.Cut(r[3], "|")
		if r[4] == "" && r[9] == "" {
			continue // the frame is cut off before its options, or they are none of DHCP's
		}
		order := slices.DeleteFunc(strings.Split(r[9], "|"), func(s string) bool { return s == "0" || s == "255" })
		slices.Sort(order)
		found.add("dhcp", append(r[1:9:9], strings.Join(slices.Compact(order), ","))...)
	}
	truthOfMore(t, file, found)
	return found
}

// messageTypes are the numbers of the messages as other decoders print them.
var messageTypes = map[string]string{
	"rs": "133", "ra": "134", "ns": "135", "na": "136",
	"bootp": "", "discover": "1", "offer": "2", "request": "3", "decline": "4", "ack": "5", "nak": "6", "release": "7",
	"inform": "8", "leasequery": "10", "leaseunassigned": "11", "leaseunknown": "12", "leaseactive": "13",
}

// ours is the same from our facts.
func ours(t testing.TB, file string) (pairs, passive.Stats, error) {
	found := newPairs()
	// The other decoder's table of records pairs a message's names with its
	// types by position, but it tells no name for SRV records: so do we here.
	var last []string
	var names, types []string
	flush := func() {
		for i, name := range names {
			found.add("records", append(last[:4:4], name, types[i])...)
		}
		names, types = names[:0], types[:0]
	}
	frame := 0
	stats, err := readAll(t, file, func(n int, f *passive.Fact) {
		if n != frame || f.Record == nil {
			flush()
			frame = n
		}
		src, dst := f.SrcMAC.String(), f.DstMAC.String()
		switch f.Protocol {
		case passive.ProtoDNS, passive.ProtoMDNS, passive.ProtoLLMNR:
			qr := "Q"
			if f.Response {
				qr = "R"
			}
			last = []string{f.Protocol, qr, src, dst}
			if f.Record == nil {
				found.add("questions", append(last[:4:4], flat(t, f.Query), fmt.Sprint(f.QType))...)
				return
			}
			types = append(types, fmt.Sprint(f.Record.Type))
			if f.Record.Type != uint16(dnswire.TypeSRV) {
				names = append(names, flat(t, f.Record.Name))
			}
		case passive.ProtoARP:
			op := map[string]string{"request": "1", "reply": "2"}[f.Field("operation")]
			found.add("arp", src, dst, op, f.Field("sender_mac"), f.Field("sender_ip"), f.Field("target_ip"))
		case passive.ProtoNDP:
			found.add("ndp", src, dst, messageTypes[f.Field("message")], f.SrcIP.String(), f.Field("target"), f.Field("link_address"))
		case passive.ProtoTLS:
			if dst == "" {
				src = "" // of Linux's cooked captures the other tells no MAC
			}
			found.add("tls", src, dst, "tcp", f.Query)
		case passive.ProtoQUIC:
			found.add("tls", src, dst, "quic", f.Query)
		case passive.ProtoHTTP:
			// The other's table has no other heads.
			if f.Field("user_agent") != "" || f.Field("server") != "" {
				found.add("http", src, dst, f.Field("method"), f.Query, f.Field("user_agent"), f.Field("server"))
			}
		case passive.ProtoDHCP:
			order := strings.Split(f.Field("options"), ",")
			slices.Sort(order)
			found.add("dhcp", src, dst, f.Field("client_mac"), messageTypes[f.Field("message")], f.Field("hostname"),
				strings.ReplaceAll(f.Field("parameters"), ",", "|"), f.Field("vendor_class"), f.Field("fqdn"), strings.Join(order, ","))
		default:
			oursOfMore(f, found)
		}
	})
	flush()
	return found, stats, err
}

// unpaired are the names of records and their types, each for itself. The other's
// table pairs those of a message by position, and now and then one of its lists has
// a gap: then the pairs behind it are none.
func unpaired(rows map[string]int) map[string]bool {
	all := make(map[string]bool)
	for k := range rows {
		i := strings.LastIndexByte(k, ' ')
		cells := strings.SplitN(k, " ", 5)
		all[k[:i]], all[strings.Join(cells[:4], " ")+" type "+k[i+1:]] = true, true
	}
	return all
}

// exception says why two decoders differ in some kinds of facts of a file.
type exception struct {
	kinds string
	why   string
}

const (
	whyQuoted = "the other reads what ICMP errors quote"
	whyTunnel = "the other reads what lies inside a tunnel"
	whyCut    = "the frame is cut off inside the message"
)

// exceptions are the files in which the two decoders differ. In other kinds of
// facts than those listed they agree there, too.
var exceptions = map[string]exception{
	"arkime__v6.pcap":                            {"questions records", whyQuoted},
	"zeek__icmp6.pcap":                           {"questions records", whyQuoted},
	"ipfixprobe__dnssd.pcap":                     {"records", "of one message the other tells fewer types than names"},
	"ipfixprobe__mixed.pcap":                     {"questions records", whyQuoted},
	"iotsentinel__HueBridge__Setup-C-8-STA.pcap": {"dhcp", whyQuoted},
	"mercury__vxlan.pcap":                        {"arp", whyTunnel},
	"ndpi__capwap.pcap":                          {"arp ndp dhcp igmp", whyTunnel},
	"suricata-verify__output-eve-ftp-data.pcap":  {"ndp ssdp", whyTunnel + "; answers by SSDP from port 1901, where TShark expects none"},
	"gopacket-pcapng__test301.pcapng":            {"http", "the file holds keys with which the other decrypts TLS"},
	"iot-inspector__application_data.pcap":       {"tls", "the other passes over a ClientHello that it takes for a retransmission"},
	"iotsentinel__D-LinkCam__Setup-A-1-STA.pcap": {"tls", "ClientHellos of SSL 2.0"},
	"tcpdump__dns_udp_2.pcap":                    {"questions records", whyCut},
	"ndpi__dns-tunnel-iodine.pcap":               {"questions records", "names hold bytes that are no UTF-8, which the other prints in a form that can't be read back"},
	"tcpdump__dns_udp_8053.pcap":                 {"questions records", "DNS on port 8053"},
	"tcpdump__lldp_8021_linkagg.pcap":            {"l2", "messages made by hand, without the TLVs that must come first"},
	"zeek__arp-leak.pcap":                        {"arp", "address lengths of 255 bytes: malformed"},
	"zeek__icmp_nd_dnssl.pcap":                   {"ndp", "router advertisements from no link-local address, which RFC 4861 §6.1.2 has dropped"},
}

// TestCapturesAgainstOtherDecoder: in every capture we find what an independent
// decoder found, no less and no more.
func TestCapturesAgainstOtherDecoder(t *testing.T) {
	files := captures(t, "LANFOLK_PCAPS")
	equal := map[string]int{}
	for _, file := range files {
		want := truth(t, file)
		got, stats, err := ours(t, file)
		name := filepath.Base(file)
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
		why, listed := exceptions[name]
		differs := map[string]bool{}
		for kind := range want {
			excepted := listed && strings.Contains(why.kinds, kind)
			if kind == "records" && !excepted && maps.Equal(unpaired(want[kind]), unpaired(got[kind])) {
				equal[kind] += len(got[kind])
				continue
			}
			report := func(what, k string) {
				differs[kind] = true
				if !excepted {
					t.Errorf("%s: %s: %s: %q", name, kind, what, k)
				}
			}
			for k := range want[kind] {
				if n := got[kind][k]; n > 0 && (n == want[kind][k] || !counted(kind)) {
					equal[kind]++
				} else {
					report("missing", k)
				}
			}
			for k := range got[kind] {
				if want[kind][k] == 0 {
					report("not in the other's", k)
				}
			}
			if excepted && !differs[kind] {
				t.Errorf("%s: %s: no difference, though one is listed: %s", name, kind, why.why)
			}
		}
		if t.Failed() && len(differs) > 0 {
			t.Logf("%s: dropped: %v", name, stats.Drops)
		}
	}
	if files != nil {
		t.Logf("%d files, equal: %v", len(files), equal)
	}
}

// TestBadCaptures: broken captures are read to where they break, without a
// panic and in bounded memory.
func TestBadCaptures(t *testing.T) {
	for _, file := range captures(t, "LANFOLK_PCAPS_BAD") {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		facts := 0
		_, err := readAll(t, file, func(_ int, f *passive.Fact) {
			facts++
			if _, err := f.MarshalJSON(); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		})
		runtime.ReadMemStats(&after)
		var format *passive.FormatError
		if err != nil && !errors.As(err, &format) {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		info, _ := os.Stat(file)
		if used := int64(after.TotalAlloc - before.TotalAlloc); used > 8<<20+64*info.Size() {
			t.Errorf("%s: %d bytes allocated for a file of %d", filepath.Base(file), used, info.Size())
		}
	}
}
