package dnssd

import (
	"iter"
	"slices"
	"strings"
)

// TXT holds the strings of a TXT record as they came (RFC 6763 §6). No strings
// and one empty string mean the same: nothing is said (§6.1).
type TXT []string

// Value is what a TXT record says of a key. A key that isn't there has none,
// one without "=" has Set false, "key=" has an empty Data (RFC 6763 §6.4).
type Value struct {
	Data string // opaque bytes (§6.5)
	Set  bool   // there was a "="
}

// Get returns the value of a key and whether the key is there. Keys differ in
// more than ASCII case; the first of several counts (RFC 6763 §6.4).
func (t TXT) Get(key string) (Value, bool) {
	for k, v := range t.all() {
		if equalFold(k, key) {
			return v, true
		}
	}
	return Value{}, false
}

// All yields keys and values in order, each key once, with the case that it
// first came in. Strings without a key are left out.
func (t TXT) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		seen := make(map[string]struct{}, len(t))
		for k, v := range t.all() {
			f := foldString(k)
			if _, dup := seen[f]; dup {
				continue
			}
			seen[f] = struct{}{}
			if !yield(k, v) {
				return
			}
		}
	}
}

// all yields what every string says, duplicates too. A string that begins with
// "=" has no key and is ignored (RFC 6763 §6.4).
func (t TXT) all() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, s := range t {
			key, data, set := strings.Cut(s, "=")
			if key != "" && !yield(key, Value{Data: data, Set: set}) {
				return
			}
		}
	}
}

// Map returns keys and values: nil for a key without "=", else its bytes.
func (t TXT) Map() map[string]*string {
	m := make(map[string]*string, len(t))
	for k, v := range t.All() {
		if v.Set {
			m[k] = &v.Data
		} else {
			m[k] = nil
		}
	}
	return m
}

func (t TXT) equal(o TXT) bool { return slices.Equal(t, o) }

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func foldString(s string) string {
	for i := range len(s) {
		if s[i] != lower(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lower(b[i])
			}
			return string(b)
		}
	}
	return s
}

// lower folds ASCII only, as names do (RFC 6762 §16).
func lower(c byte) byte {
	if c-'A' < 26 {
		return c + 'a' - 'A'
	}
	return c
}
