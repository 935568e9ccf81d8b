package reverse_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/reverse"
)

const (
	someID  = "01JD8Z6K3W5QXB2V7M4N9T0RCE"
	someSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing
)

func TestMetaBothWays(t *testing.T) {
	for text, want := range map[string]reverse.Meta{
		`{"id":"` + someID + `","seq":3,"last":false,"exit":0,"total":0}`: {ID: someID, Seq: 3},
		`{"id":"` + someID + `","seq":7,"last":true,"status":"error","exit":2,"error":"no such file","sha256":"` + someSum + `","total":0}`: {
			ID: someID, Seq: 7, Last: true, Status: reverse.StatusError, Exit: 2, Error: "no such file", SHA256: someSum,
		},
	} {
		got, err := reverse.ParseMeta(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got.String() != text {
			t.Errorf("written as %s\nwant       %s", got, text)
		}
	}
}

func TestMetaThatIsForeign(t *testing.T) {
	for _, text := range []string{"", "ok", "42", "[1]", "{}", `{"seq":1}`, "null", `{"id"`, "\xff"} {
		if _, err := reverse.ParseMeta(text); !errors.Is(err, reverse.ErrForeign) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestMetaThatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":7}`:             "id can't be a number",
		`{"id":"a","seq":-1}`:  "seq can't be a number -1",
		`{"id":"a","seq":"1"}`: "byte 19: seq can't be a string",
		`{"id":""}`:            "want 1 to 64 printable",
		`{"id":"a b"}`:         "want 1 to 64 printable",
		`{"id":"` + strings.Repeat("a", 65) + `"}`:                             "want 1 to 64 printable",
		`{"id":"a","status":"fine"}`:                                           `unknown status "fine"`,
		`{"id":"a","last":true}`:                                               "no sha256",
		`{"id":"a","last":true,"status":"ok"}`:                                 "no sha256",
		`{"id":"a","sha256":"12"}`:                                             "want 64 hexadecimal digits",
		`{"id":"a","sha256":"` + strings.ToUpper(someSum) + `"}`:               "want 64 hexadecimal digits",
		`{"id":"a","error":"` + strings.Repeat("e", reverse.MaxError+1) + `"}`: "error has 4097 bytes",
		`{"id":"a","x":"` + strings.Repeat("x", reverse.MaxMeta) + `"}`:        "more than 8192",
	} {
		if _, err := reverse.ParseMeta(text); err == nil || errors.Is(err, reverse.ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v; want %q", text, err, want)
		}
	}
}

func TestMetaCutsALongErrorAtACharacter(t *testing.T) {
	m := reverse.Meta{ID: "a", Error: strings.Repeat("é", reverse.MaxError)}
	got, err := reverse.ParseMeta(m.String())
	if err != nil || got.Error != strings.Repeat("é", reverse.MaxError/2) {
		t.Errorf("%d bytes, %v", len(got.Error), err)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(`{"id":"` + someID + `","seq":7,"last":true,"status":"ok","exit":2,"error":"e","sha256":"` + someSum + `","total":9}`)
	f.Add(`{"id":"a","seq":18446744073709551616}`)
	f.Add("hello")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := reverse.ParseMeta(text)
		if err != nil {
			return
		}
		if again, err := reverse.ParseMeta(m.String()); err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
