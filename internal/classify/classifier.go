package classify

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
)

//go:embed rules/*.toml
var builtIn embed.FS

// BuiltIn returns the rules that lanfolk comes with.
func BuiltIn() ([]Rule, error) {
	files, err := builtIn.ReadDir("rules")
	if err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	var all []Rule
	for _, f := range files {
		name := "rules/" + f.Name()
		data, err := builtIn.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("classify: %w", err)
		}
		rules, err := ParseRules(name, data)
		if err != nil {
			return nil, fmt.Errorf("classify: %w", err)
		}
		all = append(all, rules...)
	}
	return all, nil
}

// Classifier is a lanfolk.Classifier by rules and learnt devices. It is never changed:
// any number may use it at once.
type Classifier struct {
	rules  *compiled
	learnt *Recogniser
}

// NewClassifier returns one that goes by a person's own rules, by learnt devices, and
// then by the built-in rules: what comes first overrules the rest, answer by answer.
func NewClassifier(own, builtIn []Rule, learnt []Example) *Classifier {
	c := &Classifier{rules: compileRules(own, builtIn)}
	if len(learnt) > 0 {
		c.learnt = NewRecogniser(learnt)
	}
	return c
}

// Tells says whether a signal can make a difference, and what it is kept under: of two
// signals of a kind with the same slot the later one is enough.
func (c *Classifier) Tells(s lanfolk.Signal) (slot string, ok bool) {
	if x := c.rules.kinds[s.Kind]; x != nil {
		first := int32(-1)
		x.each(s.Value, func(cond int32) bool {
			first = cond
			return false
		})
		if first >= 0 {
			return c.rules.nameOf(first), true
		}
	}
	switch {
	case c.learnt == nil:
	case len(c.learnt.postings[s]) > 0:
		return "learnt " + s.Value, true
	case c.learnt.closed[s.Kind]:
		return "other", true
	}
	return "", false
}

// nameOf is the rule that a condition belongs to.
func (c *compiled) nameOf(cond int32) string {
	n, ok := slices.BinarySearchFunc(c.rules, cond, func(r ranked, cond int32) int { return int(r.first) - int(cond) })
	if !ok {
		n--
	}
	return c.rules[n].Name
}

// Signals implements lanfolk.Classifier.
func (c *Classifier) Signals(s *lanfolk.Sighting) []lanfolk.Signal {
	var out []lanfolk.Signal
	FromSighting(s, func(x lanfolk.Signal) {
		if _, ok := c.Tells(x); ok {
			out = append(out, x)
		}
		if c.learnt != nil && x.Kind == KindHost {
			if form, ok := New(KindHostForm, Form(x.Value)); ok && c.learnt.tells(form) {
				out = append(out, form)
			}
		}
	})
	return out
}

// Classify implements lanfolk.Classifier.
func (c *Classifier) Classify(signals []lanfolk.Signal, vendor string) lanfolk.Classification {
	all := signals
	if v, ok := New(KindVendor, vendor); ok {
		all = append(slices.Clone(signals), v)
		slices.SortFunc(all, compareSignals)
	}
	votes := c.rules.votes(all)
	if c.learnt != nil {
		votes = append(votes, c.learnt.votes(signals)...)
	}
	return judge(votes)
}

// votes returns what the recogniser says of a set of signals, none for "unknown".
func (r *Recogniser) votes(signals []lanfolk.Signal) []vote {
	m, ok := r.Recognise(signals, nil)
	if !ok {
		return nil
	}
	v := vote{
		answer: answerModel, value: m.Model, confidence: m.Confidence, rank: rankOwn, rule: "learnt: " + m.Model,
		source: strings.Join(m.Sources[:min(len(m.Sources), 3)], "; "),
	}
	for _, w := range m.Evidence {
		if w.Weight > 0 {
			v.signals = append(v.signals, w.Signals[:min(len(w.Signals), 3)]...)
		}
	}
	slices.SortFunc(v.signals, compareSignals)
	out := []vote{v}
	if m.Class != "" {
		v.answer, v.value = answerClass, m.Class
		out = append(out, v)
	}
	return out
}
