package unicast

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/dnswire"
)

// maxALabels bounds how often a name is asked for again.
const maxALabels = 4

// withALabels returns the names to ask for when one isn't there that holds
// UTF-8: its labels as A-labels (RFC 5890 §2.3.2.1), the rightmost alone first,
// then one more each time (RFC 6763 §4.1.3), since zones differ in what they
// use. The name of a service keeps its own labels, up to the last that begins
// with an underscore: only its domain may be written so.
func withALabels(n dnswire.Name) []dnswire.Name {
	labels := slices.Collect(n.Labels())
	domain := 0
	for i, l := range labels {
		if strings.HasPrefix(l, "_") {
			domain = i + 1
		}
	}
	var out []dnswire.Name
	for i := len(labels) - 1; i >= domain && len(out) < maxALabels; i-- {
		a, ok := aLabel(labels[i])
		if !ok {
			continue
		}
		labels[i] = a
		if name, err := dnswire.NameOf(labels...); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// aLabel returns a label of UTF-8 as an A-label, false for one that needs none
// or has none. Labels are taken to be precomposed, as RFC 6762 §16 has it.
func aLabel(u string) (string, bool) {
	if !utf8.ValidString(u) || strings.IndexFunc(u, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return "", false
	}
	a, ok := punycode([]rune(strings.ToLower(u)))
	return "xn--" + a, ok && len(a)+4 <= 63
}

// punycode encodes a label as RFC 3492 §6.3 says. The label has at most 63
// runes, so that nothing here can overflow; false for one that has more.
func punycode(label []rune) (string, bool) {
	const base, tMin, tMax, firstBias, firstN = 36, 1, 26, 72, 0x80
	if len(label) > 63 {
		return "", false
	}
	var out []byte
	for _, r := range label {
		if r < firstN {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := rune(firstN), 0, firstBias
	for done := basic; done < len(label); {
		next := rune(utf8.MaxRune)
		for _, r := range label {
			if r >= n && r < next {
				next = r
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tMin), tMax)
				if q < t {
					break
				}
				out = append(out, punyDigit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, punyDigit(q))
			bias = punyBias(delta, done+1, done == basic)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out), true
}

func punyDigit(v int) byte {
	if v < 26 {
		return byte('a' + v)
	}
	return byte('0' + v - 26)
}

// punyBias is the adaptation of RFC 3492 §6.1.
func punyBias(delta, points int, first bool) int {
	const base, tMin, tMax, skew, damp = 36, 1, 26, 38, 700
	if first {
		delta /= damp
	} else {
		delta /= 2
	}
	delta += delta / points
	k := 0
	for ; delta > (base-tMin)*tMax/2; k += base {
		delta /= base - tMin
	}
	return k + (base-tMin+1)*delta/(delta+skew)
}
