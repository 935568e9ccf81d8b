package find_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/syncthing"
)

func TestParseQueryTellsKindsApart(t *testing.T) {
	for _, c := range []struct{ text, kind, value, local string }{
		{"_ipp._tcp", "type", "_ipp._tcp", ""},
		{"_ipp._tcp.local", "type", "_ipp._tcp", ""},
		{"_ipp._tcp.local.", "type", "_ipp._tcp", ""},
		{"_universal._sub._ipp._tcp", "type", "_universal._sub._ipp._tcp", ""},
		{"10.0.0.5", "addr", "10.0.0.5", ""},
		{"fe80::1%eth0", "addr", "fe80::1%eth0", ""},
		{"::ffff:10.0.0.5", "addr", "10.0.0.5", ""},
		{"02:00:5E:10:00:01", "mac", "02:00:5e:10:00:01", ""},
		{"02-00-5e-10-00-01", "mac", "02:00:5e:10:00:01", ""},
		{"nas.local", "host", "nas.local", "nas.local"},
		{"nas.local.", "host", "nas.local", "nas.local"},
		{"www.example.org", "host", "www.example.org", "www.example.org"},
		{"SQL", "word", "", "SQL.local"},
		{"  nas ", "word", "", "nas.local"},
		{"Kitchen printer", "word", "", ""},
	} {
		q, err := find.ParseQuery(c.text)
		if err != nil {
			t.Errorf("ParseQuery(%q): %v", c.text, err)
			continue
		}
		kind, value := "word", ""
		switch {
		case q.ServiceType != "":
			kind, value = "type", q.ServiceType
		case q.Addr.IsValid():
			kind, value = "addr", q.Addr.String()
		case q.MAC.String() != "":
			kind, value = "mac", q.MAC.String()
		case q.Host != "":
			kind, value = "host", q.Host
		}
		if kind != c.kind || value != c.value || q.LocalHost() != c.local {
			t.Errorf("ParseQuery(%q) = %s %q, local host %q; want %s %q, %q", c.text, kind, value, q.LocalHost(), c.kind, c.value, c.local)
		}
	}
}

// The ID that Syncthing's own documentation shows.
const device = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"

func TestParseQueryKnowsDeviceIDs(t *testing.T) {
	want, err := syncthing.ParseID(device)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		device, strings.ToLower(device), strings.ReplaceAll(device, "-", ""), strings.ReplaceAll(device, "-", " "), " " + device,
		strings.Replace(device, "O", "0", 1), "P56IOI7MZJNU2IQGDREYDM2MGTMGL3BXNPQ6W5BTBBZ4TJXZWICQ", want.Hex(),
	} {
		q, err := find.ParseQuery(text)
		if err != nil || q.Device != want || q.LocalHost() != "" {
			t.Errorf("ParseQuery(%q) = %+v, %v; want the device", text, q, err)
		}
	}
	for _, text := range []string{
		"SQL", "P56IOI7", strings.Repeat("a", 51), strings.Repeat("b", 52), strings.Repeat("g", 64),
		"a-host-with-a-name-that-has-no-end-and-no-dash-in-a-seventh-place-aa",  // 52 letters, the last an A
		"another-host-with-a-name-that-has-neither-end-nor-dash-in-right-place", // 56
		strings.ReplaceAll(device, "-", "") + ".local", "_" + strings.ReplaceAll(device, "-", "") + "._tcp",
	} {
		if q, err := find.ParseQuery(text); err != nil || q.Device != (syncthing.DeviceID{}) {
			t.Errorf("ParseQuery(%q) = %+v, %v; want no device", text, q, err)
		}
	}
}

func TestParseQueryErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":           "find: the query is empty",
		" ":          "find: the query is empty",
		"_ipp":       `find: "_ipp" is no service type: it must end in ._tcp or ._udp (RFC 6763 §7)`,
		"_ipp._sctp": `find: "_ipp._sctp" is no service type: it must end in ._tcp or ._udp (RFC 6763 §7)`,
		"\xff":       "find: the query is not UTF-8",
		strings.Replace(device, "MGTI", "MGTJ", 1):                                           "find: device ID: check digit 2 of 4 is wrong: a slip in IQGDREY-DM2MGTJ",
		strings.ToLower(strings.ReplaceAll(strings.Replace(device, "Q2", "Q3", 1), "-", "")): "find: device ID: check digit 4 of 4 is wrong: a slip in TBBZ4TJ-XZWICQ3",
		strings.Replace(device, "P", "9", 1):                                                 "find: device ID: digit 1, '9', is none of A to Z and 2 to 7",
	} {
		if _, err := find.ParseQuery(text); err == nil || err.Error() != want {
			t.Errorf("ParseQuery(%q): error %v; want %q", text, err, want)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"_ipp._tcp", "10.0.0.5", "02:00:5e:10:00:01", "nas.local", "SQL", "_a._sub._b._udp.local.", device} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := find.ParseQuery(text)
		if err == nil && q.Text == "" {
			t.Errorf("ParseQuery(%q) accepts an empty query", text)
		}
	})
}
