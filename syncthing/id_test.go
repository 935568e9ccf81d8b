package syncthing_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

// The ID that Syncthing's own documentation shows.
const (
	shown      = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"
	shownPlain = "P56IOI7MZJNU2IQGDREYDM2MGTMGL3BXNPQ6W5BTBBZ4TJXZWICQ"
)

func TestParseID(t *testing.T) {
	want := id(shown)
	if got := want.String(); got != shown {
		t.Errorf("printed as %s", got)
	}
	if got := want.Short(); got != "P56IOI7" {
		t.Errorf("in short %s", got)
	}
	if h := want.Hex(); len(h) != 64 || h != strings.ToLower(h) {
		t.Error(h)
	}
	for _, s := range []string{
		shownPlain, want.Hex(), strings.ToUpper(want.Hex()), strings.ToLower(shown),
		strings.ReplaceAll(shown, "-", ""), strings.ReplaceAll(shown, "-", " "),
		strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(shown),
	} {
		if got, err := syncthing.ParseID(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	// The vectors' text of 63 bytes is this ID, too.
	for _, c := range readVectors(t).Global {
		if strings.HasPrefix(c.Name, "id text 63") && string(c.Announce[8:8+63]) != shown {
			t.Errorf("%q", c.Announce[8:8+63])
		}
	}
}

func TestParseIDSaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"":     "0 digits; it has 56 (with check digits), 52 (without), or 64 in hexadecimal",
		"P56I": "4 digits; it has 56 (with check digits), 52 (without), or 64 in hexadecimal",
		"P56IOI7-MZJNU2Y-IQGDREY-DM2MGTJ-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2": "check digit 2 of 4 is wrong: a slip in IQGDREY-DM2MGTJ",
		"P56IOI7-MZJNU3Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ3": "check digit 1 of 4 is wrong: a slip in P56IOI7-MZJNU3Y; check digit 4 of 4 is wrong: a slip in TBBZ4TJ-XZWICQ3",
		"956IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2": "digit 1, '9', is none of A to Z and 2 to 7",
		shownPlain[:51] + "R":         "it can't end in the digit 'R', only in A or Q",
		strings.Repeat("0", 63) + "x": "'X' is no hexadecimal digit",
		strings.Repeat("-", 129):      "129 bytes are too many",
	} {
		if got, err := syncthing.ParseID(in); err == nil || err.Error() != "syncthing: device ID: "+want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestIDInJSON(t *testing.T) {
	in := map[syncthing.DeviceID]syncthing.DeviceID{id(shown): id(anID)}
	b, err := json.Marshal(in)
	if err != nil || !strings.HasPrefix(string(b), `{"`+shown+`":"`) {
		t.Fatal(string(b), err)
	}
	var out map[syncthing.DeviceID]syncthing.DeviceID
	if err := json.Unmarshal(b, &out); err != nil || out[id(shown)] != id(anID) {
		t.Error(out, err)
	}
	if err := json.Unmarshal([]byte(`{"x":"y"}`), &out); err == nil {
		t.Error("read a bad ID")
	}
}

// The vectors' device of a name has the SHA-256 of the name, as if it were the certificate.
func TestCertificateID(t *testing.T) {
	for name, h := range readVectors(t).DeviceIDs {
		if got := syncthing.CertificateID([]byte(name)); got != id(h) {
			t.Errorf("%s: %s", name, got.Hex())
		}
	}
}

// Any ID is read again from each form, and any one wrong digit is found.
func TestIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want syncthing.DeviceID
		copy(want[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id"))
		text := []byte(want.String())
		for _, s := range []string{string(text), want.Hex()} {
			if got, err := syncthing.ParseID(s); err != nil || got != want {
				t.Fatalf("%s: %v, %v", s, got, err)
			}
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")).Draw(t, "other")
		if text[at] == '-' || text[at] == other {
			return
		}
		text[at] = other
		if got, err := syncthing.ParseID(string(text)); err == nil {
			t.Fatalf("%s is taken for %s", text, got)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{shown, shownPlain, id(shown).Hex(), "", "P56", strings.Repeat("7", 52), strings.Repeat("é", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := syncthing.ParseID(s)
		if err != nil {
			return
		}
		if again, err := syncthing.ParseID(got.String()); err != nil || again != got {
			t.Fatalf("%q: %s, %v", s, got, err)
		}
	})
}
