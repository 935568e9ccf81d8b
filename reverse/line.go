package reverse

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLine bounds a command line, in bytes.
const MaxLine = 64 << 10

// A LineError says where in a command line something is wrong.
type LineError struct {
	At  int // the byte, from 1
	Why string
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("reverse: command, byte %d: %s", e.At, e.Why) }

// Split takes a command line apart into its verb and arguments, as a POSIX
// shell does (IEEE Std 1003.1-2024, Shell Command Language §2.2): white space
// parts words, "…" and '…' and \ keep characters together. Nothing is ever
// expanded: $, `, *, ~, ; and | are characters like others. A line holds at least
// one word, is UTF-8, and has no control character but the tab.
func Split(line string) ([]string, error) {
	if len(line) > MaxLine {
		return nil, &LineError{MaxLine + 1, fmt.Sprintf("the line has %d bytes, more than %d", len(line), MaxLine)}
	}
	var (
		words []string
		word  strings.Builder
		begun bool // there is a word, if an empty one
		quote rune // that is open, 0 if none is
		since int  // where it was opened
	)
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return nil, &LineError{i + 1, "not UTF-8"}
		case r < ' ' && r != '\t' || r == 0x7f:
			return nil, &LineError{i + 1, fmt.Sprintf("control character %U", r)}
		}
		next := line[i+n:]
		switch {
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			word.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && next == "":
			return nil, &LineError{i + 1, `nothing follows \`}
		case r == '\\' && quote == '"' && !strings.ContainsRune("$`\"\\", rune(next[0])):
			word.WriteRune(r) // stands for itself there
		case r == '\\':
			e, size := utf8.DecodeRuneInString(next)
			if e == utf8.RuneError && size == 1 || e < ' ' && e != '\t' || e == 0x7f {
				i += n // the next round says what is wrong with it
				continue
			}
			word.WriteRune(e)
			i += size
		case r == '\'' || r == '"':
			quote, since = r, i
		case r == ' ' || r == '\t':
			if begun {
				words, begun = append(words, word.String()), false
				word.Reset()
			}
			i += n
			continue
		default:
			word.WriteRune(r)
		}
		begun = true
		i += n
	}
	switch {
	case quote != 0:
		return nil, &LineError{since + 1, fmt.Sprintf("%c is not closed", quote)}
	case begun:
		words = append(words, word.String())
	case len(words) == 0:
		return nil, &LineError{1, "the line is empty"}
	}
	return words, nil
}

// Errors of Join.
var (
	ErrNoWords = errors.New("reverse: a command has at least a verb")
	ErrControl = errors.New("reverse: a command is one line of UTF-8, without control characters")
)

// Join returns the line that Split takes apart into words.
func Join(words ...string) (string, error) {
	if len(words) == 0 {
		return "", ErrNoWords
	}
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case !utf8.ValidString(w) || strings.ContainsFunc(w, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return "", fmt.Errorf("%w: %q", ErrControl, clip(w))
		case w != "" && !strings.ContainsFunc(w, needsQuotes):
			b.WriteString(w)
		default:
			b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
		}
	}
	if b.Len() > MaxLine {
		return "", &LineError{MaxLine + 1, fmt.Sprintf("the line has %d bytes, more than %d", b.Len(), MaxLine)}
	}
	return b.String(), nil
}

// needsQuotes says whether a shell would take a character for more than itself.
func needsQuotes(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r > 0x7f:
		return false
	}
	return !strings.ContainsRune("-_./:,=@%+", r)
}
