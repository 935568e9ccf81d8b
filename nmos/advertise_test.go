package nmos_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/nmos"
)

func kind(t testing.TB, name string) nmos.Kind {
	t.Helper()
	k, ok := nmos.KindOf(name)
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return k
}

func TestAnnouncementHasTheKeysOfItsKind(t *testing.T) {
	versions := []nmos.Version{{Major: 1, Minor: 12}, {Major: 1, Minor: 3}, {Major: 1, Minor: 3}}
	for name, c := range map[string]struct {
		change func(*nmos.Advertisement)
		want   []string
	}{
		"netctrl":      {nil, []string{"api_proto=http", "api_ver=v1.3,v1.12", "api_auth=false", "pri=0"}},
		"register":     {func(a *nmos.Advertisement) { a.Proto, a.Auth, a.Priority = "https", true, 99 }, []string{"api_proto=https", "api_ver=v1.3,v1.12", "api_auth=true", "pri=99"}},
		"registration": {func(a *nmos.Advertisement) { a.Priority, a.Development = 100, true }, []string{"api_proto=http", "api_ver=v1.3,v1.12", "api_auth=false", "pri=100"}},
		"query":        {nil, []string{"api_proto=http", "api_ver=v1.3,v1.12", "api_auth=false", "pri=0"}},
		"node":         {nil, []string{"api_proto=http", "api_ver=v1.3,v1.12", "api_auth=false"}},
		"system":       {nil, []string{"api_proto=http", "api_ver=v1.3,v1.12", "pri=0"}},
		"auth":         {func(a *nmos.Advertisement) { a.Selector = "studio/1" }, []string{"api_proto=https", "api_ver=v1.3,v1.12", "pri=0", "api_selector=studio/1"}},
		"mqtt":         {func(a *nmos.Advertisement) { a.Versions, a.Auth = nil, true }, []string{"api_proto=mqtt", "api_auth=true"}},
	} {
		a := nmos.Advertisement{Kind: kind(t, name), Name: "A", Port: 80, Versions: versions}
		if c.change != nil {
			c.change(&a)
		}
		got, err := a.Announcement("local")
		if err != nil || !slices.Equal(got.TXT, c.want) || got.Type != a.Kind.Service {
			t.Errorf("%s: %s %q, %v; want %q", name, got.Type, got.TXT, err, c.want)
		}
	}
}

func TestAnnouncementRefusesWhatTheSpecificationsForbid(t *testing.T) {
	for want, c := range map[string]struct {
		kind   string
		change func(*nmos.Advertisement)
	}{
		"no kind of API":    {"query", func(a *nmos.Advertisement) { a.Kind = nmos.Kind{} }},
		"an API has a port": {"query", func(a *nmos.Advertisement) { a.Port = 0 }},
		`api_proto is "mqtt": _nmos-query._tcp wants http or https`:      {"query", func(a *nmos.Advertisement) { a.Proto = "mqtt" }},
		`api_proto is "HTTP": _nmos-query._tcp wants http or https`:      {"query", func(a *nmos.Advertisement) { a.Proto = "HTTP" }},
		`api_proto is "http": _nmos-auth._tcp wants https`:               {"auth", func(a *nmos.Advertisement) { a.Proto = "http" }},
		"api_ver is missing: an API has at least one version":            {"node", func(a *nmos.Advertisement) { a.Versions = nil }},
		"_nmos-mqtt._tcp has no api_ver (IS-07)":                         {"mqtt", func(*nmos.Advertisement) {}},
		"_nmos-system._tcp has no api_auth (IS-09)":                      {"system", func(a *nmos.Advertisement) { a.Proto, a.Auth = "https", true }},
		"api_auth is true: authorization needs https":                    {"netctrl", func(a *nmos.Advertisement) { a.Auth = true }},
		"_nmos-node._tcp has no pri (IS-04)":                             {"node", func(a *nmos.Advertisement) { a.Priority = 1 }},
		"pri is -1: want a number from 0":                                {"query", func(a *nmos.Advertisement) { a.Priority = -1 }},
		"pri 100 is for development, 0 to 99 is live":                    {"query", func(a *nmos.Advertisement) { a.Priority = 100 }},
		"_nmos-query._tcp has no api_selector (IS-04)":                   {"query", func(a *nmos.Advertisement) { a.Selector = "x" }},
		`api_selector is "/x": want a path without a slash at its ends`:  {"auth", func(a *nmos.Advertisement) { a.Selector = "/x" }},
		`api_selector is "x?y": want a path without a slash at its ends`: {"auth", func(a *nmos.Advertisement) { a.Selector = "x?y" }},
	} {
		a := nmos.Advertisement{Kind: kind(t, c.kind), Name: "A", Port: 80, Versions: []nmos.Version{{Major: 1}}}
		c.change(&a)
		if _, err := a.Announcement("local"); err == nil || err.Error() != `nmos: advertise "A": `+want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	a := nmos.Advertisement{Kind: kind(t, "node"), Port: 80, Versions: []nmos.Version{{Major: 1}}}
	if _, err := a.Announcement("local"); err == nil || err.Error() != "nmos: advertise: dnssd: an instance has a name" {
		t.Errorf("error %v", err)
	}
}

func TestLegacyNameOfTheSameAPI(t *testing.T) {
	a := nmos.Advertisement{Kind: kind(t, "register"), Name: "A", Port: 80}
	if old, ok := a.Legacy(); !ok || old.Kind.Service != "_nmos-registration._tcp" || old.Name != "A" {
		t.Errorf("%v %+v", ok, old)
	}
	a.Kind = kind(t, "query")
	if old, ok := a.Legacy(); ok {
		t.Errorf("%+v", old)
	}
}

// What an Advertisement writes, Parse reads back.
func TestAnnouncementIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(nmos.Kinds()).Draw(t, "kind")
		a := nmos.Advertisement{
			Kind: k, Name: rapid.StringMatching(`[a-zA-ZäöüÅ .\\()]{1,20}`).Draw(t, "name"),
			Host: dnssd.Host{Name: "ctl-1"}, Port: rapid.Uint16Min(1).Draw(t, "port"),
			Proto: rapid.SampledFrom(k.Protos).Draw(t, "proto"),
		}
		if k.HasVersion {
			a.Versions = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) nmos.Version {
				return nmos.Version{Major: rapid.Uint16().Draw(t, "major"), Minor: rapid.Uint16().Draw(t, "minor")}
			}), 1, 15).Draw(t, "versions")
		}
		if k.HasAuth && a.Proto != "http" {
			a.Auth = rapid.Bool().Draw(t, "auth")
		}
		if k.HasPriority {
			a.Priority = rapid.IntRange(0, 1<<30).Draw(t, "pri")
			a.Development = a.Priority > nmos.MaxLive
		}
		if k.HasSelector {
			a.Selector = rapid.StringMatching(`|[a-z0-9%~=]{1,100}(/[A-Z._-]{3})?`).Draw(t, "selector")
		}
		out, err := a.Announcement("example.com")
		if err != nil {
			t.Fatal(err)
		}
		if list, _ := out.TXT.Get("api_ver"); strings.Contains(list.Data, " ") {
			t.Fatalf("api_ver %q has a space", list.Data)
		}
		got, err := nmos.Parse(k, nmos.Found{
			Instance: dnssd.Instance{Name: out.Name, Service: out.Type, Domain: "example.com"},
			Targets:  []nmos.Target{{Host: out.Host.Name, Port: out.Port}}, TXT: []dnssd.TXT{out.TXT},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(a.Versions)
		slices.SortFunc(want, nmos.Version.Compare)
		want = slices.Compact(want)
		if got.Proto != a.Proto || got.Auth != a.Auth || got.Priority != a.Priority || got.Selector != a.Selector || !slices.Equal(got.Versions, want) {
			t.Fatalf("%+v\nwas read back as %+v", a, got)
		}
	})
}
