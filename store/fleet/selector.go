package fleet

import (
	"fmt"
	"strings"
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
		if !ok || key == "" {
			return nil, fmt.Errorf("%w: label %q: want key=value", ErrInvalid, pair)
		}
		if _, twice := selector[key]; twice {
			return nil, fmt.Errorf("%w: label %q is there twice", ErrInvalid, key)
		}
		selector[key] = value
	}
	return selector, nil
}
