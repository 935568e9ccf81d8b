package passive_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// TestNoFrameIsTakenForAnother: a frame that differs in one byte from one that is
// remembered says what it says to a Decoder that has never heard the other.
func TestNoFrameIsTakenForAnother(t *testing.T) {
	say := func(d *passive.Decoder, b []byte) string {
		var s strings.Builder
		d.Decode(ethernet(b), func(x *passive.Fact) { s.WriteString(text(x)) })
		return s.String()
	}
	frames, repeats := 0, 0
	for _, g := range goldens(t) {
		if slices.Contains([]string{"dns-fragments", "dns-tcp", "tls-curl", "http-curl", "mqtt", "quic-go"}, g.name) {
			continue // what these say depends on others
		}
		frame := g.frames[len(g.frames)-1]
		knows := passive.NewDecoder(passive.Options{})
		for range 3 {
			say(knows, frame)
		}
		for i := 0; i < len(frame); i++ {
			if i > 100 {
				i += 4 // behind the headers a few will do
			}
			if i >= len(frame) {
				break
			}
			b := slices.Clone(frame)
			b[i] ^= 1 << (i % 8)
			got, want := say(knows, b), say(passive.NewDecoder(passive.Options{}), b)
			if got != want {
				t.Fatalf("%s: byte %d changed: %s\nwant %s", g.name, i, got, want)
			}
			frames++
			if got == say(knows, frame) {
				repeats++
			}
		}
	}
	if frames < 3000 || repeats < 100 {
		t.Errorf("%d frames, of which %d say the same", frames, repeats)
	}
}
