package passive_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/passive"
)

// TestRouterIsNotTheSender: the MAC of a frame is only taken for its IP
// source's where no router can have passed it on.
func TestRouterIsNotTheSender(t *testing.T) {
	onLink := passive.Options{OnLink: func(_ string, a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/24").Contains(a) }}
	far := netip.MustParseAddr("192.0.2.7")
	group := netip.MustParseAddr("224.0.0.251")
	question := query(t, "nas.local")
	for _, c := range []struct {
		name    string
		o       passive.Options
		src     netip.Addr
		ttl     byte
		port    uint16
		claimed bool
	}{
		{"dns, nothing known", passive.Options{}, client, 64, 53, false},
		{"dns, on link", onLink, client, 64, 53, true},
		{"dns, off link", onLink, far, 63, 53, false},
		{"dns, off link with a hop limit of 255", onLink, far, 255, 53, false},
		{"dns, link-local", passive.Options{}, netip.MustParseAddr("169.254.1.2"), 64, 53, true},
		{"mdns", passive.Options{}, client, 255, 5353, true},
		{"mdns through a router", passive.Options{}, far, 254, 5353, false},
		{"mdns with a low hop limit, on link", onLink, client, 1, 5353, true},
		{"no source", onLink, netip.MustParseAddr("0.0.0.0"), 255, 5353, false},
	} {
		f := ethernet(eth(macB, macA, 0x0800, ip4(17, c.src, group, c.ttl, 1, 0, nil, udp(c.port, c.port, question))))
		got := claims(t, c.o, f)
		if claimed := slices.Contains(got, passive.Claim{MAC: passive.MAC(macA), IP: c.src}); claimed != c.claimed || len(got) > 1 {
			t.Errorf("%s: claims %+v", c.name, got)
		}
	}
}

// TestAnnouncedHosts: a host's own name gets its MAC, a name that a proxy or a
// reflector speaks of does not.
func TestAnnouncedHosts(t *testing.T) {
	own, other := name(t, "nas.local"), name(t, "printer.local")
	addr6, otherAddr := netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.0.0.9")
	msg := announcement(t, dnswire.NewAddr(own, client, 120), dnswire.NewAddr(name(t, "NAS.local"), addr6, 120), dnswire.NewAddr(other, otherAddr, 0))
	frame := func(port uint16) []passive.Claim {
		return claims(t, passive.Options{}, ethernet(eth(macB, macA, 0x0800, ip4(17, client, netip.MustParseAddr("224.0.0.251"), 255, 1, 0, nil, udp(port, 5353, msg)))))
	}
	want := []passive.Claim{
		{MAC: passive.MAC(macA), IP: client},
		{MAC: passive.MAC(macA), IP: client, Host: "nas.local", Lifetime: 2 * time.Minute},
		{MAC: passive.MAC(macA), IP: addr6, Host: "NAS.local", Lifetime: 2 * time.Minute},
		{IP: otherAddr, Host: "printer.local", Hearsay: true, Gone: true},
	}
	if got := frame(5353); !slices.Equal(got, want) {
		t.Errorf("claims\n%+v\nwant\n%+v", got, want)
	}
	// RFC 6762 §6: a response from another port is to be ignored.
	if got := frame(40000); !slices.Equal(got, want[:1]) {
		t.Errorf("from another port: %+v", got)
	}
	// Known answers in a question are what somebody else said.
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 0)
	b.Question(own, dnswire.TypeA, dnswire.ClassIN, false)
	b.Answer(dnswire.NewAddr(own, client, 100))
	got := claims(t, passive.Options{}, ethernet(eth(macB, macA, 0x0800, ip4(17, client, netip.MustParseAddr("224.0.0.251"), 255, 1, 0, nil, udp(5353, 5353, b.Bytes())))))
	if !slices.Equal(got, want[:1]) {
		t.Errorf("known answers claim %+v", got)
	}
}

// TestProxies: who answers ARP or NDP for others only tells hearsay.
func TestProxies(t *testing.T) {
	arp := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, macA, client.AsSlice(), macB, server.AsSlice())
	got := claims(t, passive.Options{}, ethernet(eth(macB, macB, 0x0806, arp)))
	if len(got) != 1 || !got[0].Hearsay || got[0].MAC != passive.MAC(macA) {
		t.Errorf("ARP by another: %+v", got)
	}
	na := slices.Concat([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, netip.MustParseAddr("fe80::77").AsSlice(), []byte{2, 1}, macA)
	be.PutUint16(na[2:], ^sum(client6, group6, na))
	got = claims(t, passive.Options{}, ethernet(eth(macB, macA, 0x86dd, ip6(58, client6, group6, 255, na))))
	if len(got) != 1 || !got[0].Hearsay || got[0].IP.String() != "fe80::77" {
		t.Errorf("NDP proxy: %+v", got)
	}
	// With a link-layer address in it and no override flag, it says that it is a proxy (RFC 4861 §7.2.4).
	server6 := netip.MustParseAddr("fe80::77")
	for flag, mac := range map[byte]passive.MAC{0x40: {}, 0x60: passive.MAC(macA)} {
		own := slices.Concat([]byte{136, 0, 0, 0, flag, 0, 0, 0}, client6.AsSlice(), []byte{2, 1}, macA)
		be.PutUint16(own[2:], ^sum(client6, server6, own))
		got = claims(t, passive.Options{}, ethernet(eth(macB, macA, 0x86dd, ip6(58, client6, server6, 255, own))))
		if len(got) != 1 || got[0].IP != client6 || got[0].MAC != mac || got[0].Hearsay != (mac == passive.MAC{}) {
			t.Errorf("with flags %#x: %+v", flag, got)
		}
	}
	// Without the option the frame's source is the sender's, but not for another.
	na = na[:24]
	clear(na[2:4])
	be.PutUint16(na[2:], ^sum(client6, group6, na))
	if got = claims(t, passive.Options{}, ethernet(eth(macB, macA, 0x86dd, ip6(58, client6, group6, 255, na)))); len(got) != 0 {
		t.Errorf("NDP proxy without option: %+v", got)
	}
}
