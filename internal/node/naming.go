package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/internal/config"
)

// Bounds on a person's own rules and learnt devices.
const (
	maxRuleFiles = 1000
	maxRuleFile  = 16 << 20 // bytes
)

// OpenClassifier returns what says what devices are: the built-in rules, and before
// them those that the config names, and learnt devices. state is the folder in which
// they lie where the config names no file; "" is none.
func OpenClassifier(c config.Naming, state string) (*classify.Classifier, error) {
	builtIn, err := classify.BuiltIn()
	if err != nil {
		return nil, fmt.Errorf("node: naming: %w", err)
	}
	var own []classify.Rule
	files, err := ruleFiles(c.Rules)
	if err != nil {
		return nil, fmt.Errorf("node: naming: %w", err)
	}
	for _, f := range files {
		data, err := readBounded(f)
		if err != nil {
			return nil, fmt.Errorf("node: naming: %w", err)
		}
		rules, err := classify.ParseRules(f, data)
		if err != nil {
			return nil, fmt.Errorf("node: naming: %w", err)
		}
		own = append(own, rules...)
	}
	var learnt []classify.Example
	if c.Learnt != "" || state != "" {
		if learnt, err = ReadLearnt(learntFile(c, state), c.Learnt != ""); err != nil {
			return nil, fmt.Errorf("node: naming: %w", err)
		}
	}
	return classify.NewClassifier(own, builtIn, learnt), nil
}

func learntFile(c config.Naming, state string) string {
	if c.Learnt != "" {
		return c.Learnt
	}
	return filepath.Join(state, config.LearntName)
}

// ReadLearnt reads a file of learnt devices. One that isn't there holds none, unless it
// must be there.
func ReadLearnt(file string, must bool) ([]classify.Example, error) {
	data, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return classify.ParseExamples(file, data)
}

// ruleFiles are the files that a path names: itself, or those in a folder that end in
// .toml, in the order of their names.
func ruleFiles(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".toml") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) > maxRuleFiles {
		return nil, fmt.Errorf("%s: more than %d files", path, maxRuleFiles)
	}
	return files, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRuleFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxRuleFile:
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxRuleFile)
	}
	return data, nil
}
