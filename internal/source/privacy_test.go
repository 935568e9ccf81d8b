package source_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
)

func key() []byte { return []byte("0123456789abcdef0123456789abcdef") }

func TestWhichNamesStayReadable(t *testing.T) {
	names := source.NewNames(key(), "Example.com.", "lan")
	for name, readable := range map[string]bool{
		"printer.local": true, "LOCAL": true, "nas.home.arpa": true, "x.internal": true, "nas.lan": true, "lan": true,
		"www.example.com": true, "EXAMPLE.COM": true, "example.com.": true, "": true, ".": true,
		"www.example.org": false, "badexample.com": false, "example.com.evil.test": false, "local.evil.test": false, `a\.local`: false, "com": false, "printer": false,
		"5.0.0.10.in-addr.arpa": true, "1.1.168.192.in-addr.arpa": true, "1.20.172.in-addr.arpa": true, "1.32.172.in-addr.arpa": false, "8.8.8.8.in-addr.arpa": false,
		"1.0.0.0.0.0.d.f.ip6.arpa": true, "1.0.0.2.ip6.arpa": false,
		"10.0.0.5": true, "10.0.0.5:8080": true, "[fd00::1]:80": true, "[fd00::1]": true, "8.8.8.8": false, "8.8.8.8:53": false, "[2001:db8::1]:80": false,
		"nas.lan:8080": true, "www.example.org:8080": false, "nas.lan:x": false,
	} {
		got := names.Name(name)
		if (got == name) != readable {
			t.Errorf("%q is kept as %q", name, got)
		}
		if !readable && (!strings.HasPrefix(got, source.HashedName) || len(got) != len(source.HashedName)+32) {
			t.Errorf("%q is kept as %q", name, got)
		}
	}
}

func TestHashedNamesStayEqual(t *testing.T) {
	names := source.NewNames(key())
	a := names.Name("www.example.org")
	if names.Name("WWW.eXample.ORG.") != a {
		t.Error("the case of letters makes another name of it")
	}
	if names.Name("www.example.net") == a {
		t.Error("two names are one")
	}
	if other := source.NewNames([]byte("another key")); other.Name("www.example.org") == a {
		t.Error("the key makes no difference")
	}
}

func TestPrivacy(t *testing.T) {
	var (
		names = source.NewNames(key())
		group = passive.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		one   = passive.MAC{2, 0, 0, 0, 0, 1}
		all   = []string{
			"arp", "ndp", "dhcp", "dhcpv6", "mdns", "llmnr", "nbns", "ssdp", "wsd", "lldp", "cdp", "igmp", "mld", "tged", "ptp", "sap",
			"dns", "tls", "quic", "http", "tcp", "mqtt",
		}
	)
	const firstOfOthers = 16
	local := &source.Privacy{LocalOnly: true}
	for i, protocol := range all {
		f := &passive.Fact{Protocol: protocol, Query: "x"}
		got, ok := local.Fact(f)
		if ok != (i < firstOfOthers) || ok && got != f {
			t.Errorf("%s: %v", protocol, ok)
		}
		if got, ok := new(source.Privacy).Fact(f); !ok || got != f {
			t.Errorf("%s isn't left alone where nothing is to be held back", protocol)
		}
	}
	if _, ok := local.Fact(&passive.Fact{Protocol: "syncthing", DstMAC: group}); !ok {
		t.Error("Syncthing's local announcements are local")
	}
	if _, ok := local.Fact(&passive.Fact{Protocol: "syncthing", DstMAC: one}); ok {
		t.Error("what is said to a global server isn't local")
	}

	hidden := &source.Privacy{Names: names}
	const secret = "clinic.example.org"
	for _, protocol := range []string{"dns", "tls", "quic", "http"} {
		f := &passive.Fact{Protocol: protocol, Query: secret, Fingerprint: "fp", Record: &passive.Record{Name: secret, Data: "192.0.2.1"}}
		got, ok := hidden.Fact(f)
		if !ok || got.Query != names.Hash(secret) || got.Record.Name != got.Query || got.Record.Data != names.Hash("192.0.2.1") || got.Fingerprint != "fp" {
			t.Errorf("%s: %+v %+v", protocol, got, got.Record)
		}
		if f.Query != secret || f.Record.Name != secret || f.Record.Data != "192.0.2.1" {
			t.Errorf("%s: the decoder's own fact was changed", protocol)
		}
	}
	f := &passive.Fact{Protocol: "dns", Query: "nas.local", Record: &passive.Record{Name: "nas.local", Data: "10.0.0.5"}}
	if got, _ := hidden.Fact(f); got.Query != "nas.local" || got.Record.Data != "10.0.0.5" {
		t.Errorf("%+v %+v", got, got.Record)
	}
	for _, protocol := range []string{"mdns", "llmnr", "ssdp", "dhcp"} {
		f := &passive.Fact{Protocol: protocol, Query: secret}
		if got, _ := hidden.Fact(f); got != f {
			t.Errorf("%s: changed", protocol)
		}
	}
}
