package hello_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/hello"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

var be = binary.BigEndian

// list writes numbers behind their length of n bytes.
func list(n int, codes ...uint16) []byte {
	var b []byte
	for _, c := range codes {
		b = be.AppendUint16(b, c)
	}
	return sized(n, b)
}

// sized writes bytes behind their length of n bytes.
func sized(n int, b []byte) []byte {
	size := be.AppendUint32(nil, uint32(len(b)))
	return append(size[4-n:], b...)
}

type extension struct {
	kind uint16
	body []byte
}

func serverName(s string) extension {
	return extension{0, sized(2, append([]byte{0}, sized(2, []byte(s))...))}
}

func protocols(names ...string) extension {
	var b []byte
	for _, n := range names {
		b = append(b, sized(1, []byte(n))...)
	}
	return extension{16, sized(2, b)}
}

// message writes a ClientHello.
func message(version uint16, ciphers []uint16, extensions ...extension) []byte {
	b := be.AppendUint16(nil, version)
	b = append(b, make([]byte, 32)...)
	b = append(b, sized(1, make([]byte, 32))...)
	b = append(b, list(2, ciphers...)...)
	b = append(b, 1, 0)
	var x []byte
	for _, e := range extensions {
		x = append(be.AppendUint16(x, e.kind), sized(2, e.body)...)
	}
	if len(extensions) > 0 {
		b = append(b, sized(2, x)...)
	}
	return append([]byte{1}, sized(3, b)...)
}

// records cuts a message into records of at most n bytes.
func records(message []byte, n int) []byte {
	var b []byte
	for part := range slices.Chunk(message, n) {
		b = append(append(b, 22, 3, 1), sized(2, part)...)
	}
	return b
}

// example is the ClientHello that JA4's specification takes for its example.
func example() []byte {
	ciphers := []uint16{0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035}
	return message(0x0303, ciphers,
		extension{0x1a1a, nil}, extension{0x1b, nil}, serverName("nas.example"), extension{0x33, nil}, protocols("h2", "http/1.1"),
		extension{0x4469, nil}, extension{0x17, nil}, extension{0x2d, nil},
		extension{0x0d, list(2, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)},
		extension{5, nil}, extension{0x23, nil}, extension{0x12, nil}, extension{0x2b, list(1, 0x7a7a, 0x0304, 0x0303)},
		extension{0xff01, nil}, extension{0x0b, nil}, extension{0x0a, nil}, extension{0x15, nil}, extension{0xfafa, []byte{0}})
}

func TestJA4(t *testing.T) {
	signatures := extension{0x0d, list(2, 0x0403)}
	for _, c := range []struct {
		name      string
		message   []byte
		transport byte
		want      string // "*" where only the rest is told
	}{
		{"the specification's example", example(), hello.TCP, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"by QUIC", example(), hello.QUIC, "q13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"no extensions", message(0x0301, []uint16{5}), hello.TCP, "t10i010000_*_000000000000"},
		{"only GREASE", message(0x0300, []uint16{0x0a0a}, extension{0xaaaa, nil}), hello.TCP, "ts3i000000_000000000000_000000000000"},
		{"unknown version", message(0x0999, []uint16{5}, signatures), hello.TCP, "t00i010100_*"},
		{"one character", message(0x0303, []uint16{5}, protocols("x")), hello.TCP, "t12i0101xx_*_000000000000"},
		{"no characters", message(0x0303, []uint16{5}, protocols("\xab\xcd")), hello.TCP, "t12i0101ad_*"},
		{"one is none", message(0x0303, []uint16{5}, protocols("0\xab")), hello.TCP, "t12i01013b_*"},
		{"an empty name", message(0x0303, []uint16{5}, extension{0, nil}), hello.TCP, "t12d010100_*"},
		{"more than 99", message(0x0303, slices.Repeat([]uint16{5}, 300)), hello.TCP, "t12i990000_*"},
	} {
		var h hello.Hello
		if err := h.Parse(c.message); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := string(h.AppendJA4(nil, c.transport))
		begin, end, _ := strings.Cut(c.want, "*")
		if !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end) || c.want == begin && got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestStream: a message comes whole out of records and pieces of any size.
func TestStream(t *testing.T) {
	m := example()
	var s hello.Stream
	for _, record := range []int{1, 3, 4, 5, 100, len(m)} {
		for _, piece := range []int{1, 2, 5, 6, 7, 100, 1 << 14} {
			s.Reset()
			var got []byte
			for part := range slices.Chunk(records(m, record), piece) {
				message, err := s.Write(part)
				if err != nil {
					t.Fatalf("records of %d, pieces of %d: %v", record, piece, err)
				}
				if message != nil {
					got = message
				}
			}
			if !bytes.Equal(got, m) {
				t.Errorf("records of %d, pieces of %d: %d bytes, want %d", record, piece, len(got), len(m))
			}
		}
	}
	if b := records(m, 100); !hello.Opens(b) || hello.Opens(b[:5]) || hello.Opens(m) {
		t.Error("Opens")
	}
}

func TestStreamErrors(t *testing.T) {
	m := example()
	big := append([]byte{1}, 0, 0x40, 0)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"another record", append([]byte{23, 3, 1, 0, 9}, m...), hello.ErrForm},
		{"an empty record", []byte{22, 3, 1, 0, 0}, hello.ErrForm},
		{"a long record", []byte{22, 3, 1, 0x40, 1}, hello.ErrForm},
		{"another message", records([]byte{2, 0, 0, 1, 0}, 9), hello.ErrForm},
		{"too long", records(big, 9), hello.ErrSize},
	} {
		var s hello.Stream
		if _, err := s.Write(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestParseCut: no part of a message is taken for one.
func TestParseCut(t *testing.T) {
	m := example()
	var h hello.Hello
	for n := range m {
		cut := slices.Clone(m[:n])
		if h.Parse(cut) == nil {
			t.Errorf("%d of %d bytes", n, len(m))
		}
	}
	for _, c := range [][]byte{
		message(0x0303, nil),
		message(0x0303, []uint16{5}, extension{0, []byte{0, 9, 0}}),
		message(0x0303, []uint16{5}, extension{16, []byte{0, 2, 9, 1}}),
		message(0x0303, []uint16{5}, extension{13, []byte{0, 3, 4, 3, 1}}),
	} {
		if h.Parse(c) == nil {
			t.Errorf("%x is no ClientHello", c)
		}
	}
}

// TestParseClient reads what Go's own client says.
func TestParseClient(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		// Nobody answers: it fails.
		_ = tls.Client(a, &tls.Config{ServerName: "nas.example", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
		a.Close()
	}()
	defer b.Close()
	var s hello.Stream
	var h hello.Hello
	buf := make([]byte, 512)
	for {
		n, err := b.Read(buf)
		if err == io.EOF {
			t.Fatal("no ClientHello")
		}
		message, err := s.Write(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if message != nil {
			if err := h.Parse(message); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if string(h.ServerName) != "nas.example" || len(h.ALPN) != 2 || string(h.ALPN[1]) != "http/1.1" || h.Version != 0x0304 || h.Legacy != 0x0303 {
		t.Errorf("%q %q %x", h.ServerName, h.ALPN, h.Version)
	}
}

// FuzzHello reads any bytes as a stream, and as a message.
func FuzzHello(f *testing.F) {
	for _, m := range [][]byte{example(), message(0x0301, []uint16{5}), message(0x0303, []uint16{5}, protocols("x"), serverName(""))} {
		f.Add(records(m, 1<<14), 7)
		f.Add(records(m, 9), 100)
		f.Add(m, 1)
	}
	n := 0
	seeds.Each(f, func(p seeds.Packet) bool {
		if hello.Opens(p.Payload) {
			f.Add(p.Payload, 500)
			n++
		}
		return n < 50
	})
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		var h hello.Hello
		read := func(m []byte) {
			if h.Parse(m) != nil {
				return
			}
			if hello.Size(m) > len(m) {
				t.Fatal("read past the end")
			}
			if ja4 := h.AppendJA4(nil, hello.TCP); len(ja4) != 36 {
				t.Fatalf("JA4 %q", ja4)
			}
			if len(h.ServerName) > 255 || len(h.ALPN) > 8 {
				t.Fatal("unbounded")
			}
		}
		read(in)
		var s hello.Stream
		for part := range slices.Chunk(in, max(1, min(size, 1<<14))) {
			m, err := s.Write(part)
			if s.Len() > hello.Max {
				t.Fatalf("%d bytes held", s.Len())
			}
			if err != nil {
				return
			}
			if m != nil {
				read(m)
				return
			}
		}
	})
}

// TestJA4Again: hashes that are remembered are those that are made anew, whatever
// the order of the extensions and however many lists came between.
func TestJA4Again(t *testing.T) {
	var reused hello.Hello
	ja4 := func(h *hello.Hello, ciphers, extensions, signatures []uint16) string {
		h.Ciphers, h.Extensions, h.Signatures = slices.Clone(ciphers), slices.Clone(extensions), slices.Clone(signatures)
		return string(h.AppendJA4(nil, hello.TCP))
	}
	seen := map[string]string{}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 3000 {
		list := func(n, top int) (l []uint16) {
			for range random.IntN(n) {
				l = append(l, uint16(random.IntN(top)))
			}
			return l
		}
		c, e, s := list(4, 5), list(5, 70), list(3, 4)
		var fresh hello.Hello
		want := ja4(&fresh, c, e, s)
		for range 2 {
			if got := ja4(&reused, c, e, s); got != want {
				t.Fatalf("%d: %v %v %v: %s, want %s", i, c, e, s, got, want)
			}
			random.Shuffle(len(e), func(i, j int) { e[i], e[j] = e[j], e[i] })
		}
		slices.Sort(e)
		slices.Sort(c)
		e = slices.DeleteFunc(e, func(x uint16) bool { return x == 0 || x == 16 })
		if len(e) == 0 {
			s = nil
		}
		key := fmt.Sprint(c, e, s)
		if old := seen[want[strings.Index(want, "_"):]]; old != "" && old != key {
			t.Fatalf("%s and %s: both %s", key, old, want)
		}
		seen[want[strings.Index(want, "_"):]] = key
	}
}
