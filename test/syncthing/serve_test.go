package syncthing

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

// globalReply is the answer to a made-up packet's query: that of the real servers, but where
// they don't agree or the protocol's rules are stricter than they.
func globalReply(t *testing.T, id string, replies map[string]*struct{ Hex packet }) []byte {
	t.Helper()
	from := "all four servers"
	switch id {
	case "x24", // an IP with two ports is two addresses
		"x44": // ::ffff:192.0.2.1 is IPv4
		from = "discosrv 2f14623 (2015-05, PostgreSQL)"
	case "x26", "x28", // ports beyond 65,535
		"x30", "x32", "x36", // IPs of 3, 8 and 5 bytes
		"x38", "x40", "x42", // no host's address
		"x46", "x48", "x60": // IDs of less than 32 bytes
		return nil
	}
	r, ok := replies[from]
	if !ok {
		t.Fatalf("%s: no reply of %s", id, from)
	}
	if r == nil {
		return nil
	}
	return r.Hex
}

// TestServeAnswersMadeUpPackets: every made-up packet by UDP to the real program, and what it
// answers, byte by byte. It lives on after each.
func TestServeAnswersMadeUpPackets(t *testing.T) {
	h := newLab(t).Host("server")
	serve(h, "--rate-limit", "off")
	to := server("127.0.0.1")
	s := open(t, h, "127.0.0.1:0")
	s.announceSentinel(to)
	answered := 0
	for _, c := range readVectors(t).Global {
		if c.Announce != nil {
			from := open(t, h, netip.AddrPortFrom(netip.MustParseAddr(c.Src), 0).String())
			want(t, c.ID+", "+c.Name+", the announcement", from.exchange(to, c.Announce), nil)
		}
		reply := globalReply(t, c.ID, c.Reply)
		want(t, c.ID+", "+c.Name, s.exchange(to, c.Query), reply)
		if reply != nil {
			answered++
		}
	}
	if answered < 7 {
		t.Errorf("only %d queries answered", answered)
	}
}

// TestServeAnswersCapturedPackets: what real clients sent to real servers, from the
// addresses that they had, and the very answers.
func TestServeAnswersCapturedPackets(t *testing.T) {
	l := newLab(t)
	subnet := l.Subnet("net", "10.9.0.0/24", "fd09::/64")
	h := l.Host("server").Join(subnet, lab.WithAddress("10.9.0.1"), lab.WithAddress("fd09::1"))
	serve(h, "--rate-limit", "off")
	for _, a := range []string{"127.0.0.1", "::1", "10.9.0.1", "fd09::1"} {
		s := open(t, h, netip.AddrPortFrom(netip.MustParseAddr(a), 0).String())
		s.announceSentinel(server(a))
	}
	announced, replies := 0, 0
	for _, c := range readVectors(t).Captured {
		if c.Mode != "global" {
			continue
		}
		src, dst := endpoint(t, c.Src), endpoint(t, c.Dst)
		if src.Port() == globalPort { // an answer
			// Announced as it stands there, by a device of its own, it comes back like that.
			id := deviceID(c.ID)
			own := slices.Concat(c.Hex[:8], id[:], c.Hex[40:])
			from := open(t, h, "127.0.0.1:0")
			from.exchange(server("127.0.0.1"), own)
			s := open(t, h, dst.String())
			want(t, c.ID+", "+c.Description, s.exchange(src, query(id)), own)
			replies++
			continue
		}
		s := open(t, h, src.String())
		if got := s.exchange(dst, c.Hex); len(c.Hex) > querySize && len(got) > 0 {
			t.Errorf("%s, %s: the announcement is answered with %x", c.ID, c.Description, got)
		}
		if len(c.Hex) > querySize {
			// The same, but that the sender's address is in the place of one without an IP.
			id, addresses, err := readAnswer(c.Hex)
			if err != nil {
				t.Fatal(c.ID, err)
			}
			for i, a := range addresses {
				if port, ok := strings.CutPrefix(a, ":"); ok {
					addresses[i] = net.JoinHostPort(src.Addr().String(), port)
				}
			}
			var answer []byte // none if there are no addresses
			if len(addresses) > 0 {
				answer = announcement(id, addresses...)
			}
			want(t, c.ID+", "+c.Description, s.exchange(dst, query(id)), answer)
			announced++
		}
	}
	if announced < 8 || replies < 9 {
		t.Errorf("%d announcements, %d replies", announced, replies)
	}
}

// TestServeAnswersFromTheAddressAsked: a host with several addresses answers from the one that
// was asked, in both families, and by default it listens at all of them. The asker's family doesn't
// matter for what it is told.
func TestServeAnswersFromTheAddressAsked(t *testing.T) {
	l := newLab(t)
	near, far := l.Subnet("near", "10.77.1.0/24", "fd77:1::/64"), l.Subnet("far", "10.77.2.0/24", "fd77:2::/64")
	h := l.Host("server").Join(near).Join(far)
	client := l.Host("client").Join(near)
	more := netip.MustParseAddr("10.77.1.200")
	h.Link(near).AddAddresses(more)
	client.Run("ip", "route", "add", h.Link(far).V4.String(), "via", h.Link(near).V4.String())
	client.Run("ip", "route", "add", h.Link(far).V6.String(), "via", h.Link(near).V6.String())
	serve(h)
	ours := client.Link(near)
	s4, s6 := open(t, client, "0.0.0.0:0"), open(t, client, "[::]:0")
	s4.announceSentinel(at(h.Link(near).V4))
	s4.send(at(more), announcement(deviceID("alpha"), ":22000"))
	s6.send(at(h.Link(near).V6), announcement(deviceID("beta"), ":22001"))
	linkLocal := at(h.Link(near).LinkLocal().WithZone(ours.Name))
	s6.send(linkLocal, announcement(deviceID("gamma"), ":22002"))
	for _, to := range []netip.AddrPort{at(h.Link(near).V4), at(more), at(h.Link(far).V4), at(h.Link(near).V6), linkLocal, at(h.Link(far).V6)} {
		s := s4
		if to.Addr().Is6() {
			s = s6
		}
		s.wantFound(to, "alpha", netip.AddrPortFrom(ours.V4, 22000).String())
		s.wantFound(to, "beta", netip.AddrPortFrom(ours.V6, 22001).String())
		s.wantFound(to, "gamma", netip.AddrPortFrom(ours.LinkLocal(), 22002).String())
	}
}

// TestServeListensWhereItIsTold: at one address alone, or at all of one family.
func TestServeListensWhereItIsTold(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	client := l.Host("client").Join(net)
	for i, c := range []struct{ listen, answers, silent string }{
		{"V4:22026", "V4:22026", "[V6]:22026"},
		{"[V6]:22026", "[V6]:22026", "V4:22026"},
		{"0.0.0.0:9999", "V4:9999", "V4:22026"},
		{"[::]:9999", "[V6]:9999", "[V6]:22026"},
	} {
		h := l.Host(fmt.Sprintf("server%d", i)).Join(net)
		own := strings.NewReplacer("V4", h.Link(net).V4.String(), "V6", h.Link(net).V6.String())
		serve(h, "--listen", own.Replace(c.listen))
		to, not := netip.MustParseAddrPort(own.Replace(c.answers)), netip.MustParseAddrPort(own.Replace(c.silent))
		s := open(t, client, "[::]:0")
		s.announceSentinel(to)
		s.send(to, announcement(deviceID("alpha"), ":22000"))
		s.wantFound(to, "alpha", netip.AddrPortFrom(address(client.Link(net), to.Addr()), 22000).String())
		other := open(t, client, "[::]:0")
		other.send(not, query(deviceID(sentinel)))
		if got, from := other.receive(200 * time.Millisecond); got != nil {
			t.Errorf("%s: answered at %s", c.listen, from)
		}
	}
}

// address is the link's own one of the family of another.
func address(k *lab.Link, of netip.Addr) netip.Addr {
	if of.Is4() {
		return k.V4
	}
	return k.V6
}

// wire counts what went to and from a server's port on a link, and by ICMP.
type wire struct{ in, out, inBytes, outBytes, icmp, witness int }

// weigh counts what passed. What a witness asked, from its port, is counted by itself.
func weigh(c *lab.Capture, witness uint16) (w wire) {
	for _, f := range c.Frames() {
		payload, src, dst, ok := f.UDP()
		switch {
		case ok && (src == witness || dst == witness):
			w.witness++
		case ok && dst == globalPort:
			w.in++
			w.inBytes += len(payload)
		case ok && src == globalPort:
			w.out++
			w.outBytes += len(payload)
		case f.Sent && f.Layer(layers.LayerTypeICMPv4) != nil:
			w.icmp++
		}
	}
	return w
}

// TestServeDoesNotAmplify: on the wire, to whoever asks with a false address. The most that it
// answers to a query, 16 addresses of IPv6, is less than eleven times that; there is nothing
// for who isn't known; and a prefix doesn't get more than its limit.
func TestServeDoesNotAmplify(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/16", "fd77::/64")
	h, client := l.Host("server").Join(net), l.Host("client").Join(net)
	serve(h, "--rate-limit", "50/s")
	to := at(h.Link(net).V4)
	s := open(t, client, "0.0.0.0:0")
	s.announceSentinel(to)
	var most []string
	for i := range 16 {
		most = append(most, fmt.Sprintf("[2001:db8::%x]:%d", i+1, 22000+i))
	}
	s.exchange(to, announcement(deviceID("alpha"), most...))
	ask := func(what string, victim string, n, least int, b []byte) wire {
		t.Helper()
		capture := h.Link(net).Capture()
		ip := netip.MustParseAddr(victim)
		for i := range n {
			client.Link(net).Send(
				&layers.Ethernet{SrcMAC: client.Link(net).MAC, DstMAC: h.Link(net).MAC, EthernetType: layers.EthernetTypeIPv4},
				&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip.AsSlice(), DstIP: to.Addr().AsSlice()},
				&layers.UDP{SrcPort: layers.UDPPort(1024 + i), DstPort: globalPort},
				gopacket.Payload(b))
		}
		var w wire
		lab.Eventually(t, 20*time.Second, what, func() error {
			if w = weigh(capture, s.port()); w.in < n || w.out < least {
				return fmt.Errorf("%+v came by", w)
			}
			return nil
		})
		// All of it was dealt with soon after.
		time.Sleep(100 * time.Millisecond)
		s.wantFound(to, "nobody")
		lab.Eventually(t, 20*time.Second, what, func() error {
			if w = weigh(capture, s.port()); w.witness < 3 {
				return fmt.Errorf("%+v came by", w)
			}
			return nil
		})
		return w
	}
	// Neighbours that nobody has would have to be found first: let them be known.
	for _, victim := range []string{"10.77.3.1", "10.77.4.1", "10.77.4.2", "10.77.5.1"} {
		if r := h.Run("ip", "neigh", "add", victim, "lladdr", "02:00:00:00:00:99", "dev", h.Link(net).Name); r.Exit != 0 {
			t.Fatal(r.Stderr)
		}
	}
	one := ask("the longest answer", "10.77.3.1", 10, 10, query(deviceID("alpha")))
	if one.out != 10 || one.outBytes != 10*432 || float64(one.outBytes) > 11*float64(one.inBytes) || one.icmp > 0 {
		t.Errorf("the longest answer: %+v", one)
	}
	begin := time.Now()
	flood := ask("a flood", "10.77.4.1", 400, 50, query(deviceID("alpha")))
	flood.out += ask("a neighbour", "10.77.4.2", 400, 0, query(deviceID("alpha"))).out
	if most := 50 + int(50*time.Since(begin).Seconds()); flood.out < 50 || flood.out > most {
		t.Errorf("a flood in the names of a prefix: %d answers, more than 50 at once and 50 a second: %d", flood.out, most)
	}
	for what, b := range map[string][]byte{
		"unknown":         query(deviceID("nobody")),
		"no protocol":     []byte("GET / HTTP/1.1\r\n\r\n"),
		"an empty one":    {},
		"a part":          query(deviceID("alpha"))[:20],
		"an announcement": announcement(deviceID("beta"), ":1"),
	} {
		if w := ask(what, "10.77.5.1", 5, 0, b); w.out > 0 || w.icmp > 0 {
			t.Errorf("%s: %+v", what, w)
		}
	}
}

// TestServeAndFalseSources: packets from addresses that no host has, and to all hosts, are
// not answered, and addresses that make no sense aren't kept.
func TestServeAndFalseSources(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24")
	h, client := l.Host("server").Join(net), l.Host("client").Join(net)
	serve(h, "--rate-limit", "off")
	to := at(h.Link(net).V4)
	s := open(t, client, "0.0.0.0:0")
	s.announceSentinel(to)
	s.wantFound(to, "nobody")
	capture := h.Link(net).Capture()
	send := func(src, dst string, port uint16, b []byte) {
		t.Helper()
		mac := h.Link(net).MAC
		if dst != to.Addr().String() {
			mac = layers.EthernetBroadcast
		}
		client.Link(net).Send(
			&layers.Ethernet{SrcMAC: client.Link(net).MAC, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()},
			&layers.UDP{SrcPort: layers.UDPPort(port), DstPort: globalPort},
			gopacket.Payload(b))
	}
	ours := to.Addr().String()
	for _, src := range []string{"0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", ours} {
		send(src, ours, 4000, query(deviceID(sentinel)))
		send(src, ours, 4000, announcement(deviceID("alpha"), ":22000"))
	}
	send("10.77.0.255", ours, 4000, query(deviceID(sentinel)))
	send("10.77.0.99", ours, 0, query(deviceID(sentinel)))
	for _, dst := range []string{"255.255.255.255", "10.77.0.255"} {
		send(client.Link(net).V4.String(), dst, 4000, query(deviceID(sentinel)))
	}
	s.exchange(to, announcement(deviceID("beta"), "0.0.0.0:1", "127.0.0.1:2", "255.255.255.255:3", "239.1.2.3:4", "[::]:5", "[ff02::1]:6", "[::1]:7", "[::ffff:127.0.0.1]:8", "192.0.2.1:9"))
	s.wantFound(to, "beta", "192.0.2.1:9")
	s.wantFound(to, "alpha")
	for _, f := range capture.Frames() {
		if _, src, dst, ok := f.UDP(); ok && src == globalPort && (dst == 4000 || dst == 0) {
			t.Errorf("answered: %v", f)
		}
	}
}

// TestServeKeepsToItsLimits: per prefix and per device.
func TestServeKeepsToItsLimits(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/16", "fd77::/48")
	h := l.Host("server").Join(net)
	client := l.Host("client").Join(net, lab.WithAddress("10.77.1.1"), lab.WithAddress("fd77:0:0:1::1"))
	beside := l.Host("beside").Join(net, lab.WithAddress("10.77.1.2"), lab.WithAddress("fd77:0:0:1::2"))
	other := l.Host("other").Join(net, lab.WithAddress("10.77.2.1"), lab.WithAddress("fd77:0:0:2::1"))
	serve(h, "--rate-limit", "20/s")
	for _, family := range []string{"0.0.0.0:0", "[::]:0"} {
		to := at(h.Link(net).V4)
		if family != "0.0.0.0:0" {
			to = at(h.Link(net).V6)
		}
		s := open(t, other, family)
		s.announceSentinel(to)
		begin := time.Now()
		all := 0
		// answers asks n times, and waits for as many answers as there must be and for those that follow them.
		answers := func(from *lab.Host, n, least int) {
			s := open(t, from, family)
			for range n {
				s.send(to, query(deviceID(sentinel)))
			}
			for got := 0; ; got++ {
				wait := 300 * time.Millisecond
				if got < least {
					wait = patience
				}
				if b, _ := s.receive(wait); b == nil {
					return
				}
				all++
			}
		}
		answers(client, 100, 20)
		answers(beside, 100, 0)
		if most := 20 + int(20*time.Since(begin).Seconds()); all < 20 || all > most {
			t.Errorf("%s: %d answers to a prefix, more than 20 at once and 20 a second: %d", to, all, most)
		}
		s.exchange(to, announcement(deviceID("alpha"), ":22000"))
		if got := s.found(to, deviceID("alpha")); len(got) == 0 {
			t.Errorf("%s: another prefix isn't served", to)
		}
	}
}
