package config

import (
	"encoding"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

func tag(f reflect.StructField) (string, bool) {
	name := f.Tag.Get("toml")
	return name, name != ""
}

// fieldOf returns the field of a struct that a key names.
func fieldOf(table reflect.Value, key string) (reflect.Value, bool) {
	if k, ok := table.Addr().Interface().(keyed); ok {
		return reflect.ValueOf(k.member(key)).Elem(), true
	}
	for i := range table.NumField() {
		if name, ok := tag(table.Type().Field(i)); ok && name == key {
			return table.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func isLeaf(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func isTable(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isLeaf(t) }

// keysOf lists the keys of a struct, those of tables inside with dots.
func keysOf(t reflect.Type, path string) (keys []string) {
	for i := range t.NumField() {
		name, ok := tag(t.Field(i))
		if !ok {
			continue
		}
		switch f := t.Field(i).Type; {
		case isTable(f):
			keys = append(keys, keysOf(f, join(path, name))...)
		case f.Kind() == reflect.Slice && isTable(f.Elem()):
			keys = append(keys, keysOf(f.Elem(), join(path, name))...)
		default:
			keys = append(keys, join(path, name))
		}
	}
	return keys
}

// wisher is a value that says itself what sort it is.
type wisher interface{ wanted() string }

// wanted says for people what sort of value a key takes.
func wanted(v reflect.Value) string {
	if w, ok := v.Addr().Interface().(wisher); ok {
		return w.wanted()
	}
	if _, ok := v.Addr().Interface().(boolean); ok {
		return `"auto", true or false`
	}
	switch {
	case isTable(v.Type()):
		return "a table"
	case isLeaf(v.Type()), v.Kind() == reflect.String:
		return "a string"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Int:
		return "a whole number"
	case v.Kind() == reflect.Slice && isTable(v.Type().Elem()):
		return "an array of tables"
	case v.Kind() == reflect.Slice:
		return "an array"
	}
	return v.Kind().String()
}

func kindName(k unstable.Kind) string {
	switch k {
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a boolean"
	case unstable.Float:
		return "a fraction"
	case unstable.Integer:
		return "a number"
	case unstable.LocalDate, unstable.LocalTime, unstable.LocalDateTime, unstable.DateTime:
		return "a date or time"
	}
	return strings.ToLower(k.String())
}

// suggest returns the key that was probably meant, "" if none is near: one of
// the same table first, then one of the same name elsewhere.
func suggest(root, table reflect.Value, path, name string) string {
	name = strings.ToLower(name)
	best, bestDistance := "", 1+min(3, len(name)/2)
	for i := range table.NumField() {
		key, ok := tag(table.Type().Field(i))
		if !ok {
			continue
		}
		if d := distance(name, key); d < bestDistance {
			best, bestDistance = join(path, key), d
		}
	}
	if best != "" {
		return best
	}
	for _, key := range keysOf(root.Type(), "") {
		if last := key[strings.LastIndexByte(key, '.')+1:]; last == name || strings.ReplaceAll(key, ".", "_") == name {
			return key
		}
	}
	return ""
}

// distance is the number of bytes to insert, remove, replace or swap with their
// neighbour to make a of b. Long names are far from everything.
func distance(a, b string) int {
	const far = 64
	if len(a) > far || len(b) > far {
		return far
	}
	var rows [3][far + 1]int
	before, prev, cur := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := prev[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			cur[j] = min(change, prev[j]+1, cur[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
