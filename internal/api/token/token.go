// Package token is the API tokens that a node accepts, and the file that they are in.
package token

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
)

// minToken is the shortest token in bytes: 32 hexadecimal digits are 128 bits.
const minToken = 32

// maxTokenName is the longest name of a token in bytes.
const maxTokenName = 64

// maxTokenFile bounds what is read of a token file, in bytes.
const maxTokenFile = 1 << 20

// List is the API tokens that are accepted, by their SHA-256: a lookup
// tells nothing about a token by the time it takes. The zero value accepts none.
type List struct {
	names map[[sha256.Size]byte]string
}

// Read reads a token file: a line "NAME TOKEN" each, empty lines and
// lines that begin with # are skipped. The name goes into the audit. The file
// must be closed to others.
func Read(path string) (List, error) {
	info, err := os.Stat(path)
	if err != nil {
		return List{}, fmt.Errorf("token file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return List{}, fmt.Errorf("token file %s: mode %04o lets everyone reach the tokens; chmod 640 it", path, mode)
	}
	if info.Size() > maxTokenFile {
		return List{}, fmt.Errorf("token file %s: %d bytes; at most %d", path, info.Size(), maxTokenFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return List{}, fmt.Errorf("token file: %w", err)
	}
	t, err := Parse(b)
	if err != nil {
		return List{}, fmt.Errorf("token file %s: %w", path, err)
	}
	return t, nil
}

// Parse reads what a token file holds. An error names the line, and
// never a token.
func Parse(b []byte) (List, error) {
	t := List{names: make(map[[sha256.Size]byte]string)}
	lines := bufio.NewScanner(bytes.NewReader(b))
	n := 1
	for ; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return List{}, fmt.Errorf("line %d: %d words; want a name and a token", n, len(fields))
		}
		name, token := fields[0], fields[1]
		if len(name) > maxTokenName {
			return List{}, fmt.Errorf("line %d: the name has %d bytes; at most %d", n, len(name), maxTokenName)
		}
		if len(token) < minToken {
			return List{}, fmt.Errorf("line %d: the token of %q has %d characters; at least %d", n, name, len(token), minToken)
		}
		sum := sha256.Sum256([]byte(token))
		if other, ok := t.names[sum]; ok {
			return List{}, fmt.Errorf("line %d: %q has the token of %q", n, name, other)
		}
		t.names[sum] = name
	}
	if lines.Err() != nil {
		return List{}, fmt.Errorf("line %d: longer than %d bytes", n, bufio.MaxScanTokenSize)
	}
	return t, nil
}

// Name returns whose token it is.
func (t List) Name(token string) (string, bool) {
	name, ok := t.names[sha256.Sum256([]byte(token))]
	return name, ok
}
