package passive_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// clientHello returns what Go's client sends first, in one record.
func clientHello(t testing.TB, server string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		// It ends when b closes.
		_ = tls.Client(a, &tls.Config{ServerName: server, NextProtos: []string{"h2"}}).Handshake()
	}()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// segment4 is a TCP segment from the client to the server.
func segment4(port uint16, seq uint32, flags byte, data []byte) packet.Frame {
	return ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(40000, port, seq, flags, data))))
}

// TestClientHello: whole, in pieces, out of order, in many records, on any port.
func TestClientHello(t *testing.T) {
	h := clientHello(t, "nas.example")
	start := uint32(0xffffff00) // the numbers wrap around inside
	at := func(from, to int) packet.Frame { return segment4(443, start+uint32(from), 24, h[from:to]) }
	end := len(h)
	var bytewise []packet.Frame
	for i := 6; i < end; i++ {
		bytewise = append(bytewise, at(i, i+1))
	}
	var small []byte // the same in records of 50 bytes
	for part := range slices.Chunk(h[5:], 50) {
		small = append(append(small, 22, 3, 1, 0, byte(len(part))), part...)
	}
	cut := at(0, end)
	cut.Data = cut.Data[:len(cut.Data)-9]
	cutRest := at(600, end)
	cutRest.Data = cutRest.Data[:len(cutRest.Data)-9]
	late := at(600, end)
	late.Time = late.Time.Add(time.Minute)
	for _, c := range []struct {
		name   string
		frames []packet.Frame
		want   int
		drop   string
	}{
		{"whole", []packet.Frame{at(0, end)}, 1, ""},
		{"another port", []packet.Frame{segment4(8843, 1, 24, h)}, 1, ""},
		{"two segments", []packet.Frame{at(0, 600), at(600, end)}, 1, ""},
		{"byte by byte", append([]packet.Frame{at(0, 6)}, bytewise...), 1, ""},
		{"out of order", []packet.Frame{at(0, 100), at(400, end), at(200, 400), at(100, 200)}, 1, ""},
		{"repeated", []packet.Frame{at(0, 600), at(0, 600), at(500, end), at(600, end)}, 1, ""},
		{"with other segments", []packet.Frame{at(0, 600), segment4(444, start+600, 24, h[600:]), at(600, end)}, 1, ""},
		{"small records", []packet.Frame{segment4(443, 1, 24, small[:100]), segment4(443, 101, 24, small[100:])}, 1, ""},
		{"a new connection", []packet.Frame{at(0, 600), segment4(443, 9999, 2, nil), segment4(443, 10000, 24, h)}, 1, ""},
		{"a new connection without SYN", []packet.Frame{at(0, 600), segment4(443, 1<<30, 24, h)}, 1, ""},
		{"reset", []packet.Frame{at(0, 600), segment4(443, start+600, 4, nil), at(600, end)}, 0, ""},
		{"late", []packet.Frame{at(0, 600), late}, 0, ""},
		{"its end alone", []packet.Frame{at(600, end)}, 0, ""},
		{"far ahead", []packet.Frame{at(0, 600), segment4(443, start+65000, 24, make([]byte, 1400))}, 0, "tls: malformed"},
		{"no ClientHello", []packet.Frame{segment4(443, 1, 24, []byte{22, 3, 1, 0, 4, 1, 0, 0, 0})}, 0, "tls: malformed"},
		{"no record behind it", []packet.Frame{segment4(443, 1, 24, small[:55]), segment4(443, 56, 24, []byte("something"))}, 0, "tls: malformed"},
		{"cut off", []packet.Frame{cut}, 0, "tls: cut off"},
		{"its end cut off", []packet.Frame{at(0, 600), cutRest}, 0, "tls: cut off"},
	} {
		got, stats := asked(c.frames...)
		if len(got) != c.want || c.want == 1 && got[0] != "nas.example" {
			t.Errorf("%s: %q, want %d; dropped %v", c.name, got, c.want, stats.Drops)
		}
		if c.drop == "" && len(stats.Drops) > 0 || c.drop != "" && stats.Drops[c.drop] != 1 {
			t.Errorf("%s: dropped %v, want %q", c.name, stats.Drops, c.drop)
		}
	}
}

// TestHalfHellos: a flood of ClientHellos that never end costs bounded memory, and
// whoever sends them doesn't push out another's.
func TestHalfHellos(t *testing.T) {
	h := clientHello(t, "nas.example")
	d := passive.NewDecoder(passive.Options{})
	found := 0
	emit := func(f *passive.Fact) {
		if f.Query == "nas.example" {
			found++
		}
	}
	d.Decode(segment4(443, 1, 24, h[:600]), emit)
	for i := range 5000 {
		src := netip.AddrFrom4([4]byte{10, 9, 0, byte(i % 3)})
		d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(6, src, server, 64, 1, 0, nil, tcp(uint16(i), 443, 1, 24, h[:600])))), emit)
	}
	d.Decode(segment4(443, 601, 24, h[600:]), emit)
	if found != 1 {
		t.Errorf("%d found after the flood; dropped %v", found, d.Stats().Drops)
	}
}

// TestTCPOpen: the form of a SYN, without what changes.
func TestTCPOpen(t *testing.T) {
	syn := func(ttl, flags byte, window uint16, options ...byte) packet.Frame {
		b := tcp(40000, 443, 99, flags, options)
		b[12] = byte(20+len(options)) / 4 << 4
		be.PutUint16(b[14:], window)
		return ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, ttl, 1, 0x4000, nil, b)))
	}
	for _, c := range []struct {
		frame packet.Frame
		want  string
	}{
		{syn(63, 2, 64240, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7), "tcp1:q;ttl=64;win=44*mss;mss=1460;scale=7;opts=2,4,8,1,3"},
		{syn(128, 0x12, 65535, 2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2), "tcp1:a;ttl=128;win=65535;mss=1460;scale=8;opts=2,1,3,1,1,4"},
		{syn(255, 2, 1024), "tcp1:q;ttl=255;win=1024"},
		{syn(30, 2, 1024, 2, 4, 0, 0, 0, 9, 9, 9), "tcp1:q;ttl=32;win=1024;mss=0;opts=2"},
		{syn(30, 2, 1024, 2, 4, 5, 0xb4, 3, 9, 1, 1), ""},
		{syn(30, 2, 1024, 2, 4, 5, 0xb4, 3, 1, 1, 1), ""},
		{syn(30, 3, 1024), ""}, // SYN and FIN: a probe
	} {
		got := ""
		passive.NewDecoder(passive.Options{}).Decode(c.frame, func(f *passive.Fact) { got = f.Fingerprint })
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestHTTP(t *testing.T) {
	for _, c := range []struct{ name, head, query, fields, fingerprint string }{
		{
			"request", "GET /private?token=1 HTTP/1.1\r\nHost: nas.example:8080\r\nUser-Agent: box/1.0 (a; b)\r\nAccept: */*\r\nCookie: id=secret\r\nIf-None-Match: x\r\n\r\n",
			"nas.example:8080", "[{method GET} {user_agent box/1.0 (a; b)}]", "http1:q=1.1;h=Host,User-Agent,Accept;ua=box/1.0 (a%3b b)",
		},
		{"credentials", "GET http://me:pw@nas/ HTTP/1.0\nhost: me:pw@nas\nAuthorization: Basic x\n\n", "nas", "[{method GET}]", "http1:q=1.0;h=host"},
		{"not all of it", "POST /x HTTP/1.1\r\nHost: nas\r\nUser-Age", "nas", "[{method POST}]", "http1:q=1.1;h=Host"},
		{"events", "NOTIFY /e HTTP/1.1\r\nHOST: 10.0.0.5:49152\r\nSID: uuid:1\r\n folded\r\n\r\n", "10.0.0.5:49152", "[{method NOTIFY}]", "http1:q=1.1;h=HOST"},
		{"response", "HTTP/1.1 404 Not Found\r\nDate: now\r\nServer: lighttpd/1.4\r\nSet-Cookie: a=b\r\n\r\nServer: no", "", "[{status 404} {server lighttpd/1.4}]", "http1:a=1.1;server=lighttpd/1.4"},
		{"response without a name", "HTTP/1.0 200 OK\r\n\r\n", "", "[{status 200}]", ""},
		{"bytes in a value", "GET / HTTP/1.1\r\nHost: a\x01\xff\r\n\r\n", `a\001\255`, "[{method GET}]", "http1:q=1.1;h=Host"},
		{"no version", "GET /\r\n\r\n", "", "", ""},
		{"another version", "GET / HTTP/2.0\r\n\r\n", "", "", ""},
		{"no line", "GET /" + strings.Repeat("x", 900), "", "", ""},
		{"no header", "GET / HTTP/1.1\r\nno header\r\n\r\n", "", "", ""},
		{"a bad status", "HTTP/1.1 abc\r\n\r\n", "", "", ""},
	} {
		query, fields, fingerprint := "", "", ""
		passive.NewDecoder(passive.Options{}).Decode(segment4(8080, 1, 24, []byte(c.head)), func(f *passive.Fact) {
			query, fields, fingerprint = f.Query, fmt.Sprint(f.Fields), f.Fingerprint
			if f.Response != strings.HasPrefix(c.head, "HTTP") {
				t.Errorf("%s: response is %v", c.name, f.Response)
			}
		})
		if query != c.query || fields != c.fields || fingerprint != c.fingerprint {
			t.Errorf("%s: %q %s %q", c.name, query, fields, fingerprint)
		}
	}
}

// TestJA4OfOthers: JA4 of real captures is what its authors' own program prints.
func TestJA4OfOthers(t *testing.T) {
	want := map[string][]string{
		"ja4__tls-handshake.pcapng": {
			"q13d0310h3_55b375c5d22e_cd85d2d88918", "t13d151400_8daaf6152771_de4a06bb82e3", "t13d1516h1_8daaf6152771_e5627efa2ab1",
			"t13d1516h2_8daaf6152771_e5627efa2ab1", "t13d1517h1_8daaf6152771_6cdcb247c39b",
		},
	}
	files := captures(t, "LANFOLK_PCAPS")
	if len(files) == 0 {
		return
	}
	for name, want := range want {
		file := filepath.Join(filepath.Dir(files[0]), name)
		var got []string
		if _, err := readAll(t, file, func(_ int, f *passive.Fact) {
			if f.Protocol == passive.ProtoTLS || f.Protocol == passive.ProtoQUIC {
				got = append(got, f.Fingerprint)
			}
		}); err != nil {
			t.Error(err)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
