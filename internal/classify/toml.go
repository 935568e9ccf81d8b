package classify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of one file.
const (
	maxFile     = 16 << 20 // bytes
	maxErrors   = 100
	maxTables   = 50_000
	maxText     = 256 // bytes of a name, a source, an answer
	maxPatterns = 64  // of one condition
	maxWhen     = 8   // conditions of a rule
)

// Error is one mistake in a file.
type Error struct {
	File         string
	Line, Column int // from 1; the column counts bytes
	Message      string
}

// Error returns "rules.toml:3:10: …".
func (e *Error) Error() string {
	return e.File + ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column) + ": " + e.Message
}

// Errors are the mistakes in a file, in its order.
type Errors []*Error

// Error returns a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// text is a string with its place in the file.
type text struct {
	value string
	at    int
}

// value is what a key holds; want says which of the fields is meant.
type value struct {
	at    int
	kind  unstable.Kind
	text  string  // of String, Integer, Float
	list  []text  // of an Array of strings
	table []entry // of an InlineTable
}

type entry struct {
	key text
	value
}

// table is a [[name]] with its keys.
type table struct {
	at      int
	entries []entry
}

// reader reads files of one array of tables.
type reader struct {
	file string
	data []byte
	errs Errors
}

func (r *reader) bad(at int, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		return
	}
	before := r.data[:min(at, len(r.data))]
	r.errs = append(r.errs, &Error{
		r.file, 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n'), fmt.Sprintf(format, args...),
	})
}

// err returns what was wrong, nil if nothing was.
func (r *reader) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.errs
}

// tables reads a document that holds [[name]] tables and nothing else.
func (r *reader) tables(name string) []table {
	if len(r.data) > maxFile {
		r.bad(0, "the file has more than %d bytes", maxFile)
		return nil
	}
	for i := 0; i < len(r.data); {
		c, size := utf8.DecodeRune(r.data[i:])
		if c == utf8.RuneError && size <= 1 {
			r.bad(i, "want UTF-8")
			return nil
		}
		i += size
	}
	// The strict grammar, with keys that are there twice.
	var all map[string]any
	if err := toml.Unmarshal(r.data, &all); err != nil {
		at := 0
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, column := de.Position()
			for range line - 1 {
				at += bytes.IndexByte(r.data[at:], '\n') + 1
			}
			at += column - 1
		}
		r.bad(at, "%s", strings.TrimPrefix(err.Error(), "toml: "))
		return nil
	}
	var doc unstable.Parser
	doc.Reset(r.data)
	var out []table
	known := false
	for doc.NextExpression() {
		e := doc.Expression()
		key := e.Key()
		key.Next()
		at, first := int(key.Node().Raw.Offset), string(key.Node().Data)
		switch {
		case e.Kind == unstable.ArrayTable && key.IsLast() && first == name:
			if len(out) == maxTables {
				r.bad(at, "more than %d", maxTables)
				return nil
			}
			out, known = append(out, table{at: at}), true
		case e.Kind == unstable.ArrayTable || e.Kind == unstable.Table:
			r.bad(at, "want [[%s]]", name)
			known = false
		case e.Kind == unstable.KeyValue && known:
			r.entry(&out[len(out)-1].entries, e)
		case e.Kind == unstable.KeyValue && len(out) == 0:
			r.bad(at, "want [[%s]] before any key", name)
		}
	}
	return out
}

// entry adds a key and its value.
func (r *reader) entry(to *[]entry, e *unstable.Node) {
	it := e.Key()
	it.Next()
	n := it.Node()
	k := text{string(n.Data), int(n.Raw.Offset)}
	if !it.IsLast() {
		r.bad(k.at, "want a key without a dot; quote a kind of signal")
		return
	}
	v := e.Value()
	x := entry{k, value{at: k.at, kind: v.Kind}}
	if v.Raw.Length > 0 {
		x.at = int(v.Raw.Offset)
	}
	switch v.Kind {
	case unstable.String, unstable.Integer, unstable.Float:
		x.text = string(v.Data)
	case unstable.Array:
		for c := v.Children(); c.Next(); {
			if m := c.Node(); m.Kind != unstable.String {
				r.bad(x.at, "%s: want strings in the array", k.value)
			} else {
				x.list = append(x.list, text{string(m.Data), int(m.Raw.Offset)})
			}
		}
	case unstable.InlineTable:
		for c := v.Children(); c.Next(); {
			r.entry(&x.table, c.Node())
		}
	}
	*to = append(*to, x)
}

// words reads a value that is one line of text.
func (r *reader) words(e entry, into *text) {
	switch {
	case e.kind != unstable.String:
		r.bad(e.at, "%s: want a string", e.key.value)
	case !clean(e.text) || e.text != strings.TrimSpace(e.text) || e.text == "":
		r.bad(e.at, "%s: want a line of printable characters, without spaces at its ends", e.key.value)
	case len(e.text) > maxText:
		r.bad(e.at, "%s: has %d bytes, more than %d", e.key.value, len(e.text), maxText)
	default:
		*into = text{e.text, e.at}
	}
}

func clean(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}
