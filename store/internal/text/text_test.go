package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "nas.local", "a\x00b", "\xff\xfe", "\uf700", "\uf7ff\xef\x9f", "Ä", "\xed\xa0\x80", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kept := text.Encode(s)
		if !utf8.ValidString(kept) || strings.Contains(kept, "\x00") {
			t.Errorf("%q becomes %q", s, kept)
		}
		if back := text.Decode(kept); back != s {
			t.Errorf("%q becomes %q and then %q", s, kept, back)
		}
	})
}
