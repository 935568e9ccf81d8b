package main

import (
	"strings"
	"testing"
)

func TestWhatStrangersSayIsSafeForATerminal(t *testing.T) {
	for _, c := range []struct{ prefix, text, want string }{
		{"", "", ""},
		{"", "one\ntwo", "one\ntwo\n"},
		{"pi: ", "one\n\ntwo\n", "pi: one\npi: \npi: two\n"},
		{"", "a\tb\x1b[2Jc\r\x07\n", `a` + "\t" + `b\u001b[2Jc\u000d\u0007` + "\n"},
		{"", "Büro € 😀\n", "Büro € 😀\n"},
		{"", "\xff\xe2\x82", `\xff\xe2\x82` + "\n"},
		{"", "\u202etxt.exe", `\u202etxt.exe` + "\n"},
	} {
		// However it is cut, it comes out the same.
		for size := 1; size <= len(c.text)+1; size++ {
			var b strings.Builder
			w := &safeWriter{w: &b, prefix: c.prefix}
			for rest := c.text; rest != ""; {
				n := min(size, len(rest))
				if _, err := w.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want {
				t.Errorf("%q in pieces of %d: %q; want %q", c.text, size, b.String(), c.want)
			}
		}
	}
}
