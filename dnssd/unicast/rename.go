package unicast

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxLabel = 63 // bytes

// nextName returns the name to try after one that is taken: "Web", "Web (2)",
// "Web (3)" (RFC 6763 App. D).
func nextName(s string) string {
	base, n := s, 1
	if rest, ok := strings.CutSuffix(s, ")"); ok {
		if i := strings.LastIndex(rest, " ("); i > 0 {
			if k, err := strconv.Atoi(rest[i+2:]); err == nil && k > 1 && k < 1<<30 && rest[i+2] != '0' && rest[i+2] != '+' {
				base, n = s[:i], k
			}
		}
	}
	end := " (" + strconv.Itoa(n+1) + ")"
	return cut(base, maxLabel-len(end)) + end
}

// nextHost returns the host name to try after one that is taken: "nas", "nas-2".
func nextHost(s string) string {
	base, n := s, 1
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		if k, err := strconv.Atoi(s[i+1:]); err == nil && k > 1 && k < 1<<30 && s[i+1] != '0' && s[i+1] != '+' {
			base, n = s[:i], k
		}
	}
	end := "-" + strconv.Itoa(n+1)
	return cut(base, maxLabel-len(end)) + end
}

// cut shortens s to at most n bytes, between two characters where it is UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}
