package lanfolk

import (
	"fmt"
	"slices"
	"strings"
)

// explain says for each fact of a device why it is taken to be about it: a
// path of shared identifiers from the first evidence, along strong ones where
// there are any.
func (c *core) explain(d *device) []Evidence {
	var open []*fact
	for _, f := range d.facts {
		if f.live() {
			open = append(open, f)
		}
	}
	slices.SortFunc(open, elder)
	out := make([]Evidence, 0, len(d.facts))
	if len(open) == 0 && len(d.memory) > 0 {
		out = append(out, Evidence{
			Time: timeOf(d.last), What: "remembered from when it was last heard", Identifiers: identifiersOf(d.memory),
			WhyJoined: "no sighting holds any more",
		})
	}
	reached := make(map[*ident]*fact, len(open)) // by whom an identifier was brought in
	for len(open) > 0 {
		n, why := c.nextEvidence(open, reached, len(out) == 0)
		f := open[n]
		open = slices.Delete(open, n, n+1)
		out = append(out, c.evidence(f, why))
		for _, i := range f.ids {
			if i.joins() && reached[i] == nil && (!i.claimed || i.leads()) {
				reached[i] = f
			}
		}
	}
	for _, f := range d.facts {
		if f.ended {
			out = append(out, c.evidence(f, "ran out at "+timeOf(f.ends).Format("2006-01-02T15:04:05Z")))
		}
	}
	return out
}

// nextEvidence picks the fact to explain next: one that shares a strong
// identifier with those before, else a weak one, else the eldest.
func (c *core) nextEvidence(open []*fact, reached map[*ident]*fact, first bool) (int, string) {
	if first {
		for n, f := range open {
			if !f.loose {
				return n, "first evidence"
			}
		}
		return 0, "first evidence"
	}
	for _, strong := range [...]bool{true, false} {
		for n, f := range open {
			for _, i := range f.ids {
				g := reached[i]
				if g == nil || i.strong != strong {
					continue
				}
				switch {
				case strong, i.dev != f.dev:
					return n, fmt.Sprintf("shares %s with %s", i.identifier(), g.title())
				default:
					return n, fmt.Sprintf("%s is claimed by this device alone", i.identifier())
				}
			}
		}
	}
	return 0, "evidence of its own"
}

// title names a fact in a few words.
func (f *fact) title() string {
	c := f.content()
	if c.what != "" {
		return f.scope.Protocol + " " + c.what
	}
	return strings.TrimSpace(f.scope.Protocol + " " + c.key)
}

func (c *core) evidence(f *fact, why string) Evidence {
	x := f.content()
	e := Evidence{
		Time: timeOf(f.heard), Protocol: f.scope.Protocol, Interface: f.scope.Link, What: x.what,
		Identifiers: f.identifiers(), WhyJoined: why,
	}
	if e.What == "" {
		e.What = x.key
	}
	if f.veiled > 0 {
		e.WhyJoined += "; " + c.proxied(f)
	}
	for _, i := range f.ids {
		if i.muted > 0 {
			e.WhyJoined += "; a person separated " + i.identifier().String()
		} else if why := i.contest(f); why != "" {
			e.WhyJoined += "; " + i.identifier().String() + " " + why
		}
	}
	return e
}

// contest says why an id that a fact claims joins nothing, "" if it may.
func (i *ident) contest(f *fact) string {
	switch {
	case !i.claimed || i.ties == nil:
		return ""
	case i.ties.off:
		return fmt.Sprintf("joins nothing: more than %d MACs claim it", maxMates)
	}
	m := f.anchor()
	if m != nil && m.ties != nil && m.ties.off {
		return fmt.Sprintf("joins nothing: its MAC claims more than %d ids, or goes by more than %d names", maxTies, maxCalls)
	}
	if _, contested := i.home(); !contested {
		return ""
	}
	var others []*ident
	i.telling(func(n *ident) bool {
		if m == nil || n.first() != m.first() {
			others = append(others, n)
		}
		return true
	})
	slices.SortFunc(others, func(a, b *ident) int { return strings.Compare(a.value, b.value) })
	who := others[0].identifier().String()
	if len(others) > 1 {
		who += fmt.Sprintf(" and %d more", len(others)-1)
	}
	if m == nil {
		return "leads nowhere: several that aren't one claim it, " + who
	}
	why := "other ids count for each"
	if ids := m.counts(); !i.ties.works {
		why = "it isn't of a kind that tells machines apart, and they share no name"
	} else if slices.Equal(ids, others[0].counts()) {
		why = contradiction(m.alike(ids))
	}
	return "doesn't join " + m.identifier().String() + " with " + who + ", which claims it, too: " + why
}

func identifiersOf(ids []*ident) []Identifier {
	out := make([]Identifier, len(ids))
	for n, i := range ids {
		out[n] = i.identifier()
	}
	return out
}
