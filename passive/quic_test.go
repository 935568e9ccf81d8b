package passive_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// quicDatagrams returns the ClientHello that Go's TLS makes for QUIC, in two
// datagrams.
func quicDatagrams(t testing.TB, name string, protocols ...string) [][]byte {
	t.Helper()
	c := tls.QUICClient(&tls.QUICConfig{TLSConfig: &tls.Config{ServerName: name, NextProtos: protocols, MinVersion: tls.VersionTLS13}})
	c.SetTransportParameters([]byte{1, 1, 30})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := c.NextEvent()
	for ; e.Kind != tls.QUICWriteData; e = c.NextEvent() {
		if e.Kind == tls.QUICNoEvent {
			t.Fatal("no ClientHello")
		}
	}
	return [][]byte{initialPacket(cryptoFrame(0, e.Data[:1000])), initialPacket(cryptoFrame(1000, e.Data[1000:]))}
}

// datagram4 is a datagram from the client to the server.
func datagram4(src, dst uint16, b []byte) packet.Frame {
	return ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0x4000, nil, udp(src, dst, b))))
}

// TestQUICClient reads a ClientHello in two datagrams: in both orders, and on any port.
func TestQUICClient(t *testing.T) {
	d := quicDatagrams(t, "nas.example", "h3", "protocol-0")
	a, b := datagram4(40000, 443, d[0]), datagram4(40000, 443, d[1])
	alone, _ := asked(a)
	if len(alone) != 0 {
		t.Fatalf("the client's first datagram alone says %q: the test tells nothing", alone)
	}
	cut := a
	cut.Data = cut.Data[:500]
	late := b
	late.Time = late.Time.Add(time.Minute)
	vm := filterVM(t)
	for _, f := range []packet.Frame{a, b} {
		if !passes(t, vm, f.Data) || !passes(t, vm, tagged(f.Data, 0x81, 0, 0, 5)) {
			t.Error("the filter keeps a datagram back")
		}
	}
	for _, c := range []struct {
		name   string
		frames []packet.Frame
		want   int
		drop   string
	}{
		{"in order", []packet.Frame{a, b}, 1, ""},
		{"backward", []packet.Frame{b, a}, 1, ""},
		{"repeated", []packet.Frame{a, a, b}, 1, ""},
		{"another port", []packet.Frame{datagram4(40000, 8443, d[0]), datagram4(40000, 8443, d[1])}, 1, ""},
		{"two clients", []packet.Frame{a, datagram4(40001, 443, d[0]), b, datagram4(40001, 443, d[1])}, 2, ""},
		{"late", []packet.Frame{a, late}, 0, ""},
		{"from a server", []packet.Frame{datagram4(443, 40000, d[0]), datagram4(443, 40000, d[1])}, 0, ""},
		{"cut off", []packet.Frame{cut}, 0, "quic: cut off"},
		{"too short", []packet.Frame{datagram4(40000, 443, d[0][:500])}, 0, "quic: malformed"},
		{"changed", []packet.Frame{datagram4(40000, 443, append(bytes.Clone(d[0][:len(d[0])-1]), 1+d[0][len(d[0])-1]))}, 0, ""},
	} {
		got, stats := asked(c.frames...)
		if len(got) != c.want || c.want > 0 && got[0] != "nas.example" {
			t.Errorf("%s: %q, want %d; dropped %v", c.name, got, c.want, stats.Drops)
		}
		if c.drop == "" && len(stats.Drops) > 0 || c.drop != "" && stats.Drops[c.drop] != 1 {
			t.Errorf("%s: dropped %v, want %q", c.name, stats.Drops, c.drop)
		}
	}
	dec := passive.NewDecoder(passive.Options{})
	dec.Decode(a, func(*passive.Fact) {})
	dec.Decode(b, func(f *passive.Fact) {
		if f.Protocol != passive.ProtoQUIC || !strings.HasPrefix(f.Fingerprint, "q13d") || !strings.HasPrefix(f.Field("alpn"), "h3,protocol-0") ||
			f.Field("quic") != "1" || f.Field("version") != "1.3" {
			t.Errorf("%s", f.AppendJSON(nil))
		}
	})
}

// initialPacket closes frames in an Initial packet with the keys of RFC 9001
// appendix A.1.
func initialPacket(frames []byte) []byte {
	id := []byte{0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08}
	key := []byte{0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d}
	iv := []byte{0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c}
	hp := []byte{0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2}
	h := slices.Concat([]byte{0xc0, 0, 0, 0, 1, 8}, id, []byte{0, 0})
	h = be.AppendUint16(h, uint16(1+len(frames)+16)|0x4000)
	at := len(h)
	h = append(h, 0) // packet number 0
	block, _ := aes.NewCipher(key)
	aead, _ := cipher.NewGCM(block)
	b := aead.Seal(slices.Clone(h), iv, frames, h)
	block, _ = aes.NewCipher(hp)
	mask := make([]byte, 16)
	block.Encrypt(mask, b[at+4:])
	b[0] ^= mask[0] & 15
	b[at] ^= mask[1]
	return b
}

// cryptoFrame holds bytes of a handshake.
func cryptoFrame(offset int, data []byte) []byte {
	b := be.AppendUint16([]byte{6}, uint16(offset)|0x4000)
	return append(be.AppendUint16(b, uint16(len(data))|0x4000), data...)
}

// TestQUICFrames: pieces scattered over a datagram's packets are put together,
// and what is no ClientHello is said to be none.
func TestQUICFrames(t *testing.T) {
	h := clientHello(t, "nas.example")[5:] // without its record
	third := len(h) / 3
	scattered := slices.Concat(cryptoFrame(2*third, h[2*third:]), []byte{1, 0, 0, 1}, cryptoFrame(0, h[:third]))
	for _, c := range []struct {
		name string
		b    []byte
		want int
		drop string
	}{
		{"one packet", initialPacket(append(scattered, cryptoFrame(third, h[third:2*third])...)), 1, ""},
		{"two packets", slices.Concat(initialPacket(scattered), initialPacket(cryptoFrame(third, h[third:2*third]))), 1, ""},
		{"with padding behind", slices.Concat(initialPacket(cryptoFrame(0, h)), make([]byte, 300)), 1, ""},
		{"a part", initialPacket(scattered), 0, ""},
		{"no data", initialPacket(make([]byte, 50)), 0, ""},
		{"another message", initialPacket(cryptoFrame(0, append([]byte{2, 0, 0, 20}, make([]byte, 20)...))), 0, "quic: malformed"},
		{"too long a message", initialPacket(cryptoFrame(0, append([]byte{1, 9, 0, 0}, make([]byte, 20)...))), 0, "quic: malformed"},
		{"another frame", initialPacket(append(cryptoFrame(0, h), 0x1e)), 0, "quic: malformed"},
	} {
		got, stats := asked(datagram4(40000, 443, c.b))
		if len(got) != c.want || c.drop == "" && len(stats.Drops) > 0 || c.drop != "" && stats.Drops[c.drop] != 1 {
			t.Errorf("%s: %q, dropped %v", c.name, got, stats.Drops)
		}
	}
}

// TestQUICFlood: connections that never say all cost bounded memory, and push out
// nobody else's.
func TestQUICFlood(t *testing.T) {
	h := clientHello(t, "nas.example")[5:]
	begin, rest := initialPacket(cryptoFrame(0, h[:700])), initialPacket(cryptoFrame(700, h[700:]))
	far := initialPacket(cryptoFrame(16000, make([]byte, 300)))
	d := passive.NewDecoder(passive.Options{})
	before := heap()
	found := 0
	emit := func(*passive.Fact) { found++ }
	d.Decode(datagram4(40000, 443, begin), emit)
	for i := range 2000 {
		src := netip.AddrFrom4([4]byte{10, 9, 0, byte(i % 3)})
		d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, src, server, 64, 1, 0, nil, udp(uint16(1000+i), 443, far)))), emit)
	}
	d.Decode(datagram4(40000, 443, rest), emit)
	if found != 1 {
		t.Errorf("%d found after the flood; dropped %v", found, d.Stats().Drops)
	}
	for i := range 2000 {
		src := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, src, server, 64, 1, 0, nil, udp(1000, 443, far)))), emit)
	}
	if used := heap() - before; used > 8<<20 {
		t.Errorf("%d KiB held", used>>10)
	} else {
		t.Logf("%d KiB held", used>>10)
	}
	if d.Stats().Facts != 1 { // keeps d alive, too
		t.Error("facts of nothing")
	}
}
