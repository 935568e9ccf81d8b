package tged_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/tged"
)

func TestParseServices(t *testing.T) {
	set, err := tged.ParseServices("services.json", []byte("\xef\xbb\xbf"+`{"S\u0051L" : {"port":3306 ,"ratio": 1.50e1, "on":true,
		"note":"a \"quoted\" } word, \\", "empty":""}, "E":{} }`+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := set.Lookup([]byte("SQL"))
	if err != nil || set.Len() != 2 {
		t.Fatal(set.Len(), err)
	}
	want := []tged.Field{{Key: "PORT", Value: "3306"}, {Key: "RATIO", Value: "1.50e1"}, {Key: "ON", Value: "true"}, {Key: "NOTE", Value: `a "quoted" } word, \`}, {Key: "EMPTY"}}
	if diff := cmp.Diff(want, s.Fields()); diff != "" {
		t.Error(diff)
	}
	if set, err := tged.ParseServices("", []byte("{}")); err != nil || set.Len() != 0 {
		t.Error(set, err)
	}
}

// badServices are files that must be refused, by the message that says why.
func badServices() map[string]string {
	return map[string]string{
		"f:1:1: unexpected end of JSON input":                                                                  "",
		"f:2:8: unexpected end of JSON input":                                                                  "{\n \"SQL\":",
		"f:2:3: invalid character '}' looking for beginning of object key string":                              "{\"A\":{},\n  }",
		"f:1:4: invalid character 'x' after top-level value":                                                   "{} x",
		"f:1:1: want an object of services by name":                                                            `["SQL"]`,
		`f:1:8: want the fields of service "SQL", an object`:                                                   `{"SQL":"test"}`,
		`f:3:11: service "SQL": HOST must be a string, a number or a boolean`:                                  "{\n\"SQL\": {\n  \"HOST\": null}}",
		`f:1:16: service "SQL": IP must be a string, a number or a boolean`:                                    `{"SQL": {"IP": ["10.0.0.1"]}}`,
		`f:1:16: service "SQL": IP must be a string, a number or a boolean `:                                   `{"SQL": {"IP": {}}}`,
		`f:2:11: service "sql" is there twice; case makes no difference`:                                       "{\"SQL\":{},\n          \"sql\":{}}",
		`f:1:18: service "SQL": key "A" is there twice`:                                                        `{"SQL": {"a":1 , "A":2}}`,
		`f:2:4: service "SQL": key "A:B" holds a colon, white space or control characters, or isn't UTF-8`:     "{\"SQL\": {\"X\":1,\n   \"A:B\":2}}",
		`f:1:10: service "SQL": key "A\r\nB" holds a colon, white space or control characters, or isn't UTF-8`: `{"SQL": {"A\r\nB":2}}`,
		`f:1:10: service "SQL": the value of A holds control characters or isn't UTF-8: "1\r\nTGED REPLY 1.0"`: `{"SQL": {"A":"1\r\nTGED REPLY 1.0"}}`,
		`f:1:2: service "": the name is empty`:                                                                 `{"":{}}`,
		`f:1:12: a byte that isn't UTF-8`:                                                                      "{\"SQL\":{\"é\xe9\":1}}",
	}
}

func TestParseServicesErrors(t *testing.T) {
	for want, in := range badServices() {
		if _, err := tged.ParseServices("f", []byte(in)); err == nil || err.Error() != strings.TrimSpace(want) {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
	long := `{"A": {"K": "` + strings.Repeat("x", 1100) + `"}}`
	if _, err := tged.ParseServices("f", []byte(long)); err == nil || err.Error() != `f:1:2: service "A": the reply has 1123 bytes, of which clients read 1024` {
		t.Error(err)
	}
	if _, err := tged.ParseServices("", []byte("[]")); err == nil || err.Error() != "1:1: want an object of services by name" {
		t.Error(err)
	}
}

// Whatever the file holds: what is accepted can be asked for, and every reply can be read
// as it was meant.
func FuzzParseServices(f *testing.F) {
	for _, s := range servicesSeeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := tged.ParseServices("f", b)
		var whole map[string]map[string]any
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("no position: %v", err)
			}
			return
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(string(b), "\ufeff")), &whole); err != nil || len(whole) != set.Len() {
			t.Fatalf("%d services, JSON has %d: %v", set.Len(), len(whole), err)
		}
		for name, fields := range whole {
			s, err := set.Lookup([]byte(name))
			if strings.EqualFold(name, "INVALID") {
				continue
			}
			if err != nil || len(s.Fields()) != len(fields) {
				t.Fatalf("%q: %v, %v", name, s, err)
			}
			m := tged.Message{Method: tged.Reply, Version: tged.V1, Fields: s.Fields()}
			for _, style := range []tged.Style{tged.Spaced, tged.Compact} {
				again, err := tged.Parse(m.Append(nil, style))
				if diff := cmp.Diff(s.Fields(), again.Fields, cmp.Comparer(sameFields)); err != nil || diff != "" {
					t.Fatalf("%q: %v\n%s", name, err, diff)
				}
			}
		}
	})
}

func sameFields(a, b []tged.Field) bool { return fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b) }

func servicesSeeds(t testing.TB) [][]byte {
	seeds := [][]byte{cases(t).ServicesFile, []byte(`{"a":{"b":"\u00e5\\\"","c":-1.5E+3,"d":false}}`)}
	for _, s := range badServices() {
		seeds = append(seeds, []byte(s))
	}
	return seeds
}

// manyServices is a services file of that many.
func manyServices(n int) []byte {
	m := map[string]any{}
	for i := range n {
		m[fmt.Sprint("SERVICE", i)] = map[string]any{"HOST": "test", "FQDN": "test.example.com", "IP": "192.168.0.34", "PORT": 3306, "USER": "john"}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		panic(err)
	}
	return b
}

func BenchmarkParseServices(b *testing.B) {
	data := manyServices(10_000)
	for b.Loop() {
		if _, err := tged.ParseServices("f", data); err != nil {
			b.Fatal(err)
		}
	}
}
