package classify

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
)

// The answers that rules give.
const (
	answerModel = "model"
	answerOS    = "os"
	answerClass = "class"
)

// vote is what one rule says for one answer.
type vote struct {
	answer, value string
	confidence    float64
	rank          int
	rule, source  string
	signals       []lanfolk.Signal
}

// basis names the kinds of signal that a vote goes by. What goes by the same kinds is
// no second witness.
func (v *vote) basis() string {
	var b strings.Builder
	for i, s := range v.signals {
		if i == 0 || v.signals[i-1].Kind != s.Kind {
			b.WriteString(s.Kind)
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// votes returns what the rules say of a set of signals.
func (c *compiled) votes(signals []lanfolk.Signal) []vote {
	by := make([]int32, c.conds) // the signal, from 1, that fulfils each condition
	some := false
	for n, s := range signals {
		if x := c.kinds[s.Kind]; x != nil {
			x.each(s.Value, func(cond int32) bool {
				if by[cond] == 0 {
					by[cond], some = int32(n+1), true
				}
				return true
			})
		}
	}
	if !some {
		return nil
	}
	var out []vote
	for i := range c.rules {
		r := &c.rules[i]
		fulfilled := by[r.first : int(r.first)+len(r.When)]
		if len(fulfilled) == 0 || slices.Contains(fulfilled, 0) {
			continue
		}
		quote := func(kind string, star bool) string {
			for n, cond := range r.When {
				if cond.Kind != kind {
					continue
				}
				value := signals[fulfilled[n]-1].Value
				if star {
					return starOf(cond.Patterns, value)
				}
				return value
			}
			return ""
		}
		used := make([]lanfolk.Signal, len(fulfilled))
		for n, at := range fulfilled {
			used[n] = signals[at-1]
		}
		slices.SortFunc(used, compareSignals)
		used = slices.Compact(used)
		for _, a := range [...]struct{ answer, template string }{{answerModel, r.Model}, {answerOS, r.OS}, {answerClass, r.Class}} {
			if value := fill(a.template, quote); value != "" {
				out = append(out, vote{a.answer, value, r.Confidence, r.rank, r.Name, r.Source, used})
			}
		}
	}
	return out
}

// starOf returns what the first star of the first pattern that fits stands for.
func starOf(patterns []string, value string) string {
	for _, text := range patterns {
		if p := compile(text, 0); p.match(strings.ToLower(value)) {
			return p.star(value)
		}
	}
	return ""
}

func compareSignals(a, b lanfolk.Signal) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Value, b.Value))
}

// candidate is one value of an answer and the evidence for it.
type candidate struct {
	value string
	doubt float64            // the product of 1 - confidence over independent votes
	by    map[string]float64 // the most trusted vote of each basis
}

func (c *candidate) support() float64 { return 1 - c.doubt }

// decide chooses the likeliest value of one answer and says how sure that is.
//
// Each candidate's votes of different bases are combined first, as independent
// witnesses for the same: 1 - ∏(1 - c). Then candidates, by Dempster's rule of
// combination for simple support functions: what is in conflict is left out, and
// what stays is shared out. Both are products: no order makes a difference but in the
// last bits, and the votes are sorted before.
func decide(votes []vote) lanfolk.Answer {
	var all []*candidate
	for i := range votes {
		v := &votes[i]
		at := slices.IndexFunc(all, func(c *candidate) bool { return strings.EqualFold(c.value, v.value) })
		if at < 0 {
			all = append(all, &candidate{value: v.value, by: map[string]float64{}})
			at = len(all) - 1
		}
		b := v.basis()
		all[at].by[b] = max(all[at].by[b], v.confidence)
	}
	all = nest(all)
	if len(all) == 0 {
		return lanfolk.Answer{}
	}
	for _, c := range all {
		c.doubt = 1
		confidences := make([]float64, 0, len(c.by))
		for _, x := range c.by {
			confidences = append(confidences, x)
		}
		slices.Sort(confidences)
		for _, x := range confidences {
			c.doubt *= 1 - x
		}
		c.doubt = max(c.doubt, 1-maxConfidence)
	}
	slices.SortFunc(all, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.doubt, b.doubt), strings.Compare(a.value, b.value))
	})
	nobody := 1.0
	for _, c := range all {
		nobody *= c.doubt
	}
	total := nobody
	for _, c := range all {
		total += c.support() * nobody / c.doubt
	}
	best := all[0]
	return lanfolk.Answer{Value: best.value, Confidence: hundredths(best.support() * nobody / best.doubt / total)}
}

// nest lets what speaks for "LaserJet" speak for "LaserJet 4250", too, where only one
// candidate goes on so: the longer is no other answer than the shorter, but a better one.
func nest(all []*candidate) []*candidate {
	slices.SortFunc(all, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(len(a.value), len(b.value)), strings.Compare(a.value, b.value))
	})
	kept := all[:0:0]
	for i, short := range all {
		var long *candidate
		several := false
		for _, c := range all[i+1:] {
			if !extends(c.value, short.value) {
				continue
			}
			if long == nil {
				long = c
			} else if !extends(c.value, long.value) {
				several = true
			}
		}
		if long == nil || several {
			kept = append(kept, short)
			continue
		}
		for b, x := range short.by {
			long.by[b] = max(long.by[b], x)
		}
	}
	return kept
}

// extends says whether long begins with the words of short, or is a system that is built
// on short.
func extends(long, short string) bool {
	if len(long) > len(short) && strings.EqualFold(long[:len(short)], short) && long[len(short)] == ' ' {
		return true
	}
	base := baseOf(long)
	return base != "" && (strings.EqualFold(base, short) || extends(base, short))
}

// baseOf returns the system that another one is built on, "" if that isn't known. BusyBox, kernels
// and the like tell only the base.
func baseOf(system string) string {
	system = strings.ToLower(system)
	for _, x := range [...]struct {
		base    string
		systems []string
	}{
		{"Android", []string{"fire os"}},
		{"Linux", []string{
			"android", "arch linux", "arista eos", "chromeos", "debian", "dsm", "fedora", "openmediavault", "openwrt", "roku os",
			"routeros", "tizen", "ubuntu", "unraid", "webos",
		}},
	} {
		for _, s := range x.systems {
			if system == s || strings.HasPrefix(system, s+" ") {
				return x.base
			}
		}
	}
	return ""
}

// hundredths rounds a confidence, so that it doesn't change with what makes no
// difference.
func hundredths(x float64) float64 { return min(maxConfidence, max(0.01, math.Round(x*100)/100)) }

// judge makes a classification of all votes.
func judge(votes []vote) lanfolk.Classification {
	slices.SortFunc(votes, func(a, b vote) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.confidence, a.confidence), strings.Compare(a.rule, b.rule),
			strings.Compare(a.answer, b.answer), strings.Compare(a.value, b.value), slices.CompareFunc(a.signals, b.signals, compareSignals))
	})
	k := lanfolk.Classification{Reasons: []lanfolk.Conclusion{}}
	for _, a := range [...]struct {
		name string
		into *lanfolk.Answer
	}{{answerModel, &k.Model}, {answerOS, &k.OS}, {answerClass, &k.Class}} {
		var mine []vote
		rank := rankBuiltIn
		for _, v := range votes {
			if v.answer == a.name {
				mine = append(mine, v)
				rank = max(rank, v.rank)
			}
		}
		counted := slices.DeleteFunc(slices.Clone(mine), func(v vote) bool { return v.rank < rank })
		*a.into = decide(counted)
		for _, v := range mine {
			if len(k.Reasons) == maxReasons {
				break
			}
			k.Reasons = append(k.Reasons, v.reason(a.into.Value, rank))
		}
	}
	return k
}

// maxReasons is how many reasons one classification tells.
const maxReasons = 64

func (v *vote) reason(chosen string, rank int) lanfolk.Conclusion {
	r := lanfolk.Conclusion{
		Answer: v.answer, Value: v.value, Confidence: v.confidence, Rule: v.rule, Source: v.source, Signals: v.signals,
	}
	switch {
	case strings.EqualFold(v.value, chosen) || extends(chosen, v.value):
		r.Verdict = "agrees"
	case v.rank < rank:
		r.Verdict = "overruled"
	default:
		r.Verdict = "contradicts"
	}
	return r
}
