package tged_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/tged"
)

func TestParse(t *testing.T) {
	v1 := tged.V1
	for name, c := range map[string]struct {
		in   string
		want tged.Message
	}{
		"the document's request": {"TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n", tged.Message{Method: "DISCOVERY", Version: v1, Fields: []tged.Field{{Key: "RQ", Value: "SQL"}}}},
		"white space around key and value, both kinds of line end": {
			"TGED\tdiscovery \t 1.7 more\n rq\t: \tS Q L \r\n\n", tged.Message{Method: "DISCOVERY", Version: tged.Version{Major: 1, Minor: 7}, Fields: []tged.Field{{Key: "RQ", Value: "S Q L"}}},
		},
		"the first colon counts, a line without one doesn't": {
			"TGED REPLY 1.0\r\nIP: fe80::1%eth0\r\nnothing\r\nURL:http://h:80/", tged.Message{
				Method: "REPLY", Version: v1, Fields: []tged.Field{{Key: "IP", Value: "fe80::1%eth0"}, {Key: "URL", Value: "http://h:80/"}},
			},
		},
		"nothing after the empty line":              {"TGED REPLY 1.0\r\n\r\nRQ:SQL\r\n", tged.Message{Method: "REPLY", Version: v1}},
		"an empty key and an empty value":           {"TGED REPLY 1.0\r\n:\r\nUSER:\r\n", tged.Message{Method: "REPLY", Version: v1, Fields: []tged.Field{{}, {Key: "USER"}}}},
		"a version without a minor number":          {"TGED REPLY 1\r\n", tged.Message{Method: "REPLY", Version: v1}},
		"no version":                                {"TGED REPLY\r\n", tged.Message{Method: "REPLY"}},
		"a version that isn't one":                  {"TGED REPLY 1.x", tged.Message{Method: "REPLY"}},
		"a version that ends in a dot":              {"TGED REPLY 1.", tged.Message{Method: "REPLY"}},
		"a version too large":                       {"TGED REPLY 65536.0", tged.Message{Method: "REPLY"}},
		"the largest version":                       {"TGED REPLY 65535.65535", tged.Message{Method: "REPLY", Version: tged.Version{Major: 65535, Minor: 65535}}},
		"no method":                                 {"TGED ", tged.Message{}},
		"bytes that aren't UTF-8 stay as they are":  {"TGED \xe5\xff 1.0\r\n\xfe:\xfd", tged.Message{Method: "\xe5\xff", Version: v1, Fields: []tged.Field{{Key: "\xfe", Value: "\xfd"}}}},
		"carriage returns before the line's end go": {"TGED REPLY 1.0\r\nA:b\r\r\n", tged.Message{Method: "REPLY", Version: v1, Fields: []tged.Field{{Key: "A", Value: "b"}}}},
	} {
		got, err := tged.Parse([]byte(c.in))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, in := range []string{"", "TGED", "TGED\n", "TGED\r\n", "TGEDX REPLY 1.0", "tged REPLY 1.0", " TGED REPLY 1.0", "\x00TGED REPLY 1.0", "GET / HTTP/1.1\r\n"} {
		if m, err := tged.Parse([]byte(in)); !errors.Is(err, tged.ErrNotTGED) {
			t.Errorf("%q: %v, %v", in, m, err)
		}
	}
	if _, err := tged.Parse([]byte("TGED " + strings.Repeat("x", tged.MaxRequest-4))); !errors.Is(err, tged.ErrTooLong) {
		t.Error(err)
	}
}

func TestGet(t *testing.T) {
	m := tged.Message{Fields: []tged.Field{{Key: "A", Value: "1"}, {Key: "B", Value: "2"}, {Key: "A", Value: "3"}}}
	if v, ok := m.Get("A"); v != "3" || !ok {
		t.Errorf("A is %q", v)
	}
	if v, ok := m.Get("C"); v != "" || ok {
		t.Errorf("C is %q", v)
	}
}

func TestAppend(t *testing.T) {
	m := tged.Message{Method: tged.Reply, Version: tged.V1, Fields: []tged.Field{{Key: "HOST", Value: "test"}, {Key: "IP", Value: "192.168.0.34"}}}
	for style, want := range map[tged.Style]string{
		tged.Spaced:  "> TGED REPLY 1.0\r\nHOST: test\r\nIP: 192.168.0.34\r\n\r\n",
		tged.Compact: "> TGED REPLY 1.0\r\nHOST:test\r\nIP:192.168.0.34\r\n\r\n",
	} {
		if got := m.Append([]byte("> "), style); string(got) != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}

// Whatever comes in: it is read without fault, and what was read means the
// same when it is written in either style and read again.
func FuzzParse(f *testing.F) {
	for _, s := range messageSeeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m, err := tged.Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
		if err != nil || m.Method == "" { // which can't be written
			return
		}
		for _, style := range []tged.Style{tged.Spaced, tged.Compact} {
			out := m.Append(nil, style)
			again, err := tged.Parse(out)
			if len(out) > tged.MaxRequest {
				continue
			}
			if diff := cmp.Diff(m, again); diff != "" || err != nil {
				t.Fatalf("%q, written %q: %v (-read +again):\n%s", b, out, err, diff)
			}
		}
	})
}

// messageSeeds are all datagrams of the cases file.
func messageSeeds(t testing.TB) [][]byte {
	f := cases(t)
	var seeds [][]byte
	for _, c := range f.Cases {
		seeds = append(seeds, c.Datagram)
	}
	for _, c := range f.ClientCases {
		for _, d := range c.Datagrams {
			seeds = append(seeds, d)
		}
	}
	return seeds
}

func TestFuzzSeeds(t *testing.T) {
	if n := len(messageSeeds(t)); n < 30 {
		t.Errorf("%d seeds", n)
	}
	if n := len(servicesSeeds(t)); n < 10 {
		t.Errorf("%d seeds", n)
	}
}
