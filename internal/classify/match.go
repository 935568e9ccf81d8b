package classify

import (
	"strings"
)

// pattern is a compiled one: * stands for any text, ? for one byte.
type pattern struct {
	text string // folded
	head int    // how many bytes come before the first * or ?
	part string // the longest part without * and ?: what lacks it doesn't fit
	cond int32
}

// compile returns the pattern of a text.
func compile(text string, cond int32) pattern {
	text = strings.ToLower(text)
	head := strings.IndexAny(text, "*?")
	if head < 0 {
		head = len(text)
	}
	longest := ""
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '*' || c == '?' }) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return pattern{text, head, longest, cond}
}

// match says whether a folded value fits.
func (p *pattern) match(v string) bool {
	if !strings.Contains(v, p.part) {
		return false
	}
	_, _, ok := p.find(v)
	return ok
}

// find says whether a folded value fits, and what part of it the first * stands for.
// It goes back to the last * at most, so its work is bounded by the product of both
// lengths.
func (p *pattern) find(v string) (from, to int, ok bool) {
	if len(v) < p.head || v[:p.head] != p.text[:p.head] {
		return 0, 0, false
	}
	i, at := p.head, p.head // in the value and in the pattern
	star, mark := -1, 0     // the last *, and where what comes behind it is tried
	second := false
	for i < len(v) {
		switch {
		case at < len(p.text) && p.text[at] == '*':
			switch {
			case star < 0:
				from = i
			case !second:
				second = true
				to = i - (at - star - 1)
			}
			star, mark = at, i
			at++
		case at < len(p.text) && (p.text[at] == '?' || p.text[at] == v[i]):
			i, at = i+1, at+1
		case star >= 0:
			mark++
			i, at = mark, star+1
		default:
			return 0, 0, false
		}
	}
	first := strings.IndexByte(p.text, '*')
	for at < len(p.text) && p.text[at] == '*' {
		if at > first && star >= 0 && !second {
			second = true
			to = len(v) - (at - star - 1)
		}
		if star < 0 {
			star, from = at, len(v)
		}
		at++
	}
	if at < len(p.text) {
		return 0, 0, false
	}
	if first >= 0 && !second {
		to = len(v) - (len(p.text) - first - 1)
	}
	return from, to, true
}

// star returns what the first * stands for in value, which fits, with the case of its
// letters.
func (p *pattern) star(value string) string {
	v := strings.ToLower(value)
	from, to, ok := p.find(v)
	if !ok || from >= to {
		return ""
	}
	if len(v) == len(value) {
		v = value
	}
	return v[from:to]
}

// kindIndex finds the conditions that a signal of one kind fulfils.
type kindIndex struct {
	exact   map[string][]int32 // whole values, folded
	domains map[string][]int32 // ".example.com": that name and those below
	begins  map[byte][]pattern // patterns, by the byte that they begin with
	others  []pattern          // those that begin with * or ?
}

func newKindIndex() *kindIndex {
	return &kindIndex{exact: map[string][]int32{}, domains: map[string][]int32{}, begins: map[byte][]pattern{}}
}

func (x *kindIndex) add(text string, cond int32) {
	folded := strings.ToLower(text)
	switch {
	case strings.ContainsAny(text, "*?"):
		if p := compile(text, cond); p.head > 0 {
			x.begins[p.text[0]] = append(x.begins[p.text[0]], p)
		} else {
			x.others = append(x.others, p)
		}
	case strings.HasPrefix(text, "."):
		x.domains[folded] = append(x.domains[folded], cond)
	default:
		x.exact[folded] = append(x.exact[folded], cond)
	}
}

// each calls do with each condition that a value fulfils, until that returns false.
func (x *kindIndex) each(value string, do func(cond int32) bool) {
	v := strings.ToLower(value)
	for _, c := range x.exact[v] {
		if !do(c) {
			return
		}
	}
	if len(x.domains) > 0 {
		for _, c := range x.domains["."+v] {
			if !do(c) {
				return
			}
		}
		for i := 0; i < len(v); i++ {
			if v[i] != '.' {
				continue
			}
			for _, c := range x.domains[v[i:]] {
				if !do(c) {
					return
				}
			}
		}
	}
	if v == "" {
		return
	}
	for _, patterns := range [...][]pattern{x.begins[v[0]], x.others} {
		for i := range patterns {
			if patterns[i].match(v) && !do(patterns[i].cond) {
				return
			}
		}
	}
}

// compiled is a set of rules ready to use. It is never changed, so that any number may
// use it at once.
type compiled struct {
	rules []ranked
	kinds map[string]*kindIndex
	conds int
}

// ranked is a rule with its place: those of a higher rank go before the others.
type ranked struct {
	Rule
	rank  int
	first int32 // its first condition's number
}

// compileRules numbers the conditions of all rules and builds the index.
func compileRules(own, builtIn []Rule) *compiled {
	c := &compiled{kinds: map[string]*kindIndex{}}
	for rank, rules := range [...][]Rule{rankBuiltIn: builtIn, rankOwn: own} {
		for _, r := range rules {
			c.rules = append(c.rules, ranked{r, rank, int32(c.conds)})
			for _, cond := range r.When {
				x := c.kinds[cond.Kind]
				if x == nil {
					x = newKindIndex()
					c.kinds[cond.Kind] = x
				}
				for _, p := range cond.Patterns {
					x.add(p, int32(c.conds))
				}
				c.conds++
			}
		}
	}
	return c
}

// The ranks of what gives an answer. A person's word, above them, isn't known here.
const (
	rankBuiltIn = iota
	rankOwn     // a person's rules, and devices that a person labelled
)
