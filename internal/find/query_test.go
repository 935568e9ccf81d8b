package find_test

import (
	"testing"

	"github.com/lanfolk/lanfolk/internal/find"
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

func TestParseQueryErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":           "find: the query is empty",
		" ":          "find: the query is empty",
		"_ipp":       `find: "_ipp" is no service type: it must end in ._tcp or ._udp (RFC 6763 §7)`,
		"_ipp._sctp": `find: "_ipp._sctp" is no service type: it must end in ._tcp or ._udp (RFC 6763 §7)`,
		"\xff":       "find: the query is not UTF-8",
	} {
		if _, err := find.ParseQuery(text); err == nil || err.Error() != want {
			t.Errorf("ParseQuery(%q): error %v; want %q", text, err, want)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"_ipp._tcp", "10.0.0.5", "02:00:5e:10:00:01", "nas.local", "SQL", "_a._sub._b._udp.local."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := find.ParseQuery(text)
		if err == nil && q.Text == "" {
			t.Errorf("ParseQuery(%q) accepts an empty query", text)
		}
	})
}
