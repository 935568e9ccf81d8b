package headers_test

import (
	"bytes"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/headers"
	"github.com/lanfolk/lanfolk/passive/internal/seeds"
)

func TestNext(t *testing.T) {
	line, rest := headers.Line([]byte("NOTIFY * HTTP/1.1\r\nHost : a:1 \nfolded\r\nNT:\r\n\r\nbody"))
	if string(line) != "NOTIFY * HTTP/1.1" {
		t.Errorf("%q", line)
	}
	for _, want := range [][2]string{{"Host", "a:1"}, {"", "folded"}, {"NT", ""}} {
		var name, value []byte
		var ok bool
		if name, value, rest, ok = headers.Next(rest); !ok || string(name) != want[0] || string(value) != want[1] {
			t.Errorf("%q: %q, %t; want %q", name, value, ok, want)
		}
	}
	if _, _, rest, ok := headers.Next(rest); ok || string(rest) != "body" {
		t.Errorf("%t, %q", ok, rest)
	}
	if !headers.Is([]byte("hOsT"), "host") || headers.Is([]byte("hosts"), "host") {
		t.Error("names aren't compared without regard to case")
	}
}

// FuzzNext: each call takes something off, and names have no colon.
func FuzzNext(f *testing.F) {
	f.Add([]byte("A: b\r\nc\r\n\r\n"))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 1900 || p.Dst == 80 })
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			name, value, rest, ok := headers.Next(b)
			if !ok {
				return
			}
			if len(rest) >= len(b) || len(name)+len(value) > len(b) || bytes.IndexByte(name, ':') >= 0 {
				t.Fatalf("%q: %q, %q, %q", b, name, value, rest)
			}
			b = rest
		}
	})
}
