package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// checker is a section whose values must fit each other or keep to limits that
// their types don't hold. bad takes a key inside the section, or one of its
// elements ("allowed_hosts[0]"), and what is wrong with it; nil is nothing.
type checker interface {
	check(bad func(key string, err error))
}

// boolean is a leaf that takes true and false beside text.
type boolean interface {
	setBool(bool)
	bool() (on, ok bool)
}

// keyed is a table whose keys aren't those of a struct. member adds one and
// returns a pointer to its value, members yields such pointers.
type keyed interface {
	member(key string) any
	members(yield func(key string, value any) bool)
}

// defaulter is a table of an array of tables, whose defaults aren't zero.
type defaulter interface{ setDefaults() }

// reader fills a struct from a TOML document and gathers all that is wrong.
type reader struct {
	file string
	data []byte
	doc  unstable.Parser
	errs Errors
	root reflect.Value
	// at is where each key that the document sets has its value, and each table its header.
	at map[string]int
	// failed are the keys whose values couldn't be read: not to be checked further.
	failed map[string]bool
}

// read fills root, a struct, from the document and returns all that is wrong
// with it, nil if nothing is.
func read(file string, data []byte, root reflect.Value) Errors {
	r := &reader{file: file, data: data, root: root, at: map[string]int{}, failed: map[string]bool{}}
	if r.document() {
		r.check(root, "")
	}
	r.errs.sort()
	return r.errs
}

// document reads all expressions. It returns false if the document isn't TOML,
// which is told alone: after it nothing can be trusted.
func (r *reader) document() bool {
	if !utf8.Valid(r.data) {
		valid := 0
		for len(r.data) > valid {
			c, size := utf8.DecodeRune(r.data[valid:])
			if c == utf8.RuneError && size <= 1 {
				break
			}
			valid += size
		}
		r.bad(valid, "", "want UTF-8")
		return false
	}
	// The strict grammar, with keys that are there twice.
	var any map[string]any
	if err := toml.Unmarshal(r.data, &any); err != nil {
		at, key := 0, ""
		var de *toml.DecodeError
		if errors.As(err, &de) {
			at = r.offset(de.Position())
			if key = strings.Join(de.Key(), "."); key == "" {
				key = r.keyAround(at)
			}
		}
		r.bad(at, key, strings.TrimPrefix(err.Error(), "toml: "))
		return false
	}
	table, path := r.root, ""
	known := true
	r.doc.Reset(r.data)
	for r.doc.NextExpression() {
		switch e := r.doc.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, path, known = r.table(e)
		case unstable.KeyValue:
			if known {
				r.keyValue(e, table, path)
			}
		}
	}
	if err := r.doc.Error(); err != nil { // Unmarshal would have seen it, too
		r.bad(0, "", err.Error())
		return false
	}
	return true
}

// offset returns where a line and a column are, in bytes.
func (r *reader) offset(line, column int) int {
	at := 0
	for range line - 1 {
		at += bytes.IndexByte(r.data[at:], '\n') + 1
	}
	return min(at+column-1, len(r.data))
}

// keyAround returns the key whose value a place in a document that isn't TOML
// lies in, "" if that can't be told.
func (r *reader) keyAround(at int) string {
	path := ""
	r.doc.Reset(r.data)
	for r.doc.NextExpression() {
		e := r.doc.Expression()
		var parts []string
		for it := e.Key(); it.Next(); {
			parts = append(parts, string(it.Node().Data))
			if int(it.Node().Raw.Offset) > at {
				return ""
			}
		}
		key := strings.Join(parts, ".")
		if e.Kind != unstable.KeyValue {
			path = key
		} else if start := int(e.Raw.Offset); start <= at && at < start+int(e.Raw.Length) {
			return join(path, key)
		}
	}
	// The expression that can't be read: its key stands before the =.
	line := r.data[bytes.LastIndexByte(r.data[:at], '\n')+1 : at]
	key, _, ok := bytes.Cut(line, []byte("="))
	key = bytes.TrimSpace(key)
	if !ok || len(key) == 0 || bytes.ContainsFunc(key, func(c rune) bool {
		return c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) {
		return ""
	}
	return join(path, string(key))
}

// table finds the struct that a header opens. A table array appends to its slice.
func (r *reader) table(e *unstable.Node) (table reflect.Value, path string, ok bool) {
	table = r.root
	for it := e.Key(); it.Next(); {
		n := it.Node()
		name := string(n.Data)
		field, found := fieldOf(table, name)
		if !found {
			r.unknown(n, table, path, name)
			return table, path, false
		}
		path = join(path, name)
		if field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct && !isLeaf(field.Type().Elem()) {
			if it.IsLast() {
				if e.Kind != unstable.ArrayTable {
					r.bad(int(n.Raw.Offset), path, fmt.Sprintf("want [[%s]], which may be there several times", path))
					return table, path, false
				}
				field.Set(reflect.Append(field, reflect.Zero(field.Type().Elem())))
				if d, ok := field.Index(field.Len() - 1).Addr().Interface().(defaulter); ok {
					d.setDefaults()
				}
			}
			if field.Len() == 0 { // [announce.txt] before any [[announce]]
				r.bad(int(n.Raw.Offset), path, fmt.Sprintf("want [[%s]], which may be there several times", path))
				return table, path, false
			}
			path += "[" + strconv.Itoa(field.Len()-1) + "]"
			r.at[path] = int(n.Raw.Offset)
			table = field.Index(field.Len() - 1)
			continue
		}
		if !isTable(field.Type()) {
			r.bad(int(n.Raw.Offset), path, fmt.Sprintf("want %s, not a table", wanted(field)))
			return table, path, false
		}
		if it.IsLast() && e.Kind == unstable.ArrayTable {
			r.bad(int(n.Raw.Offset), path, fmt.Sprintf("want [%s], once", path))
			return table, path, false
		}
		r.at[path] = int(n.Raw.Offset)
		table = field
	}
	return table, path, true
}

// keyValue sets what `key = value` names inside a table.
func (r *reader) keyValue(e *unstable.Node, table reflect.Value, path string) {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		name := string(n.Data)
		field, found := fieldOf(table, name)
		if !found {
			r.unknown(n, table, path, name)
			return
		}
		path = join(path, name)
		if it.IsLast() {
			r.value(e.Value(), int(n.Raw.Offset), field, path)
			return
		}
		if !isTable(field.Type()) {
			r.bad(int(n.Raw.Offset), path, fmt.Sprintf("want %s, not a table", wanted(field)))
			return
		}
		table = field
	}
}

// value sets dst. keyAt is the place to tell where the value has none of its own.
func (r *reader) value(n *unstable.Node, keyAt int, dst reflect.Value, path string) {
	at := keyAt
	if n.Raw.Length > 0 {
		at = int(n.Raw.Offset)
	}
	r.at[path] = at
	fail := func(message string) {
		r.failed[path] = true
		r.bad(at, path, message)
	}
	mismatch := func() { fail(fmt.Sprintf("want %s, not %s", wanted(dst), kindName(n.Kind))) }

	if isTable(dst.Type()) {
		if n.Kind != unstable.InlineTable {
			mismatch()
			return
		}
		for it := n.Children(); it.Next(); {
			r.keyValue(it.Node(), dst, path)
		}
		return
	}
	if b, ok := dst.Addr().Interface().(boolean); ok && n.Kind == unstable.Bool {
		b.setBool(string(n.Data) == "true")
		return
	}
	if u, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != unstable.String {
			mismatch()
		} else if err := u.UnmarshalText(n.Data); err != nil {
			fail(err.Error())
		}
		return
	}
	switch {
	case dst.Kind() == reflect.String && n.Kind == unstable.String:
		dst.SetString(string(n.Data))
	case dst.Kind() == reflect.Bool && n.Kind == unstable.Bool:
		dst.SetBool(string(n.Data) == "true")
	case dst.Kind() == reflect.Int && n.Kind == unstable.Integer:
		i, err := strconv.ParseInt(string(n.Data), 0, strconv.IntSize)
		if err != nil {
			i, err = strconv.ParseInt(strings.ReplaceAll(string(n.Data), "_", ""), 10, strconv.IntSize)
		}
		if err != nil {
			fail(fmt.Sprintf("want a whole number, not %s", n.Data))
			return
		}
		dst.SetInt(i)
	case dst.Kind() == reflect.Slice && isTable(dst.Type().Elem()) && n.Kind == unstable.Array:
		fail(fmt.Sprintf("want an array of tables, as [[%s]]", path))
	case dst.Kind() == reflect.Slice && n.Kind == unstable.Array:
		list := reflect.MakeSlice(dst.Type(), 0, 4)
		for it := n.Children(); it.Next(); {
			list = reflect.Append(list, reflect.Zero(dst.Type().Elem()))
			i := list.Len() - 1
			r.value(it.Node(), at, list.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
		dst.Set(list)
	default:
		mismatch()
	}
}

// check asks the sections what is wrong with them, inner ones first.
func (r *reader) check(table reflect.Value, path string) {
	for i := range table.NumField() {
		name, ok := tag(table.Type().Field(i))
		if !ok {
			continue
		}
		field := table.Field(i)
		switch {
		case isTable(field.Type()):
			r.check(field, join(path, name))
		case field.Kind() == reflect.Slice && isTable(field.Type().Elem()):
			for j := range field.Len() {
				r.check(field.Index(j), join(path, name)+"["+strconv.Itoa(j)+"]")
			}
		}
	}
	if c, ok := table.Addr().Interface().(checker); ok {
		c.check(func(key string, err error) {
			if err != nil && !r.failed[join(path, key)] {
				r.bad(r.place(join(path, key)), join(path, key), err.Error())
			}
		})
	}
}

// place returns where a key is set, or else the nearest thing around it.
func (r *reader) place(key string) int {
	for key != "" {
		if at, ok := r.at[key]; ok {
			return at
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

// maxErrors are told of one file.
const maxErrors = 100

func (r *reader) bad(at int, key, message string) {
	if len(r.errs) > maxErrors {
		return
	}
	if len(r.errs) == maxErrors {
		key, message = "", "more mistakes than are told at once"
	}
	before := r.data[:min(at, len(r.data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	r.errs = append(r.errs, &Error{r.file, line, column, key, message})
}

func (r *reader) unknown(n *unstable.Node, table reflect.Value, path, name string) {
	message := "unknown key"
	if len(r.errs) > maxErrors {
		return
	}
	if s := suggest(r.root, table, path, name); s != "" {
		message += fmt.Sprintf("; did you mean %s?", s)
	}
	r.bad(int(n.Raw.Offset), join(path, name), message)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
