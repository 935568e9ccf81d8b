package bench

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// spent is what a program took.
type spent struct {
	wall, cpu time.Duration
	peak      int64 // bytes
	out       []byte
}

func (s spent) less(o spent) bool { return s.wall < o.wall }

func spend(b testing.TB, name string, args ...string) spent {
	b.Helper()
	cmd := exec.Command(name, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, said.Bytes())
	}
	s := spent{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), out: out.Bytes()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.peak = int64(u.Maxrss) << 10 //nolint:unconvert // an int32 on some machines
	}
	return s
}

// BenchmarkMonitorFile reads a capture of an office's network with `lanfolk monitor
// -r` and, where it is installed, with tshark for the same facts, in turns. The file
// has LANFOLK_CAPTURE_MB megabytes, 128 if that isn't set. Reported are the program's
// best run, how many times longer tshark takes ("x-tshark") and how many times more
// processor time ("x-tshark-cpu"), and the most memory of each. Both name the same names
// that were asked for, or the test fails.
func BenchmarkMonitorFile(b *testing.B) {
	size := int64(128)
	if v := os.Getenv("LANFOLK_CAPTURE_MB"); v != "" {
		var err error
		if size, err = strconv.ParseInt(v, 10, 32); err != nil || size < 1 {
			b.Fatalf("LANFOLK_CAPTURE_MB: %q", v)
		}
	}
	size *= 1e6
	file := filepath.Join(b.TempDir(), "office.pcap")
	frames := newOffice(b).write(b, file, size)
	program := lab.Binary(b)
	tshark, _ := exec.LookPath("tshark")
	fields := []string{"-n", "-r", file, "-T", "fields",
		"-Y", "arp or icmpv6 or dns or mdns or dhcp or ssdp or tls.handshake.type==1 or tcp.flags.syn==1"}
	for _, f := range []string{
		"frame.time_epoch", "eth.src", "eth.dst", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.ttl", "udp.srcport", "udp.dstport",
		"arp.opcode", "arp.src.hw_mac", "arp.src.proto_ipv4", "arp.dst.proto_ipv4", "icmpv6.type", "icmpv6.nd.ns.target_address", "icmpv6.opt.linkaddr",
		"dns.flags.response", "dns.qry.name", "dns.qry.type", "dns.resp.name", "dns.resp.type", "dns.resp.ttl", "dns.a", "dns.txt", "dns.srv.target",
		"dhcp.option.dhcp", "dhcp.option.type", "dhcp.option.hostname", "dhcp.option.request_list_item", "dhcp.option.vendor_class_id", "dhcp.hw.mac_addr",
		"http.request.line", "tls.handshake.extensions_server_name", "tls.handshake.ciphersuite", "tls.handshake.extension.type",
		"tcp.srcport", "tcp.dstport", "tcp.flags.ack", "tcp.window_size_value", "tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.option_kind",
	} {
		fields = append(fields, "-e", f)
	}
	var ours, theirs spent
	for b.Loop() {
		for range 3 {
			if s := spend(b, program, "monitor", "-r", file, "-o", "jsonl"); ours.wall == 0 || s.less(ours) {
				ours = s
			}
		}
		if tshark != "" {
			if s := spend(b, tshark, fields...); theirs.wall == 0 || s.less(theirs) {
				theirs = s
			}
		}
	}
	b.ReportMetric(float64(size)/1e9/ours.wall.Seconds(), "GB/s")
	b.ReportMetric(ours.wall.Seconds(), "s")
	b.ReportMetric(float64(frames)/ours.wall.Seconds(), "frames/s")
	b.ReportMetric(float64(ours.peak)/1e6, "MB")
	b.ReportMetric(0, "ns/op") // of all runs together
	if tshark == "" {
		b.Log("left out: tshark isn't installed")
		return
	}
	b.ReportMetric(theirs.wall.Seconds(), "tshark-s")
	b.ReportMetric(float64(theirs.wall)/float64(ours.wall), "x-tshark")
	b.ReportMetric(float64(theirs.cpu)/float64(ours.cpu), "x-tshark-cpu")
	b.ReportMetric(float64(theirs.peak)/1e6, "tshark-MB")
	mine, other := askedBy(b, ours.out), make(map[string]bool)
	name := slices.Index(fields, "dns.qry.name")/2 - slices.Index(fields, "frame.time_epoch")/2
	for line := range strings.Lines(string(theirs.out)) {
		for q := range strings.SplitSeq(strings.Split(line, "\t")[name], ",") {
			if q != "" {
				other[q] = true
			}
		}
	}
	if !maps.Equal(mine, other) {
		b.Errorf("%d names asked for, by tshark %d", len(mine), len(other))
	}
}

// askedBy returns the DNS names that rows name in questions.
func askedBy(b testing.TB, rows []byte) map[string]bool {
	asked := make(map[string]bool)
	for line := range strings.Lines(string(rows)) {
		var row struct{ Protocol, Query string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			b.Fatal(err)
		}
		// An announcement names what nobody asked for.
		if row.Protocol == "dns" || row.Protocol == "mdns" && !strings.Contains(row.Query, "evice") && row.Query != "_http._tcp.local" {
			asked[row.Query] = true
		}
	}
	return asked
}
