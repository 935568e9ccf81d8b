package nmos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// oddZone is a zone with one plain advertisement, and what else real zones hold.
func oddZone() lab.Zone {
	z := lab.Zone{Name: "example.com", Records: []string{"real A 10.99.1.101", "alias CNAME real", "six AAAA fd99:1::65"}}
	add := func(instance, host string, port, pri int) {
		z.Records = append(z.Records,
			fmt.Sprintf(`_nmos-netctrl._tcp PTR %s._nmos-netctrl._tcp`, instance),
			fmt.Sprintf(`%s._nmos-netctrl._tcp SRV 0 0 %d %s`, instance, port, host),
			fmt.Sprintf(`%s._nmos-netctrl._tcp TXT "api_proto=http" "api_ver=v1.0" "api_auth=false" "pri=%d"`, instance, pri))
	}
	add("Plain", "real", 80, 9)
	// Fine, each in its own way.
	add("Alias", "alias", 80, 1)
	add("Six", "six", 80, 2)
	add(`B\195\188ro\ 1\.2\\x`, "real", 81, 3)
	add(strings.Repeat("n", 63), "real", 82, 4)
	// Of no use.
	add("Elsewhere", "www.other.test.", 80, 0) // the server refuses to say where that is
	add("Nowhere", "nowhere", 80, 0)
	add("Closed", ".", 80, 0) // RFC 2782: decidedly not there
	z.Records = append(z.Records,
		"_nmos-netctrl._tcp PTR Ghost._nmos-netctrl._tcp",
		"_nmos-netctrl._tcp PTR Other._nmos-query._tcp",
		"_nmos-netctrl._tcp PTR foo.bar.", "_nmos-netctrl._tcp PTR example.com.", "_nmos-netctrl._tcp PTR .",
		"_nmos-netctrl._tcp PTR _nmos-netctrl._tcp", "_nmos-netctrl._tcp PTR a.b._nmos-netctrl._tcp")
	return z
}

// What is odd in a zone costs neither the rest nor time.
func TestOddZone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.dns.BIND(lab.BIND{Zones: []lab.Zone{oddZone()}})
	got, r := s.choose("--type", "netctrl", "--mode", "unicast", "--domain", "example.com", "--server", dnsServer)
	var names []string
	for _, g := range got.Groups {
		for _, a := range g {
			names = append(names, a.Instance)
		}
	}
	if want := []string{"Alias", "Six", `Büro 1.2\x`, strings.Repeat("n", 63), "Plain"}; fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", names, want)
	}
	reasons := map[string]string{}
	for _, d := range got.Discarded {
		reasons[d.Instance] = d.Reason
	}
	for instance, want := range map[string]string{"Elsewhere": "no address", "Nowhere": "no address", "Closed": "isn't there", "Ghost": "no SRV record"} {
		if !strings.Contains(reasons[instance], want) {
			t.Errorf("%s is discarded because %q, want %q", instance, reasons[instance], want)
		}
	}
	// A busy machine may be slow once.
	took := r.Alone
	for range 2 {
		_, again := s.choose("--type", "netctrl", "--mode", "unicast", "--domain", "example.com", "--server", dnsServer)
		took = min(took, again.Alone)
	}
	if took > 1500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if t.Failed() {
		t.Log(r.Stdout)
	}
}
