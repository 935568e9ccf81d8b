package classify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Rule concludes from signals what a device is.
type Rule struct {
	Name       string
	Source     string // where the knowledge comes from
	When       []Condition
	Model      string // may quote signals; see the package comment
	OS         string
	Class      string
	Confidence float64 // how far it is to be trusted alone: more than 0, less than 1
}

// Condition holds where a signal of the kind matches one of the patterns.
type Condition struct {
	Kind     string
	Patterns []string
}

// maxConfidence is what rules and all of them together are trusted at most.
const maxConfidence = 0.99

// ParseRules reads a file of rules; name is what its errors call it. The error is
// an Errors.
func ParseRules(name string, data []byte) ([]Rule, error) {
	r := &reader{file: name, data: data}
	var rules []Rule
	seen := map[string]bool{}
	for _, t := range r.tables("rule") {
		rule, at := r.rule(t)
		if rule.Name != "" && seen[rule.Name] {
			r.bad(at, "name: another rule is called %q", rule.Name)
		}
		seen[rule.Name] = true
		rules = append(rules, rule)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return rules, nil
}

// rule reads one, and returns where its name stands.
func (r *reader) rule(t table) (Rule, int) {
	var rule Rule
	var name, source, model, os, class text
	when, confidence := false, false
	for _, e := range t.entries {
		switch e.key.value {
		case "name":
			r.words(e, &name)
		case "source":
			r.words(e, &source)
		case "model":
			r.words(e, &model)
		case "os":
			r.words(e, &os)
		case "class":
			r.words(e, &class)
		case "when":
			when = true
			rule.When = r.when(e)
		case "confidence":
			confidence = true
			f, err := strconv.ParseFloat(e.text, 64)
			if e.kind != unstable.Float || err != nil || !(f > 0 && f <= maxConfidence) {
				r.bad(e.at, "confidence: want more than 0.0 and at most %v", maxConfidence)
			}
			rule.Confidence = f
		default:
			r.bad(e.key.at, "%s: unknown key; want name, source, when, model, os, class or confidence", e.key.value)
		}
	}
	rule.Name, rule.Source, rule.Model, rule.OS, rule.Class = name.value, source.value, model.value, os.value, class.value
	had := func(key string) bool {
		return slices.ContainsFunc(t.entries, func(e entry) bool { return e.key.value == key })
	}
	switch {
	case !had("name"):
		r.bad(t.at, "the rule has no name")
	case !had("source"):
		r.bad(t.at, "the rule has no source: say where you know it from")
	case !when:
		r.bad(t.at, "the rule has no when: say which signals it goes by")
	case !confidence:
		r.bad(t.at, "the rule has no confidence: say how far it is to be trusted")
	case !had("model") && !had("os") && !had("class"):
		r.bad(t.at, "the rule concludes nothing: want model, os or class")
	}
	if class.value != "" && !token(class.value) {
		r.bad(class.at, "class: want up to 32 small letters, digits and -, not %q", class.value)
	}
	for _, x := range [...]struct {
		key string
		text
	}{{"model", model}, {"os", os}} {
		if err := checkTemplate(x.value, rule.When); err != nil {
			r.bad(x.at, "%s: %v", x.key, err)
		}
	}
	return rule, name.at
}

// when reads conditions: { kind = pattern or [patterns], … }.
func (r *reader) when(e entry) []Condition {
	if e.kind != unstable.InlineTable || len(e.table) == 0 {
		r.bad(e.at, `when: want a table such as { "dhcp.vendor_class" = "MSFT 5.0" }`)
		return nil
	}
	if len(e.table) > maxWhen {
		r.bad(e.at, "when: more than %d conditions", maxWhen)
		return nil
	}
	var all []Condition
	for _, c := range e.table {
		if !KnownKind(c.key.value) {
			r.bad(c.key.at, "when: there is no kind of signal %q%s", c.key.value, suggest(c.key.value))
			continue
		}
		patterns := c.list
		switch {
		case c.kind == unstable.String:
			patterns = []text{{c.text, c.at}}
		case c.kind != unstable.Array || len(patterns) == 0:
			r.bad(c.at, "%s: want a pattern, or an array of patterns", c.key.value)
			continue
		case len(patterns) > maxPatterns:
			r.bad(c.at, "%s: more than %d patterns", c.key.value, maxPatterns)
			continue
		}
		cond := Condition{Kind: c.key.value}
		for _, p := range patterns {
			switch {
			case p.value == "" || len(p.value) > maxText || !clean(p.value):
				r.bad(max(p.at, c.at), "%s: want patterns of 1 to %d bytes of printable characters", c.key.value, maxText)
			case p.value == ".":
				r.bad(max(p.at, c.at), "%s: a dot begins a domain, and none follows", c.key.value)
			}
			cond.Patterns = append(cond.Patterns, p.value)
		}
		all = append(all, cond)
	}
	return all
}

// token says whether a class is written as classes are.
func token(s string) bool {
	return len(s) <= 32 && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})
}

// suggest returns "; did you mean …?" for a kind that is near, else "".
func suggest(name string) string {
	family, key, ok := strings.Cut(name, ".")
	if !ok {
		family, key = "", name
	}
	var near []string
	for _, k := range Kinds() {
		f, key2, _ := strings.Cut(k.Name, ".")
		if key2 != "" && (key2 == key || f == family && strings.HasPrefix(key2, key[:min(2, len(key))])) {
			near = append(near, k.Name)
		}
	}
	if len(near) == 0 || len(near) > 3 {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
}

// A template is text with {kind} for what the signal of that kind was and
// {kind*} for what the first star of the pattern that fitted stood for.

// checkTemplate says what is wrong with a template.
func checkTemplate(t string, when []Condition) error {
	for t != "" {
		i := strings.IndexAny(t, "{}")
		if i < 0 {
			return nil
		}
		n := strings.IndexByte(t[i:], '}')
		if t[i] == '}' || n < 0 {
			return fmt.Errorf("a brace has no other in %q", t)
		}
		kind, star := strings.CutSuffix(t[i+1:i+n], "*")
		at := slices.IndexFunc(when, func(c Condition) bool { return c.Kind == kind })
		if at < 0 {
			return fmt.Errorf("{%s} names no signal that the rule goes by", t[i+1:i+n])
		}
		if star && slices.ContainsFunc(when[at].Patterns, func(p string) bool { return !strings.Contains(p, "*") }) {
			return fmt.Errorf("{%s*}: not all patterns for %s have a star", kind, kind)
		}
		t = t[i+n+1:]
	}
	return nil
}

// fill replaces what a checked template quotes; the result is "" where nothing is left.
func fill(t string, quote func(kind string, star bool) string) string {
	if !strings.Contains(t, "{") {
		return t
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(t, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		inside, after, _ := strings.Cut(rest, "}")
		kind, star := strings.CutSuffix(inside, "*")
		b.WriteString(quote(kind, star))
		t = after
	}
	words := strings.Fields(strings.Map(func(c rune) rune {
		if !clean(string(c)) {
			return ' '
		}
		return c
	}, b.String()))
	s := strings.Join(words, " ")
	if len(s) > maxAnswer {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:maxAnswer], ""))
	}
	return s
}

// maxAnswer is the longest answer, in bytes.
const maxAnswer = 96
