package respond

import (
	"slices"

	"github.com/lanfolk/lanfolk/dnswire"
)

// tieBreak compares another host's probe for the name with ours, if there is one
// under way. Who has the lexicographically later data wins; the loser waits for
// a second and asks again (RFC 6762 §8.2).
func (r *Responder) tieBreak(m *Message, n *name) {
	var probing []*Claim
	for _, c := range n.claims {
		if c.probe == nil || c.probe.step == 0 {
			continue
		}
		if slices.ContainsFunc(c.holds, func(h hold) bool { return h.name == n && !h.claimed }) {
			probing = append(probing, c)
		}
	}
	if len(probing) == 0 {
		return
	}
	var theirs []dnswire.RR
	foreign := false
	for v := range m.Records() {
		if v.Section != dnswire.Authority || !v.Name.Equal(n.name) {
			continue
		}
		foreign = foreign || !r.ours(m.Time, n, &v)
		theirs = append(theirs, v.RR())
	}
	if !foreign {
		return // a copy of a probe of ours, an old one perhaps or one from another link
	}
	slices.SortFunc(theirs, compareRecords)
	if slices.CompareFunc(n.proposed(), theirs, compareRecords) >= 0 {
		return
	}
	r.count.Deferred.Add(1)
	for _, c := range probing {
		r.probeFrom(m.Time, c, m.Time.Add(deferWait), 0)
	}
}
