package respond

import "github.com/lanfolk/lanfolk/dnswire"

// denial returns the record that says which types the name has (RFC 6762 §6.1). It
// lives as long as a record of the type that was asked for would.
func (r *Responder) denial(n *name, asked dnswire.Type) *set {
	i := 0
	if defaultTTL(n.name, asked) != hostTTL {
		i = 1
	}
	var types []dnswire.Type
	for _, s := range n.sets {
		// The restricted form lists no type above 255 and not itself.
		if s.live > 0 && s.typ <= 255 && s.typ != dnswire.TypeNSEC && s.typ != dnswire.TypeANY {
			types = append(types, s.typ)
		}
	}
	rr := dnswire.NewNSEC(n.name, n.name, [2]uint32{hostTTL, otherTTL}[i], types...)
	if s := n.denial[i]; s != nil && s.records[0].rr == rr {
		return s
	}
	s := &set{name: n, typ: dnswire.TypeNSEC, unique: true, live: 1}
	s.records = []*record{{set: s, rr: rr, fold: rr.Fold().Data, refs: 1, live: 1}}
	n.denial[i] = s
	return s
}
