package hemtjanst_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// What a topic is about is the same when it is made again of that.
func FuzzTopics(f *testing.F) {
	for _, s := range []string{"device/a", "provider/9d3a", "current/u1/light/1/reachable", "t1/device/a", "current/reachable", "current//reachable",
		"device/a/b", "device/a+b", "device/#", "provider/$x", "device/", "current/x/reachable/reachable", "device/\x00", "device/\xff", "x"} {
		f.Add("", s)
		f.Add("t1", s)
	}
	f.Fuzz(func(t *testing.T, tenant, topic string) {
		tops := hemtjanst.Topics{Tenant: tenant}
		if tops.Check() != nil {
			return
		}
		kind, name := tops.Parse(topic)
		var again string
		switch kind {
		case hemtjanst.DeviceTopic:
			again = tops.Device(name)
		case hemtjanst.ProviderTopic:
			again = tops.Provider(name)
		case hemtjanst.ReachableTopic:
			again = tops.Reachable(name)
		default:
			if name != "" {
				t.Fatalf("%q: kind %d with name %q", topic, kind, name)
			}
			return
		}
		if again != topic {
			t.Fatalf("%q becomes %q", topic, again)
		}
		if err := hemtjanst.CheckName(name); err != nil {
			t.Fatalf("%q: %v", topic, err)
		}
		if strings.ContainsAny(name, "+#$\x00") || !utf8.ValidString(name) {
			t.Fatalf("%q lets %q through", topic, name)
		}
	})
}

// Metadata is what encoding/json reads, its members are the same, and what is changed
// in it leaves the rest as it was.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{`{}`, ` { } `, `{"root":"u1/light/1","providerID":"P"}`, `{"a":[1,{"b":"]}"}],"root":"x" , "c" : null}`, `{"a":"\"","\u0072oot":"y"}`,
		`{"root":"a","root":"b"}`, `{"root":5}`, `[1]`, `{`, `{"a":1}x`, `{"a":-1.5e+3,"b":true}`, "{\"a\":\"\xff\"}", `{"providerID":""}`, `null`, ``} {
		f.Add([]byte(s), "P1")
	}
	f.Fuzz(func(t *testing.T, b []byte, value string) {
		m, err := hemtjanst.ParseMetadata(b)
		var want map[string]json.RawMessage
		valid := json.Unmarshal(b, &want) == nil && want != nil && utf8.Valid(b) && len(b) <= hemtjanst.MaxMetadata
		if (err == nil) != valid {
			t.Fatalf("%q: %v, encoding/json says %v", b, err, valid)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(m.JSON(), b) {
			t.Fatalf("%q becomes %q", b, m.JSON())
		}
		same(t, m, want)
		if !utf8.ValidString(value) {
			return
		}
		changed := m.With("providerID", value)
		var got map[string]json.RawMessage
		if err := json.Unmarshal(changed.JSON(), &got); err != nil {
			t.Fatalf("%q with %q is %q: %v", b, value, changed.JSON(), err)
		}
		if changed.Provider() != value {
			t.Fatalf("%q with %q has %q", b, value, changed.Provider())
		}
		delete(want, "providerID")
		if value != "" {
			want["providerID"] = got["providerID"]
		}
		same(t, changed, want)
		if len(got) != len(want) {
			t.Fatalf("%q with %q has members %q", b, value, got)
		}
	})
}

func same(t *testing.T, m hemtjanst.Metadata, want map[string]json.RawMessage) {
	t.Helper()
	for name, value := range want {
		got, ok := m.Member(name)
		if !ok || !bytes.Equal(got, value) {
			t.Fatalf("%q: member %q is %q, not %q", m.JSON(), name, got, value)
		}
	}
}
