package token_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/api/token"
)

func TestTokenFiles(t *testing.T) {
	long := strings.Repeat("a", 32)
	for _, c := range []struct{ name, text, want string }{
		{"names and tokens", "# who may call\n\nscraper " + long + "\n  desk\t" + strings.Repeat("b", 64) + "\n", ""},
		{"nothing", "", ""},
		{"no name", long + "\n", "line 1: 1 words; want a name and a token"},
		{"a third word", "\na b c\n", "line 2: 3 words; want a name and a token"},
		{"a short token", "desk secret\n", `line 1: the token of "desk" has 6 characters; at least 32`},
		{"one token twice", "a " + long + "\nb " + long, `line 2: "b" has the token of "a"`},
		{"a line too long", "# c\n" + strings.Repeat("x", 70<<10), "line 2: longer than 65536 bytes"},
	} {
		_, err := token.Parse([]byte(c.text))
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the token: %v", c.name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if _, err := token.Read(path); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("desk "+long), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Read(path); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Read(path); err == nil || !strings.Contains(err.Error(), "mode 0644 lets everyone reach the tokens; chmod 640 it") {
		t.Errorf("an open file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# c\n\nname " + strings.Repeat("a", 32) + "\n"))
	f.Add([]byte("name short"))
	f.Add([]byte("a b c\r\n\x00\xff"))
	f.Add([]byte(strings.Repeat("\x1c", 100) + " " + strings.Repeat("a", 32))) // an error that shows the name must not grow with it
	f.Fuzz(func(t *testing.T, b []byte) {
		// No panic, and never both an error and tokens that work.
		_, err := token.Parse(b)
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
