package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
)

type thing struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
	Size int      `json:"size"`
}

func thingPrinter() printer[thing] {
	return printer[thing]{
		columns: []column[thing]{
			{"NAME", false, func(x thing) string { return x.Name }},
			{"TAGS", true, func(x thing) string { return first(x.Tags) }},
		},
		id: func(x thing) string { return x.Name },
	}
}

func TestFormats(t *testing.T) {
	items := []thing{{"a\x1b[31m", []string{"x", "yes"}, 1}, {"", []string{}, 2}}
	for _, c := range []struct {
		format string
		items  []thing
		want   string
	}{
		{"table", items, "NAME\na\\u001b[31m\n-\n"},
		{"wide", items, "NAME         TAGS\na\\u001b[31m  x\n-            -\n"},
		{"jsonl", items, `{"name":"a\u001b[31m","tags":["x","yes"],"size":1}` + "\n" + `{"name":"","tags":[],"size":2}` + "\n"},
		{"name", items, "a\\u001b[31m\n\n"},
		{"yaml", items, "- name: \"a\\e[31m\"\n  tags:\n    - \"x\"\n    - \"yes\"\n  size: 1\n- name: \"\"\n  tags: []\n  size: 2\n"},
		{"json", nil, "[]\n"},
		{"yaml", nil, "[]\n"},
		{"jsonl", nil, ""},
	} {
		var out bytes.Buffer
		if err := thingPrinter().list(&out, format{name: c.format}, c.items); err != nil {
			t.Errorf("%s: %v", c.format, err)
		}
		if out.String() != c.want {
			t.Errorf("%s prints\n%q\nwant\n%q", c.format, out.String(), c.want)
		}
	}
}

func TestJSONFlagMeansLinesForStreams(t *testing.T) {
	for _, c := range []struct {
		f    format
		want string
	}{
		{format{name: "table", json: true}, "json"},
		{format{name: "table", json: true, stream: true}, "jsonl"},
		{format{name: "json", stream: true}, "jsonl"},
		{format{name: "wide", stream: true}, "wide"},
	} {
		if err := c.f.check(); err != nil || c.f.name != c.want {
			t.Errorf("%+v: error %v; want %s", c.f, err, c.want)
		}
	}
}

func TestChangesCarryTheObjectsFields(t *testing.T) {
	for _, c := range []struct {
		change change[thing]
		want   string
	}{
		{change[thing]{lanfolk.OpAdd, &thing{Name: "a"}}, `{"event":"add","name":"a","tags":null,"size":0}`},
		{change[thing]{lanfolk.OpSynced, nil}, `{"event":"synced","id":""}`},
	} {
		b, err := json.Marshal(c.change)
		if err != nil || string(b) != c.want {
			t.Errorf("%s, error %v; want %s", b, err, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"Küche 🖨":           "Küche 🖨",
		"a\nb":              `a\u000ab`,
		"\x1b]0;x\x07":      `\u001b]0;x\u0007`,
		"bad\xff":           `bad\xff`,
		"left\u202eright":   `left\u202eright`,
		"no-break\u00a0gap": `no-break\u00a0gap`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "now", 5 * time.Second: "5s ago", 90 * time.Second: "1m ago", 26 * time.Hour: "26h ago", 72 * time.Hour: "2026-10-29",
	} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%v: %q; want %q", d, got, want)
		}
	}
	if got := ago(now, time.Time{}); got != "" {
		t.Errorf("never: %q", got)
	}
}
