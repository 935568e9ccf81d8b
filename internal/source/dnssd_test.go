package source

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/find"
)

// An answer reads the same before and after it went through JSON, whatever
// bytes it holds.
func TestAnInstanceSurvivesJSON(t *testing.T) {
	s := dnssd.Service{
		Instance: dnssd.Instance{Name: "a\xffb", Service: "_ipp._tcp", Domain: "local"},
		Host:     "nas.local", Port: 631, Addresses: []netip.Addr{netip.MustParseAddr("fe80::1")},
		TXT:       dnssd.TXT{"key", "empty=", "bytes=\xc3\x28", "k\xfe=v", "=none", ""},
		Interface: "eth0", Via: "mdns", TTL: 120,
	}
	for _, c := range []struct {
		name     string
		service  dnssd.Service
		resolved bool
		want     string
	}{
		{"resolved", s, true, `{"event":"add","name":"a�b","type":"_ipp._tcp","domain":"local","subtypes":[],` +
			`"host":"nas.local","port":631,"addresses":["fe80::1"],"txt":{"bytes":"�(","empty":"","key":null,"k�":"v"},` +
			`"txt_raw":["a2V5","ZW1wdHk9","Ynl0ZXM9wyg=","a/49dg==","PW5vbmU=",""],"interface":"eth0","via":"mdns","ttl":120}`},
		{"not resolved", dnssd.Service{Instance: s.Instance}, true, `{"event":"add","name":"a�b","type":"_ipp._tcp","domain":"local","subtypes":[],` +
			`"host":"","port":0,"addresses":[],"txt":{},"txt_raw":[],"interface":"","via":"","ttl":0}`},
		{"not asked to resolve", s, false, `{"event":"add","name":"a�b","type":"_ipp._tcp","domain":"local","subtypes":[],"interface":"eth0","via":"mdns","ttl":120}`},
		{"a type", dnssd.Service{Instance: dnssd.Instance{Service: "_ipp._tcp", Domain: "local"}}, true,
			`{"event":"add","name":"","type":"_ipp._tcp","domain":"local","subtypes":[],"interface":"","via":"","ttl":0}`},
	} {
		once, err := json.Marshal(instance(dnssd.Add, c.service, c.resolved))
		if err != nil || string(once) != c.want {
			t.Errorf("%s: %v\n%s; want\n%s", c.name, err, once, c.want)
			continue
		}
		var i find.Instance
		if err := json.Unmarshal(once, &i); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if twice, err := json.Marshal(i); err != nil || string(twice) != c.want {
			t.Errorf("%s: through JSON: %v\n%s; want\n%s", c.name, err, twice, c.want)
		}
	}
}

func TestQuestionsOfDNSSDAreChecked(t *testing.T) {
	for _, c := range []struct{ text, service, subtype string }{
		{"", "", ""},
		{"_ipp._tcp", "_ipp._tcp", ""},
		{"_ipp._tcp.local.", "_ipp._tcp", ""},
		{"_universal._sub._ipp._tcp.local", "_ipp._tcp", "_universal"},
	} {
		if service, subtype, err := ParseType(c.text); service != c.service || subtype != c.subtype || err != nil {
			t.Errorf("type %q: %q %q %v", c.text, service, subtype, err)
		}
	}
	asks := DNSSD{Source: func() dnssd.Source { return nil }}
	ctx := t.Context()
	browse := func(text string) error {
		for _, err := range asks.Browse(ctx, find.BrowseRequest{Type: text}) {
			return err
		}
		return nil
	}
	resolve := func(name, kind string) error { _, err := asks.Resolve(ctx, name, kind, 1); return err }
	lookup := func(host string) error { _, err := asks.Lookup(ctx, host, 1); return err }
	for _, c := range []struct {
		what string
		err  error
		is   error
		says string
	}{
		{"type", browse("http"), lanfolk.ErrInvalid, `dnssd: service type "http": want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter`},
		{"instance without a type", resolve("x", ""), lanfolk.ErrInvalid, "an instance has a type"},
		{"instance without a name", resolve("", "_ipp._tcp"), lanfolk.ErrInvalid, `"" is no instance name: 1 to 63 bytes`},
		{"host elsewhere", lookup("nas.example.com"), lanfolk.ErrInvalid, "nas.example.com doesn't end in .local: only such names are asked for by multicast (RFC 6762 §3)"},
		{"host that only ends so", lookup("nas.notlocal"), lanfolk.ErrInvalid, "nas.notlocal doesn't end in .local: only such names are asked for by multicast (RFC 6762 §3)"},
		{"no engine, browse", browse("_ipp._tcp"), find.ErrOff, "mDNS isn't running here"},
		{"no engine, resolve", resolve("x", "_ipp._tcp"), find.ErrOff, "mDNS isn't running here"},
		{"no engine, look-up", lookup("nas.LOCAL."), find.ErrOff, "mDNS isn't running here"},
		{"no engine, address", lookup("192.0.2.7"), find.ErrOff, "mDNS isn't running here"},
	} {
		if !errors.Is(c.err, c.is) || c.err.Error() != c.says {
			t.Errorf("%s: %v; want %s", c.what, c.err, c.says)
		}
	}
}
