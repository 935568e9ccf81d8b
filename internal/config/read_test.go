package config

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Sections to come: an array of tables with a table inside.
type withArray struct {
	Announce []announce `toml:"announce"`
	Port     int        `toml:"port"`
}

type announce struct {
	Name  string     `toml:"name"`
	Times []Duration `toml:"times"`
	TXT   announced  `toml:"txt"`
}

type announced struct {
	Key string `toml:"key"`
}

func (a announce) check(bad func(key string, err error)) {
	if a.Name == "" {
		bad("name", errors.New("want a name"))
	}
	if a.TXT.Key == "bad" {
		bad("txt.key", errors.New("is bad"))
	}
}

func TestArrayOfTables(t *testing.T) {
	const text = `port = 0x1F90
[[announce]]
name = "a"
times = ["1d", "2h"]
[announce.txt]
key = "x"

[[announce]]
name = "b"
txt.key = "y"
`
	var got withArray
	if errs := read("f", []byte(text), reflect.ValueOf(&got).Elem()); errs != nil {
		t.Fatal(errs)
	}
	want := withArray{Port: 8080, Announce: []announce{
		{Name: "a", Times: []Duration{{24 * time.Hour}, {2 * time.Hour}}, TXT: announced{"x"}},
		{Name: "b", TXT: announced{"y"}},
	}}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(Duration{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	out, err := write(reflect.ValueOf(&got).Elem())
	if err != nil {
		t.Fatal(err)
	}
	var again withArray
	if errs := read("f", out, reflect.ValueOf(&again).Elem()); errs != nil {
		t.Fatalf("%v\n%s", errs, out)
	}
	if d := cmp.Diff(got, again, cmpopts.EquateComparable(Duration{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("written and read it is another (-was +is):\n%s", d)
	}
}

func TestArrayOfTablesErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[[announce]]\nname = \"a\"\n[[announce]]\ntimes = [\"1d\", \"x\"]\n": `f:3:3: announce[1].name: want a name
f:4:16: announce[1].times[1]: want a span like "90d", "2w" or "1h30m", not "x"`,
		"[[announce]]\nname = \"a\"\ntxt = { key = \"bad\" }": `f:3:15: announce[0].txt.key: is bad`,
		"[[announce]]\nname = \"a\"\nnme = 1":                 `f:3:1: announce[0].nme: unknown key; did you mean announce[0].name?`,
		"[announce]\nname = \"a\"":                            `f:1:2: announce: want [[announce]], which may be there several times`,
		"announce = 3":                                        `f:1:12: announce: want an array of tables, not a number`,
		"announce = [3]":                                      `f:1:1: announce: want an array of tables, as [[announce]]`,
		"announce.name = 3":                                   `f:1:1: announce: want an array of tables, not a table`,
		"[announce.txt]\nkey = \"a\"":                         `f:1:2: announce: want [[announce]], which may be there several times`,
		"port = 9223372036854775808":                          `f:1:8: port: decimal number is too large to fit in a 64-bit signed integer`,
	} {
		var got withArray
		errs := read("f", []byte(text), reflect.ValueOf(&got).Elem())
		if errs.Error() != want {
			t.Errorf("%q says\n%v\nwant\n%s", text, errs, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"listen", "lisen", 1}, {"mdns", "mnds", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abc", "xyz", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
	if got := distance(fmt.Sprintf("%100d", 1), "a"); got < 50 {
		t.Errorf("a long name is only %d away", got)
	}
}
