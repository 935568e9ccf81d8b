package reverse_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/reverse"
)

func lines() []struct {
	line string
	want []string
} {
	return []struct {
		line string
		want []string
	}{
		{"status", []string{"status"}},
		{"  get \t a.txt  ", []string{"get", "a.txt"}},
		{`find 'Living Room'`, []string{"find", "Living Room"}},
		{`find "it's here"`, []string{"find", "it's here"}},
		{`exec ping -c 3 ''`, []string{"exec", "ping", "-c", "3", ""}},
		{`a\ b c\\d`, []string{"a b", `c\d`}},
		{`"a\"b" "c\d" "\$x"`, []string{`a"b`, `c\d`, "$x"}},
		{`'a\b'`, []string{`a\b`}},
		{`a'b'"c"d`, []string{"abcd"}},
		{`$HOME *.txt ; rm -rf ~ | cat`, []string{"$HOME", "*.txt", ";", "rm", "-rf", "~", "|", "cat"}},
		{`find Büro`, []string{"find", "Büro"}},
		{`\é`, []string{"é"}},
	}
}

func TestSplit(t *testing.T) {
	for _, c := range lines() {
		got, err := reverse.Split(c.line)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Split(%q) = %q, %v; want %q", c.line, got, err, c.want)
		}
	}
}

func TestSplitSaysWhereALineIsWrong(t *testing.T) {
	for _, c := range []struct {
		line string
		at   int
		want string
	}{
		{"", 1, "empty"},
		{" \t ", 1, "empty"},
		{`get "a`, 5, `" is not closed`},
		{`get 'a b`, 5, `' is not closed`},
		{`get a\`, 6, `nothing follows`},
		{"get a\nb", 6, "control character U+000A"},
		{"get \x00", 5, "control character U+0000"},
		{"get \\\n", 6, "control character U+000A"},
		{"get \xff", 5, "not UTF-8"},
		{"get \\\xff", 6, "not UTF-8"},
		{strings.Repeat("a", reverse.MaxLine+1), reverse.MaxLine + 1, "more than 65536"},
	} {
		words, err := reverse.Split(c.line)
		var where *reverse.LineError
		if !errors.As(err, &where) || where.At != c.at || !strings.Contains(where.Why, c.want) {
			t.Errorf("Split(%.40q) = %q, %v; want an error with %q at byte %d", c.line, words, err, c.want, c.at)
		}
	}
}

// What Join writes a shell reads as Split does: as the same words, with nothing
// expanded.
func TestJoinAgainstShell(t *testing.T) {
	words := []string{"exec", "", "a b", "it's", `"`, `\`, "$HOME", "`id`", "*", "~", "a;b", "x=1", "#no", "Büro", "!!", "{a,b}", "\t"}
	line, err := reverse.Join(words...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", `for w in `+line+`; do printf '%s\n' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); !slices.Equal(got, words) {
		t.Errorf("a shell reads %q from %s", got, line)
	}
}

func TestJoinAndSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringOf(rapid.RuneFrom([]rune("ab'\"\\ \t$;#é\u2028"))), 1, 5).Draw(t, "words")
		line, err := reverse.Join(words...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reverse.Split(line)
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q became %q, %v by %s", words, got, err, line)
		}
	})
}

func TestJoinRefuses(t *testing.T) {
	if _, err := reverse.Join(); !errors.Is(err, reverse.ErrNoWords) {
		t.Errorf("no words: %v", err)
	}
	for _, w := range []string{"a\nb", "\x00", "\xff", "\x7f"} {
		if _, err := reverse.Join("get", w); !errors.Is(err, reverse.ErrControl) {
			t.Errorf("%q: %v", w, err)
		}
	}
	if _, err := reverse.Join("get", strings.Repeat("a", reverse.MaxLine)); err == nil {
		t.Error("a line of more than MaxLine bytes is written")
	}
}

func FuzzSplit(f *testing.F) {
	for _, c := range lines() {
		f.Add(c.line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := reverse.Split(line)
		if err != nil {
			return
		}
		again, err := reverse.Join(words...)
		if err != nil {
			if len(line) < reverse.MaxLine/8 { // else quoting may have made it too long
				t.Fatalf("%q can't be written: %v", words, err)
			}
			return
		}
		if got, err := reverse.Split(again); err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q became %q by %s, %v", words, got, again, err)
		}
	})
}
