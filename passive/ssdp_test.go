package passive_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// What isn't SSDP is counted, and ids that are no device's own claim nothing.
func TestSSDPClaims(t *testing.T) {
	alive := func(usn, location string) string {
		return "NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\nUSN: " + usn + "\r\nLOCATION: " + location + "\r\n\r\n"
	}
	const id = "uuid:1b2c3d4e-5f60-4172-8394-A5B6C7D8E9F0"
	for what, c := range map[string]struct{ payload, claim string }{
		"its own":           {alive(id+"::upnp:rootdevice", "http://10.0.0.5/"), "claim ip=10.0.0.5 id=uuid:1b2c3d4e5f6041728394a5b6c7d8e9f0"},
		"a name":            {alive(id, "http://nas.local/"), "claim ip=10.0.0.5 id=uuid:1b2c3d4e5f6041728394a5b6c7d8e9f0"},
		"another's":         {alive(id, "http://10.0.0.6:80/"), "claim ip=10.0.0.6 id=uuid:1b2c3d4e5f6041728394a5b6c7d8e9f0 hearsay"},
		"another's by IPv6": {alive(id, "https://[fe80::7%25eth0]/"), "claim ip=fe80::7 id=uuid:1b2c3d4e5f6041728394a5b6c7d8e9f0 hearsay"},
		"all zeros":         {alive("uuid:00000000-0000-0000-0000-000000000000", ""), ""},
		"an example":        {alive("uuid:12345678-1234-1234-1234-123456789abc", ""), ""},
		"no UUID":           {alive("uuid:RINCON_1", ""), ""},
		"longer":            {alive(id+"0", ""), ""},
	} {
		got, _ := decode(passive.Options{}, ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(1900, 1900, []byte(c.payload))))))
		_, claim, _ := strings.Cut(strings.TrimSpace(got), "\n  ")
		if claim != c.claim || got == "" {
			t.Errorf("%s: %q, want %q", what, claim, c.claim)
		}
	}
	for payload, why := range map[string]string{"GET / HTTP/1.1\r\n\r\n": "ssdp: malformed", "": "ssdp: malformed"} {
		f := eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(1900, 1900, []byte(payload))))
		if got, stats := decode(passive.Options{}, ethernet(f)); got != "" || stats.Drops[why] != 1 {
			t.Errorf("%q: %q, dropped %v", payload, got, stats.Drops)
		}
	}
}

// TestSSDPAnswerFromAnyPort: a device may answer from a port of its own; other
// responses over UDP are none.
func TestSSDPAnswerFromAnyPort(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1b2c3d4e-5f60-4172-8394-a5b6c7d8e9f0\r\n\r\n"
	vm := filterVM(t)
	for payload, want := range map[string]bool{
		answer:                                   true,
		"HTTP/1.1 200 OK\r\nST: a\r\n\r\n":       false,
		"HTTP/1.1 200 OK\r\nUSN: uuid:1\r\n\r\n": false,
		"HTTP/1.1 404 Not Found\r\n\r\n":         false,
		strings.Replace(answer, "200", "404", 1): false,
		"HTTP":                                   false,
	} {
		f := eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(1901, 40000, []byte(payload))))
		got, stats := decode(passive.Options{}, ethernet(f))
		if strings.Contains(got, `"protocol":"ssdp"`) != want || got != "" != want || len(stats.Drops) > 0 {
			t.Errorf("%q: %q, dropped %v", payload, got, stats.Drops)
		}
		if !passes(t, vm, f) {
			t.Errorf("%q doesn't pass the filter", payload)
		}
	}
	cut := ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(1901, 40000, []byte(answer)))))
	cut.Data = cut.Data[:len(cut.Data)-4]
	if got, stats := decode(passive.Options{}, cut); got != "" || len(stats.Drops) > 0 {
		t.Errorf("cut off: %q, dropped %v", got, stats.Drops)
	}
}

// TestFilterPorts: the kernel lets through each UDP port that is read, of both ends.
func TestFilterPorts(t *testing.T) {
	vm := filterVM(t)
	for _, port := range []uint16{53, 67, 68, 137, 138, 546, 547, 1900, 3702, 4745, 5353, 5355, 22026} {
		for _, f := range [][]byte{udp(40000, port, nil), udp(port, 40000, nil)} {
			if !passes(t, vm, eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, f))) {
				t.Errorf("port %d doesn't pass", port)
			}
		}
	}
}
