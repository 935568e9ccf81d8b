package dnswire_test

import (
	"bytes"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

// What was added since a mark leaves no trace: not in the counts, not in the names
// that later ones point to.
func TestRewind(t *testing.T) {
	name := func(s string) dnswire.Name {
		n, err := dnswire.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a, b := dnswire.NewPTR(name("_x._tcp.example"), name("one._x._tcp.example"), 1), dnswire.NewPTR(name("two.example"), name("three.two.example"), 2)
	var plain, rewound dnswire.Builder
	plain.Reset(nil, dnswire.Header{ID: 7}, 0)
	rewound.Reset(nil, dnswire.Header{ID: 7}, 0)
	for _, w := range []*dnswire.Builder{&plain, &rewound} {
		w.Answer(a)
		if w == &rewound {
			m := w.Mark()
			w.Answer(b)
			w.SetTruncated(true)
			w.Additional(b)
			w.Rewind(m)
		}
		if !w.Answer(b) {
			t.Fatal("no answer may follow")
		}
	}
	if !bytes.Equal(plain.Bytes(), rewound.Bytes()) {
		t.Errorf("%x, want %x", rewound.Bytes(), plain.Bytes())
	}
}
