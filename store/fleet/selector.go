package fleet

import (
	"fmt"
	"strings"
	"unicode"
)

// Bounds of labels, in bytes and in pairs.
const (
	maxLabelKey   = 64
	maxLabelValue = 256
	maxLabels     = 64
)

// ParseSelector reads what SelectorText writes: key=value,key=value, a key once; "" is
// none. An error is ErrInvalid.
func ParseSelector(s string) (map[string]string, error) {
	selector := make(map[string]string)
	if s == "" {
		return selector, nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%w: label %q: want key=value", ErrInvalid, pair)
		}
		if _, twice := selector[key]; twice {
			return nil, fmt.Errorf("%w: label %q is there twice", ErrInvalid, key)
		}
		selector[key] = value
	}
	return selector, CheckLabels(selector)
}

// CheckLabels returns an error that is ErrInvalid if labels or a selector can't be
// written as SelectorText does and read again.
func CheckLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%w: %d labels; at most %d", ErrInvalid, len(labels), maxLabels)
	}
	for key, value := range labels {
		switch {
		case key == "" || len(key) > maxLabelKey || strings.ContainsFunc(key, func(r rune) bool { return r == '=' || r == ' ' || !labelRune(r) }):
			return fmt.Errorf("%w: a label's key %q: want 1 to %d bytes without spaces, = and commas", ErrInvalid, key, maxLabelKey)
		case len(value) > maxLabelValue || strings.ContainsFunc(value, func(r rune) bool { return !labelRune(r) }):
			return fmt.Errorf("%w: the label %s=%q: want at most %d bytes without commas", ErrInvalid, key, value, maxLabelValue)
		}
	}
	return nil
}

func labelRune(r rune) bool { return r != ',' && r != unicode.ReplacementChar && unicode.IsPrint(r) }
