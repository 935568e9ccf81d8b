package config

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// write prints a struct as TOML: the keys of a table, then the tables inside it.
func write(root reflect.Value) ([]byte, error) {
	var b bytes.Buffer
	if err := writeTable(&b, root, ""); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeTable(b *bytes.Buffer, table reflect.Value, path string) error {
	if k, ok := table.Addr().Interface().(keyed); ok {
		return writeKeyed(b, k, path)
	}
	for i := range table.NumField() {
		name, ok := tag(table.Type().Field(i))
		field := table.Field(i)
		if !ok || isTable(field.Type()) || field.Kind() == reflect.Slice && isTable(field.Type().Elem()) {
			continue
		}
		value, err := literal(field)
		if err != nil {
			return fmt.Errorf("config: write %s: %w", join(path, name), err)
		}
		fmt.Fprintf(b, "%s = %s\n", name, value)
	}
	for i := range table.NumField() {
		name, ok := tag(table.Type().Field(i))
		if !ok {
			continue
		}
		path := join(path, name)
		switch field := table.Field(i); {
		case isTable(field.Type()):
			fmt.Fprintf(b, "\n[%s]\n", path)
			if err := writeTable(b, field, path); err != nil {
				return err
			}
		case field.Kind() == reflect.Slice && isTable(field.Type().Elem()):
			for j := range field.Len() {
				fmt.Fprintf(b, "\n[[%s]]\n", path)
				if err := writeTable(b, field.Index(j), path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func writeKeyed(b *bytes.Buffer, table keyed, path string) error {
	for key, v := range table.members {
		value, err := literal(reflect.ValueOf(v).Elem())
		if err != nil {
			return fmt.Errorf("config: write %s: %w", join(path, key), err)
		}
		fmt.Fprintf(b, "%s = %s\n", quote(key), value)
	}
	return nil
}

// literal prints a value that is no table.
func literal(v reflect.Value) (string, error) {
	if s, ok := v.Addr().Interface().(boolean); ok {
		if on, ok := s.bool(); ok {
			return strconv.FormatBool(on), nil
		}
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return quote(string(text)), err
	}
	switch v.Kind() {
	case reflect.String:
		return quote(v.String()), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			s, err := literal(v.Index(i))
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	}
	return "", fmt.Errorf("no form for a %s", v.Kind())
}

// quote prints a basic string, TOML 1.0 "String".
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
