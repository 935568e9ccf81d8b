package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the documents show as configuration can be read.
func TestConfigurationsOfTheDocuments(t *testing.T) {
	files, err := filepath.Glob("../../docs/protocols/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	read := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "\n```toml\n")[1:] {
			block, _, _ = strings.Cut(block, "\n```")
			parse(t, block)
			read++
		}
	}
	if read < 2 {
		t.Errorf("%d configurations", read)
	}
}
