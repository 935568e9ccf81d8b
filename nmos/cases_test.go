package nmos_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/nmos"
)

// testCase is one of testdata/cases.json: what is advertised, what a client
// needs, and what it shall prefer.
type testCase struct {
	Name, Type, Level, Why string
	Advertisements         []struct {
		Instance, Domain, Via, Host, Type string
		Port                              uint16
		Priority                          uint16          `json:"srv_priority"`
		Weight                            uint16          `json:"srv_weight"`
		TXT                               json.RawMessage // strings, or an object
		Wire                              string          `json:"txt_wire_hex"`
		ExtraTXT                          [][]string      `json:"extra_txt"`
		ExtraSRV                          []struct {
			Host                   string
			Port, Priority, Weight uint16
		} `json:"extra_srv"`
		After int `json:"appears_after_s"`
	}
	Client struct {
		Versions    []string
		Proto, Mode string
		DNS         string
		Auth        bool
		Development bool `json:"allow_dev"`
	}
	Steps  []step
	Expect struct {
		Attempts  [][]string
		Groups    [][]string `json:"ordered_groups"`
		Discarded []string
		NotAsked  []string `json:"not_browsed"`
	}
}

func cases(t *testing.T) []testCase {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []testCase }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 20 {
		t.Fatalf("%d cases, there should be more", len(file.Cases))
	}
	return file.Cases
}

// found returns what DNS-SD would tell of the advertisements, without those
// that the client doesn't ask for.
func (c testCase) found(t *testing.T) []nmos.Found {
	t.Helper()
	var out []nmos.Found
	for _, a := range c.Advertisements {
		if slices.Contains(c.Expect.NotAsked, a.Instance) {
			continue
		}
		if a.Type == "" {
			a.Type = c.Type
		}
		f := nmos.Found{Instance: dnssd.Instance{Name: a.Instance, Service: a.Type, Domain: a.Domain}, Via: a.Via}
		for _, s := range a.ExtraSRV {
			f.Targets = append(f.Targets, nmos.Target{Host: s.Host, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
		}
		f.Targets = append(f.Targets, nmos.Target{Host: a.Host, Port: a.Port, Priority: a.Priority, Weight: a.Weight})
		switch {
		case a.Wire != "":
			f.Broken = cutShort(t, a.Wire)
		case a.TXT[0] == '[':
			var s []string
			decode(t, a.TXT, &s)
			f.TXT = append(f.TXT, s)
		default:
			var m map[string]string
			decode(t, a.TXT, &m)
			var txt dnssd.TXT
			for k, v := range m {
				txt = append(txt, k+"="+v)
			}
			f.TXT = append(f.TXT, txt)
		}
		for _, s := range a.ExtraTXT {
			f.TXT = append(f.TXT, s)
		}
		out = append(out, f)
	}
	return out
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// cutShort returns the error of a record whose last string is longer than what
// is left of it.
func cutShort(t *testing.T, wire string) error {
	t.Helper()
	b, err := hex.DecodeString(wire)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 1 + int(b[i]) {
		if i+1+int(b[i]) > len(b) {
			return os.ErrInvalid
		}
	}
	t.Fatal("the record isn't cut short")
	return nil
}

func (c testCase) needs(t *testing.T) nmos.Needs {
	t.Helper()
	n := nmos.Needs{Proto: c.Client.Proto, Auth: &c.Client.Auth, Development: c.Client.Development}
	for _, s := range c.Client.Versions {
		v, err := nmos.ParseVersion(s)
		if err != nil {
			t.Fatal(err)
		}
		n.Versions = append(n.Versions, v)
	}
	return n
}

func TestRankKeepsToTheCases(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			found := c.found(t)
			if hasUnicast := slices.ContainsFunc(found, func(f nmos.Found) bool { return f.Via == "unicast" }); hasUnicast {
				found = slices.DeleteFunc(found, func(f nmos.Found) bool { return f.Via == "mdns" })
			}
			got := c.needs(t).Rank(nmos.Kinds(), found)
			groups := [][]string{}
			for _, g := range got.Groups {
				var names []string
				for _, a := range g {
					names = append(names, a.Name)
				}
				groups = append(groups, names)
			}
			if !slices.EqualFunc(groups, c.Expect.Groups, slices.Equal) {
				t.Errorf("groups %q, want %q (%s)", groups, c.Expect.Groups, c.Why)
			}
			discarded := []string{}
			for _, d := range got.Discarded {
				discarded = append(discarded, d.Name)
				if d.Reason == nil || d.Reason.Error() == "" {
					t.Errorf("%s was discarded without a reason", d.Name)
				}
			}
			slices.Sort(discarded)
			if !slices.Equal(discarded, c.Expect.Discarded) {
				t.Errorf("discarded %q, want %q (%s)", discarded, c.Expect.Discarded, c.Why)
			}
		})
	}
}

func TestReasonsNameTheValue(t *testing.T) {
	var got []string
	for _, c := range cases(t) {
		for _, d := range c.needs(t).Rank(nmos.Kinds(), c.found(t)).Discarded {
			got = append(got, d.Reason.Error())
		}
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{
		`pri is "abc": want a number from 0`, `api_proto is "HTTP": want http or https`, `api_auth is "FALSE": want true or false`,
		"api_auth is missing", "api_ver is missing", `api_ver "banana" has no version in it`, "pri 100 is for development, 0 to 99 is live",
		"api_ver v9.0: this client speaks v1.0", "api_proto is http: this client needs https", `the same API as "A"`,
		"api_auth is true: this client has no authorization",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no reason says %q; there are\n%s", want, all)
		}
	}
}
