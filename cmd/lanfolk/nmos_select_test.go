package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/find"
)

// A table for people has the chosen API first, then the others with why not, then
// what was discarded; names of two types may be the same, and text from the network
// shows what it is.
func TestSelectionForPeople(t *testing.T) {
	advert := func(name, url string, pri int) find.Advert {
		return find.Advert{Instance: name, Domain: "example.com", Via: "unicast", URL: url, Versions: []string{"v1.2", "v1.3"}, Priority: pri}
	}
	why := func(name, reason string) find.Reason {
		return find.Reason{Instance: name, Reason: reason, Domain: "example.com", Via: "unicast"}
	}
	a, twin, b := advert("A", "http://a:80", 10), advert("A", "http://legacy:80", 20), advert("B\x1b[2J", "http://b:80", 0)
	s := find.Selection{
		Groups: [][]find.Advert{{b}, {a}, {twin}}, Selected: &a, Reason: "the best that is left",
		Others:    []find.Reason{why("B\x1b[2J", "marked invalid for 30s: refused"), why("A", "pri 20: after 10 of A")},
		Discarded: []find.Reason{why("C\u202e", "pri is missing")}, Steps: []string{"unicast: 4 answers\x07"},
	}
	var out bytes.Buffer
	if err := printSelection(&out, format{name: "table"}, s); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"INSTANCE URL VERSIONS PRI VIA WHY",
		"* A http://a:80 v1.2,v1.3 10 unicast the best that is left",
		`B\u001b[2J http://b:80 v1.2,v1.3 0 unicast marked invalid for 30s: refused`,
		"A http://legacy:80 v1.2,v1.3 20 unicast pri 20: after 10 of A",
		`x C\u202e - - - unicast pri is missing`,
		`unicast: 4 answers\u0007`,
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i := range max(len(lines), len(want)) {
		if i >= len(lines) || i >= len(want) || strings.Join(strings.Fields(lines[i]), " ") != want[i] {
			t.Fatalf("line %d isn't as wanted; it prints\n%s\nwant\n%s", i+1, out.String(), strings.Join(want, "\n"))
		}
	}
}
