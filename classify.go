package lanfolk

import (
	"cmp"
	"slices"
	"strings"
)

// Signal is one thing that says something about what a device is: the class
// that its DHCP client tells of, a type of service that it offers, a name that it
// asks for. No single one names a device.
type Signal struct {
	Kind  string `json:"kind"` // "dhcp.vendor_class", "mdns.service", …
	Value string `json:"value"`
}

// Classifier says what devices are by their signals. It is called while the
// inventory waits: it must be quick, do no I/O, and always answer alike.
type Classifier interface {
	// Signals returns those signals of a sighting that can tell something, nil if
	// there are none.
	Signals(s *Sighting) []Signal
	// Classify says what a device with the signals is; they are sorted, each is
	// there once. vendor is the maker by its MAC, "" if that isn't known.
	Classify(signals []Signal, vendor string) Classification
}

// Classification is what a device is, as far as its signals tell.
type Classification struct {
	Model   Answer       `json:"model"`
	OS      Answer       `json:"os"`
	Class   Answer       `json:"class"`
	Reasons []Conclusion `json:"reasons"`
}

// Answer is a value and how sure it is: more than 0, at most 1, which only a person's
// word is. The zero Answer is for what isn't known.
type Answer struct {
	Value      string  `json:"value"`
	Confidence float64 `json:"confidence"`
}

// Conclusion is what one rule says for one answer.
type Conclusion struct {
	Answer     string   `json:"answer"` // "model", "os" or "class"
	Value      string   `json:"value"`
	Confidence float64  `json:"confidence"` // of the rule alone
	Rule       string   `json:"rule"`
	Source     string   `json:"source"` // where the rule comes from: a standard, documentation, a person
	Signals    []Signal `json:"signals"`
	// Verdict is "agrees" where the answer is the one that was chosen,
	// "contradicts" where it is another, and "overruled" where it counts for
	// nothing, because what goes before it gave an answer.
	Verdict string `json:"verdict"`
}

// Bounds of what is kept of a device's signals. A device that spews names can
// push out only its own.
const (
	maxSignals       = 128
	maxSignalsOfKind = 16
)

// compareSignals orders signals by kind, then value.
func compareSignals(a, b Signal) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Value, b.Value))
}

// boundSignals sorts signals and drops repetitions and what is too much. The
// result is the same for the same set.
func boundSignals(all []Signal) []Signal {
	slices.SortFunc(all, compareSignals)
	all = slices.Compact(all)
	kept, ofKind := all[:0], 0
	for _, s := range all {
		if len(kept) > 0 && kept[len(kept)-1].Kind == s.Kind {
			ofKind++
		} else {
			ofKind = 0
		}
		if ofKind < maxSignalsOfKind && len(kept) < maxSignals && len(s.Kind) <= maxText && len(s.Value) <= maxValue {
			kept = append(kept, s)
		}
	}
	clear(all[len(kept):])
	return kept
}

// read notes what a sighting tells about what its device is.
func (c *core) read(f *fact, s *Sighting) {
	f.signals = nil
	if c.classifier == nil {
		return
	}
	if all := c.classifier.Signals(s); len(all) > 0 {
		all = boundSignals(slices.Clone(all))
		f.signals = &all
	}
}

// keepSignals remembers what a fact that ends told: a device is what it is,
// whether it speaks or not.
func (c *core) keepSignals(f *fact) {
	d := f.dev
	if f.signals == nil || d == nil || d.nameless {
		return
	}
	all := boundSignals(append(slices.Clone(d.signals), *f.signals...))
	if !slices.Equal(all, d.signals) {
		d.signals = all
		c.unsavedDevice(d)
	}
}

// allSignals returns what is known of a device, and of those that turned out to be it.
func (d *device) allSignals() []Signal {
	var all []Signal
	for _, f := range d.facts {
		if f.live() && f.signals != nil {
			all = append(all, *f.signals...)
		}
	}
	all = append(all, d.signals...)
	for _, a := range d.aliases {
		all = append(all, a.signals...)
	}
	return boundSignals(all)
}

// classify says what the device of a picture is: what a person said, or else
// what its signals tell. That is worked out anew only when they have changed.
func (c *core) classify(d *device, v *Device) {
	if c.classifier != nil {
		all := d.allSignals()
		if d.class == nil || d.classOf != v.Vendor || !slices.Equal(all, d.classBy) {
			k := c.classifier.Classify(all, v.Vendor)
			d.class, d.classBy, d.classOf = &k, all, v.Vendor
		}
		v.Model, v.ModelConfidence = d.class.Model.Value, d.class.Model.Confidence
		v.OS, v.OSConfidence = d.class.OS.Value, d.class.OS.Confidence
		v.Class, v.ClassConfidence = d.class.Class.Value, d.class.Class.Confidence
	}
	for _, t := range v.Tags {
		what, value, _ := strings.Cut(t, "=")
		if value == "" {
			continue
		}
		switch what {
		case "model":
			v.Model, v.ModelConfidence = value, 1
		case "os":
			v.OS, v.OSConfidence = value, 1
		case "class":
			v.Class, v.ClassConfidence = value, 1
		}
	}
}

// Reasons returns what speaks for and against what a device is taken to be, the
// weightiest first. What a person said comes before all.
func (r *Registry) Reasons(ref string) ([]Conclusion, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.core.resolve(ref)
	if err != nil {
		return nil, err
	}
	v := r.core.picture(d)
	reasons := []Conclusion{}
	said := map[string]bool{}
	for _, t := range v.Tags {
		what, value, _ := strings.Cut(t, "=")
		if value == "" || what != "model" && what != "os" && what != "class" {
			continue
		}
		reasons = append(reasons, Conclusion{
			Answer: what, Value: value, Confidence: 1, Rule: "tag " + t, Source: "a person said so", Signals: []Signal{}, Verdict: "agrees",
		})
		said[what] = true
	}
	if d.class == nil {
		return reasons, nil
	}
	for _, x := range d.class.Reasons {
		if said[x.Answer] {
			x.Verdict = "overruled"
		}
		reasons = append(reasons, x)
	}
	return reasons, nil
}
