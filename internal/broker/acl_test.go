package broker

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{ // MQTT 5 §4.7.1
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "a/b", true},
		{"#", "$SYS/a", false},
		{"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/a", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"a//b", "a//b", true},
		{"a/b", "a/b/c", false},
		{"a/b/c", "a/b", false},
		{"a/+/#", "a/b", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
	}
}

// Overlap and cover agree with matching.
func TestFiltersAgree(t *testing.T) {
	t.Parallel()
	level := rapid.SampledFrom([]string{"a", "b", "+", ""})
	filter := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
		if rapid.Bool().Draw(t, "hash") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
	topic := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 1, 5).Draw(t, "topic"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, x := filter.Draw(t, "a"), filter.Draw(t, "b"), topic.Draw(t, "x")
		if matches(a, x) && matches(b, x) && !overlap(a, b) {
			t.Errorf("%q matches both %q and %q, which don't overlap", x, a, b)
		}
		if covers(a, b) && matches(b, x) && !matches(a, x) {
			t.Errorf("%q covers %q, which matches %q, and doesn't itself", a, b, x)
		}
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	r, err := ReadRules(strings.NewReader(`
# everyone without a user
topic read public/#
topic write in box

user alice
topic readwrite home/#
topic deny home/secret/#
topic whole
pattern write device/%u
pattern read clients/%c/#
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, client, topic string
		read, write         bool
	}{
		{"", "c", "public/a", true, false},
		{"", "c", "in box", false, true},
		{"", "c", "home/a", false, false},
		{"", "c", "clients/c/a", true, false},
		{"", "c", "clients/d/a", false, false},
		{"alice", "c", "public/a", false, false},
		{"alice", "c", "home/a", true, true},
		{"alice", "c", "home/secret/a", false, false},
		{"alice", "c", "whole", true, true},
		{"alice", "c", "device/alice", false, true},
		{"alice", "c", "device/bob", false, false},
		{"bob", "c", "device/bob", false, true},
		{"bob", "c", "home/a", false, false},
		// A name with wildcards is no name.
		{"+", "c", "device/bob", false, false},
		{"#", "c", "device/bob", false, false},
		{"bob", "+", "clients/c/a", false, false},
		{"bob", "a/b", "clients/a/b/c", false, false},
	} {
		g := r.grant(c.user, c.client)
		if read, write := g.mayRead(c.topic), g.mayWrite(c.topic); read != c.read || write != c.write {
			t.Errorf("user %q, client %q, topic %q: read %v, write %v", c.user, c.client, c.topic, read, write)
		}
	}
	all := (*Rules)(nil).grant("", "c")
	if !all.mayRead("a") || !all.mayWrite("a") || all.mayRead("$SYS/a") || all.mayWrite("$SYS/a") {
		t.Error("without rules everything but $ is allowed")
	}
}

func TestRulesErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"topic":              "line 1: the topic is missing",
		"\ntopic read a/#/b": `line 2: topic "a/#/b": # stands alone at the end, + alone in its level`,
		"topic a+":           `line 1: topic "a+": # stands alone at the end, + alone in its level`,
		"user":               "line 1: user without a name",
		"allow a":            `line 1: "allow": want user, topic or pattern`,
	} {
		if _, err := ReadRules(strings.NewReader(in)); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", in, err, want)
		}
	}
}

func FuzzReadRules(f *testing.F) {
	for _, s := range []string{"topic read a/#\nuser b\ntopic deny c\npattern write d/%u/%c", "topic\n", "user  x y\ntopic + "} {
		f.Add(s, "u", "c", "a/b")
	}
	f.Fuzz(func(t *testing.T, text, user, client, topic string) {
		r, err := ReadRules(strings.NewReader(text))
		if err != nil {
			return
		}
		g := r.grant(user, client)
		if strings.HasPrefix(topic, "$") && (g.mayRead(topic) || g.mayWrite(topic)) {
			t.Errorf("%q is allowed", topic)
		}
		g.maySubscribe(topic)
	})
}
