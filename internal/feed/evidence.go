package feed

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
)

// evidenceDoc is a part of what speaks for a device as it travels.
type evidenceDoc struct {
	Parts    int                  `json:"parts,omitempty"` // of the first one, where there are more
	Evidence []pieceDoc           `json:"evidence,omitempty"`
	Reasons  []lanfolk.Conclusion `json:"reasons,omitempty"`
}

type pieceDoc struct {
	Time        int64                `json:"time,omitempty"`
	Protocol    string               `json:"protocol,omitempty"`
	Interface   string               `json:"interface,omitempty"`
	What        string               `json:"what,omitempty"`
	Identifiers []lanfolk.Identifier `json:"identifiers,omitempty"`
	WhyJoined   string               `json:"why_joined,omitempty"`
}

// EvidenceParts is how many documents the evidence for one device has at most.
const EvidenceParts = 4

// EvidenceDocs returns the documents of the evidence for a device: part 0 and, where
// that is too long, more. What doesn't fit into all of them is left out, and the last
// piece says how much. Still are the same documents without times: they stay the same
// while nothing but these changes.
func EvidenceDocs(evidence []lanfolk.Evidence, reasons []lanfolk.Conclusion) (docs, still [][]byte) {
	parts := make([]evidenceDoc, 1, EvidenceParts)
	size := emptyEvidence
	if more := len(marshal(reasons)); more <= MaxDoc/2 { // rules don't say so much
		parts[0].Reasons = reasons
		size += more
	}
	left := 0
	for n := range evidence {
		piece := pieceOf(&evidence[n])
		more := len(marshal(piece)) + 1
		if more > MaxDoc/2 {
			left++
			continue
		}
		if size+more > MaxDoc {
			if len(parts) == EvidenceParts {
				left += len(evidence) - n
				break
			}
			parts, size = append(parts, evidenceDoc{}), emptyEvidence
		}
		last := &parts[len(parts)-1]
		last.Evidence = append(last.Evidence, piece)
		size += more
	}
	if left > 0 {
		last := &parts[len(parts)-1]
		last.Evidence = append(last.Evidence, pieceDoc{
			What: strconv.Itoa(left) + " more pieces of evidence are at the gateway", WhyJoined: "there is too much of it to send",
		})
	}
	if len(parts) > 1 {
		parts[0].Parts = len(parts)
	}
	for _, part := range parts {
		docs = append(docs, marshal(part))
		for n := range part.Evidence {
			part.Evidence[n].Time = 0
		}
		still = append(still, marshal(part))
	}
	return docs, still
}

// emptyEvidence bounds what a document has beside its pieces, the one that says how much
// was left out included.
const emptyEvidence = 256

func pieceOf(e *lanfolk.Evidence) pieceDoc {
	return pieceDoc{
		Time: milli(e.Time), Protocol: e.Protocol, Interface: e.Interface, What: e.What, Identifiers: bare(e.Identifiers), WhyJoined: e.WhyJoined,
	}
}

// ParseEvidence reads one of the documents, and how many there are, which the first
// one says.
func ParseEvidence(doc []byte) (evidence []lanfolk.Evidence, reasons []lanfolk.Conclusion, parts int, err error) {
	var x evidenceDoc
	if err := unmarshal(doc, &x); err != nil {
		return nil, nil, 0, err
	}
	var c checks
	c.that(x.Parts >= 0 && x.Parts <= EvidenceParts, "parts: %d, at most %d", x.Parts, EvidenceParts)
	evidence = make([]lanfolk.Evidence, 0, len(x.Evidence))
	for _, p := range x.Evidence {
		c.identifiers("evidence", p.Identifiers)
		c.times(p.Time)
		evidence = append(evidence, lanfolk.Evidence{
			Time: moment(p.Time), Protocol: p.Protocol, Interface: p.Interface, What: p.What, Identifiers: p.Identifiers, WhyJoined: p.WhyJoined,
		})
	}
	for _, r := range x.Reasons {
		c.answer("reasons", r.Value, r.Confidence)
		c.texts("reasons", []string{r.Answer, r.Rule, r.Source, r.Verdict})
		c.list("reasons", len(r.Signals))
		for _, s := range r.Signals {
			c.texts("reasons", []string{s.Kind, s.Value})
		}
	}
	if c.err != nil {
		return nil, nil, 0, c.err
	}
	return evidence, x.Reasons, max(x.Parts, 1), nil
}

// Heard is when a device or service was heard last, and until when a service holds.
type Heard struct {
	Kind    byte // Device or Service
	ID      string
	Last    time.Time
	Expires time.Time // of a service
}

// perTimes is how many fit into one document: an entry has at most 48 bytes with an id
// as the registry makes it.
const perTimes = MaxDoc / 2 / 48

// TimesParts returns into how many documents to part the times of n devices and
// services: a power of two, so that it changes rarely.
func TimesParts(n int) int {
	parts := 1
	for parts < maxTimes && n > parts*perTimes {
		parts *= 2
	}
	return parts
}

// TimesPart returns in which of the parts an id stands.
func TimesPart(id string, parts int) int {
	h := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return int(h % uint32(parts))
}

// TimesDoc returns a document of times; what doesn't fit is left out.
func TimesDoc(all []Heard) []byte {
	slices.SortFunc(all, func(a, b Heard) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID)) })
	b := []byte("{")
	for _, h := range all {
		start := len(b)
		if start > 1 {
			b = append(b, ',')
		}
		b = append(b, '"', h.Kind, '/')
		b = append(b, h.ID...)
		b = append(b, `":[`...)
		b = strconv.AppendInt(b, milli(h.Last), 10)
		if h.Kind == Service {
			b = append(b, ',')
			b = strconv.AppendInt(b, milli(h.Expires), 10)
		}
		b = append(b, ']')
		if len(b) >= MaxDoc {
			b = b[:start]
			break
		}
	}
	return append(b, '}')
}

// ParseTimes reads a document of times.
func ParseTimes(doc []byte) ([]Heard, error) {
	var x map[string][]int64
	if err := unmarshal(doc, &x); err != nil {
		return nil, err
	}
	all := make([]Heard, 0, len(x))
	var c checks
	for key, ms := range x {
		k, err := ParseKey(key)
		if err != nil || k.Kind != Device && k.Kind != Service || len(ms) < 1 || len(ms) > 2 {
			return nil, fmt.Errorf("times of %q", clip(key))
		}
		c.times(ms...)
		h := Heard{Kind: k.Kind, ID: k.ID, Last: moment(ms[0])}
		if len(ms) > 1 {
			h.Expires = moment(ms[1])
		}
		all = append(all, h)
	}
	return all, c.err
}
