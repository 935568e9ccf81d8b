package mdns

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLabel is the length in bytes of the longest label of a name.
const maxLabel = 63

// RenameService returns the label to try after another host was found to have
// this one: "Web (2)" after "Web", "Web (3)" after "Web (2)" (RFC 6762 §9,
// RFC 6763 appendix D). It is made shorter where it has to be, between two
// characters.
func RenameService(label string) string {
	base, n := label, 1
	if open := strings.LastIndex(label, " ("); open >= 0 && strings.HasSuffix(label, ")") {
		if k, ok := number(label[open+2 : len(label)-1]); ok {
			base, n = label[:open], k
		}
	}
	return joinLabel(base, " ("+strconv.Itoa(n+1)+")")
}

// RenameHost returns the host name's label to try after another host was found
// to have this one: "nas-2" after "nas", "nas-3" after "nas-2" (RFC 6762 §9).
func RenameHost(label string) string {
	base, n := label, 1
	if dash := strings.LastIndexByte(label, '-'); dash > 0 {
		if k, ok := number(label[dash+1:]); ok {
			base, n = label[:dash], k
		}
	}
	return joinLabel(base, "-"+strconv.Itoa(n+1))
}

// number reads the count that a label of ours may end with.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 2 && n < 1e6 && strconv.Itoa(n) == s
}

// joinLabel joins base and suffix in at most 63 bytes.
func joinLabel(base, suffix string) string {
	if room := maxLabel - len(suffix); len(base) > room {
		for room > 0 && !utf8.RuneStart(base[room]) {
			room--
		}
		base = base[:room]
	}
	return base + suffix
}
