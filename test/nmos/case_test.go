package nmos

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/nmos"
)

// testCase is one of nmos/testdata/cases.json: what is advertised, what a
// client needs, what then fails, and what the client shall do.
type testCase struct {
	Name, Type, Level, Why string
	Advertisements         []advert
	Client                 struct {
		Versions    []string
		Proto, Mode string
		Auth        bool
		Development bool   `json:"allow_dev"`
		DNS         string // how the domain's server says no
	}
	Steps  []step
	Expect expectation

	addrs map[string]netip.Addr // of the hosts, by their first labels
}

// advert is an advertisement.
type advert struct {
	Instance, Domain, Via, Host, Type string
	Port                              uint16
	Priority                          uint16          `json:"srv_priority"`
	Weight                            uint16          `json:"srv_weight"`
	TXT                               json.RawMessage // strings, or an object
	Wire                              string          `json:"txt_wire_hex"`
	ExtraTXT                          [][]string      `json:"extra_txt"`
	ExtraSRV                          []target        `json:"extra_srv"`
	After                             float64         `json:"appears_after_s"`
}

// target is what one SRV record says.
type target struct {
	Host                   string
	Port, Priority, Weight uint16
}

// step is something that happens while a client runs; one of the three.
type step struct {
	Fail, How string
	Recover   string
	Wait      float64 `json:"wait_s"`
}

type expectation struct {
	Groups     [][]string `json:"ordered_groups"`
	Discarded  []string
	NotBrowsed []string `json:"not_browsed"`
	Attempts   [][]string
}

// loadCases reads the cases.
func loadCases(t *testing.T) []testCase {
	t.Helper()
	b, err := os.ReadFile("../../nmos/testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []testCase }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 25 {
		t.Fatalf("%d cases, there should be more", len(file.Cases))
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		c.addrs = map[string]netip.Addr{}
		for j := range c.Advertisements {
			a := &c.Advertisements[j]
			if a.Type == "" {
				a.Type = c.Type
			}
			a.Host = dns.Fqdn(a.Host)
			for _, t := range a.targets() {
				if label := firstLabel(t.Host); !c.addrs[label].IsValid() {
					c.addrs[label] = netip.AddrFrom4([4]byte{10, 99, 1, byte(101 + len(c.addrs))})
				}
			}
		}
	}
	return file.Cases
}

// loadCase returns the case with a name.
func loadCase(t *testing.T, name string) testCase {
	t.Helper()
	all := loadCases(t)
	i := slices.IndexFunc(all, func(c testCase) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no case %q", name)
	}
	return all[i]
}

// via returns the case with those advertisements alone that are published in
// one way, "unicast" or "mdns".
func (c testCase) via(way string) testCase {
	c.Advertisements = slices.DeleteFunc(slices.Clone(c.Advertisements), func(a advert) bool { return a.Via != way })
	return c
}

// inLocal returns the case with everything published by mDNS.
func (c testCase) inLocal() testCase {
	local := func(host string) string { return strings.TrimSuffix(host, ".example.com.") + ".local." }
	c.Advertisements = slices.Clone(c.Advertisements)
	for i := range c.Advertisements {
		a := &c.Advertisements[i]
		if a.Via == "mdns" {
			continue
		}
		a.Via, a.Domain, a.Host = "mdns", "local", local(a.Host)
		a.ExtraSRV = slices.Clone(a.ExtraSRV)
		for j := range a.ExtraSRV {
			a.ExtraSRV[j].Host = local(dns.Fqdn(a.ExtraSRV[j].Host))
		}
	}
	return c
}

// needs returns the command line's part about what the client needs.
func (c testCase) needs() []string {
	args := []string{"--type", kindOf(c.Type), "--api-version", strings.Join(c.Client.Versions, ","), "--proto", c.Client.Proto, "--auth", fmt.Sprint(c.Client.Auth)}
	if c.Client.Development {
		args = append(args, "--development")
	}
	return args
}

func kindOf(service string) string {
	k, ok := nmos.KindOf(service)
	if !ok {
		panic("no kind for " + service)
	}
	return k.Name
}

// name returns the full name of the instance.
func (a advert) name() string { return a.Instance + "." + a.Type + "." + a.Domain + "." }

// targets returns what its SRV records say, that of the advertisement itself
// first.
func (a advert) targets() []target {
	return append([]target{{a.Host, a.Port, a.Priority, a.Weight}}, a.ExtraSRV...)
}

// strings returns the strings of its first TXT record.
func (a advert) strings() []string {
	var list []string
	if json.Unmarshal(a.TXT, &list) == nil {
		return list
	}
	// An object: its keys in the order in which they are written.
	d := json.NewDecoder(bytes.NewReader(a.TXT))
	var key string
	for {
		tok, err := d.Token()
		if err != nil {
			return list
		}
		s, ok := tok.(string)
		switch {
		case !ok:
		case key == "":
			key = s
		default:
			list = append(list, key+"="+s)
			key = ""
		}
	}
}

// txt returns the RDATA of its TXT records.
func (a advert) txt() [][]byte {
	if a.Wire != "" {
		b, err := hex.DecodeString(a.Wire)
		if err != nil {
			panic(err)
		}
		return [][]byte{b}
	}
	out := [][]byte{txtData(a.strings())}
	for _, more := range a.ExtraTXT {
		out = append(out, txtData(more))
	}
	return out
}

func txtData(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

// firstLabel returns a host name's first label in lower case.
func firstLabel(host string) string {
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	return label
}

// hosts returns the hosts of the advertisements, in lower case without the last
// dot, each with an address of its own.
func (c testCase) hosts() map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for _, a := range c.Advertisements {
		for _, t := range a.targets() {
			out[strings.ToLower(strings.TrimSuffix(t.Host, "."))] = c.addrs[firstLabel(t.Host)]
		}
	}
	return out
}

// records returns the advertisements as RFC 6763 lays them out. TXT records
// come as bytes, so that broken ones stay as they are.
func (c testCase) records(ttl uint32) []dns.RR {
	header := func(name string, typ uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
	}
	var out []dns.RR
	for _, a := range c.Advertisements {
		out = append(out, &dns.PTR{Hdr: header(a.Type+"."+a.Domain+".", dns.TypePTR), Ptr: a.name()})
		for _, t := range a.targets() {
			out = append(out, &dns.SRV{Hdr: header(a.name(), dns.TypeSRV), Priority: t.Priority, Weight: t.Weight, Port: t.Port, Target: dns.Fqdn(t.Host)})
		}
		for _, b := range a.txt() {
			out = append(out, &dns.RFC3597{Hdr: header(a.name(), dns.TypeTXT), Rdata: hex.EncodeToString(b)})
		}
	}
	for host, addr := range c.hosts() {
		out = append(out, &dns.A{Hdr: header(host+".", dns.TypeA), A: addr.AsSlice()})
	}
	return out
}
