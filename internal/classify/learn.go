package classify

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/lanfolk/lanfolk"
)

// Example is a device that somebody labelled, and its signals.
type Example struct {
	Model, Class string // the label; Class may be ""
	Source       string // who said so, when
	Signals      []lanfolk.Signal
}

// maxExampleSignals bounds the signals of one example.
const maxExampleSignals = 4096

// ParseExamples reads a file of learnt devices:
//
//	[[device]]
//	model   = "Hue bridge"
//	class   = "hub"
//	source  = "setup.pcap, 00:17:88:24:76:ff"
//	signals = ["dhcp.vendor_class=udhcp 1.19.4", "tls.name=www.ecdinterface.philips.com"]
//
// name is what its errors call the file; the error is an Errors.
func ParseExamples(name string, data []byte) ([]Example, error) {
	r := &reader{file: name, data: data}
	var all []Example
	for _, t := range r.tables("device") {
		all = append(all, r.example(t))
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return all, nil
}

func (r *reader) example(t table) Example {
	var x Example
	var model, class, source text
	signals := false
	for _, e := range t.entries {
		switch e.key.value {
		case "model":
			r.words(e, &model)
		case "class":
			r.words(e, &class)
		case "source":
			r.words(e, &source)
		case "signals":
			signals = true
			if e.kind != unstable.Array {
				r.bad(e.at, `signals: want an array of strings such as "dhcp.vendor_class=MSFT 5.0"`)
			}
			if len(e.list) > maxExampleSignals {
				r.bad(e.at, "signals: more than %d", maxExampleSignals)
				continue
			}
			for _, s := range e.list {
				kind, value, _ := strings.Cut(s.value, "=")
				made, ok := New(kind, value)
				if !Learnable(kind) || !ok || !clean(value) {
					r.bad(max(e.at, s.at), `signals: want a kind of signal that can be learnt, = and a value, not %q`, s.value)
					continue
				}
				x.Signals = append(x.Signals, made)
			}
		default:
			r.bad(e.key.at, "%s: unknown key; want model, class, source or signals", e.key.value)
		}
	}
	x.Model, x.Class, x.Source = model.value, class.value, source.value
	switch {
	case !slices.ContainsFunc(t.entries, func(e entry) bool { return e.key.value == "model" }):
		r.bad(t.at, "the device has no model: say what it is")
	case !signals:
		r.bad(t.at, "the device has no signals")
	}
	if class.value != "" && !token(class.value) {
		r.bad(class.at, "class: want up to 32 small letters, digits and -, not %q", class.value)
	}
	return x
}

// AppendExample appends an example as a file holds it.
func AppendExample(b *bytes.Buffer, x Example) {
	fmt.Fprintf(b, "[[device]]\nmodel   = %s\n", quoted(x.Model))
	if x.Class != "" {
		fmt.Fprintf(b, "class   = %s\n", quoted(x.Class))
	}
	if x.Source != "" {
		fmt.Fprintf(b, "source  = %s\n", quoted(x.Source))
	}
	b.WriteString("signals = [\n")
	for _, s := range x.Signals {
		fmt.Fprintf(b, "  %s,\n", quoted(s.Kind+"="+s.Value))
	}
	b.WriteString("]\n")
}

// quoted is a TOML basic string.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range strings.ToValidUTF8(s, "") {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case !clean(string(c)):
			fmt.Fprintf(&b, "\\U%08X", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Learn returns what of a device's signals is worth learning: sorted, each once, of
// kinds that are Learnable. What would name the device with that MAC is scrubbed.
func Learn(signals []lanfolk.Signal, mac [6]byte) []lanfolk.Signal {
	var all []lanfolk.Signal
	for _, s := range signals {
		if s.Kind == KindHost {
			s = lanfolk.Signal{Kind: KindHostForm, Value: Form(Scrub(s.Value, mac))}
		}
		if !Learnable(s.Kind) {
			continue
		}
		if s.Kind != KindHostForm {
			s.Value = Scrub(s.Value, mac)
		}
		if x, ok := New(s.Kind, s.Value); ok && clean(x.Value) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, compareSignals)
	return slices.Compact(all)
}

// label is what examples with the same model have in common.
type label struct {
	model, class string
	sources      []string
	kinds        map[string]bool // of which it has any
}

// Recogniser says which labelled device a set of signals looks like. It is never
// changed: any number may use it at once.
type Recogniser struct {
	labels   []label
	postings map[lanfolk.Signal][]int32 // the labels that have the signal
	closed   map[string]bool            // the kinds of which another value speaks against a label
}

// NewRecogniser learns examples. Those with the same model are one label: it has
// the signals of all.
func NewRecogniser(examples []Example) *Recogniser {
	r := &Recogniser{postings: map[lanfolk.Signal][]int32{}, closed: map[string]bool{}}
	for _, x := range examples {
		n := slices.IndexFunc(r.labels, func(l label) bool { return l.model == x.Model })
		if n < 0 {
			n = len(r.labels)
			r.labels = append(r.labels, label{model: x.Model, kinds: map[string]bool{}})
		}
		l := &r.labels[n]
		l.class = cmp.Or(l.class, x.Class)
		if x.Source != "" && !slices.Contains(l.sources, x.Source) {
			l.sources = append(l.sources, x.Source)
		}
		for _, s := range x.Signals {
			k, ok := kindOf(s.Kind)
			if !ok || !Learnable(s.Kind) {
				continue
			}
			l.kinds[s.Kind] = true
			if k.Closed {
				r.closed[s.Kind] = true
			}
			if p := r.postings[s]; !slices.Contains(p, int32(n)) {
				r.postings[s] = append(p, int32(n))
			}
		}
	}
	return r
}

// tells says whether a signal speaks for a label, or against one.
func (r *Recogniser) tells(s lanfolk.Signal) bool {
	return len(r.postings[s]) > 0 || r.closed[s.Kind]
}

// What the recogniser reckons with. They are judged by what they mean, not fitted
// to captures.
const (
	// Labels that a signal's rarity is reckoned among at least: of three labelled
	// devices none can be known to be the only one with a signal.
	fewLabels = 10
	// What another value of a closed kind takes away: odds of three to one.
	otherValue = -1.1
	// What a value that the label lacks takes away where there may be many, and how
	// much of it counts.
	missing, mostMissing = -0.15, -0.9
	// The log-odds that must be gathered before a label is likelier than none.
	unknown = 3.0
	// What the other kinds must gather when the strongest is left out, so that no
	// single signal names a device.
	withoutBest = 0.5
	// The least probability of an answer.
	leastProbable = 0.5
	// How much of what a device says the label must have said, too. What is less is
	// a relative at best: of the same maker, or with the same chip.
	leastCoverage = 0.75
)

// Match says which label fits.
type Match struct {
	Model, Class string
	Confidence   float64 // the probability, at most 0.95, times the coverage
	Sources      []string
	// Coverage is how much of what the device says of kinds that the label has is the label's,
	// too: from 0 to 1.
	Coverage float64
	Evidence []Weighed // what spoke for it and against it, the weightiest first
}

// Weighed is a kind of signal and what it adds to the log-odds of a label.
type Weighed struct {
	Kind    string
	Weight  float64
	Signals []lanfolk.Signal // those that the label has, too
	Of      int              // of how many of the kind
}

// mostProbable bounds a probability that naive Bayes gives: signals of one stack
// aren't independent.
const mostProbable = 0.95

// Recognise says which label the signals look like; ok is false for "unknown". Only
// kinds that keep allows are used; nil allows all.
func (r *Recogniser) Recognise(signals []lanfolk.Signal, keep func(kind string) bool) (m Match, ok bool) {
	scores := r.scores(signals, keep)
	if len(scores) == 0 {
		return Match{}, false
	}
	slices.SortFunc(scores, func(a, b score) int {
		return cmp.Or(cmp.Compare(b.sum, a.sum), strings.Compare(r.labels[a.label].model, r.labels[b.label].model))
	})
	best := scores[0]
	total := 1.0 // of none of them
	for _, s := range scores {
		total += math.Exp(s.sum - unknown)
	}
	p := math.Exp(best.sum-unknown) / total
	strongest, kinds := 0.0, 0
	for _, k := range best.kinds {
		strongest = max(strongest, k.Weight)
		if k.Weight > 0 {
			kinds++
		}
	}
	l := &r.labels[best.label]
	all, own := 0.0, 0.0
	for _, k := range best.kinds {
		all++
		own += float64(len(k.Signals)) / float64(k.Of)
	}
	m = Match{
		Model: l.model, Class: l.class, Confidence: hundredths(min(p, mostProbable) * own / all),
		Sources: l.sources, Coverage: own / all, Evidence: best.kinds,
	}
	return m, p >= leastProbable && m.Coverage >= leastCoverage && kinds >= 2 && best.sum-strongest >= withoutBest
}

// score is what speaks for one label.
type score struct {
	label int32
	sum   float64
	kinds []Weighed
}

// scores weighs the signals for each label that has at least one of them.
func (r *Recogniser) scores(signals []lanfolk.Signal, keep func(kind string) bool) []score {
	byKind := map[string][]lanfolk.Signal{}
	candidates := map[int32]bool{}
	for _, s := range signals {
		if keep != nil && !keep(s.Kind) || !Learnable(s.Kind) {
			continue
		}
		byKind[s.Kind] = append(byKind[s.Kind], s)
		for _, l := range r.postings[s] {
			candidates[l] = true
		}
	}
	kinds := make([]string, 0, len(byKind))
	for k := range byKind {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	out := make([]score, 0, len(candidates))
	for l := range candidates {
		s := score{label: l}
		for _, k := range kinds {
			if w, ok := r.weigh(l, k, byKind[k]); ok {
				s.kinds = append(s.kinds, w)
			}
		}
		s.sum = damped(s.kinds)
		slices.SortStableFunc(s.kinds, func(a, b Weighed) int { return cmp.Compare(math.Abs(b.Weight), math.Abs(a.Weight)) })
		out = append(out, s)
	}
	return out
}

// weigh says what a device's signals of one kind add for a label; ok is false where
// the label says nothing of the kind.
func (r *Recogniser) weigh(l int32, kind string, signals []lanfolk.Signal) (Weighed, bool) {
	w := Weighed{Kind: kind, Of: len(signals)}
	if !r.labels[l].kinds[kind] {
		return w, false
	}
	var gains []float64
	lacking := 0
	for _, s := range signals {
		p := r.postings[s]
		if !slices.Contains(p, l) {
			lacking++
			continue
		}
		n := float64(max(len(r.labels), fewLabels))
		gains = append(gains, math.Log((n+1)/(float64(len(p))+0.5)))
		w.Signals = append(w.Signals, s)
	}
	// The rarest counts in full, each further one half of what the one before it did: they
	// depend on each other.
	slices.SortFunc(gains, func(a, b float64) int { return cmp.Compare(b, a) })
	share := 1.0
	for _, g := range gains {
		w.Weight += g * share
		share /= 2
	}
	switch {
	case lacking == 0:
	case r.closed[kind] && len(gains) == 0:
		w.Weight += otherValue
	default:
		w.Weight += max(mostMissing, missing*float64(lacking))
	}
	return w, true
}

// damped adds up what kinds weigh. Those of one protocol depend on each other: the
// weightiest of each sign counts in full, each further one half as much.
func damped(kinds []Weighed) float64 {
	type group struct {
		protocol string
		against  bool
	}
	sorted := slices.Clone(kinds)
	slices.SortStableFunc(sorted, func(a, b Weighed) int { return cmp.Compare(math.Abs(b.Weight), math.Abs(a.Weight)) })
	share := map[group]float64{}
	sum := 0.0
	for _, k := range sorted {
		g := group{protocolOf(k.Kind), k.Weight < 0}
		if _, ok := share[g]; !ok {
			share[g] = 1
		}
		sum += k.Weight * share[g]
		share[g] /= 2
	}
	return sum
}

// protocolOf is what a kind of signal is heard by: "dhcp" of dhcp.parameters and of
// form.dhcp.
func protocolOf(kind string) string {
	family, key, _ := strings.Cut(kind, ".")
	if family == "form" {
		return key
	}
	return family
}
