package wire

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryRowIsOnTheWire holds the second list of docs/rfc6762.md against the
// first ones: each of the 101 rows has its place in both. That the tests are
// there is checked in package mdns.
func TestEveryRowIsOnTheWire(t *testing.T) {
	text, err := os.ReadFile("../../docs/rfc6762.md")
	if err != nil {
		t.Fatal(err)
	}
	virtual, wire, ok := strings.Cut(string(text), "## On the wire")
	if !ok {
		t.Fatal("no list of what is on the wire")
	}
	for _, list := range []struct{ what, text string }{{"the tables", virtual}, {"the list of what is on the wire", wire}} {
		rows := map[int]bool{}
		for _, m := range regexp.MustCompile(`(?m)^\| ([0-9, to]+) \|`).FindAllStringSubmatch(list.text, -1) {
			for part := range strings.SplitSeq(m[1], ", ") {
				first, last, span := strings.Cut(part, " to ")
				if !span {
					last = first
				}
				from, err := strconv.Atoi(first)
				if err != nil {
					t.Fatalf("row %q", m[1])
				}
				to, err := strconv.Atoi(last)
				if err != nil {
					t.Fatalf("row %q", m[1])
				}
				for ; from <= to; from++ {
					rows[from] = true
				}
			}
		}
		for row := 1; row <= 101; row++ {
			if !rows[row] {
				t.Errorf("%s leave row %d out", list.what, row)
			}
		}
	}
}
