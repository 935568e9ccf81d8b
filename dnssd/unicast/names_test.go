package unicast

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// A message that is signed goes through miekg/dns, which keeps names as text:
// every byte of them must come back.
func checkMiekg(t *testing.T, name dnswire.Name) {
	t.Helper()
	txt, err := dnswire.NewTXT(name, 60, "a=\x00\xff\\.")
	if err != nil {
		t.Fatal(err)
	}
	u := update{
		zone:    "\x07example\x00",
		require: []dnswire.RR{notInUse(name), absent(name, dnswire.TypePTR), exactly(dnswire.NewSRV(name, dnswire.SRV{Port: 80, Target: name}, 60))},
		change: []dnswire.RR{
			dnswire.NewPTR(name, name, 60), dnswire.NewSRV(name, dnswire.SRV{Port: 80, Target: name}, 60), txt,
			without(dnswire.NewPTR(name, name, 60)), withoutAll(name, dnswire.TypeSRV),
		},
		lease: time.Hour,
	}
	data, err := u.message(7)
	if err != nil {
		t.Fatal(err)
	}
	m, err := toMiekg(data)
	if err != nil {
		t.Fatalf("%q: miekg/dns can't read it: %v", name, err)
	}
	again, err := m.Pack()
	if err != nil {
		t.Fatalf("%q: miekg/dns can't write it: %v", name, err)
	}
	a, errA := dnswire.Parse(data)
	b, errB := dnswire.Parse(again)
	if errA != nil || errB != nil {
		t.Fatalf("%q: %v, %v", name, errA, errB)
	}
	var was, is []dnswire.RR
	for r := range a.Records() {
		was = append(was, r.RR())
	}
	for r := range b.Records() {
		is = append(is, r.RR())
	}
	if len(was) != len(is) {
		t.Fatalf("%q: %d records became %d", name, len(was), len(is))
	}
	for i := range was {
		if was[i] != is[i] {
			t.Errorf("%q: %q became %q", name, was[i], is[i])
		}
	}
}

func oddNames(t testing.TB) []dnswire.Name {
	var out []dnswire.Name
	for _, label := range []string{
		"a", "Build v1.2", `back\slash`, `\.`, "quote\"", "semi;colon", "at@", "$", "(x)", "Büro 🖨", "\x00\x01\x7f\xff", "  ", "\\032", "123", "*", "-",
	} {
		n, err := dnswire.NameOf(label, "_http", "_tcp", "example")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	long := string(bytes.Repeat([]byte{'\\'}, 63))
	n, err := dnswire.NameOf(long, long, long, "example")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, n)
}

func TestMessagesPassMiekgUnchanged(t *testing.T) {
	for _, n := range oddNames(t) {
		checkMiekg(t, n)
	}
}

func FuzzMessagesPassMiekgUnchanged(f *testing.F) {
	for _, n := range oddNames(f) {
		f.Add([]byte(n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := dnswire.Name(b); n.Valid() && n != dnswire.Root {
			checkMiekg(t, n)
		}
	})
}

// The samples are from RFC 3492 §7.1 and from IDNA's registry of test words.
func TestPunycode(t *testing.T) {
	for u, want := range map[string]string{
		"bücher": "bcher-kva", "ü": "tda", "münchen": "mnchen-3ya", "日本語": "wgv71a119e", "пример": "e1afmkfd",
		"他们为什么不说中文": "ihqwcrb4cv8a8dqg056pqjye", "pročprostěnemluvíčesky": "proprostnemluvesky-uyb24dma41a",
		"ليهمابتكلموشعربي؟": "egbpdaj6bu4bxfgehfvwxn", "3年b組金八先生": "3b-ww4c5e180e575a65lsy2b",
	} {
		if got, ok := punycode([]rune(u)); !ok || got != want {
			t.Errorf("%s: %q, %v; want %q", u, got, ok, want)
		}
	}
}

func FuzzALabels(f *testing.F) {
	for _, n := range oddNames(f) {
		f.Add([]byte(n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := dnswire.Name(b)
		if !n.Valid() {
			return
		}
		out := withALabels(n)
		if len(out) > maxALabels {
			t.Errorf("%q: %d names", n, len(out))
		}
		for _, a := range out {
			if !a.Valid() || a.NumLabels() != n.NumLabels() {
				t.Errorf("%q: %q", n, a)
			}
		}
	})
}

func TestNextNames(t *testing.T) {
	long := string(bytes.Repeat([]byte("ü"), 31))
	for was, want := range map[string]string{
		"Web": "Web (2)", "Web (2)": "Web (3)", "Web (9)": "Web (10)", "Web (1)": "Web (1) (2)", "Web (x)": "Web (x) (2)", " (2)": " (2) (2)",
		"Web (02)": "Web (02) (2)", long: long[:58] + " (2)",
	} {
		if got := nextName(was); got != want || len(got) > maxLabel {
			t.Errorf("%q: %q, want %q", was, got, want)
		}
	}
	for was, want := range map[string]string{"nas": "nas-2", "nas-2": "nas-3", "a-b": "a-b-2", "nas-1": "nas-1-2", "-2": "-2-2"} {
		if got := nextHost(was); got != want {
			t.Errorf("%q: %q, want %q", was, got, want)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	name := dnswire.Name("\x05_http\x04_tcp\x07example\x00")
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true}, 0)
	b.Question(name, dnswire.TypePTR, dnswire.ClassIN, false)
	b.Answer(dnswire.NewPTR(name, "\x01a\x00", 60))
	b.Answer(dnswire.RR{Name: "\x07example\x00", Type: dnswire.TypeDNAME, Class: dnswire.ClassIN, Data: "\x01x\x07example\x00"})
	b.Answer(dnswire.RR{Name: name, Type: dnswire.TypeCNAME, Class: dnswire.ClassIN, Data: string(name)})
	b.Additional(dnswire.NewSRV("\x01a\x00", dnswire.SRV{Target: "\x01h\x00"}, 60))
	b.Additional(dnswire.NewAddr("\x01h\x00", netip.MustParseAddr("192.0.2.1"), 60))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dnswire.Parse(data)
		if err != nil {
			return
		}
		for _, typ := range []dnswire.Type{dnswire.TypePTR, dnswire.TypeSRV, dnswire.TypeA, dnswire.TypeANY} {
			a := read(&m, name, typ)
			if a.ttl < 0 || a.ttl > longest || a.verdict == 0 || (a.verdict == found) != (len(a.records) > 0) {
				t.Errorf("%+v", a)
			}
			for _, rr := range a.records {
				if rr.Name != name {
					t.Errorf("record of %s", rr.Name)
				}
			}
			seen := map[key]bool{}
			for _, x := range a.along {
				if seen[x.key] || x.denial != (len(x.records) == 0) || x.ttl < 0 || x.ttl >= longest || len(x.records) > maxRecords || Multicast(x.name) {
					t.Errorf("came along: %+v", x)
				}
				seen[x.key] = true
				for _, rr := range x.records {
					if rr.Type != x.key.typ || !rr.Name.Equal(x.name) || rr.Class != dnswire.ClassIN {
						t.Errorf("record of %s in %+v", rr.Name, x)
					}
				}
			}
			if len(a.along) > mostAlong || len(a.along) > 0 && typ != dnswire.TypePTR && typ != dnswire.TypeSRV {
				t.Errorf("%d sets came along", len(a.along))
			}
		}
	})
}
