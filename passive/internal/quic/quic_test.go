package quic_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/quic"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

var be = binary.BigEndian

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// vector is one of the standards' examples of a client's keys.
type vector struct {
	name        string
	version     uint32
	first       byte
	key, iv, hp string
}

// dcid is the connection id in all examples.
const dcid = "8394c8f03e515708"

var vectors = []vector{
	{"RFC 9001 appendix A.1", quic.Version1, 0xc0, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
	{"RFC 9369 appendix A.1", quic.Version2, 0xd0, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
	{"draft-ietf-quic-tls-29 appendix A.1", 0xff00001d, 0xc0, "175257a31eb09dea9366d8bb79ad80ba", "6b26114b9cba2b63a9e8dd4f", "9ddd12c994c0698b89374a9c077a3077"},
	{"draft-ietf-quic-tls-27 appendix A.1", 0xff00001b, 0xc0, "af7fd7efebd21878ff66811248983694", "8681359410a70bb9c92f0420", "a980b8b4fb7d9fbc13e814c23164253d"},
}

// varint2 writes a number of variable length in two bytes.
func varint2(b []byte, v int) []byte { return be.AppendUint16(b, uint16(v)|0x4000) }

// seal makes a closed packet, with the keys that the standard prints.
func (v vector) seal(number uint32, size int, frames []byte) []byte {
	h := be.AppendUint32([]byte{v.first | byte(size-1)}, v.version)
	id := unhex(dcid)
	h = append(append(h, byte(len(id))), id...)
	h = append(h, 2, 7, 7) // the client's id
	h = append(h, 3, 1, 2, 3)
	h = varint2(h, size+len(frames)+16)
	at := len(h)
	h = append(h, be.AppendUint32(nil, number)[4-size:]...)
	nonce := unhex(v.iv)
	for i, c := range be.AppendUint32(nil, number) {
		nonce[8+i] ^= c
	}
	block, _ := aes.NewCipher(unhex(v.key))
	aead, _ := cipher.NewGCM(block)
	b := aead.Seal(slices.Clone(h), nonce, frames, h)
	mask := make([]byte, 16)
	hp, _ := aes.NewCipher(unhex(v.hp))
	hp.Encrypt(mask, b[at+4:])
	b[0] ^= mask[0] & 15
	for i := range size {
		b[at+i] ^= mask[1+i]
	}
	return b
}

// TestOpen opens what the standards' keys have closed.
func TestOpen(t *testing.T) {
	for _, v := range vectors {
		for size := 1; size <= 4; size++ {
			frames := bytes.Repeat([]byte{1}, 40)
			b := v.seal(2, size, frames)
			if !quic.Opens(b) {
				t.Errorf("%s: not taken for an Initial packet", v.name)
			}
			p, rest, err := quic.Next(append(slices.Clone(b), "rest"...))
			if err != nil || !p.Initial() || string(rest) != "rest" || hex.EncodeToString(p.DCID) != dcid || p.Version != v.version {
				t.Fatalf("%s: %+v %q %v", v.name, p, rest, err)
			}
			keys, err := quic.ClientKeys(v.version, unhex(dcid))
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.Open([]byte("before"), &p)
			if err != nil || string(got) != "before"+string(frames) {
				t.Errorf("%s: number of %d bytes: %x, %v", v.name, size, got, err)
			}
			b[len(b)-1] ^= 1
			p, _, _ = quic.Next(b)
			if _, err := keys.Open(nil, &p); !errors.Is(err, quic.ErrKey) {
				t.Errorf("%s: changed on its way: %v", v.name, err)
			}
		}
	}
}

func TestNext(t *testing.T) {
	initial := vectors[0].seal(0, 1, make([]byte, 30))
	zeroRTT := slices.Concat([]byte{0xd0, 0, 0, 0, 1, 0, 0}, varint2(nil, 5), make([]byte, 5))
	p, rest, err := quic.Next(slices.Concat(zeroRTT, initial))
	if p.Initial() || err != nil || !bytes.Equal(rest, initial) {
		t.Errorf("a packet of another type: %v %d %v", p, len(rest), err)
	}
	for name, b := range map[string][]byte{
		"Retry": {0xf0, 0, 0, 0, 1, 0, 0, 1}, "version negotiation": {0xc0, 0, 0, 0, 0, 0, 0, 1}, "unknown version": {0xc0, 9, 9, 9, 9, 0, 0, 1},
	} {
		if p, rest, err := quic.Next(b); p.Initial() || rest != nil || err != nil {
			t.Errorf("%s: %v %v %v", name, p, rest, err)
		}
	}
	for n := range initial {
		if _, _, err := quic.Next(initial[:n]); !errors.Is(err, quic.ErrForm) {
			t.Errorf("%d bytes of a packet: %v", n, err)
		}
	}
	long := slices.Clone(initial)
	long[5] = 21
	if _, _, err := quic.Next(long); !errors.Is(err, quic.ErrForm) {
		t.Errorf("an id of 21 bytes: %v", err)
	}
	if _, _, err := quic.Next([]byte{0x40, 1, 2, 3, 4, 5, 6, 7}); !errors.Is(err, quic.ErrForm) {
		t.Errorf("a short header: %v", err)
	}
}

// crypto writes a CRYPTO frame.
func crypto(offset int, data string) []byte {
	return append(varint2(varint2([]byte{6}, offset), len(data)), data...)
}

// TestCrypto: bytes in any order, said again, with other frames between.
func TestCrypto(t *testing.T) {
	ack := []byte{2, 5, 0, 1, 0, 1, 1}
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   string
		err    error
	}{
		{"in order", [][]byte{crypto(0, "abc"), crypto(3, "def")}, "abcdef", nil},
		{"backward", [][]byte{crypto(4, "ef"), crypto(2, "cd"), crypto(0, "ab")}, "abcdef", nil},
		{"over each other", [][]byte{crypto(0, "abcd"), crypto(2, "XXef"), crypto(1, "XX")}, "abcdef", nil},
		{"with a gap", [][]byte{crypto(0, "ab"), crypto(3, "d")}, "ab", nil},
		{"nothing", [][]byte{{0, 0, 1, 0}}, "", nil},
		{"an empty frame", [][]byte{crypto(9, "")}, "", nil},
		{"between others", [][]byte{{1, 0, 0}, ack, crypto(0, "ab"), {3, 5, 0, 0, 0, 1, 1, 1}, crypto(2, "c")}, "abc", nil},
		{"behind a close", [][]byte{crypto(0, "ab"), {0x1c}, crypto(2, "c")}, "ab", nil},
		{"another frame", [][]byte{crypto(0, "ab"), {8}}, "ab", quic.ErrForm},
		{"an ACK cut off", [][]byte{ack[:5]}, "", quic.ErrForm},
		{"a frame cut off", [][]byte{crypto(0, "abc")[:6]}, "", quic.ErrForm},
		{"too far", [][]byte{crypto(quic.MaxCrypto-1, "abc")}, "", quic.ErrForm},
		{"too many", [][]byte{bytes.Repeat([]byte{1}, 5000)}, "", quic.ErrForm},
	} {
		var x quic.Crypto
		err := x.Frames(slices.Concat(c.frames...))
		if string(x.Bytes()) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", c.name, x.Bytes(), err)
		}
		x.Reset()
		if len(x.Bytes()) > 0 || x.Some() {
			t.Errorf("%s: %q after Reset", c.name, x.Bytes())
		}
		if err := x.Frames(crypto(2, "c")); err != nil || len(x.Bytes()) > 0 {
			t.Errorf("%s: something is left after Reset: %q", c.name, x.Bytes())
		}
	}
}

// FuzzQUIC opens any bytes as a datagram, and reads them as frames.
func FuzzQUIC(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.seal(0, 1, crypto(0, "abcdefghijklmnopqrstuvwxyz")))
		f.Add(slices.Concat(v.seal(0, 4, crypto(4, "e")), v.seal(1, 2, crypto(0, "abcd"))))
	}
	f.Add(slices.Concat(crypto(0, "abc"), []byte{2, 5, 0, 1, 0, 1, 1}, crypto(3, "d")))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Proto == 17 && quic.Opens(p.Payload) })
	f.Fuzz(func(t *testing.T, b []byte) {
		var c quic.Crypto
		_ = c.Frames(b)
		if len(c.Bytes()) > quic.MaxCrypto || c.Size() > 4*quic.MaxCrypto {
			t.Fatalf("%d bytes, %d held", len(c.Bytes()), c.Size())
		}
		before := slices.Clone(b)
		for rest := b; len(rest) > 0; {
			p, more, err := quic.Next(rest)
			if err != nil || len(more) >= len(rest) {
				break
			}
			rest = more
			if !p.Initial() {
				continue
			}
			keys, err := quic.ClientKeys(p.Version, p.DCID)
			if err != nil {
				t.Fatal(err)
			}
			frames, err := keys.Open(nil, &p)
			if err == nil {
				_ = c.Frames(frames)
			}
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the datagram was changed")
		}
	})
}
