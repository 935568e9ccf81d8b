package ssdp_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/seeds"
	"github.com/lanfolk/lanfolk/passive/internal/ssdp"
)

var messages = []string{
	"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: ssdp:all\r\n\r\n",
	"NOTIFY * HTTP/1.1\nnt:upnp:rootdevice\nNTS: SSDP:Alive\nusn: uuid:1::upnp:rootdevice\nCache-Control: max-age = 1800, x\nno colon\n: no name",
	"HTTP/1.0 200 OK\r\nST: a\r\nST: b\r\nNT: c\r\nEXT:\r\n\r\nST: body",
	"NOTIFY * HTTP/1.1\r\nNTS: upnp:propchange\r\n",
	"HTTP/1.1 404 Not Found\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "",
}

func TestParse(t *testing.T) {
	var got []string
	for _, s := range messages {
		var m ssdp.Message
		if !m.Parse([]byte(s)) {
			got = append(got, "none")
			continue
		}
		var names []string
		for _, n := range m.Fields() {
			names = append(names, string(n))
		}
		got = append(got, strings.Join([]string{m.Kind.String(), string(m.Target), string(m.USN), string(m.MX), string(m.MaxAge), strings.Join(names, "+")}, "|"))
	}
	want := []string{
		"search|ssdp:all||3||HOST+MAN+MX+ST",
		"alive|upnp:rootdevice|uuid:1::upnp:rootdevice||1800|nt+NTS+usn+Cache-Control+",
		"answer|a||||ST+ST+NT+EXT",
		"notify|||||NTS",
		"none", "none", "none",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q: %q, want %q", messages[i], got[i], want[i])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range messages {
		f.Add([]byte(s))
	}
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 1900 || p.Src == 1900 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m ssdp.Message
		if m.Parse(b) && len(m.Fields()) > 32 {
			t.Fatalf("%d fields", len(m.Fields()))
		}
	})
}
