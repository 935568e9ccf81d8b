package mdns_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTableOfRulesNamesTestsThatExist holds docs/rfc6762.md against the tests.
func TestTableOfRulesNamesTestsThatExist(t *testing.T) {
	table, err := os.ReadFile("../docs/rfc6762.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	named := regexp.MustCompile("`([a-z/]+) ((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(table), -1)
	for _, m := range named {
		pkg, test := m[1], m[2]
		if _, ok := sources[pkg]; !ok {
			files, err := filepath.Glob("../" + pkg + "/*_test.go")
			if err != nil || len(files) == 0 {
				t.Fatalf("no tests in package %s: %v", pkg, err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				sources[pkg] += string(b)
			}
		}
		if !strings.Contains(sources[pkg], "func "+test+"(") {
			t.Errorf("docs/rfc6762.md names %s in package %s, which isn't there", test, pkg)
		}
	}
	if len(named) < 50 {
		t.Errorf("docs/rfc6762.md names %d tests, want at least 50", len(named))
	}
}
