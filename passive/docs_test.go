package passive_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocument holds docs/protocols/passive.md against the golden facts: its
// fingerprints are those of real packets, each form has an example, and no field
// is missing, here as in the package comment.
func TestDocument(t *testing.T) {
	page := readText(t, "../docs/protocols/passive.md")
	comment := readText(t, "doc.go")
	golden := map[string]bool{} // fingerprints
	forms := map[string]bool{}  // "dhcp1"
	fields := map[[2]string]bool{}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden facts: %v", err)
	}
	for _, file := range files {
		for line := range strings.Lines(readText(t, file)) {
			if !strings.HasPrefix(line, "{") {
				continue // a claim
			}
			var fact struct {
				Protocol, Fingerprint string
				Fields                map[string]string
			}
			if err := json.Unmarshal([]byte(line), &fact); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			golden[fact.Fingerprint] = true
			if fact.Fingerprint != "" {
				forms[formOf(fact.Fingerprint)] = true
			}
			for key := range fact.Fields {
				fields[[2]string{fact.Protocol, key}] = true
			}
		}
	}

	shown := map[string]bool{}
	for _, block := range strings.Split(page, "\n```fingerprint\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			f := strings.TrimSuffix(line, "\n")
			if !golden[f] {
				t.Errorf("no packet in testdata has the fingerprint %q", f)
			}
			shown[formOf(f)] = true
		}
	}
	for form := range forms {
		if !shown[form] {
			t.Errorf("the document has no example of %s", form)
		}
	}

	_, table, _ := strings.Cut(page, "\n## Fields\n")
	table, _, _ = strings.Cut(table, "\n## ")
	_, comment, _ = strings.Cut(comment, "\n// # Fields\n")
	comment, _, _ = strings.Cut(comment, "\n// # ")
	for f := range fields {
		if !contains(rowOf(table, "`"+f[0]+"`"), f[1]) {
			t.Errorf("the document's table of fields has no %s of %s", f[1], f[0])
		}
		if !contains(comment, f[1]) {
			t.Errorf("the package comment has no field %s of %s", f[1], f[0])
		}
	}
	if len(golden) < 50 || len(fields) < 90 {
		t.Errorf("only %d fingerprints and %d fields in the golden facts", len(golden), len(fields))
	}
}

func readText(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// formOf returns the protocol and version that a fingerprint begins with, "t" and
// "q" for JA4's.
func formOf(fingerprint string) string {
	form, _, ok := strings.Cut(fingerprint, ":")
	if !ok {
		return fingerprint[:1]
	}
	return form
}

// rowOf returns the lines of a table whose first cell holds a word.
func rowOf(table, first string) string {
	var b strings.Builder
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) > 2 && strings.Contains(cells[1], first) {
			b.WriteString(cells[2])
		}
	}
	return b.String()
}

// contains says whether a text has a whole word.
func contains(text, word string) bool {
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		if w == word {
			return true
		}
	}
	return false
}
