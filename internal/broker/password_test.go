package broker

import (
	"strings"
	"testing"
)

// Lines that mosquitto_passwd 2.0.11 has made; the second with -H sha512.
const mosquittoLines = `alice:$7$101$2rMlqBbltush4c29$/odfJofijF26ejqXtuA+4MfjU9kbRKOLPm9jKTud+xyIWZcD2JNumebK4lXnwkjooC6zud/a3StYswMvvsgaHw==
bob:$6$MaaysjyfP4BQQWO8$kLo1NjRRqH5IQM9UJVoNyn5i2XWeNYSQdyi3zSS1zHKT8R359Wg71lA75RtLJMC94fGGC5rQFU0vczqhvgnC1A==
`

func TestPasswordsOfMosquitto(t *testing.T) {
	t.Parallel()
	p, err := ReadPasswords(strings.NewReader("# users\n\n" + mosquittoLines))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"alice", "correct horse", true},
		{"bob", "battery staple", true},
		{"alice", "battery staple", false},
		{"bob", "", false},
		{"", "", false},
		{"carol", "correct horse", false},
	} {
		if got := p.Check(c.user, c.password); got != c.want {
			t.Errorf("%q with %q: %v", c.user, c.password, got)
		}
	}
}

func TestPasswordLine(t *testing.T) {
	t.Parallel()
	line, err := PasswordLine("ünï cøde", "pässwörd")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadPasswords(strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Check("ünï cøde", "pässwörd") {
		t.Errorf("%s", line)
	}
	for _, user := range []string{"", "a:b", "a\nb", "#a"} {
		if _, err := PasswordLine(user, "x"); err == nil {
			t.Errorf("user %q is taken", user)
		}
	}
	if _, err := PasswordLine("a", ""); err == nil {
		t.Error("an empty password is taken")
	}
}

func TestPasswordErrorsDontQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"alice":                  "line 1: want USER:HASH",
		"\nalice:topsecret":      "line 2: no hash that is known; make one with mosquitto_passwd or lanfolk mqtt passwd",
		"alice:$7$0$AA==$AA==":   "line 1: the rounds must be 1 to 10000000",
		"alice:$7$9$!$AA==":      "line 1: the salt is no base64",
		"alice:$6$AA==$AA==":     "line 1: the hash is not 64 bytes of base64",
		mosquittoLines + "bob:x": "line 3: the user has a line already",
	} {
		if _, err := ReadPasswords(strings.NewReader(in)); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", in, err, want)
		}
	}
}

func FuzzReadPasswords(f *testing.F) {
	f.Add(mosquittoLines)
	f.Add("a:$7$1$$")
	f.Add("#\n\r\n:")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = ReadPasswords(strings.NewReader(text)) // it returns
	})
}
