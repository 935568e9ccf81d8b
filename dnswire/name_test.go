package dnswire_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

func TestParseName(t *testing.T) {
	long63 := strings.Repeat("x", 63)
	long255 := strings.Repeat(long63+".", 3) + strings.Repeat("y", 61)
	for _, c := range []struct {
		text string
		want []string // labels
		out  string   // what String returns, where it isn't text
	}{
		{text: ".", want: nil},
		{text: "local", want: []string{"local"}},
		{text: "local.", want: []string{"local"}, out: "local"},
		{text: "_http._tcp.local", want: []string{"_http", "_tcp", "local"}},
		{text: `Build v1\.2 Room\.3._http._tcp.local`, want: []string{"Build v1.2 Room.3", "_http", "_tcp", "local"}},
		{text: `back\\slash`, want: []string{`back\slash`}},
		{text: `\a\b`, want: []string{"ab"}, out: "ab"},
		{text: `\000\032\127\255`, want: []string{"\x00 \x7f\xff"}, out: `\000 \127\255`},
		{text: "Küche 🖨.local", want: []string{"Küche 🖨", "local"}},
		{text: `\194\155`, want: []string{"\u009b"}}, // a C1 control: starts escape sequences on terminals
		{text: `x\.`, want: []string{"x."}},
		{text: `\..`, want: []string{"."}, out: `\.`},
		{text: long63, want: []string{long63}},
		{text: long255, want: strings.Split(long255, ".")},
		{text: long255 + ".", want: strings.Split(long255, "."), out: long255},
	} {
		n, err := dnswire.ParseName(c.text)
		if err != nil {
			t.Errorf("ParseName(%q): %v", c.text, err)
			continue
		}
		if got := slices.Collect(n.Labels()); !slices.Equal(got, c.want) {
			t.Errorf("ParseName(%q) has labels %q, want %q", c.text, got, c.want)
		}
		if of, err := dnswire.NameOf(c.want...); err != nil || of != n {
			t.Errorf("NameOf(%q) = %q, %v, want %q", c.want, string(of), err, string(n))
		}
		out := c.out
		if out == "" {
			out = c.text
		}
		if got := n.String(); got != out {
			t.Errorf("ParseName(%q).String() = %q, want %q", c.text, got, out)
		}
		if back, err := dnswire.ParseName(n.String()); err != nil || back != n {
			t.Errorf("%q doesn't read back: %q, %v", n.String(), string(back), err)
		}
		if !n.Valid() {
			t.Errorf("%q isn't valid", c.text)
		}
	}
}

func TestParseNameRejects(t *testing.T) {
	long63 := strings.Repeat("x", 63)
	long := strings.Repeat(long63+".", 3) + strings.Repeat("y", 62)
	for _, c := range []struct{ text, want string }{
		{"", `dnswire: name "" is empty`},
		{"..", `dnswire: name ".." has an empty label`},
		{".local", `dnswire: name ".local" has an empty label`},
		{"a..b", `dnswire: name "a..b" has an empty label`},
		{"a..", `dnswire: name "a.." has an empty label`},
		{"x" + long63, `dnswire: name "x` + long63 + `" has a label longer than 63 bytes`},
		{long, `dnswire: name "` + long + `" is longer than 255 bytes`},
		{`a\`, `dnswire: name "a\\" has a broken escape: want \DDD up to \255, or \ and the character itself`},
		{`\25`, `dnswire: name "\\25" has a broken escape: want \DDD up to \255, or \ and the character itself`},
		{`\256`, `dnswire: name "\\256" has a broken escape: want \DDD up to \255, or \ and the character itself`},
		{`\1x2`, `dnswire: name "\\1x2" has a broken escape: want \DDD up to \255, or \ and the character itself`},
	} {
		if n, err := dnswire.ParseName(c.text); err == nil || err.Error() != c.want || n != "" {
			t.Errorf("ParseName(%q) = %q, %v, want %s", c.text, string(n), err, c.want)
		}
	}
	for _, c := range []struct {
		labels []string
		want   string
	}{
		{[]string{"a", ""}, `dnswire: name "a." has an empty label`},
		{[]string{long63 + "x"}, `dnswire: name "` + long63 + `x" has a label longer than 63 bytes`},
		{[]string{long63, long63, long63, long63}, "is longer than 255 bytes"},
	} {
		if n, err := dnswire.NameOf(c.labels...); err == nil || !strings.Contains(err.Error(), c.want) || n != "" {
			t.Errorf("NameOf(%q) = %q, %v, want %s", c.labels, string(n), err, c.want)
		}
	}
}

func mustName(t testing.TB, text string) dnswire.Name {
	t.Helper()
	n, err := dnswire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNameRelations(t *testing.T) {
	n := mustName(t, `My\.TV._HTTP._tcp.Local`)
	if got := n.NumLabels(); got != 4 {
		t.Errorf("NumLabels = %d, want 4", got)
	}
	if got := []string{n.Label(0), n.Label(3), n.Label(4), n.Label(-1)}; !slices.Equal(got, []string{"My.TV", "Local", "", ""}) {
		t.Errorf("Label = %q", got)
	}
	if got := n.Parent(); got != mustName(t, "_HTTP._tcp.Local") {
		t.Errorf("Parent = %s", got)
	}
	if got := dnswire.Root.Parent(); got != "" {
		t.Errorf("the root's parent is %q, want none", string(got))
	}
	if got := n.Fold(); got != mustName(t, `my\.tv._http._tcp.local`) {
		t.Errorf("Fold = %s", got)
	}
	if p, err := n.Parent().Prepend("my.tv"); err != nil || !p.Equal(n) {
		t.Errorf("Prepend = %s, %v", p, err)
	}
	if _, err := mustName(t, "x").Prepend(strings.Repeat("y", 64)); err == nil {
		t.Error("Prepend took a label of 64 bytes")
	}
	if _, err := dnswire.Name("").Prepend("y"); err == nil {
		t.Error("Prepend took no name")
	}
	for _, c := range []struct {
		name, suffix string
		want         bool
	}{
		{"a.local", "LOCAL", true},
		{"a.local", "a.local", true},
		{"a.local", ".", true},
		{"alocal", "local", false},
		{`a\.local`, "local", false},
		{"local", "a.local", false},
		{"b.a.local", "a.local", true},
		{"b.a.local", "b.local", false},
		{".", ".", true},
	} {
		if got := mustName(t, c.name).HasSuffix(mustName(t, c.suffix)); got != c.want {
			t.Errorf("%s HasSuffix %s = %v", c.name, c.suffix, got)
		}
	}
	if n.HasSuffix("") {
		t.Error("a name lies below no name")
	}
}

// RFC 6762 §16: ASCII letters only; other bytes compare exactly.
func TestNameFoldsASCIIOnly(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"Foo", "fOO", true},
		{"é", "É", false},
		{"é", "é", true},
		{"@", "`", false},
		{"[", "{", false},
		{"K", "\u212a", false}, // the Kelvin sign, which Unicode folds to k
	} {
		a, b := mustName(t, c.a), mustName(t, c.b)
		if got := a.Equal(b); got != c.want {
			t.Errorf("%s Equal %s = %v", a, b, got)
		}
		if got := a.Fold() == b.Fold(); got != c.want {
			t.Errorf("%s Fold == %s Fold = %v", a, b, got)
		}
	}
}

// A Name can be converted from any bytes: no method may fall over.
func TestInvalidNamesDontPanic(t *testing.T) {
	for _, s := range []string{"", "\x05ab", "\x40", "\xc0\x0c", "\x01a", "\x01a\x00\x00", strings.Repeat("\x01a", 200) + "\x00"} {
		n := dnswire.Name(s)
		if n.Valid() {
			t.Errorf("%q is valid", s)
		}
		_ = n.String()
		_ = n.NumLabels()
		_ = n.Label(3)
		_ = n.Parent()
		_ = n.Fold()
		_ = n.Equal("\x01a\x00")
		_ = n.HasSuffix("\x01a\x00")
		_, _ = n.Prepend("x")
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{}, 0)
		if b.Question(n, dnswire.TypeA, dnswire.ClassIN, false) || b.Answer(dnswire.NewPTR(n, dnswire.Root, 1)) ||
			b.Answer(dnswire.NewPTR(dnswire.Root, n, 1)) || !b.Empty() {
			t.Errorf("the Builder took %q", s)
		}
	}
}

func TestFoldAllocatesNothingWhenFolded(t *testing.T) {
	n := mustName(t, "printer-é._ipp._tcp.local")
	if a := testing.AllocsPerRun(100, func() { _ = n.Fold() }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
