package zone_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
)

const wholeFile = `$ORIGIN lan.example.com.
@	3600	IN	SOA	ns dns\.admin.example.com. 1000000 3600 300 86400 10
	3600	IN	NS	ns
_http._tcp	10	IN	PTR	a\;\"b\"\(c\)\@\$\032\\._http._tcp
a\;\"b\"\(c\)\@\$\032\\._http._tcp	10	IN	TXT	"path=/\"x\\y\"" "b=\000\255 é"
	10	IN	SRV	1 2 80 www.example.org.
_ipp._tcp	10	IN	PTR	Laser\0322\.0\032B\195\188ro._ipp._tcp
_universal._sub._ipp._tcp	10	IN	PTR	Laser\0322\.0\032B\195\188ro._ipp._tcp
Laser\0322\.0\032B\195\188ro._ipp._tcp	10	IN	TXT	"txtvers=1" "rp=ipp/print"
	10	IN	SRV	0 0 631 laser
_services._dns-sd._udp	10	IN	PTR	_ipp._tcp
	10	IN	PTR	_http._tcp
b._dns-sd._udp	3600	IN	PTR	@
db._dns-sd._udp	3600	IN	PTR	@
lb._dns-sd._udp	3600	IN	PTR	@
laser	10	IN	A	192.0.2.7
	10	IN	AAAA	2001:db8::7
ns	3600	IN	A	192.0.2.1
	3600	IN	AAAA	2001:db8::1
`

func odd() zone.Service {
	return zone.Service{
		Name: `a;"b"(c)@$ \`, Type: "_http._tcp", TTL: 10 * time.Second,
		Targets: []dnssd.Target{{Host: "www.example.org", Priority: 1, Weight: 2, Port: 80}},
		TXT:     []dnssd.TXT{{`path=/"x\y"`, "b=\x00\xff é"}},
	}
}

func TestZoneFileText(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	put(t, z, odd())
	var whole, part bytes.Buffer
	n, err := z.WriteTo(&whole)
	if err != nil || n != int64(whole.Len()) {
		t.Errorf("%d bytes of %d, %v", n, whole.Len(), err)
	}
	want := strings.ReplaceAll(wholeFile, " é\"", ` \195\169"`)
	if whole.String() != want {
		t.Errorf("the file is\n%s\nwant\n%s", whole.String(), want)
	}
	if _, err := z.WriteInclude(&part); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(want, "\n")
	lines = slices.Delete(lines, 1, 3)                       // SOA, NS
	lines = slices.Delete(lines, len(lines)-3, len(lines)-1) // the name server's addresses
	if got := strings.Join(lines, "\n"); part.String() != got {
		t.Errorf("the part to include is\n%s\nwant\n%s", part.String(), got)
	}
	if _, err := z.WriteTo(failing{}); err == nil || !strings.HasPrefix(err.Error(), "zone: write: full") {
		t.Errorf("a disk that is full: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// fromFile reads a zone file by miekg/dns: records as bytes, to how often each comes.
func fromFile(t testing.TB, r io.Reader) map[string]int {
	t.Helper()
	out := map[string]int{}
	p := dns.NewZoneParser(r, "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		out[packed(t, rr)]++
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func packed(t testing.TB, rr dns.RR) string {
	t.Helper()
	b := make([]byte, 70000)
	n, err := dns.PackRR(rr, b, 0, nil, false)
	if err != nil {
		t.Fatalf("%v: %v", rr, err)
	}
	return string(b[:n])
}

// FuzzZoneFile: whatever an instance is called and says, the file of its zone says
// the same to another reader, and the text of a file is ASCII.
func FuzzZoneFile(f *testing.F) {
	f.Add("Laser", "rp=x", "host")
	f.Add(`a;"b"(c)@$ \`, "b=\x00\xff", "my host")
	f.Add("dots. and\ttabs\n\r", "\"", "a.b")
	f.Add("\x00\x7f\x80\xff", `\`, "*")
	f.Add("@", "", "@")
	f.Add("1", ";", "$INCLUDE")
	f.Fuzz(func(t *testing.T, name, text, host string) {
		z := newZone(t)
		err := z.Put(start, "k", zone.Service{
			Name: name, Type: "_x._tcp", TTL: time.Second, TXT: []dnssd.TXT{{text}},
			Targets: []dnssd.Target{{Host: host, Port: 1, Addresses: addrs("192.0.2.7")}},
		})
		if err != nil {
			return
		}
		var b bytes.Buffer
		if _, err := z.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(b.Bytes(), func(r rune) bool { return r >= 0x7f || r < ' ' && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("byte %d of the file is %q", i, b.Bytes()[i])
		}
		want := map[string]int{}
		for _, q := range []struct {
			name string
			typ  uint16
		}{{"lan.example.com.", dns.TypeSOA}, {"lan.example.com.", dns.TypeNS}, {"_x._tcp.lan.example.com.", dns.TypePTR}, {"_services._dns-sd._udp.lan.example.com.", dns.TypePTR},
			{"b._dns-sd._udp.lan.example.com.", dns.TypePTR}, {"db._dns-sd._udp.lan.example.com.", dns.TypePTR}, {"lb._dns-sd._udp.lan.example.com.", dns.TypePTR}} {
			m := ask(t, z, q.name, q.typ)
			for _, rr := range append(m.Answer, m.Extra...) {
				want[packed(t, rr)] = 1
			}
		}
		if got := fromFile(t, &b); !maps.Equal(got, want) {
			t.Errorf("the file has %d records, the zone %d", len(got), len(want))
			for k := range want {
				if got[k] == 0 {
					t.Errorf("%q is not in the file", k)
				}
			}
			for k := range got {
				if want[k] == 0 {
					t.Errorf("%q is only in the file", k)
				}
			}
		}
	})
}
