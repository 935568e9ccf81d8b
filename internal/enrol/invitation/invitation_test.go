package invitation_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
)

const secret = "ABCDEFGHIJKLMNOPQRSTUVWXY2"

func example() invitation.Invitation {
	i := invitation.Invitation{Addresses: []string{"hub.example.org:7443", "192.0.2.7:7443", "[2001:db8::7]:7443"}, Secret: secret}
	for n := range i.Pin {
		i.Pin[n] = byte(n)
	}
	return i
}

func encode(t testing.TB, i invitation.Invitation) string {
	t.Helper()
	s, err := i.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The form is fixed: a gateway of an older version reads it. (Made from the package
// comment by a few lines of Python.)
const golden = "lanfolk1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8aQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWTIDFGh1Yi5leGFtcGxlLm9yZzo3NDQzDjE5Mi4wLjIuNzo3NDQzElsyMDAxOmRiODo6N106NzQ0M3erfPg"

func TestTheFormIsFixed(t *testing.T) {
	text := encode(t, example())
	if text != golden {
		t.Errorf("%s; want\n%s", text, golden)
	}
	got, err := invitation.Parse(" " + text + "\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Error(diff)
	}
	none := invitation.Invitation{Secret: secret, Pin: example().Pin}
	if got, err := invitation.Parse(encode(t, none)); err != nil || len(got.Addresses) != 0 {
		t.Errorf("%+v, %v; want no address", got, err)
	}
}

// Whichever character is wrong, missing or doubled: it is found out.
func TestEachTypoIsFound(t *testing.T) {
	text := encode(t, example())
	for n := range text {
		for _, typo := range []string{text[:n] + text[n+1:], text[:n], text[:n] + string(text[n]) + text[n:], text[:n] + "x" + text[n+1:], text[:n] + "\n" + text[n:]} {
			if typo == text || strings.TrimSpace(typo) == text {
				continue
			}
			_, err := invitation.Parse(typo)
			if !errors.Is(err, invitation.ErrMalformed) {
				t.Errorf("%s: %v", typo, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		}
	}
}

func TestWhatIsNoJoinString(t *testing.T) {
	text := encode(t, example())
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "lanfolk1."))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "it doesn't begin with lanfolk1.; copy all that `lanfolk hub token create` printed"},
		{"something else", "https://hub.example.org", "it doesn't begin with lanfolk1."},
		{"a newer form", "lanfolk2.AAAA", "it is of a newer lanfolk than this one"},
		{"an older form", "lanfolk0.AAAA", "it doesn't begin with"},
		{"broken into lines", text[:40] + "\n" + text[40:], "there is space inside; it is one line without any"},
		{"cut", text[:len(text)-5], "it was cut; copy it again"},
		{"a letter of another alphabet", text[:20] + "+" + text[21:], "a character is wrong"},
		{"padding", text + "=", "a character is wrong"},
		{"only a checksum", "lanfolk1.AAAA", "a character is wrong, or it was cut"},
		{"endless", "lanfolk1." + strings.Repeat("A", 5000), "it has 5009 characters; at most 4096"},
		{"other bytes", "lanfolk1." + base64.RawURLEncoding.EncodeToString(bytes.Repeat(raw, 2)), "its checksum is wrong"},
	} {
		_, err := invitation.Parse(c.text)
		if !errors.Is(err, invitation.ErrMalformed) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}

func TestWhatNoInvitationHolds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*invitation.Invitation)
		want   string
	}{
		{"no pin", func(i *invitation.Invitation) { i.Pin = invitation.Pin{} }, "it has no pin"},
		{"no secret", func(i *invitation.Invitation) { i.Secret = "" }, "its secret has 0 bytes; want 16 to 64"},
		{"a long secret", func(i *invitation.Invitation) { i.Secret = strings.Repeat("a", 65) }, "its secret has 65 bytes"},
		{"a secret with a space", func(i *invitation.Invitation) { i.Secret = strings.Repeat("a ", 10) }, "can't be printed"},
		{"nine addresses", func(i *invitation.Invitation) { i.Addresses = make([]string, 9) }, "it has 9 addresses; at most 8"},
		{"no port", func(i *invitation.Invitation) { i.Addresses = []string{"hub"} }, `address "hub": want HOST:PORT`},
		{"port 0", func(i *invitation.Invitation) { i.Addresses = []string{"hub:0"} }, "the port from 1 to 65535"},
		{"a port by name", func(i *invitation.Invitation) { i.Addresses = []string{"hub:https"} }, "the port from 1 to 65535"},
		{"two spellings", func(i *invitation.Invitation) { i.Addresses = []string{"[hub]:080"} }, "the port from 1 to 65535"},
		{"no host", func(i *invitation.Invitation) { i.Addresses = []string{":7443"} }, "neither a host name nor an IP address"},
		{"a zone", func(i *invitation.Invitation) { i.Addresses = []string{"[fe80::1%eth0]:7443"} }, "a zone means nothing on another machine"},
		{"a path", func(i *invitation.Invitation) { i.Addresses = []string{"../etc:1"} }, "neither a host name nor an IP address"},
	} {
		i := example()
		c.change(&i)
		if _, err := i.Encode(); !errors.Is(err, invitation.ErrMalformed) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}

// What is read is written again letter by letter: there is one spelling.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, example()))
	f.Add(encode(f, invitation.Invitation{Secret: secret, Pin: example().Pin}))
	f.Add("lanfolk1.AAAAAAAA")
	f.Add("lanfolk2.")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := invitation.Parse(text)
		if err != nil {
			if !errors.Is(err, invitation.ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		if again, err := i.Encode(); err != nil || again != strings.TrimSpace(text) {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}
