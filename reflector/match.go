package reflector

import (
	"net"
	"strings"
)

// answer is what a rule says of a subject of which not everything may be known.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// subject is what rules are about: a service, a type of services or a host, as
// far as it is known. Its parts have their ASCII letters lowered.
type subject struct {
	kind     kind     // kindType, kindInstance or kindHost
	typ      []byte   // as in topic; nil for a kindType: any
	instance []byte   // of a kindInstance
	subtypes []string // of a kindInstance, without _sub
	subtype  []byte   // one more of them, from the record at hand
	host     []byte   // as hostText has it; nil: not known
	vague    bool     // of a kindInstance: it may have more subtypes than are known
	mac      mac      // of the device that said so
	hasMAC   bool
}

// mac is a hardware address of 6 bytes.
type mac [6]byte

func macOf(a net.HardwareAddr) (m mac, ok bool) {
	return m, copy(m[:], a) == len(m) && len(a) == len(m)
}

// matches says whether a rule is about the subject. It is maybe where that
// depends on something that isn't known.
func (r *rule) matches(s *subject) answer {
	got := yes
	less := func(a answer) { got = min(got, a) }
	if r.types != nil {
		switch {
		case s.kind == kindHost:
			return no // a host alone is no service
		case s.kind == kindType && s.typ == nil:
			less(maybe)
		case !r.types[string(s.typ)]:
			return no
		}
	}
	if r.instances != nil {
		switch s.kind {
		case kindHost:
			return no
		case kindType:
			less(maybe)
		default:
			less(anyOf(r.instances, s.instance))
		}
	}
	if r.subtypes != nil {
		switch s.kind {
		case kindHost:
			return no
		case kindType:
			if len(s.subtype) > 0 { // a question for one
				less(anyOf(r.subtypes, s.subtype))
			} else {
				less(maybe)
			}
		default:
			a := no
			if s.vague {
				a = maybe
			}
			if len(s.subtype) > 0 {
				a = max(a, anyOf(r.subtypes, s.subtype))
			}
			for _, x := range s.subtypes {
				a = max(a, anyOf(r.subtypes, x))
			}
			less(a)
		}
	}
	if r.hosts != nil {
		if s.host == nil {
			less(maybe)
		} else {
			less(anyOf(r.hosts, s.host))
		}
	}
	if r.macs != nil {
		switch {
		case !s.hasMAC:
			less(maybe)
		case !r.macs[s.mac]:
			return no
		}
	}
	return got
}

// pattern is a text in which * stands for any text and ? for any byte, with \
// before one that is meant itself. Patterns compare with ASCII letters lowered.
type pattern struct {
	text string
	wild bool
}

func newPattern(s string) pattern {
	s = lower(s)
	if !strings.ContainsAny(s, `*?\`) {
		return pattern{text: s}
	}
	return pattern{text: s, wild: true}
}

// lower lowers ASCII letters only (RFC 6762 §16).
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func anyOf[T string | []byte](ps []pattern, b T) answer {
	for i := range ps {
		if match(&ps[i], b) {
			return yes
		}
	}
	return no
}

// match takes at most len(text) * len(s) steps.
func match[T string | []byte](p *pattern, s T) bool {
	if !p.wild {
		return string(s) == p.text
	}
	i, j := 0, 0         // in the pattern, in s
	star, after := -1, 0 // where to go on if what follows the last * doesn't fit
	for j < len(s) {
		if i < len(p.text) {
			c := p.text[i]
			if c == '*' {
				star, after = i, j
				i++
				continue
			}
			size := 1
			if c == '\\' && i+1 < len(p.text) {
				c, size = p.text[i+1], 2
			} else if c == '?' {
				c = s[j]
			}
			if c == s[j] {
				i += size
				j++
				continue
			}
		}
		if star < 0 {
			return false
		}
		after++
		i, j = star+1, after
	}
	for i < len(p.text) && p.text[i] == '*' {
		i++
	}
	return i == len(p.text)
}
