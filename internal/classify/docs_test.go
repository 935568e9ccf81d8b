package classify_test

import (
	"os"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/classify"
)

// What the documentation shows can be read and does what it says, and it lists all kinds and classes.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/naming.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	var rules []classify.Rule
	var learnt []classify.Example
	for _, block := range strings.Split(text, "\n```toml\n")[1:] {
		block, _, _ = strings.Cut(block, "\n```")
		if strings.HasPrefix(block, "[[device]]") {
			learnt, err = classify.ParseExamples("naming.md", []byte(block))
		} else {
			rules, err = classify.ParseRules("naming.md", []byte(block))
		}
		if err != nil {
			t.Error(err)
		}
	}
	if len(rules) != 2 || len(learnt) != 1 {
		t.Fatalf("%d rules, %d learnt devices", len(rules), len(learnt))
	}
	c := classify.NewClassifier(rules, nil, learnt)
	k := c.Classify(signals("host.name=PLT-7", "dns.name=a.updates.example.com"), "Example Plotters Ltd.")
	if k.Model.Value != "Example Plotter 7" || k.Class.Value != "plotter" || k.OS.Value != "Example OS" {
		t.Errorf("%+v", k)
	}
	if k = c.Classify(learnt[0].Signals, ""); k.Model.Value != "Example Kettle" {
		t.Errorf("%+v", k)
	}
	for _, kind := range classify.Kinds() {
		if !strings.Contains(text, "| `"+kind.Name+"` |") {
			t.Errorf("%s isn't listed", kind.Name)
		}
	}
	_, list, _ := strings.Cut(text, "conclude these classes; your own may name others: ")
	list, _, _ = strings.Cut(list, ".")
	if got := strings.Join(strings.Fields(list), " "); got != strings.Join(classify.Classes(), ", ") {
		t.Errorf("classes: %s", got)
	}
}
